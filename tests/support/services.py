"""Real services on loopback for the tests, and a service with an engine of a few lines where no model is needed."""

import http.client
import json
import threading
import time
from types import SimpleNamespace
from typing import Any, Dict, Optional, Tuple

import grpc
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving_process import ServiceProcess
from ernie_inference.engines.config import EngineConfig
from ernie_inference.predictor import ErniePredictor
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.wordpiece import WordPiece
from ernie_serving.client import Client
from ernie_serving.messages import load_messages
from ernie_serving.metrics import Metrics, value_of
from ernie_serving.models import Models
from ernie_serving.protocol import RPC_METHOD, TEXTS
from ernie_serving.service import Service
from ernie_serving.service_config import MODEL_OPTIONS, ModelConfig, ServiceConfig
from ernie_serving.worker_process import Worker


class RunningService(ServiceProcess):
    """A running service, and ways to ask it."""

    def client(self, **options) -> Client:
        return Client([self.endpoint], **options)

    def rpc(self, request: bytes, timeout: float = 60.0) -> bytes:
        """Any bytes as a pipeline request; what gRPC says of it is raised as grpc.RpcError."""
        channel = grpc.insecure_channel(self.endpoint, [("grpc.max_send_message_length", -1)])
        with channel:
            return channel.unary_unary(RPC_METHOD)(request, timeout=timeout)

    def post(self, body: bytes, path: str = "") -> Tuple[int, Dict]:
        """Status and JSON of an HTTP request."""
        return self._http(self.http, "POST", path or f"/{self.task}/prediction", body)

    def get(self, path: str, monitor: bool = True) -> Tuple[int, Any]:
        return self._http(self.monitor if monitor else self.http, "GET", path)

    @staticmethod
    def _http(address: str, method: str, path: str, body: Optional[bytes] = None) -> Tuple[int, Any]:
        return exchange(http.client.HTTPConnection(address, timeout=60), method, path, body)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the values of /metrics of a name that have these labels."""
        return value_of(text_string_to_metric_families(self.get("/metrics")[1]), name, **labels)


def exchange(connection: http.client.HTTPConnection, method: str, path: str, *given: Any) -> Tuple[int, Any]:
    """Status and content of an answer, JSON read, over a connection that is closed then; given: body and headers."""
    try:
        connection.request(method, path, *given)
        response = connection.getresponse()
        content = response.read().decode()
        is_json = response.getheader("Content-Type", "").startswith("application/json")
        return response.status, json.loads(content) if is_json else content
    finally:
        connection.close()


def pack(texts, **fields) -> bytes:
    """A pipeline request."""
    request = load_messages().Request(key=[TEXTS], value=[json.dumps(texts)], **fields)
    return request.SerializeToString()


def unpack(response: bytes):
    return load_messages().Response.FromString(response)


POISON, SLOW, ENDLESS = "毒", "慢", "穷"
VOCAB = {
    token: number for number, token in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"好坏ab", POISON, SLOW, ENDLESS])
}


class ToyEngine:
    """Logits that depend on the sum of the ids, and are NaN for ENDLESS; fails on POISON, and takes `seconds`, or until
    its gate is opened, for a batch that holds SLOW."""

    info = SimpleNamespace(vocab_size=None, max_positions=None, num_labels=None)
    config = EngineConfig()
    prefix = "toy"

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.gate = threading.Event()
        self.runs = 0

    def clone(self) -> "ToyEngine":
        return self

    def describe(self) -> str:
        return "toy"

    def padded_length(self, length: int) -> int:
        return length

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray]:
        self.runs += 1
        if (input_ids == VOCAB[POISON]).any():
            raise RuntimeError("poison")
        if (input_ids == VOCAB[SLOW]).any():
            self.gate.wait(self.seconds)
        total = input_ids.sum(axis=1)
        logits = np.stack([total % 7, total % 5], axis=1).astype(np.float32)
        logits[(input_ids == VOCAB[ENDLESS]).any(axis=1)] = np.nan
        return (logits,)


def toy_predictor(seconds: float = 0.5) -> ErniePredictor:
    task = SequenceClassification(WordPiece(VOCAB), ["negative", "positive"], max_seq_length=32)
    return ErniePredictor(ToyEngine(seconds), task)


def toy_config(name: str = "toy", **options) -> ServiceConfig:
    """A service of one model of that name, with options of either."""
    model = {option: value for option, value in options.items() if option in MODEL_OPTIONS}
    of_service = {option: value for option, value in options.items() if option not in MODEL_OPTIONS}
    return ServiceConfig({name: ModelConfig(**{"model_dir": "toys", **model})}, **of_service)


def toy_models(seconds: float = 0.5, name: str = "toy", **options) -> Tuple[Models, ServiceConfig]:
    """The models of a service of one toy, and its config. The Service's `toy` is the engine."""
    config, predictor = toy_config(name, **options), toy_predictor(seconds)
    service = Service(name, config.models[name], predictor, Metrics([name]))
    service.toy = predictor.engine
    return Models({name: service}), config


class StandIn(Worker):
    """A worker that is no process."""

    def __init__(self, silent_seconds: float, returncode=None, **last):
        self.number, self.last, self.models, self.ready_since = 0, last, [], None
        self.heard = time.monotonic() - silent_seconds
        self.killed = []
        self.process = SimpleNamespace(
            pid=0, poll=lambda: returncode, returncode=returncode, kill=lambda: self.killed.append(True)
        )
