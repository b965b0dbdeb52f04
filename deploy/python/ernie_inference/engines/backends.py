"""The backends: what each runs where, and how it is called. Everything else asks this table."""

import math
from dataclasses import dataclass
from typing import Dict, Tuple

from ernie_inference.model_files import ONNX_FILE, PROGRAM

PADDLE, TENSORRT, ONNX, ONNX_TENSORRT = "paddle", "tensorrt", "onnxruntime", "onnxruntime_tensorrt"
OPENVINO = "openvino"


@dataclass(frozen=True)
class Backend:
    """A way to run a model.

    Attributes:
        name: as in EngineConfig.backend.
        library: what it is part of, for people.
        suffix: of the file it runs.
        precisions: what it runs on each device; the first one is the default.
        runner: what computes on each device, for people.
        int8: which products are INT8 on a processor, and how, for people.
        module: that it needs.
        package: that has it, as pip knows it.
        without: what to do where it is not installed; flags differ from command to command, so it names none.
    """

    name: str
    library: str
    suffix: str
    precisions: Dict[str, Tuple[str, ...]]
    runner: Dict[str, str]
    module: str
    package: str
    without: str = "choose another engine"
    int8: str = ""

    @property
    def is_tensorrt(self) -> bool:
        return self.runner.get("gpu") == "TensorRT"


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend(
            PADDLE,
            library="Paddle Inference",
            module="paddle",
            without="give a .onnx file and choose the engine onnxruntime or openvino",
            package="paddlepaddle",
            suffix=PROGRAM,
            precisions={"cpu": ("fp32", "int8", "bf16"), "gpu": ("fp32", "fp16")},
            runner={"cpu": "oneDNN", "gpu": "CUDA"},
            int8="fc",
        ),
        Backend(
            TENSORRT,
            library="Paddle Inference",
            module="paddle",
            without="give a .onnx file and choose the engine onnxruntime or openvino",
            package="paddlepaddle",
            suffix=PROGRAM,
            precisions={"gpu": ("fp32", "fp16", "int8")},
            runner={"gpu": "TensorRT"},
        ),
        Backend(
            ONNX,
            library="ONNX Runtime",
            module="onnxruntime",
            package="onnxruntime",
            suffix=ONNX_FILE,
            precisions={"cpu": ("fp32", "int8"), "gpu": ("fp32", "fp16")},
            runner={"cpu": "CPU", "gpu": "CUDA"},
            int8="dynamic",
        ),
        Backend(
            ONNX_TENSORRT,
            library="ONNX Runtime",
            module="onnxruntime",
            package="onnxruntime",
            suffix=ONNX_FILE,
            precisions={"gpu": ("fp32", "fp16")},
            runner={"gpu": "TensorRT"},
        ),
        Backend(
            OPENVINO,
            library="OpenVINO",
            module="openvino",
            package="openvino",
            suffix=ONNX_FILE,
            precisions={"cpu": ("fp32", "int8", "bf16")},
            runner={"cpu": "CPU"},
            int8="QDQ",
        ),
    )
}

# What to do instead of a precision that a backend lacks.
INSTEAD = {
    (PADDLE, "cpu", "fp16"): "processors have no FP16 kernels: use bf16, int8 or --device gpu",
    (PADDLE, "gpu", "int8"): "INT8 on a GPU needs TensorRT: add --use_trt",
    (TENSORRT, "cpu", "fp32"): "TensorRT needs --device gpu",
    (OPENVINO, "cpu", "fp16"): "processors have no FP16 kernels: use bf16 or int8",
}

# What one more run costs beside its tokens, counted in tokens: a processor reads all weights once more (6 layers x
# 768 took 15 tokens' time in FP32 and 34 in INT8); a GPU hardly gets busy with a small batch, so there batches are
# always filled.
RUN_OVERHEAD_TOKENS = {"cpu": 32, "gpu": math.inf}
TENSORRT_WORKSPACE_BYTES = 1 << 30
