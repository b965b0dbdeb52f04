"""OpenVINO: on processors, in FP32, in bf16, and in INT8 with what is not INT8 in bf16 where the processor has it."""

import copy
from pathlib import Path
from typing import Any, Dict, Tuple, Union

import numpy as np

from ernie_inference.engines.availability import supports_bf16
from ernie_inference.engines.backends import BACKENDS, OPENVINO
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.onnx_base import OnnxFileEngine
from ernie_inference.engines.onnx_files import find_onnx
from ernie_inference.engines.onnx_graph import DYNAMIC_QUANTIZE
from ernie_inference.errors import InputError, reason_of
from ernie_inference.quiet_imports import import_openvino

DEVICE = "CPU"


class OpenVinoEngine(OnnxFileEngine):
    """Runs a .onnx file with OpenVINO. One engine serves one thread: clone() it for another.

    Raises:
        InputError: the file is broken, or the model's precision is not the one asked for.
    """

    @staticmethod
    def find(model_path: Union[str, Path], config: EngineConfig) -> Path:
        """The .onnx file: one that is named, or that is made of an exported Paddle model, FP32 or INT8 as that is."""
        return find_onnx(model_path)

    def __init__(self, model_path: Union[str, Path], config: EngineConfig):
        self.config = config
        self._open(model_path)
        self._check_precision()
        core = import_openvino().Core()
        try:
            model = core.read_model(str(self.file))
            self._check_inputs([port.any_name for port in model.inputs])
            self._model = core.compile_model(model, DEVICE, self._properties())
        except RuntimeError as error:
            raise InputError(f"{self.file} cannot be loaded: {reason_of(error)}") from None
        last = self._model.outputs[0].partial_shape[-1]
        self.info = self._info(num_labels=last.get_length() if last.is_static else None)
        self._request = self._model.create_infer_request()

    def _properties(self) -> Dict[str, Any]:
        rest_in_bf16 = self.config.precision != "fp32" and supports_bf16(BACKENDS[OPENVINO])
        return {
            "INFERENCE_PRECISION_HINT": "bf16" if rest_in_bf16 else "f32",
            "INFERENCE_NUM_THREADS": self.config.num_threads,
            "NUM_STREAMS": 1,
            # By default threads are tied to processors, the same ones for every process of a machine.
            "ENABLE_CPU_PINNING": False,
        }

    def _check_precision(self) -> None:
        found, precision = self.graph.precision, self.config.precision
        if DYNAMIC_QUANTIZE in self.graph.operators:
            raise InputError(
                f"{self.file} is quantized at run time, which is for ONNX Runtime: give the int8 model that "
                "compress_*.py wrote"
            )
        if (found == "int8") != (precision == "int8"):
            instead = "give the int8 model that compress_*.py wrote, or use fp32" if precision == "int8" else "use int8"
            raise InputError(f"{self.file} is a {found} model, so it cannot run as {precision}: {instead}")
        if found == "fp16":
            raise InputError(f"{self.file} is a fp16 model, which is for GPUs: give the fp32 model")

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray, ...]:
        outputs = self._request.infer({"input_ids": input_ids, "token_type_ids": token_type_ids}, share_inputs=True)
        return tuple(outputs[port].copy() for port in self._model.outputs)

    def clone(self) -> "OpenVinoEngine":
        other = copy.copy(self)
        other._request = self._model.create_infer_request()
        return other
