"""What export writes beside a model (inference.json, vocab.txt), and the task that it describes."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Type, Union

from ernie_inference.answer_options import LONG_TEXTS
from ernie_inference.errors import InputError
from ernie_inference.tasks import TASKS, WITH_THRESHOLDS
from ernie_inference.tasks.base import Task
from ernie_inference.text_files import read_text
from ernie_inference.text_output import to_json
from ernie_inference.wordpiece import WordPiece

INFERENCE_FILE = "inference.json"
VOCAB_FILE = "vocab.txt"
TEMPERATURES = (1e-3, 1e3)  # beyond them a confidence would say nothing, and logits could become infinite


@dataclass
class InferenceConfig:
    """What export writes beside a model (inference.json), so that nothing downstream has to be told again.

    Attributes:
        thresholds: of each label, from which probability on a text has it; None, and not in the file, where a text has
            one label.
        temperature: of the task, which is fitted on a dev set where that is asked for; None, and not in the file, is 1.
    """

    task: str
    labels: List[str] = field(default_factory=list)
    max_seq_length: int = 128
    doc_stride: int = 32
    lowercase: bool = True
    dataset: str = ""
    versions: Dict[str, str] = field(default_factory=dict)
    thresholds: Optional[List[float]] = None
    temperature: Optional[float] = None
    long_texts: Optional[str] = None

    @property
    def task_class(self) -> Type[Task]:
        return TASKS[self.task] if self.thresholds is None else WITH_THRESHOLDS[self.task]

    def content(self) -> Dict[str, Any]:
        """What inference.json holds."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def save(self, folder) -> None:
        (Path(folder) / INFERENCE_FILE).write_bytes(to_json(self.content(), indent=2) + b"\n")

    @classmethod
    def load(cls, folder) -> "InferenceConfig":
        path = Path(folder) / INFERENCE_FILE
        try:
            text = read_text(path)
        except FileNotFoundError:
            raise InputError(f"{path} is missing: export the model with --do_export, which writes it") from None
        try:
            config = cls(**json.loads(text))
            config.check()
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path} is not what export writes ({error}): export the model again") from None
        return config

    def check(self) -> None:
        """Raises ValueError where a value is not of its kind."""
        if self.task not in list(TASKS):
            raise ValueError(f"task is {self.task!r}, not one of {', '.join(TASKS)}")
        if not isinstance(self.labels, list) or not all(isinstance(label, str) for label in self.labels):
            raise ValueError("labels is not a list of names")
        if len(self.labels) < 2 and TASKS[self.task].has_labels:
            raise ValueError(f"labels holds {len(self.labels)} names")
        for name in ("max_seq_length", "doc_stride"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a number of tokens")
        if type(self.lowercase) is not bool:
            raise ValueError(f"lowercase is {self.lowercase!r}, not true or false")
        if self.temperature is not None:
            self._check_temperature(self.temperature)
        if self.long_texts is not None and not (TASKS[self.task].cuts_long_texts and self.long_texts in LONG_TEXTS):
            raise ValueError(f"long_texts is {self.long_texts!r}, not one of {', '.join(LONG_TEXTS)} for seq_cls")
        if self.thresholds is not None:
            self._check_thresholds(self.thresholds)

    def _check_temperature(self, temperature: Any) -> None:
        low, high = TEMPERATURES
        if not (type(temperature) in (int, float) and low <= temperature <= high):
            raise ValueError(f"temperature is {temperature!r:.40}, not a number from {low:g} to {high:g}")
        if self.thresholds is not None:
            raise ValueError("temperature and thresholds are both there: confidences with thresholds are not scaled")

    def _check_thresholds(self, thresholds: Any) -> None:
        if self.task not in WITH_THRESHOLDS:
            raise ValueError(f"thresholds are for {', '.join(WITH_THRESHOLDS)}, not for {self.task}")
        if not isinstance(thresholds, list) or not all(type(t) in (int, float) and 0 <= t <= 1 for t in thresholds):
            raise ValueError("thresholds is not a list of numbers from 0 to 1")
        if len(thresholds) != len(self.labels):
            raise ValueError(f"thresholds holds {len(thresholds)} numbers for {len(self.labels)} labels")


def load_task(
    folder: Union[str, Path],
    max_seq_length: Optional[int] = None,
    vocab_file: Optional[Union[str, Path]] = None,
    long_texts: Optional[str] = None,
) -> Task:
    """The task of an exported model, from the inference.json and vocab.txt beside it.

    Raises:
        InputError: a file is missing or is not what export writes, or the task takes no long_texts.
    """
    config = InferenceConfig.load(folder)
    path = Path(vocab_file or Path(folder) / VOCAB_FILE)
    try:
        tokenizer = WordPiece.from_file(path, config.lowercase)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be used as the vocabulary ({error}): export the model again") from None
    length = config.max_seq_length if max_seq_length is None else max_seq_length
    task = config.task_class(tokenizer, config.labels, length, config.doc_stride)
    task.thresholds = config.thresholds
    task.read_long_texts(long_texts or config.long_texts)
    return task if config.temperature is None else task.at(config.temperature)
