"""One model of a service: requests in, answers out, whichever way they come, while the model itself may be exchanged.
rpc_front.py and http_front.py are the ways in."""

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Callable, Dict, Iterator, List, Optional

from ernie_inference.errors import InputError
from ernie_inference.predictor import ErniePredictor
from ernie_inference.tasks.base import Task
from ernie_serving.loaded_model import LoadedModel
from ernie_serving.metrics import Metrics
from ernie_serving.protocol import MODEL, VERSION, Code, Limits, Refusal, read_request
from ernie_serving.request_log import Entry
from ernie_serving.service_config import ModelConfig
from ernie_serving.serving_library import pb2
from ernie_serving.turns import turn_to_read

READY, FAILING = "ready", "failing"  # states of a model


class Service:
    """Answers requests of one model, a bounded number at a time, each within a time limit.

    Args:
        name: of the model.
        config: how it is served.
        predictor: what runs it.
        version: that answers name.
        warm_up: whether to run every shape of input first; wait_until_warm waits for that.
    """

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        predictor: ErniePredictor,
        metrics: Metrics,
        version: str = "",
        warm_up: bool = False,
    ):
        self.name = name
        self.config = config
        self.metrics = metrics
        self.in_flight = 0
        self.stopping = False
        self._changed = threading.Condition()
        self._model = LoadedModel(name, config, predictor, metrics, version, warm_up)
        self._retiring: List[LoadedModel] = []  # which answer what they accepted
        self._count(0)

    @property
    def model(self) -> LoadedModel:
        """The one that answers the next request."""
        return self._model

    @property
    def task(self) -> Task:
        """What the model does."""
        return self._model.predictor.task

    @property
    def limits(self) -> Limits:
        """The most that one request may hold."""
        return self._model.limits

    def answer(
        self,
        read_fields: Callable[[], Dict[str, Any]],
        seconds: Optional[float] = None,
        entry: Optional[Entry] = None,
        size: int = 0,
    ):
        """The pipeline Response to a request; never raises.

        Args:
            read_fields: gives the request's fields, or raises a Refusal.
            seconds: how long the client waits, if that is known.
            entry: of the request log; is told what the request holds.
            size: of the request, in bytes; large ones are read one after the other.
        """
        started = time.monotonic()
        limit = self.config.timeout / 1000
        deadline = started + (limit if seconds is None else min(limit, seconds))
        texts = 0
        try:
            with self._admitted() as model:
                with turn_to_read(size, deadline):
                    fields = read_fields()
                accepted = read_request(model.predictor.task, fields, model.limits, deadline)
                del fields
                if entry is not None:
                    entry.accepted(accepted.examples, sum(map(len, accepted.windows)))
                response = model.call(accepted)
                if response.err_no == Code.OK:
                    texts = len(accepted.examples)
                    response.key.extend((MODEL, VERSION))
                    response.value.extend((self.name, model.version))
        except Refusal as refusal:
            response = pb2.Response(err_no=refusal.code, err_msg=refusal.message)
        except Exception:
            logging.exception("a request failed")
            response = pb2.Response(err_no=Code.FAILED, err_msg="the service failed on this request")
        self.metrics.request(self.name, response.err_no, texts, time.monotonic() - started)
        return response

    @contextmanager
    def _admitted(self) -> Iterator[LoadedModel]:
        """The model that a request is for, which is not freed meanwhile."""
        with self._changed:
            if self.stopping:
                raise Refusal(Code.STOPPING, "the service is stopping: ask another, or again later")
            if self.in_flight >= self.config.queue_size:
                raise Refusal(Code.BUSY, f"{self.in_flight} requests are waiting already: ask again later")
            model = self._model
            model.in_flight += 1
            self._count(1)
        try:
            yield model
        finally:
            with self._changed:
                model.in_flight -= 1
                self._count(-1)
                self._changed.notify_all()

    def _count(self, step: int) -> None:
        self.in_flight += step
        self.metrics.in_flight(self.name, self.in_flight, self.config.queue_size)

    def wait_until_warm(self) -> None:
        """Wait, once, until the model can answer.

        Raises:
            InputError: it cannot.
        """
        self._model.wait_until_warm()

    def prepare(self, predictor: ErniePredictor, version: str) -> LoadedModel:
        """Another model to switch to, warmed up, while this one answers.

        Raises:
            InputError: it cannot answer, or answers something else.
        """
        served, task = self._model.predictor.task.name, predictor.task.name
        if task != served:
            raise InputError(f"{self.config.model_dir} is a {task} model now, and {self.name} is served as {served}")
        model = LoadedModel(self.name, self.config, predictor, self.metrics, version, warm_up=True)
        model.wait_until_warm()
        return model

    def switch(self, model: LoadedModel) -> None:
        """Requests from now on go to this model. stop_retired() ends the one before."""
        with self._changed:
            self._retiring.append(self._model)
            self._model = model

    def stop_retired(self) -> None:
        """End models that answer no new requests, once they have answered those that they accepted."""
        while self._retiring:
            with self._changed:
                self._changed.wait_for(lambda: self._retiring[0].in_flight == 0)
            self._retiring[0].stop()  # where that takes too long, it is stuck
            with self._changed:
                del self._retiring[0]

    def describe(self) -> Dict[str, Any]:
        """The model that answers now, as JSON has it."""
        model, task = self._model, self._model.predictor.task
        return {
            "name": self.name,
            "task": task.name,
            "labels": list(task.labels),
            "engine": self.config.engine,
            "precision": self.config.precision,
            "description": model.description,
            "version": model.version,
            "state": FAILING if model.is_failing else READY,
            "limits": {**asdict(model.limits), "timeout": self.config.timeout, "queue_size": self.config.queue_size},
        }

    @property
    def is_stuck(self) -> bool:
        """Whether a model has worked on one batch for longer than any request waits, several times over."""
        with self._changed:
            models = [self._model, *self._retiring]
        return any(model.is_stuck for model in models)

    @property
    def is_failing(self) -> bool:
        """Whether the model computes nothing any more."""
        return self._model.is_failing

    def drain(self) -> None:
        """Refuse new requests, and wait until those accepted are answered (each has its time limit)."""
        with self._changed:
            self.stopping = True
            self._changed.wait_for(lambda: self.in_flight == 0)
