"""How many processors this process may use: those it may run on, but no more than its container's CPU quota gives.
And what the figures of a measurement depend on.

Needs nothing but Python, so that it can be asked before numpy or paddle is imported.
"""

import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Set, Tuple

PROC, CPUINFO = Path("/proc/self"), Path("/proc/cpuinfo")
V1, V2 = "cpu", ""  # the controller of CPU time: named in version 1 of control groups, part of the whole in version 2
# Instruction sets that decide which kernels oneDNN and ONNX Runtime choose.
FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
BF16_FEATURES = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is Arm's
PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "onnxruntime", "onnxruntime-gpu", "numpy")


def usable_processors(proc: Path = PROC) -> int:
    """How many threads can run here at the same time, from 1 on.

    With a quota of 2 processors a container may still run on all of the machine's; more threads than 2 only use it up
    sooner, and all of them then stand still until the next period. A part of a processor counts as one, as in the JVM.

    Args:
        proc: the folder in which the kernel describes this process.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(proc)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(proc: Path = PROC) -> Optional[float]:
    """The CPU time of this process's control groups (man 7 cgroups), in processors; None where it is not limited.

    Groups are nested; the smallest quota from the process's own group up to the topmost one counts.
    """
    found = [_quota(folder) for folder in _group_folders(proc)]
    return min((quota for quota in found if quota is not None), default=None)


def _quota(folder: Path) -> Optional[float]:
    """The quota of one group, in processors."""
    texts = _read(folder / "cpu.max").split()  # version 2: "200000 100000", or "max 100000"
    if not texts:  # version 1, where -1 is no quota
        texts = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(texts) != 2 or not all(text.isdecimal() and int(text) > 0 for text in texts):
        return None
    return int(texts[0]) / int(texts[1])


def _group_folders(proc: Path) -> Iterator[Path]:
    """The folders of the groups whose quotas hold for this process, from its own up to the topmost that is visible."""
    groups = _groups(proc)
    for controller, top, mount_point in _mounts(proc):
        if controller in groups:
            folder = mount_point / _below(groups[controller], top)
            yield folder
            while folder != mount_point:
                folder = folder.parent
                yield folder


def _groups(proc: Path) -> Dict[str, str]:
    """The group of this process by controller: {V1: "/docker/1f", V2: "/"}."""
    groups = {}
    for line in _read(proc / "cgroup").splitlines():  # "4:cpu,cpuacct:/docker/1f", or "0::/"
        _, controllers, group = line.split(":", 2)
        groups.update({name: group for name in controllers.split(",") if name in (V1, V2)})
    return groups


def _mounts(proc: Path) -> Iterator[Tuple[str, str, Path]]:
    """(controller, its topmost visible group, the folder where that is mounted)."""
    for line in _read(proc / "mountinfo").splitlines():
        mount, _, file_system = line.partition(" - ")
        top, mount_point = (_unescape(field) for field in mount.split()[3:5])
        kind, *_, options = file_system.split()
        if kind == "cgroup2":
            yield V2, top, Path(mount_point)
        elif kind == "cgroup" and V1 in options.split(","):
            yield V1, top, Path(mount_point)


def _below(group: str, top: str) -> str:
    """The path of a group from the topmost visible one; that one itself ("") where it is named as from elsewhere.

    A container often sees its own group as the topmost, while the kernel names it as the machine does.
    """
    parts, top_parts = ([part for part in path.split("/") if part] for path in (group, top))
    if parts[: len(top_parts)] != top_parts or ".." in parts:
        return ""
    return "/".join(parts[len(top_parts) :])


def _unescape(field: str) -> str:
    r"""A path in mountinfo, which writes a space as \040."""
    for char in " \t\n\\":
        field = field.replace(f"\\{ord(char):03o}", char)
    return field


def _read(path: Path) -> str:
    """What the kernel says in a file; nothing where there is none, or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def describe_processor(num_threads: int) -> Dict[str, Any]:
    """Processor name, instruction sets, threads used and usable, and package versions."""
    lines = _cpuinfo()
    flags = _flags(lines)
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


def computes_bf16(cpuinfo: Path = CPUINFO) -> Optional[bool]:
    """Whether the processor has instructions for bf16; None where the system does not tell what it has."""
    flags = _flags(_cpuinfo(cpuinfo))
    return bool(flags & BF16_FEATURES) if flags else None


def _cpuinfo(path: Path = CPUINFO) -> Dict[str, str]:
    """What Linux says about the first processor; nothing elsewhere."""
    lines: Dict[str, str] = {}
    for line in _read(path).splitlines():
        name, _, value = line.partition(":")
        lines.setdefault(name.strip(), value.strip())
    return lines


def _flags(lines: Dict[str, str]) -> Set[str]:
    """Names of instruction sets, as Linux has them on x86 and on Arm."""
    return set((lines.get("flags") or lines.get("Features") or "").split())
