"""One worker process of a service: loads the model, answers requests, and reports to the supervisor that started it.

It reads its settings as one line of JSON from stdin, where the end of input means that the supervisor is gone, and
writes lines of JSON to stdout: what is wrong with the settings, or every second its state.
"""

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Dict, TextIO

sys.path.pop(0)  # its own folder: modules there have names that others have too
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "python"))

from ernie_inference.engine_choice import load_with
from ernie_inference.errors import InputError
from ernie_inference.predictor import ErniePredictor
from ernie_serving.metrics import Metrics, remove_abandoned_files
from ernie_serving.model_to_serving import check_serving_folder
from ernie_serving.service_config import ServiceConfig

REPORT_SECONDS = 1.0
LAST_ANSWERS_SECONDS = 4.0
LOG_SECONDS = 1.0
EXIT_STUCK = 71


def take_stdout() -> TextIO:
    """The pipe to the supervisor; what libraries print goes nowhere (Serving prints about its progress)."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return reports


def report(reports: TextIO, **content: Any) -> None:
    try:
        reports.write(json.dumps(content) + "\n")
        reports.flush()
    except OSError:
        pass  # the supervisor is gone, and stdin has told so


def load(config: ServiceConfig) -> ErniePredictor:
    """The predictor of a serving folder, after it has answered the example texts.

    What another engine than Paddle runs is made of the model first, and kept in the folder.
    """
    predictor = load_with(
        config.engine,
        check_serving_folder(config.model_dir),
        use_trt=config.use_trt,
        max_seq_length=config.max_seq_length,
        device=config.device,
        device_id=config.device_id,
        precision=config.precision,
        num_threads=config.thread_num,
        batch_size=config.batch_size,
        few_shapes=config.few_shapes,
    )
    predictor.predict(predictor.task.sample_inputs)
    return predictor


def wait_for_the_end(stop: threading.Event) -> None:
    """Set the event when the supervisor is gone, and tidy up in its place."""
    sys.stdin.read()
    remove_abandoned_files()
    stop.set()


def main() -> None:
    reports = take_stdout()
    settings: Dict[str, Any] = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=wait_for_the_end, args=(stop,), daemon=True).start()

    config = ServiceConfig(**settings["config"])
    try:
        predictor = load(config)
        if predictor.task.name != settings["task"]:
            raise InputError(
                f"{config.model_dir} is a {predictor.task.name} model: use {predictor.task.name}_service.py"
            )
    except InputError as error:
        report(reports, error=str(error))
        sys.exit(2)

    # Only now: importing paddle takes SIGTERM for itself, and ends the process on it.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Serving's library, which is not needed to say that a model cannot be loaded.
    from ernie_serving.entrance import Entrance
    from ernie_serving.http_front import HttpFront
    from ernie_serving.models import Models
    from ernie_serving.rpc_front import rpc_server
    from ernie_serving.service import Service

    name = predictor.task.name
    metrics = Metrics([name])
    models = Models({name: Service(name, config, predictor, metrics)})
    entrance = Entrance(config, metrics)
    server = rpc_server(models, config, metrics, settings["rpc_address"], entrance)
    front = None
    if settings["http_fd"] is not None:
        front = HttpFront(models, config, metrics, socket.socket(fileno=settings["http_fd"]))
        threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def send(state: str) -> None:
        report(reports, state=state, engine=predictor.engine.describe())

    while not stop.is_set():
        send("ready")
        if any(service.is_stuck for service in models):
            os._exit(EXIT_STUCK)
        stop.wait(REPORT_SECONDS)
    models.stop()
    send("stopping")
    models.drain()
    # Answers on their way, and requests that gRPC has taken but no thread yet, which are refused.
    server.stop(grace=LAST_ANSWERS_SECONDS).wait()
    if front is not None:
        front.drain(LAST_ANSWERS_SECONDS)
    entrance.log.close(LOG_SECONDS)
    send("stopped")
    # Model threads are daemons in the middle of waiting; there is nothing left to finish.
    os._exit(0)


if __name__ == "__main__":
    main()
