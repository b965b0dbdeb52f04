"""The process that a *_service.py command is: it holds the ports, runs the workers, and publishes health and metrics.

Workers answer the requests (worker.py). One that ends is started again; SIGTERM or Ctrl-C ends all of them after they
have answered what they accepted. If this process is killed, they do the same by themselves.
"""

import queue
import signal
import sys
import time
from typing import List

from ernie_inference.errors import InputError
from ernie_serving.entrance import check_entrance
from ernie_serving.metrics import ServiceMetrics, WorkerState
from ernie_serving.monitor import Monitor
from ernie_serving.ports import address_of, listen, reserve
from ernie_serving.service_config import ServiceConfig
from ernie_serving.worker_process import LOST_SECONDS, Worker

CHECK_SECONDS = 1.0
MOST_FAILURES = 5  # in a row; then this ends too, for whoever supervises it to see
GRACE_SECONDS = 10.0  # beside the time limit of a request


class Supervisor:
    """Runs the workers of one service until it is told to stop."""

    def __init__(self, task_name: str, config: ServiceConfig):
        self.config = config
        self.task_name = task_name
        self.workers: List[Worker] = []
        self._events: queue.SimpleQueue = queue.SimpleQueue()  # a worker that reported or ended; None: stop
        for warning in check_entrance(config):
            print(warning, file=sys.stderr, flush=True)
        self._reserved, rpc_address = reserve(config.host, config.rpc_port)
        self._http = listen(config.host, config.http_port, "http_port")
        self._monitor = listen(config.host, config.monitor_port, "monitor_port")
        self._settings = {
            "task": task_name,
            "config": config.as_dict(),
            "rpc_address": rpc_address,
            "http_fd": None if self._http is None else self._http.fileno(),
        }
        self.metrics = ServiceMetrics(self._worker_states)
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
            Monitor(self._monitor, lambda: self.ready, self.metrics.page).start()
        try:
            self.workers = [self._start_worker(number) for number in range(self.config.replicas)]
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
            self.metrics.close()

    def _start_worker(self, number: int) -> Worker:
        return Worker(number, self._settings, self._events, self.metrics.environment)

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
        self.metrics.worker_ended(worker.process.pid)
        self.metrics.restart()
        time.sleep(0 if self._failures < 2 else 2 ** (self._failures - 2))
        self.workers[self.workers.index(worker)] = self._start_worker(worker.number)

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

    def _worker_states(self) -> List[WorkerState]:
        return [
            WorkerState(worker.number, worker.process.pid, worker.state == "ready")
            for worker in list(self.workers)
            if worker.state != "ended"
        ]

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
