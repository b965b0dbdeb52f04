"""One worker process of a service: loads the models, answers requests, and reports to the supervisor that started it.

It reads lines of JSON from stdin, its settings first and then commands (worker_commands.py), where the end of input
means that the supervisor is gone; and it writes lines of JSON to stdout: what is wrong with the settings, every second
its state, and what came of each command.
"""

import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, TextIO

sys.path.pop(0)  # its own folder: modules there have names that others have too
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "python"))

from ernie_inference.errors import InputError
from ernie_serving.loading import Loaded, load
from ernie_serving.metrics import Metrics, remove_abandoned_files
from ernie_serving.service_config import ServiceConfig
from ernie_serving.signals import on_signals
from ernie_serving.worker_process import EXIT_FAILING, EXIT_STUCK

REPORT_SECONDS = 1.0
LAST_ANSWERS_SECONDS = 4.0
LOG_SECONDS = 1.0


class Reports:
    """The pipe to the supervisor; what libraries print goes nowhere (Serving prints about its progress)."""

    def __init__(self):
        self._pipe: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._lock = threading.Lock()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)

    def send(self, **content: Any) -> None:
        """Write one line, from any thread."""
        with self._lock:
            try:
                self._pipe.write(json.dumps(content) + "\n")
                self._pipe.flush()
            except OSError:
                pass  # the supervisor is gone, and stdin has told so


def load_all(config: ServiceConfig, task: str) -> Dict[str, Loaded]:
    """The models of a service, by name.

    Args:
        task: that they have to be for; empty: any.

    Raises:
        InputError: one cannot be served so.
    """
    loaded = {}
    for name, model in config.models.items():
        try:
            loaded[name] = load(model)
        except InputError as error:
            raise InputError(f"model {name}: {error}" if len(config.models) > 1 else str(error)) from None
        found = loaded[name].predictor.task.name
        if task not in ("", found):
            raise InputError(f"{model.model_dir} is a {found} model: use {found}_service.py")
    return loaded


def read_commands(commands: queue.SimpleQueue, stop: threading.Event) -> None:
    """Hand on what the supervisor asks for. Set the event when it is gone, and tidy up in its place."""
    for line in sys.stdin:
        commands.put(json.loads(line))
    remove_abandoned_files()
    stop.set()


def main() -> None:
    reports = Reports()
    settings: Dict[str, Any] = json.loads(sys.stdin.readline())
    stop, commands = threading.Event(), queue.SimpleQueue()
    threading.Thread(target=read_commands, args=(commands, stop), daemon=True).start()

    config = ServiceConfig.from_dict(settings["config"])
    try:
        loaded = load_all(config, settings["task"])
        # Serving's library, which is not needed to say that a model cannot be loaded.
        from ernie_serving.entrance import Entrance
        from ernie_serving.http_front import HttpFront
        from ernie_serving.models import Models
        from ernie_serving.rpc_front import rpc_server
        from ernie_serving.service import Service
        from ernie_serving.worker_commands import Commands

        metrics = Metrics(config.models)
        services = {}
        for name, number in settings["numbers"].items():
            model = loaded.pop(name)
            version = model.version(number)
            services[name] = Service(name, model.config, model.predictor, metrics, version, warm_up=True)
            services[name].wait_until_warm()
    except InputError as error:
        reports.send(error=str(error))
        sys.exit(2)
    del model

    # Only now: importing paddle takes SIGTERM for itself, and ends the process on it.
    on_signals(lambda _: stop.set(), signal.SIGTERM)
    models = Models(services)
    entrance = Entrance(config, metrics)
    server = rpc_server(models, config, metrics, settings["rpc_address"], entrance)
    front = None
    if settings["http_fds"]:
        listening = [socket.socket(fileno=fd) for fd in settings["http_fds"]]
        front = HttpFront(models, config, metrics, listening, entrance)
        front.start()
    Commands(models, reports.send).start(commands)

    status = 0
    while not stop.is_set():
        reports.send(state="ready", models=models.describe())
        if any(service.is_stuck for service in models):
            os._exit(EXIT_STUCK)
        if any(service.is_failing for service in models):
            status = EXIT_FAILING
            break
        stop.wait(REPORT_SECONDS)
    models.stopping = True
    reports.send(state="stopping")
    if stop.is_set():
        time.sleep(config.pre_stop_delay / 1000)
    models.drain()
    # Answers on their way, and requests that gRPC has taken but no thread yet, which are refused.
    server.stop(grace=LAST_ANSWERS_SECONDS).wait()
    if front is not None:
        front.drain(LAST_ANSWERS_SECONDS)
    entrance.log.close(LOG_SECONDS)
    reports.send(state="stopped")
    # Model threads are daemons in the middle of waiting; there is nothing left to finish.
    os._exit(status)


if __name__ == "__main__":
    main()
