"""A machine with GPUs that is not there, for the tests of engines."""

import ctypes

import onnxruntime
import paddle
import pytest
from paddle import inference

from tests.support.gpus import HAS_CUDA_BUILD, Recorder


@pytest.fixture
def machine(monkeypatch):
    """A machine with two GPUs (A100) and TensorRT 8.5, as far as questions about it go."""
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.version, "cuda", lambda: "11.8")
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda device_id: (8, 0))
    monkeypatch.setattr(inference, "get_trt_compile_version", lambda: (8, 5, 3))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: name)
    providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    if not HAS_CUDA_BUILD:
        monkeypatch.setattr(inference, "Config", Recorder)
    return monkeypatch
