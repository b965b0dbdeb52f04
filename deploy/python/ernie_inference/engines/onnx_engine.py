"""ONNX Runtime: on processors, on CUDA and in TensorRT."""

from pathlib import Path
from typing import List, Tuple, Union

import numpy as np

from ernie_inference.engines.availability import CPU_PROVIDER, CUDA_PROVIDER, TENSORRT_PROVIDER
from ernie_inference.engines.backends import ONNX, TENSORRT_WORKSPACE_BYTES
from ernie_inference.engines.base import extreme_inputs
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.onnx_base import OnnxFileEngine
from ernie_inference.engines.onnx_files import find_onnx, in_precision
from ernie_inference.engines.onnx_graph import QUANTIZE
from ernie_inference.errors import InputError, reason_of
from ernie_inference.model_files import check_length

# With a product and its bias made one operator, those of the last layers do not run in INT8, and ONNX Runtime makes
# their weights FP32 anew in every run (1.19.2): a third of the time of one short text.
LEFT_OUT = ["MatMulAddFusion"]
FATAL = 4  # of ONNX Runtime's severities


class OnnxEngine(OnnxFileEngine):
    """Runs a .onnx file with ONNX Runtime. Sessions may be used by several threads at once.

    Raises:
        InputError: the file is broken, was made for another precision, or the GPU cannot be used.
    """

    @staticmethod
    def find(model_path: Union[str, Path], config: EngineConfig) -> Path:
        """The .onnx file: one that is named, or that is made of an exported Paddle model, in the precision asked for.

        TensorRT makes FP16 of the FP32 file itself.
        """
        file = find_onnx(model_path)
        return file if config.is_tensorrt else in_precision(file, config.precision)

    def __init__(self, model_path: Union[str, Path], config: EngineConfig):
        import onnxruntime

        self.config = config
        self._open(model_path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.num_threads
        options.log_severity_level = 3
        if config.device == "gpu":
            _keep_fallbacks_quiet()
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.file),
                options,
                providers=_onnx_providers(config),
                disabled_optimizers=LEFT_OUT if QUANTIZE in self.graph.operators else None,
            )
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise InputError(f"{self.file} cannot be loaded: {reason_of(error)}") from None
        self._session.disable_fallback()  # else an error at run time goes on with other providers, at other speed
        self._check()
        self.info = self._info(num_labels=self._session.get_outputs()[0].shape[-1])
        if config.is_tensorrt:
            check_length(config.max_seq_length, self.info)
            self._build_tensorrt_engines()

    def _build_tensorrt_engines(self) -> None:
        """Let the TensorRT provider see the smallest and the largest input.

        It builds an engine for each subgraph that it cuts when that runs first, for the shapes it has seen so far,
        and anew when an input is outside them; so after these two nothing is built any more. Explicit profiles
        (trt_profile_min_shapes ...) would have to name every dynamic input of every subgraph, which only the
        provider knows (ONNX Runtime 1.18: "User needs to provide all the dynamic shape inputs").
        """
        try:
            for input_ids, token_type_ids in extreme_inputs(self.config):
                self.run(input_ids, token_type_ids)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise InputError(f"TensorRT cannot run {self.prefix}.onnx: {reason_of(error)}") from None

    def _check(self) -> None:
        wanted = _onnx_providers(self.config)[0][0]
        if wanted not in self._session.get_providers():  # ONNX Runtime itself would go on on the CPU
            libraries = "CUDA, cuDNN or TensorRT 10" if self.config.is_tensorrt else "CUDA or cuDNN"
            raise InputError(f"{wanted} could not be loaded ({libraries} libraries missing?): use --device cpu")
        self._check_inputs([node.name for node in self._session.get_inputs()])
        found = self.graph.precision
        needed = "fp32" if self.config.is_tensorrt else self.config.precision
        if found != needed:
            instead = "use int8" if found == "int8" else "deploy/paddle2onnx/infer.py makes one from FP32"
            raise InputError(f"{self.file} is a {found} model, not {needed}: {instead}")

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray, ...]:
        return tuple(self._session.run(None, {"input_ids": input_ids, "token_type_ids": token_type_ids}))

    def clone(self) -> "OnnxEngine":
        """This engine itself: a session serves any number of threads."""
        return self


def _keep_fallbacks_quiet() -> None:
    """Let _check alone say that a provider could not be loaded.

    ONNX Runtime (1.19 to 1.31) logs such an error and prints six lines of its own about it, then goes on with other
    providers. A session has no option against either.
    """
    from onnxruntime import set_default_logger_severity
    from onnxruntime.capi import onnxruntime_inference_collection

    set_default_logger_severity(FATAL)
    onnxruntime_inference_collection.print = lambda *_: None


def _onnx_providers(config: EngineConfig) -> List[Tuple[str, dict]]:
    """ONNX Runtime's execution providers with their options, the preferred one first."""
    cpu: List[Tuple[str, dict]] = [(CPU_PROVIDER, {})]
    if config.device == "cpu":
        return cpu
    # FP32 as FP32: by default products run in TF32, with 10 bits of mantissa, on cards from Ampere on.
    gpu = [(CUDA_PROVIDER, {"device_id": config.device_id, "use_tf32": 0})]
    if config.backend == ONNX:
        return gpu + cpu
    tensorrt = {
        "device_id": config.device_id,
        "trt_fp16_enable": config.precision == "fp16",
        "trt_max_workspace_size": TENSORRT_WORKSPACE_BYTES,
    }
    return [(TENSORRT_PROVIDER, tensorrt)] + gpu + cpu
