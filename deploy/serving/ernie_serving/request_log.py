"""A log of requests: one JSON line each, written beside the requests, which wait for nothing here."""

import json
import logging
import os
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Deque, Dict, List, Optional

from ernie_inference.errors import InputError
from ernie_serving.protocol import MODEL, VERSION, shown

STDERR = "-"
MOST_WAITING = 8 << 20  # bytes of lines that wait to be written; further ones are lost


@dataclass
class Entry:
    """What the log says of a request. The way in makes it, Service.answer adds what the request holds.

    Attributes:
        way: GRPC or HTTP, as metrics.py has them.
        id: x-request-id.
        peer: the client's address.
        status: of gRPC or HTTP.
        err_no: of the answer; None where gRPC or HTTP refused before there was one.
        texts, windows: of a request that was read.
        examples: the inputs themselves, which are written only where request_log_texts says so.
    """

    way: str
    id: str
    peer: str
    status: str = ""
    err_no: Optional[int] = None
    model: str = ""
    version: str = ""
    texts: int = 0
    windows: int = 0
    examples: List[Dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def accepted(self, examples: List[Dict[str, Any]], windows: int) -> None:
        """Say what the request holds, once it is read."""
        self.examples, self.texts, self.windows = examples, len(examples), windows

    def answered(self, model: str, response: Any, status: str) -> None:
        """Say what was answered.

        Args:
            model: which one was asked for.
            response: a pipeline Response.
        """
        said = dict(zip(response.key, response.value))
        self.model, self.version = said.get(MODEL) or shown(model), said.get(VERSION, "")
        self.err_no, self.status = response.err_no, status


class RequestLog:
    """Writes entries to a file or to stderr, from a thread of its own.

    A file may be renamed or removed at any time (logrotate): the next line makes it anew. What cannot be written, as
    the disk is full or a pipe is closed or its reader too slow, is lost, and counted.

    Args:
        where: a file; "-": stderr; empty: nowhere.
        texts: whether what clients sent is written too.
        lost: is told how many lines were lost.
    """

    def __init__(self, where: str, texts: bool = False, lost: Callable[[int], None] = lambda lines: None):
        self._texts = texts
        self._lost = lost
        self._file = None if where in ("", STDERR) else LogFile(Path(where))
        self._lines: Deque[bytes] = deque()
        self._waiting = 0  # bytes, with those of the line that is being written
        self._changed = threading.Condition()
        self._closed = not where
        if where:
            threading.Thread(target=self._run, name="request log", daemon=True).start()

    def write(self, entry: Entry) -> None:
        """Note a request that is answered. Returns at once; never raises."""
        if self._closed:
            return
        line = line_of(entry, self._texts)
        with self._changed:
            if self._waiting + len(line) <= MOST_WAITING:
                self._lines.append(line)
                self._waiting += len(line)
                self._changed.notify_all()
                return
        self._lost(1)

    def close(self, seconds: float) -> None:
        """Take no more, and wait until all is written, or for so long."""
        self._closed = True
        with self._changed:
            self._changed.wait_for(lambda: self._waiting == 0, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines.popleft()
            try:
                self._file.write(line) if self._file is not None else write_line(sys.stderr.fileno(), line)
            except (OSError, ValueError):  # ValueError: stderr is closed
                self._lost(1)
            with self._changed:
                self._waiting -= len(line)
                self._changed.notify_all()


class LogFile:
    """A file that lines are added to, by several processes at once; made anew where it is no longer at its path."""

    def __init__(self, path: Path):
        self._path = path
        self._fd: Optional[int] = None
        self._failing = False

    def write(self, line: bytes) -> None:
        """Add a line.

        Raises:
            OSError: it is not written, or not all of it.
        """
        try:
            self._reopen_if_moved()
            # After a line of which only a part was written, the next begins a line of its own.
            write_line(self._fd, b"\n" + line if self._failing else line)
            self._failing = False
        except OSError as error:
            if not self._failing:
                logging.warning("request_log %s: %s; lines are lost until it can be written", self._path, error)
            self._failing = True
            raise

    def _reopen_if_moved(self) -> None:
        if self._fd is not None:
            try:
                if os.path.samestat(os.fstat(self._fd), os.stat(self._path)):
                    return
            except FileNotFoundError:
                pass
            os.close(self._fd)
            self._fd = None
        self._fd = open_log(self._path)


def open_log(path: Path) -> int:
    """Others than its owner and its group have no business in a log of who asked."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def write_line(fd: Optional[int], line: bytes) -> None:
    """A line in one piece, so that those of several processes do not mix.

    Raises:
        OSError: it is not written, or not all of it.
    """
    if fd is None or os.write(fd, line) < len(line):
        raise OSError("no space for a whole line")


def line_of(entry: Entry, texts: bool) -> bytes:
    """An entry as a line of JSON; everything that is not ASCII is escaped."""
    content: Dict[str, Any] = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "id": entry.id,
        "way": entry.way,
        "model": entry.model,
        "version": entry.version,
        "err_no": entry.err_no,
        "status": entry.status,
        "texts": entry.texts,
        "windows": entry.windows,
        "seconds": round(time.monotonic() - entry.started, 6),
        "peer": entry.peer,
    }
    if texts:
        content["inputs"] = entry.examples
    return json.dumps(content).encode("ascii") + b"\n"


def check_log(where: str) -> None:
    """Raises InputError where no log can be written."""
    if where in ("", STDERR):
        return
    try:
        os.close(open_log(Path(where)))
    except (OSError, ValueError) as error:
        raise InputError(f"request_log {where} cannot be written ({error}): give another file") from None
