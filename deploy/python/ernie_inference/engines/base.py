"""What every engine can do."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, List, Tuple, Union

import numpy as np

from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.shapes import SHORTEST_INPUT
from ernie_inference.model_files import ModelInfo


class Engine(ABC):
    """Token ids in, logits out; an engine knows nothing about tasks.

    Attributes:
        config: how it runs the model.
        prefix: of the model's files.
        info: what the model's files say about it.
        config_advice: what to do where inference.json or vocab.txt is not beside the model's files.
    """

    config: EngineConfig
    prefix: Path
    info: ModelInfo
    config_advice: ClassVar[str]

    @abstractmethod
    def __init__(self, model_path: Union[str, Path], config: EngineConfig): ...

    @staticmethod
    @abstractmethod
    def find(model_path: Union[str, Path], config: EngineConfig) -> Path:
        """The prefix or file to run where the user named model_path; it is made first where it is a derived one.

        Raises:
            InputError: there is no such model, or it cannot be made.
        """

    def describe(self) -> str:
        """One line for people: engine, processor, precision, threads or device."""
        return self.config.describe()

    @property
    @abstractmethod
    def files(self) -> List[Path]:
        """What the model consists of; other files may stand beside it under its name."""

    @abstractmethod
    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray, ...]:
        """Logits of one batch. Both inputs are int64 [batch, seq_len], where seq_len is one that padded_length gives
        if inputs of several shapes are run; the outputs are float32.
        """

    @abstractmethod
    def clone(self) -> "Engine":
        """An engine for another thread; it shares this one's weights."""

    def padded_length(self, length: int) -> int:
        """The seq_len to pad a batch to whose longest input has `length` tokens."""
        return length


def extreme_inputs(config: EngineConfig) -> List[Tuple[np.ndarray, np.ndarray]]:
    """The smallest and the largest batch (input_ids, token_type_ids) that an engine runs, the smallest first."""
    sizes = ((1, SHORTEST_INPUT), (config.batch_size, config.max_seq_length))
    return [(np.ones(size, dtype=np.int64), np.zeros(size, dtype=np.int64)) for size in sizes]
