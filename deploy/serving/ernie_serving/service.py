"""One model of a service: requests in, answers out, whichever way they come. rpc_front.py and http_front.py are the
ways in."""

import logging
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional

from ernie_inference.predictor import ErniePredictor
from ernie_serving.metrics import Metrics
from ernie_serving.pipeline_ops import Batching, build_pipeline
from ernie_serving.protocol import Code, Limits, Refusal, read_request
from ernie_serving.request_log import Entry
from ernie_serving.service_config import ServiceConfig
from ernie_serving.serving_library import pb2


class Service:
    """Answers requests of one model, a bounded number at a time, each within a time limit."""

    def __init__(self, name: str, config: ServiceConfig, predictor: ErniePredictor, metrics: Metrics):
        self.name = name
        self.config = config
        self.metrics = metrics
        self.in_flight = 0
        self.stopping = False
        self._limits = Limits(
            texts=config.max_texts,
            chars=config.max_chars,
            request_chars=config.max_request_chars,
            windows=config.max_windows,
        )
        self._task = predictor.task
        self._changed = threading.Condition()
        batching = Batching(config.batch_size, config.auto_batching, config.auto_batching_timeout / 1000)
        self._call, self._model_op = build_pipeline(predictor, batching, config.concurrency, metrics)

    def answer(
        self,
        read_fields: Callable[[], Dict[str, Any]],
        seconds: Optional[float] = None,
        entry: Optional[Entry] = None,
    ):
        """The pipeline Response to a request; never raises.

        Args:
            read_fields: gives the request's fields, or raises a Refusal.
            seconds: how long the client waits, if that is known.
            entry: of the request log; is told what the request holds.
        """
        started = time.monotonic()
        limit = self.config.timeout / 1000
        deadline = started + (limit if seconds is None else min(limit, seconds))
        texts = 0
        try:
            with self._admitted():
                accepted = read_request(self._task, read_fields(), self._limits, deadline)
                if entry is not None:
                    entry.accepted(accepted.examples, sum(map(len, accepted.windows)))
                response = self._call(accepted)
                if response.err_no == Code.OK:
                    texts = len(accepted.examples)
        except Refusal as refusal:
            response = pb2.Response(err_no=refusal.code, err_msg=refusal.message)
        except Exception:
            logging.exception("a request failed")
            response = pb2.Response(err_no=Code.FAILED, err_msg="the service failed on this request")
        self.metrics.request(self.name, response.err_no, texts, time.monotonic() - started)
        return response

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        with self._changed:
            if self.stopping:
                raise Refusal(Code.STOPPING, "the service is stopping: ask another, or again later")
            if self.in_flight >= self.config.queue_size:
                raise Refusal(Code.BUSY, f"{self.in_flight} requests are waiting already: ask again later")
            self._count(1)
        try:
            yield
        finally:
            with self._changed:
                self._count(-1)
                self._changed.notify_all()

    def _count(self, step: int) -> None:
        self.in_flight += step
        self.metrics.in_flight(self.name, self.in_flight, self.config.queue_size)

    @property
    def is_stuck(self) -> bool:
        """Whether the model has worked on one batch for longer than any request waits, several times over."""
        return self._model_op.busy_seconds() > max(60.0, 3 * self.config.timeout / 1000)

    def drain(self) -> None:
        """Refuse new requests, and wait until those accepted are answered (each has its time limit)."""
        with self._changed:
            self.stopping = True
            self._changed.wait_for(lambda: self.in_flight == 0)
