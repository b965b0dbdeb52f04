"""The process that a *_service.py command is: it holds the ports, runs the workers, and publishes health and metrics.

Workers answer the requests (worker.py). One that ends is started again; SIGTERM or Ctrl-C ends all of them after they
have answered what they accepted. If this process is killed, they do the same by themselves.
"""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ernie_inference.console import run_command
from ernie_inference.errors import InputError
from ernie_serving.bounded_server import BoundedServer
from ernie_serving.metrics import prometheus_text
from ernie_serving.service_config import ServiceConfig, parse_config

PACKAGE = Path(__file__).resolve().parent
STEADY_SECONDS = 10.0  # a worker that has not been ready for so long when it ends counts as failing
SILENT_SECONDS, LOST_SECONDS = 10.0, 30.0  # without a report a worker counts as not ready, and then is killed
CHECK_SECONDS = 1.0
MOST_CONNECTIONS = 64  # to the monitor at the same time; others are closed
MOST_FAILURES = 5  # in a row; then this ends too, for whoever supervises it to see
GRACE_SECONDS = 10.0  # beside the time limit of a request
BACKLOG = 512


def serve(task_name: str, description: Optional[str]) -> None:
    """The command of a service. The config file has the task's name."""

    def main() -> None:
        config = parse_config(PACKAGE.parent / f"{task_name}_config.yml", description)
        sys.exit(Supervisor(task_name, config).run())

    run_command(main)


class Worker:
    """A worker process, and what it last reported.

    Raises:
        InputError: the system starts no more processes.
    """

    def __init__(self, number: int, settings: Dict[str, Any], events: "queue.SimpleQueue"):
        self.number = number
        self.last: Dict[str, Any] = {}
        self.heard = time.monotonic()
        self.ready_since: Optional[float] = None
        fds = [settings["http_fd"]] if settings["http_fd"] is not None else []
        try:
            self.process = subprocess.Popen(
                [sys.executable, str(PACKAGE / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=fds,
                # A session of its own: Ctrl-C goes to the supervisor only, and Serving kills its whole process group
                # when it fails to start (kill_stop_process_by_pid of paddle-serving-server 0.9.0).
                start_new_session=True,
                # Requests are answered in many threads; glibc would keep freed memory for each of them.
                env={"MALLOC_ARENA_MAX": "2", **os.environ},
            )
        except OSError as error:
            raise InputError(f"no worker can be started ({error.strerror}): mend that, and start again") from None
        with suppress(OSError):  # it ended already, which the listener sees
            self.process.stdin.write(json.dumps(settings).encode() + b"\n")
            self.process.stdin.flush()
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    def _listen(self, events: "queue.SimpleQueue") -> None:
        for line in self.process.stdout:
            self.last, self.heard = json.loads(line), time.monotonic()
            if self.last.get("state") == "ready" and self.ready_since is None:
                self.ready_since = self.heard
            events.put(self)
        self.process.wait()
        events.put(self)

    @property
    def ending(self) -> str:
        """How the process ended."""
        status = self.process.returncode
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


class Supervisor:
    """Runs the workers of one service until it is told to stop."""

    def __init__(self, task_name: str, config: ServiceConfig):
        self.config = config
        self.task_name = task_name
        self.workers: List[Worker] = []
        self._events: queue.SimpleQueue = queue.SimpleQueue()  # a worker that reported or ended; None: stop
        self._ended: Counter = Counter()  # counts of workers that are no more
        self._reserved, rpc_address = reserve(config.host, config.rpc_port)
        self._http = listen(config.host, config.http_port, "http_port")
        self._monitor = listen(config.host, config.monitor_port, "monitor_port")
        self._settings = {
            "task": task_name,
            "config": config.as_dict(),
            "rpc_address": rpc_address,
            "http_fd": None if self._http is None else self._http.fileno(),
        }
        self._failures = 0
        self._announced = False

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit status.

        Raises:
            InputError: the model cannot be served so, or its workers keep ending.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put(None))
        if self._monitor is not None:
            Monitor(self, self._monitor).start()
        try:
            self.workers = [Worker(number, self._settings, self._events) for number in range(self.config.replicas)]
            while True:
                try:
                    worker = self._events.get(timeout=CHECK_SECONDS)
                except queue.Empty:
                    continue
                finally:
                    self._end_lost_workers()
                if worker is None:
                    return self._stop()
                self._look_after(worker)
        finally:
            for worker in self.workers:
                if worker.process.poll() is None:
                    worker.process.kill()

    def _end_lost_workers(self) -> None:
        """Kill workers that hang as a whole; what follows is as for any that ends."""
        for worker in self.workers:
            if worker.state == "silent" and worker.silent_seconds > LOST_SECONDS:
                worker.process.kill()

    def _look_after(self, worker: Worker) -> None:
        if worker not in self.workers:
            return  # it has been replaced; this was its last report, or its end
        if "error" in worker.last and not self._announced:
            raise InputError(worker.last["error"])
        if worker.process.poll() is not None:
            self._replace(worker)
        elif not self._announced and all(each.state == "ready" for each in self.workers):
            self._announced = True
            print(self.describe(), flush=True)

    def _replace(self, worker: Worker) -> None:
        self._failures = 0 if worker.was_steady else self._failures + 1
        if self._failures >= MOST_FAILURES:
            raise InputError(f"workers ended {self._failures} times in a row soon after their start ({worker.ending})")
        print(f"worker {worker.number} ended ({worker.ending}); starting another", file=sys.stderr, flush=True)
        self._ended.update(worker.last.get("counts", {}))
        self._ended["ernie_worker_restarts_total"] += 1
        time.sleep(0 if self._failures < 2 else 2 ** (self._failures - 2))
        self.workers[self.workers.index(worker)] = Worker(worker.number, self._settings, self._events)

    def _stop(self) -> int:
        """Let all workers finish. Returns 0, or 1 where one had to be killed."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        end = time.monotonic() + self.config.timeout / 1000 + GRACE_SECONDS
        while any(worker.process.poll() is None for worker in self.workers):
            try:
                if self._events.get(timeout=max(end - time.monotonic(), 0)) is None:
                    return 1  # told to stop a second time
            except queue.Empty:
                return 1
        # One that was still starting ends by the signal; it has accepted nothing.
        failed = [worker for worker in self.workers if worker.process.returncode != 0 and worker.last]
        for worker in failed:
            print(f"worker {worker.number} ended ({worker.ending}) while it stopped", file=sys.stderr, flush=True)
        return 1 if failed else 0

    def values(self) -> Dict[str, float]:
        """All metrics: counts of all workers that are or were, and what is going on now."""
        workers, values = list(self.workers), Counter(self._ended)
        for worker in workers:
            values.update(worker.last.get("counts", {}))
        alive = [worker for worker in workers if worker.state != "ended"]
        values["ernie_worker_restarts_total"] += 0
        values["ernie_requests_in_flight"] = sum(worker.last.get("in_flight", 0) for worker in alive)
        values["ernie_workers_ready"] = self.ready
        return dict(values)

    @property
    def ready(self) -> int:
        return sum(worker.state == "ready" for worker in list(self.workers))

    def describe(self) -> str:
        """What is served and where, for people."""
        lines = [f"{self.task_name}: {self.config.model_dir}, {self.workers[0].last['engine']}"]
        lines.append(f"gRPC     {self._settings['rpc_address']}")
        if self._http is not None:
            lines.append(f"HTTP     http://{address_of(self._http)}/{self.task_name}/prediction")
        if self._monitor is not None:
            lines.append(f"monitor  http://{address_of(self._monitor)}/health and /metrics")
        return "\n".join([*lines, "ready"])


class Monitor(BoundedServer):
    """GET /live, /health and /metrics of the whole service."""

    def __init__(self, supervisor: Supervisor, listening: socket.socket):
        super().__init__(listening, MonitorHandler, MOST_CONNECTIONS)
        self.supervisor = supervisor

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True).start()


class MonitorHandler(BaseHTTPRequestHandler):
    server: Monitor
    timeout = 5

    def do_GET(self) -> None:
        ready = self.server.supervisor.ready
        pages = {
            "/live": (200, "application/json", '{"status": "live"}'),
            "/health": (200 if ready else 503, "application/json", f'{{"ready": {ready}}}'),
            "/metrics": (200, "text/plain; version=0.0.4", None),
        }
        nowhere = (404, "application/json", '{"pages": ["/live", "/health", "/metrics"]}')
        status, kind, body = pages.get(self.path, nowhere)
        content = (prometheus_text(self.server.supervisor.values()) if body is None else body).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args) -> None:
        """Probes are not logged."""


def address_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int, option: str, name: int) -> socket.socket:
    """A socket bound to an address, with a socket option set.

    Raises:
        InputError: the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
    except OSError as error:
        raise InputError(f"host {host} is no address ({error.strerror}): use 127.0.0.1, or 0.0.0.0 for all") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, name, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise taken(host, port, option, error) from None
    return sock


def taken(host: str, port: int, option: str, error: OSError) -> InputError:
    return InputError(f"{option} {port} at {host} cannot be had ({error.strerror}): give another --{option}")


def listen(host: str, port: int, option: str) -> Optional[socket.socket]:
    """A listening socket; None for port -1."""
    if port < 0:
        return None
    sock = bind(host, port, option, socket.SO_REUSEADDR)
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        raise taken(host, port, option, error) from None
    return sock


def reserve(host: str, port: int) -> Tuple[socket.socket, str]:
    """Keep a port for the workers' gRPC servers, which share it. Returns the socket that keeps it, and the address.

    gRPC shares a port with whoever else does (SO_REUSEPORT), also with another service that it was meant for: that it
    is free is tried first, without sharing.
    """
    bind(host, port, "rpc_port", socket.SO_REUSEADDR).close()
    sock = bind(host, port, "rpc_port", socket.SO_REUSEPORT)
    return sock, address_of(sock)
