"""What this machine can run, and why not, in one line that says what to do."""

import ctypes
import importlib.util
from importlib import metadata
from typing import Optional, Tuple

from ernie_inference.engines.backends import Backend
from ernie_inference.processors import computes_bf16
from ernie_inference.quiet_imports import import_openvino, import_paddle

CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"  # of ONNX Runtime
TENSORRT_PROVIDER = "TensorrtExecutionProvider"

# Compute capabilities of the machine code in published paddlepaddle-gpu packages, by version and CUDA version, as
# read out of them (2.6.2 of the package registry). They hold no PTX, which newer cards could translate.
MACHINE_CODE = {("2.6.2", "11.8"): ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6))}


def machine_problem(backend: Backend, device: str, device_id: int, precision: str) -> Optional[str]:
    """Why a backend cannot run here on a device in a precision; None when it can."""
    if not is_installed(backend):
        return f"{backend.module} is not installed: install {backend.package}, or {backend.without}"
    if device == "gpu":
        if backend.module == "onnxruntime":
            return onnx_gpu_problem(backend.is_tensorrt)
        return paddle_gpu_problem(device_id, backend.is_tensorrt)
    if precision == "bf16" and not supports_bf16(backend):
        return "this processor has no bf16 instructions (avx512_bf16 or amx_bf16): use fp32 or int8"
    return None


def is_installed(backend: Backend) -> bool:
    return importlib.util.find_spec(backend.module) is not None


def installed_version(package: str) -> Optional[str]:
    """The version of a package or of its build for GPUs; None where neither is installed."""
    for name in (package, f"{package}-gpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return None


def supports_bf16(backend: Backend) -> bool:
    """Whether this processor computes in bf16, and a backend has kernels for it.

    Both say yes to any processor with AVX-512, also to those on which they imitate bf16: there OpenVINO 2025.3 takes 60
    times as long as in FP32.
    """
    if computes_bf16() is False:
        return False
    if backend.module == "openvino":
        return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    import_paddle()
    from paddle.base import core

    return core.supports_bfloat16()


def gpu_is_usable() -> bool:
    """Whether Paddle can run on a GPU here: what --device chooses by itself."""
    return cuda_problem() is None


def cuda_problem(device_id: int = 0) -> Optional[str]:
    """Why Paddle cannot run on a GPU of this machine, in one line that says what to do; None when it can."""
    paddle = import_paddle()
    if not paddle.is_compiled_with_cuda():
        return "the installed paddlepaddle is the CPU build: install paddlepaddle-gpu, or use --device cpu"
    count = paddle.device.cuda.device_count()
    if count == 0:
        return "no CUDA device was found: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
    if not 0 <= device_id < count:
        return f"there is no GPU {device_id}: this machine has {count}, counted from 0"
    compiled = MACHINE_CODE.get((paddle.version.full_version, paddle.version.cuda()))
    if not compiled:
        return None
    capability = paddle.device.cuda.get_device_capability(device_id)
    if _has_code_for(capability, compiled):
        return None
    known = ", ".join(f"{major}.{minor}" for major, minor in compiled)
    return (
        f"GPU {device_id} has compute capability {capability[0]}.{capability[1]}, and the installed paddlepaddle-gpu "
        f"has machine code for {known} only: use --device cpu, or ONNX Runtime on the GPU"
    )


def _has_code_for(capability: Tuple[int, int], compiled: Tuple[Tuple[int, int], ...]) -> bool:
    """Machine code runs on cards of its own major version and the same or a higher minor one."""
    return any(capability[0] == major and capability[1] >= minor for major, minor in compiled)


def paddle_gpu_problem(device_id: int, tensorrt: bool) -> Optional[str]:
    """Why this machine cannot run Paddle, or Paddle with TensorRT, on a GPU; None when it can."""
    from paddle import inference

    problem = cuda_problem(device_id)
    if problem or not tensorrt:
        return problem
    version = inference.get_trt_compile_version()
    if version[0] == 0:
        return "the installed paddlepaddle is built without TensorRT: install one with TensorRT, or leave out --use_trt"
    library = f"libnvinfer.so.{version[0]}"
    try:
        ctypes.CDLL(library)
    except OSError:
        wanted = ".".join(map(str, version))
        return f"{library} was not found: put TensorRT {wanted} on LD_LIBRARY_PATH, or leave out --use_trt"
    return None


def onnx_gpu_problem(tensorrt: bool) -> Optional[str]:
    """Why this machine cannot run ONNX Runtime on a GPU, or in TensorRT; None when it can."""
    import onnxruntime

    provider = TENSORRT_PROVIDER if tensorrt else CUDA_PROVIDER
    if provider in onnxruntime.get_available_providers():
        return None
    return f"the installed onnxruntime has no {provider}: install onnxruntime-gpu, or use --device cpu"
