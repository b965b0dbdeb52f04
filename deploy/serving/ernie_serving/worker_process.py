"""A worker process as the supervisor sees it. worker.py is what runs in it."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Optional

from ernie_inference.errors import InputError

PROGRAM = Path(__file__).resolve().with_name("worker.py")
STEADY_SECONDS = 10.0  # a worker that has not been ready for so long when it ends counts as failing
EXIT_STUCK, EXIT_FAILING = 71, 72  # of a worker whose model hangs, or computes nothing any more
SILENT_SECONDS, LOST_SECONDS = 10.0, 30.0  # without a report a worker counts as not ready, and then is killed
MEANINGS = {EXIT_STUCK: "its model hangs", EXIT_FAILING: "its model computes nothing any more"}


class Worker:
    """A worker process, and what it last reported.

    Attributes:
        number: of its place among the replicas, which its successor has too.
        last: its last report.
        models: what it serves, as Models.describe has it; empty before it is ready.
        replies: to its commands; None when it has ended.

    Raises:
        InputError: the system starts no more processes.
    """

    def __init__(self, number: int, settings: Dict[str, Any], events: "queue.SimpleQueue", environment: Dict[str, str]):
        self.number = number
        self.last: Dict[str, Any] = {}
        self.models: List[Dict[str, Any]] = []
        self.replies: queue.SimpleQueue[Optional[Dict[str, Any]]] = queue.SimpleQueue()
        self.heard = time.monotonic()
        self.ready_since: Optional[float] = None
        try:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=settings["http_fds"],
                # A session of its own: Ctrl-C goes to the supervisor only, and Serving kills its whole process group
                # when it fails to start (kill_stop_process_by_pid of paddle-serving-server 0.9.0).
                start_new_session=True,
                # Requests are answered in many threads; glibc would keep freed memory for each of them.
                # What clients do wrong, gRPC's C++ part would write to stderr, a line each.
                env={"MALLOC_ARENA_MAX": "2", "GRPC_VERBOSITY": "NONE", **os.environ, **environment},
            )
        except OSError as error:
            raise InputError(f"no worker can be started ({error.strerror}): mend that, and start again") from None
        self.send(settings)
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    def send(self, content: Dict[str, Any]) -> None:
        """Write a line to it: its settings, or a command. From one thread at a time."""
        with suppress(OSError):  # it ended already, which the listener sees
            self.process.stdin.write(json.dumps(content).encode() + b"\n")
            self.process.stdin.flush()

    def _listen(self, events: "queue.SimpleQueue") -> None:
        try:
            for line in self.process.stdout:
                if line.endswith(b"\n"):  # not the half that one which was killed had written
                    self._take(json.loads(line), events)
        finally:
            self.process.wait()
            self.replies.put(None)
            events.put(self)

    def _take(self, report: Dict[str, Any], events: "queue.SimpleQueue") -> None:
        self.heard = time.monotonic()
        self.models = report.get("models", self.models)
        if "reply" in report:
            self.replies.put(report)
            return
        self.last = report
        if report.get("state") == "ready" and self.ready_since is None:
            self.ready_since = self.heard
        events.put(self)

    @property
    def ending(self) -> str:
        """How the process ended."""
        status = self.process.returncode
        if status in MEANINGS:
            return MEANINGS[status]
        return self.last.get("error") or (f"signal {-status}" if status < 0 else f"exit status {status}")

    @property
    def state(self) -> str:
        if self.process.poll() is not None:
            return "ended"
        state = self.last.get("state", "starting")
        return "silent" if state == "ready" and self.silent_seconds > SILENT_SECONDS else state

    @property
    def silent_seconds(self) -> float:
        """How long ago it last reported; one that is still loading its model has nothing to report."""
        return time.monotonic() - self.heard

    @property
    def was_steady(self) -> bool:
        return self.ready_since is not None and time.monotonic() - self.ready_since >= STEADY_SECONDS
