"""The worker processes of a service: started, looked after, and started again."""

import queue
import time
from typing import Any, Callable, Dict, List

from ernie_inference.errors import InputError
from ernie_serving.metric_files import say
from ernie_serving.metrics import ServiceMetrics
from ernie_serving.worker_process import LOST_SECONDS, Worker

MOST_FAILURES = 5  # of a replica in a row; if all have so many and none is ready, the service ends too
LONGEST_PAUSE = 60.0  # seconds before a worker is started again


class Replica:
    """A place for a worker process, which is started again when it ends.

    Attributes:
        worker: the one that runs, or ran last.
        failures: workers in a row that ended soon after their start, or could not start.
    """

    def __init__(self, worker: Worker):
        self.worker = worker
        self.failures = 0
        self._noted = ""  # what was said last of its failures
        self._start_at = 0.0
        self.waits = False  # for its time to be started again

    def ended(self) -> None:
        """Take note of the end of its worker."""
        if self.worker.was_steady:
            self.failures, self._noted = 0, ""
        self.fails(f"ended ({self.worker.ending}); starting another")

    def fails(self, how: str) -> None:
        """Take note that there is no worker, and say on stderr why, where that is not what was said last."""
        self.waits = True
        self.failures += 1
        pause = 0.0 if self.failures < 3 else min(2.0 ** (self.failures - 3), LONGEST_PAUSE)
        self._start_at = time.monotonic() + pause
        if how != self._noted:
            self._noted = how
            say(f"worker {self.worker.number} {how}")

    def is_due(self) -> bool:
        return self.waits and time.monotonic() >= self._start_at

    def started(self, worker: Worker) -> None:
        self.worker, self.waits = worker, False

    def is_ready(self) -> None:
        """Take note that its worker answers; say it where that was not so for long."""
        if self.failures > 1 and self._noted:
            say(f"worker {self.worker.number} is ready again")
        self._noted = ""


class Replicas:
    """All workers of a service.

    Args:
        settings: gives what a worker is told when it is started.
        metrics: where workers count.
    """

    def __init__(self, settings: Callable[[], Dict[str, Any]], metrics: ServiceMetrics):
        self.events: queue.SimpleQueue = queue.SimpleQueue()  # a worker that reported or ended
        self._settings = settings
        self._metrics = metrics
        self._replicas: List[Replica] = []

    @property
    def workers(self) -> List[Worker]:
        return [replica.worker for replica in list(self._replicas)]

    def start(self, count: int) -> None:
        """Start workers until there are so many.

        Raises:
            InputError: the system starts no more processes.
        """
        while len(self._replicas) < count:
            self._replicas.append(Replica(self._start_worker(len(self._replicas))))

    def _start_worker(self, number: int) -> Worker:
        self._metrics.prepare()
        return Worker(number, self._settings(), self.events, self._metrics.environment)

    def look_after(self, worker: Worker) -> None:
        """Take note of what a worker reported, or that it ended.

        Raises:
            InputError: no worker is ready, and all keep ending.
        """
        replica = next((each for each in self._replicas if each.worker is worker), None)
        if replica is None or replica.waits:
            return  # it has been replaced, or is going to be; this was its last report, or its end
        if worker.process.poll() is None:
            if worker.state == "ready":
                replica.is_ready()
            return
        replica.ended()
        self._metrics.worker_ended(worker.process.pid)
        self._metrics.restart()
        self._check_hope(worker.ending)

    def _check_hope(self, ending: str) -> None:
        failing = min(each.failures for each in self._replicas)
        if failing >= MOST_FAILURES and not any(each.state == "ready" for each in self.workers):
            raise InputError(f"workers ended {failing} times in a row soon after their start ({ending})")

    def tick(self) -> None:
        """Kill workers that hang as a whole, and start those whose time has come. To be called every second or so.

        Raises:
            InputError: no worker is ready, and none can be started.
        """
        for replica in self._replicas:
            worker = replica.worker
            if worker.state == "silent" and worker.silent_seconds > LOST_SECONDS:
                worker.process.kill()
            if replica.is_due():
                try:
                    replica.started(self._start_worker(worker.number))
                except InputError as error:  # the system has no more processes now
                    replica.fails(f"cannot be started: {error}")
                    self._check_hope(str(error))

    def kill(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
