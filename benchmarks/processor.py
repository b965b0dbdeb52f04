"""What a benchmark's figures depend on: the processor, its instruction sets, the threads, the versions."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Dict

from processors import usable_processors

# Instruction sets that decide which kernels oneDNN and ONNX Runtime choose.
FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "onnxruntime", "onnxruntime-gpu", "numpy")


def describe_processor(num_threads: int) -> Dict[str, Any]:
    """Processor name, instruction sets, threads used and usable, and package versions."""
    lines: Dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as file:
            for line in file:
                name, _, value = line.partition(":")
                lines.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    flags = set(lines.get("flags", "").split())
    return {
        "processor": lines.get("model name", platform.processor()),
        "features": [feature for feature in FEATURES if feature in flags],
        "num_threads": num_threads,
        "usable_processors": usable_processors(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
