"""Another version of a model in all workers of a service, while they serve: all load it, and then all switch to it."""

import queue
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Sequence

from ernie_inference.errors import InputError
from ernie_serving.metrics import ServiceMetrics
from ernie_serving.worker_process import Worker

MOST_SECONDS = 600.0  # for a worker to load a model


class UnknownModel(InputError):
    """There is no model of that name."""


class ReloadRunning(InputError):
    """It cannot be done now, and can be later: a model is being loaded."""


class Reloading:
    """Reloads models, one at a time.

    Args:
        models: the names that there are.
        workers: gives those that run.
        metrics: counts reloads.

    Attributes:
        numbers: how often each model has been loaded, which is the first part of its version.
    """

    def __init__(self, models: Sequence[str], workers: Callable[[], List[Worker]], metrics: ServiceMetrics):
        self.numbers = dict.fromkeys(models, 1)
        self._workers = workers
        self._metrics = metrics
        self._running = threading.Lock()
        self._commands = 0

    def reload(self, name: str) -> Dict[str, str]:
        """Serve what is in a model's folder now. Returns its name, and its version before and now.

        The workers that are ready load it beside the one that answers, and warm it up; when all have, all switch. What
        was accepted before is answered by the one before.

        Raises:
            UnknownModel: there is none of that name.
            ReloadRunning: another reload runs, or a worker is starting; nothing has changed.
            InputError: a worker cannot load it; nothing has changed, in any of them.
        """
        if name not in self.numbers:
            raise UnknownModel(f"there is no model {name[:80]!r}, there is {', '.join(self.numbers)}")
        if not self._running.acquire(blocking=False):
            raise ReloadRunning("a model is being reloaded: try again when that is done")
        try:
            workers = self._workers()
            if any(worker.state == "starting" for worker in workers):
                raise ReloadRunning("a worker is starting: try again when it is ready")
            ready = [worker for worker in workers if worker.state == "ready"]
            if not ready:
                raise ReloadRunning("no worker is ready: try again later")
            before = version_of(ready[0], name)
            version = self._exchange(name, ready)
        except ReloadRunning:
            raise
        except InputError:
            self._metrics.reload(name, False)
            raise
        finally:
            self._running.release()
        self._metrics.reload(name, True)
        return {"model": name, "before": before, "version": version}

    def _exchange(self, name: str, workers: List[Worker]) -> str:
        number = self.numbers[name] + 1
        try:
            replies = self._ask(workers, command="load", model=name, number=number)
            for reply in replies:
                if "error" in reply:
                    raise InputError(reply["error"])
            versions = sorted({reply["version"] for reply in replies})
            if len(versions) > 1:
                raise InputError(f"the files of {name} changed while they were read: try again when they are complete")
        except InputError:
            self._tell(workers, command="drop", model=name)
            raise
        # From here on there is no way back. A worker that ends now is started again with what the others switch to.
        self.numbers[name] = number
        for worker, reply in zip(workers, self._ask(workers, command="switch", model=name)):
            if "error" in reply:
                worker.process.kill()
        return versions[0]

    def _tell(self, workers: List[Worker], **command: Any) -> int:
        self._commands += 1
        for worker in workers:
            worker.send({"id": self._commands, **command})
        return self._commands

    def _ask(self, workers: List[Worker], **command: Any) -> List[Dict[str, Any]]:
        """The replies of all workers to a command; an error in the place of one that does not come."""
        asked = self._tell(workers, **command)
        return [reply_of(worker, asked) for worker in workers]


def reply_of(worker: Worker, asked: int) -> Dict[str, Any]:
    """A worker's reply to a command; an error where it ends without one."""
    end = time.monotonic() + MOST_SECONDS
    while True:
        try:
            reply = worker.replies.get(timeout=max(end - time.monotonic(), 0))
        except queue.Empty:
            return {"error": f"worker {worker.number} has not loaded the model within {MOST_SECONDS:g} s"}
        if reply is None:
            worker.replies.put(None)  # for whoever asks next
            return {"error": f"worker {worker.number} ended ({worker.ending}) while it loaded the model"}
        if reply["reply"] == asked:
            return reply


def version_of(worker: Worker, name: str) -> str:
    """The version of a model that a worker serves."""
    return next((model["version"] for model in worker.models if model["name"] == name), "")


def reload_all(reloading: Reloading) -> None:
    """Reload every model, and say on stderr what came of it."""
    for name in reloading.numbers:
        try:
            done = reloading.reload(name)
            said = f"reloaded, {done['before']} -> {done['version']}"
        except InputError as error:
            said = f"not reloaded: {error}"
        print(f"{name}: {said}", file=sys.stderr, flush=True)
