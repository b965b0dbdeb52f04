"""How to run a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from ernie_inference.engines.availability import machine_problem
from ernie_inference.engines.backends import BACKENDS, INSTEAD, PADDLE, RUN_OVERHEAD_TOKENS
from ernie_inference.errors import InputError
from ernie_inference.processors import usable_processors


@dataclass
class EngineConfig:
    """How to run a model. Checked when it is made: what cannot work raises an InputError of one line.

    Attributes:
        device: "cpu" or "gpu".
        backend: one of BACKENDS.
        precision: "fp32", "bf16", "fp16" or "int8"; BACKENDS says which goes where.
        num_threads: processor threads of one run.
        device_id: number of the GPU.
        batch_size: rows of one run, unless the caller of a predictor says otherwise.
        max_seq_length: tokens of the longest input. TensorRT builds its engine for inputs of up to batch_size x
            max_seq_length, and takes no larger ones.
        few_shapes: run inputs in few shapes, which are known beforehand, so that what an engine keeps for each of them
            is bounded. Some inputs are padded more for it: on real texts 3 to 5 % more tokens with windows of 128.
        shape_info_file: where Paddle-TensorRT's shape ranges are kept; by default beside the model.
    """

    device: str = "cpu"
    backend: str = PADDLE
    precision: str = "fp32"
    num_threads: Optional[int] = None
    device_id: int = 0
    batch_size: int = 32
    max_seq_length: int = 128
    few_shapes: bool = False
    shape_info_file: Optional[Union[str, Path]] = None

    def __post_init__(self):
        if self.num_threads is None:
            self.num_threads = usable_processors()
        for name, least in (("num_threads", 1), ("batch_size", 1), ("max_seq_length", 1), ("device_id", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: give a number from {least} on")
        self._check_combination()
        problem = machine_problem(BACKENDS[self.backend], self.device, self.device_id, self.precision)
        if problem:
            raise InputError(problem)

    @property
    def is_tensorrt(self) -> bool:
        return BACKENDS[self.backend].is_tensorrt

    @property
    def run_overhead_tokens(self) -> float:
        """What one more run costs beside its tokens, counted in tokens."""
        return RUN_OVERHEAD_TOKENS[self.device]

    def _check_combination(self) -> None:
        if self.backend not in BACKENDS:
            raise InputError(f"backend {self.backend!r} is not one of {', '.join(BACKENDS)}")
        if self.device not in ("cpu", "gpu"):
            raise InputError(f"device {self.device!r} is neither cpu nor gpu")
        allowed = BACKENDS[self.backend].precisions.get(self.device)
        if allowed is None:
            if self.device == "gpu":
                raise InputError(f"{self.backend} runs on processors only: use --device cpu")
            raise InputError(f"{self.backend} runs on a GPU only: use --device gpu, or run without TensorRT")
        if self.precision not in allowed:
            instead = INSTEAD.get((self.backend, self.device, self.precision), f"use {' or '.join(allowed)}")
            raise InputError(f"{self.backend} on {self.device} does not run {self.precision}: {instead}")

    def describe(self, int8: Optional[str] = None) -> str:
        """One line for people: engine, processor, precision, threads or device.

        Args:
            int8: how the model at hand is quantized, where that is not as always with this backend.
        """
        backend = BACKENDS[self.backend]
        precision = self.precision if self.precision == "bf16" else self.precision.upper()
        where = f"GPU {self.device_id}"
        if self.device == "cpu":
            precision += f" ({int8 or backend.int8})" if self.precision == "int8" else ""
            where = f"{self.num_threads} thread{'s' if self.num_threads != 1 else ''}"
        return f"{backend.library}, {backend.runner[self.device]}, {precision}, {where}"
