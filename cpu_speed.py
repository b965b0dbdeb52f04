"""Import this before paddle: it makes training on CPUs about twice as fast (benchmarks/train_step.py shows the ratio).

Three settings, none of which changes a result, and none of which overrides what the user has set:
- Paddle 2.6 sets OMP_NUM_THREADS=1 at import unless it is set: one core works, the others idle.
- Its MKL (2019) takes an SSE path on AMD processors unless MKL_DEBUG_CPU_TYPE=5 selects AVX2.
- glibc gives the large blocks of every step's activations back to the system and asks for them again,
  a page fault for every 4 KiB; with a higher threshold it keeps them.
"""

import contextlib
import ctypes
import io
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
KEEP_BYTES = 1 << 30


def usable_cores() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_amd() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as file:
            return "AuthenticAMD" in file.read(4096)
    except OSError:
        return False


def apply() -> None:
    processes = int(os.environ.get("PADDLE_LOCAL_SIZE") or os.environ.get("PADDLE_TRAINERS_NUM") or 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    if is_amd():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    if platform.libc_ver()[0] == "glibc" and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        libc = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_THRESHOLD, KEEP_BYTES), (M_TRIM_THRESHOLD, KEEP_BYTES), (M_TOP_PAD, 64 << 20)):
            libc.mallopt(parameter, value)


apply()

os.environ.setdefault("GLOG_minloglevel", "2")  # no notes of Paddle's C++ on every program it runs
with contextlib.redirect_stderr(io.StringIO()):  # it warns about any OMP_NUM_THREADS but 1
    import paddle  # noqa: F401
