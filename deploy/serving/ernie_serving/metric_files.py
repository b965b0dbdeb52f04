"""The files of prometheus_client's multiprocess mode in which workers count, so that a full disk ends no process.

The library maps files with holes into memory. Where the disk has no room for a page that is written to, the system ends
the process with SIGBUS, and says nothing. So files get their room before they are mapped, for all that can be counted.
"""

import os
import struct
import sys
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of the environment; prometheus_client reads it when it is imported
BASE_BYTES = 64 << 10  # of a file; what the library begins with
BYTES_OF_MODEL = {"counter": 4 << 10, "histogram": 32 << 10, "gauge_livesum": 1 << 10}  # by kind: with all its labels
UNREADABLE = (RuntimeError, ValueError, struct.error)  # of a file that something else has written to


def reserve(file: Path, size: int) -> None:
    """Make a file of at least so many bytes, for which there is room; what it holds, stays.

    Raises:
        OSError: there is no room, or no such folder.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def room_of(kind: str, models: int) -> int:
    """Bytes of a file for so many models. One more is that of requests for a model that there is not."""
    return BASE_BYTES + (models + 1) * BYTES_OF_MODEL[kind]


def count_in_files(models: int) -> None:
    """In a worker, before it counts: make its files. Where they cannot be had, it counts in its own memory, which
    nobody reads, and says so on stderr."""
    if FOLDER not in os.environ:
        return
    files = {kind: Path(os.environ[FOLDER], f"{kind}_{os.getpid()}.db") for kind in BYTES_OF_MODEL}
    try:
        for kind, file in files.items():
            reserve(file, room_of(kind, models))
    except OSError as error:
        values.ValueClass = values.MutexValue  # the library chooses when it is imported, and asks no more
        for file in files.values():
            file.unlink(missing_ok=True)
        folder, reason = os.environ[FOLDER], error.strerror
        say(f"what worker process {os.getpid()} counts is not published: {folder} cannot be written to ({reason})")


def add_up(file: Path, total: Path, size: int) -> None:
    """Add the values of one file of the multiprocess mode to those of another, which is made if it is missing.

    Args:
        size: bytes of `total`, at least.

    Raises:
        OSError: a file cannot be read, or there is no room. The total is as it was.
        RuntimeError, ValueError, struct.error: something else has written to the file.
    """
    length = file.stat().st_size
    if not length:
        return
    with file.open("rb") as content:
        (used,) = struct.unpack("i", content.read(4))
    if not 0 <= used <= length:
        raise ValueError(f"{file} says that {used} of its {length} bytes are used")
    counted = list(MmapedDict.read_all_values_from_file(str(file)))
    reserve(total, max(size, length))
    sums = MmapedDict(str(total))
    try:
        for key, value, timestamp, _ in counted:
            sums.write_value(key, sums.read_value(key)[0] + value, timestamp)
    finally:
        sums.close()


def say(line: str) -> None:
    """A line on stderr, which is the service's log."""
    print(line, file=sys.stderr, flush=True)
