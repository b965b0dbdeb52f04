"""Paddle Inference: oneDNN on processors, CUDA and TensorRT on GPUs."""

import copy
import warnings
from pathlib import Path
from typing import List, Tuple, Union

import numpy as np

from ernie_inference.engines.base import Engine
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.paddle_runtime import create_predictor, paddle_settings, run_predictor
from ernie_inference.engines.tensorrt_shapes import collect_shapes, is_users_own
from ernie_inference.errors import InputError
from ernie_inference.model_files import ModelInfo, check_length, find_model, inspect_model, program_files


class PaddleEngine(Engine):
    """Runs PREFIX.pdmodel with Paddle Inference. One engine serves one thread: clone() it for another.

    Raises:
        InputError: a model file is broken, or the model's precision is not the one asked for.
    """

    config_advice = "export the model with --do_export, which writes it"

    @staticmethod
    def find(model_path: Union[str, Path], config: EngineConfig) -> Path:
        return find_model(model_path)

    def __init__(self, model_path: Union[str, Path], config: EngineConfig):
        self.config = config
        self.prefix = find_model(model_path)
        self.info = inspect_model(self.prefix)
        _check_precision(self.prefix, self.info, config.precision)
        if config.device == "cpu" and self.info.scale_per_column:
            _warn_of_scales(self.prefix)
        if config.is_tensorrt:
            check_length(config.max_seq_length, self.info)
            if not is_users_own(config.shape_info_file):
                collect_shapes(self.prefix, config)
        self._predictor = create_predictor(self.prefix, paddle_settings(self.prefix, config))

    @property
    def files(self) -> List[Path]:
        return program_files(self.prefix)

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray, ...]:
        return run_predictor(self._predictor, input_ids, token_type_ids)

    def padded_length(self, length: int) -> int:
        if self.config.device == "gpu":
            return length
        distinct = distinct_length(length)
        return min(distinct, self.info.max_positions or distinct)

    def clone(self) -> "PaddleEngine":
        other = copy.copy(self)
        other._predictor = self._predictor.clone()
        return other


def distinct_length(length: int) -> int:
    """The next length that no batch of another shape can be mistaken for on a processor; one in four is.

    Paddle 2.6.2 keeps each matmul's oneDNN primitive under a key in which the dimensions of its input stand
    without anything between them: 2 x 88 and 28 x 8 are both "288". The second to come gets the primitive of
    the first, which reads as many rows as that had and then raises "could not reshape a memory descriptor".
    (Where every shape has a cache of its own this does not happen, but see set_mkldnn_cache_capacity below.)
    So lengths of two digits are made odd here and those of three even: where two keys are the same, so are
    their last digits, then how many digits the length has, then both dimensions. (Lengths of four digits are
    odd too, which is enough for batches of up to 99.) This can go when Paddle separates the dimensions
    (phi::funcs::CreateKey). What is kept for a shape is never given back: therefore one in four.
    """
    if length <= 99:
        return max(length, 11) | 3
    if length <= 996:
        return (length + 3) & ~3
    return ((max(length, 1001) + 2) & ~3) + 1


def _check_precision(prefix: Path, info: ModelInfo, precision: str) -> None:
    if precision == "int8" and not info.quantized:
        raise InputError(
            f"{prefix} is not quantized, so it cannot run as INT8: give the int8 model that compress_*.py wrote, "
            "or use fp32"
        )
    if precision != "int8" and info.quantized:
        raise InputError(
            f"{prefix} is quantized, and {precision} would only imitate INT8, slower than the original model: "
            "use int8, or give the model before quantization"
        )


def _warn_of_scales(prefix: Path) -> None:
    """Say that answers will be less accurate than the file allows.

    Paddle 2.6.2 on CPUs reads such weights with wrong scales: quant_dequant_mkldnn_pass takes a
    square weight's scales for those of its rows, and compute_propagate_scales_mkldnn_pass computes
    a column's range from elements that are not that column. The error grows about tenfold.
    """
    warnings.warn(
        f"{prefix} has a scale for each column of a weight, which Paddle 2.6 misreads on CPUs; quantize it with "
        'weight_quantize_type "abs_max"',
        stacklevel=4,
    )
