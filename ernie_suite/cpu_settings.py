"""Settings of the process that make training on CPUs two to three times as fast (benchmarks/train_step.py shows the
ratio), if they are made before paddle is imported.

Four settings, none of which changes a result, and none of which overrides what the user has set:
- Paddle 2.6 sets OMP_NUM_THREADS=1 at import unless it is set: one core works, the others idle.
- Its MKL (2019) takes an SSE path on AMD processors unless MKL_DEBUG_CPU_TYPE=5 selects AVX2.
- Paddle 2.6 transposes by looking at the same memory in another order; what reads that copies it element by element, in
  a third of a step and more. With FLAGS_use_stride_kernel=0 it is transposed at once, which takes a fiftieth of that.
- glibc gives the large blocks of every step's activations back to the system and asks for them again,
  a page fault for every 4 KiB; with a higher threshold it keeps them.
"""

import ctypes
import os
import platform
from typing import Callable

from ernie_inference.processors import usable_processors

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
KEEP_BYTES, TOP_PAD_BYTES = 1 << 30, 64 << 20
DYNAMIC_MOST_BYTES = 32 << 20  # how far glibc raises the mmap threshold by itself (DEFAULT_MMAP_THRESHOLD_MAX)
SETTINGS_OF_MALLOC = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


def is_amd() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as file:
            return "AuthenticAMD" in file.read(4096)
    except OSError:
        return False


def set_up_processor() -> None:
    """Make the four settings where the user has not made them."""
    processes = int(os.environ.get("PADDLE_LOCAL_SIZE") or os.environ.get("PADDLE_TRAINERS_NUM") or 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_processors() // processes)))
    os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    if is_amd():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    if platform.libc_ver()[0] == "glibc" and not user_has_set_malloc():
        keep_freed_memory(ctypes.CDLL(None).mallopt)
    os.environ.setdefault("GLOG_minloglevel", "2")  # no notes of Paddle's C++ on every program it runs


def user_has_set_malloc() -> bool:
    set_by_name = any(name in os.environ for name in SETTINGS_OF_MALLOC)
    return set_by_name or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")


def keep_freed_memory(mallopt: Callable[[int, int], int]) -> bool:
    """Make malloc keep what is freed, up to KEEP_BYTES; whether it does.

    Some releases of glibc refuse an mmap threshold above 32 MiB (HEAP_MAX_SIZE / 2) and take every other setting. Each
    setting ends that the threshold grows with what is freed, so where it is refused whole, the others would leave it
    at 128 KiB for good: slower than no setting.

    Args:
        mallopt: that of libc, which returns 0 for a value that it refuses.
    """
    threshold = KEEP_BYTES
    while not mallopt(M_MMAP_THRESHOLD, threshold):
        threshold //= 2
        if threshold < DYNAMIC_MOST_BYTES:
            return False
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    mallopt(M_TOP_PAD, TOP_PAD_BYTES)
    return True
