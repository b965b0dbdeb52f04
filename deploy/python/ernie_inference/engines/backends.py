"""Which backend runs what, where: the table that all else asks."""

import math

PADDLE, TENSORRT, ONNX, ONNX_TENSORRT = "paddle", "tensorrt", "onnxruntime", "onnxruntime_tensorrt"


# What each backend can run where; the first precision is the default.
PRECISIONS = {
    (PADDLE, "cpu"): ("fp32", "int8", "bf16"),
    (PADDLE, "gpu"): ("fp32", "fp16"),
    (TENSORRT, "gpu"): ("fp32", "fp16", "int8"),
    (ONNX, "cpu"): ("fp32", "int8"),
    (ONNX, "gpu"): ("fp32", "fp16"),
    (ONNX_TENSORRT, "gpu"): ("fp32", "fp16"),
}


BACKENDS = tuple(dict.fromkeys(backend for backend, _ in PRECISIONS))


# What to do instead of a precision that a backend lacks.
INSTEAD = {
    (PADDLE, "cpu", "fp16"): "processors have no FP16 kernels: use bf16, int8 or --device gpu",
    (PADDLE, "gpu", "int8"): "INT8 on a GPU needs TensorRT: add --use_trt",
    (TENSORRT, "cpu", "fp32"): "TensorRT needs --device gpu",
}


# What one more run costs beside its tokens, counted in tokens: a processor reads all weights once more (6 layers x
# 768 took 15 tokens' time in FP32 and 34 in INT8); a GPU hardly gets busy with a small batch, so there batches are
# always filled.
RUN_OVERHEAD_TOKENS = {"cpu": 32, "gpu": math.inf}

TENSORRT_WORKSPACE_BYTES = 1 << 30
