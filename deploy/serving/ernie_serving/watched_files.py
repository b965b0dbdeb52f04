"""Files that are read again when they change: API keys, certificates."""

import logging
import os
import threading
from pathlib import Path
from typing import Callable, Generic, Optional, Sequence, Tuple, TypeVar

Content = TypeVar("Content")


class WatchedFiles(Generic[Content]):
    """What was read from some files, and is read again once one of them has changed.

    Where that fails, what was read before stays, and one line on stderr says why.

    Args:
        files: which ones.
        read: reads all of them. An InputError of the first time is the caller's.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], Content]):
        self._files = list(files)
        self._read = read
        self._lock = threading.Lock()
        self._seen = self._states()
        self._content = read()

    @property
    def content(self) -> Content:
        # The states are taken before the files are read: who writes meanwhile changes them once more.
        states = self._states()
        if states != self._seen:
            with self._lock:
                if states != self._seen:
                    self._seen = states
                    self._read_again()
        return self._content

    def _read_again(self) -> None:
        try:
            self._content = self._read()
        except Exception as error:
            logging.warning("%s; what was read before stays in use", error)

    def _states(self) -> Tuple[Optional[Tuple[int, int, int]], ...]:
        return tuple(state_of(file) for file in self._files)


def state_of(file: Path) -> Optional[Tuple[int, int, int]]:
    """What changes when a file is written or replaced, links followed; None where there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
