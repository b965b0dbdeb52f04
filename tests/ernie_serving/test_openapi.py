"""/openapi.json says what a service takes and answers: requests made of it get the answers that it tells of."""

import re
from urllib.request import Request, urlopen

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from ernie_inference.predictor import ErniePredictor
from ernie_inference.tasks import MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification
from ernie_inference.tasks.base import Task
from ernie_inference.wordpiece import WordPiece
from ernie_serving.http_front import HttpFront
from ernie_serving.metrics import Metrics
from ernie_serving.models import Models
from ernie_serving.ports import listen
from ernie_serving.service import Service
from ernie_serving.service_config import ModelConfig, ServiceConfig
from tests.support.services import VOCAB, ToyEngine

EXAMPLES = 25  # requests of each kind to each path
LABELS = {
    "seq_cls": ["negative", "positive"],
    "token_cls": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"],
    "qa": [],
    "multiple_choice": [],
}


class TokenEngine(ToyEngine):
    """Logits for every token, which depend on its id."""

    def run(self, input_ids, token_type_ids):
        return ((input_ids[..., None] * np.arange(1, 6) % 7).astype(np.float32),)


class SpanEngine(ToyEngine):
    """Start and end logits, which depend on the ids."""

    def run(self, input_ids, token_type_ids):
        return (input_ids % 5).astype(np.float32), (input_ids % 7).astype(np.float32)


class ScoreEngine(ToyEngine):
    """A score for each choice, which depends on its ids."""

    def run(self, input_ids, token_type_ids):
        return ((input_ids.sum(axis=1, keepdims=True) % 7).astype(np.float32),)


ENGINES = {
    SequenceClassification: ToyEngine,
    TokenClassification: TokenEngine,
    QuestionAnswering: SpanEngine,
    MultipleChoice: ScoreEngine,
}


@pytest.fixture(scope="module")
def address():
    """Where a model of each family is served, each of a few lines."""
    config = ServiceConfig({task.name: ModelConfig("toys", max_texts=5, max_windows=20_480) for task in ENGINES})
    metrics = Metrics([task.name for task in ENGINES])
    services = {}
    for task, engine in ENGINES.items():
        predictor = ErniePredictor(engine(0), task(WordPiece(VOCAB), LABELS[task.name], max_seq_length=32))
        services[task.name] = Service(task.name, config.models[task.name], predictor, metrics, "1")
    (sock,) = listen("127.0.0.1", 0, "http_port")
    server = HttpFront(Models(services), config, metrics, [sock])
    server.start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.drain(1)


@pytest.fixture(scope="module")
def operations(address):
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    return [result.ok() for result in schema.get_all_operations()]


def ask_as_described(operation, mode) -> list:
    """Send generated requests to a path, and check the answers. Returns their statuses."""
    statuses = []

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        response = case.call()
        case.validate_response(response)
        statuses.append(response.status_code)

    check()
    return statuses


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_requests_made_of_the_description_get_the_answers_that_it_tells_of(operations, mode):
    """Right ones and wrong ones, to every path where there is something that can be wrong."""
    for operation in operations:
        is_post = operation.method == "post"
        if mode.is_positive or is_post:
            statuses = ask_as_described(operation, mode)
            assert statuses and max(statuses) < 500
            assert not is_post or set(statuses) == ({200} if mode.is_positive else {400}), operation.path


def test_the_description_is_of_the_models_that_are_served(operations):
    by_path = {operation.path: operation for operation in operations}
    assert set(by_path) >= {f"/{task.name}/prediction" for task in ENGINES}
    answers = {path: str(operation.definition.raw["responses"]["200"]) for path, operation in by_path.items()}
    assert all(label in answers["/seq_cls/prediction"] for label in LABELS["seq_cls"])
    assert "LOC" in answers["/token_cls/prediction"] and "B-LOC" not in answers["/token_cls/prediction"]
    for name in ("top_k", "threshold"):
        assert name in str(by_path["/qa/prediction"].definition.raw["requestBody"])
    with_long_texts = [path for path, each in by_path.items() if "long_texts" in str(each.definition.raw)]
    assert with_long_texts == ["/seq_cls/prediction"]


def test_every_task_family_says_what_it_takes():
    for task in ENGINES:
        assert task.input_schema and task.answer_schema is not Task.answer_schema


def test_the_page_loads_nothing_from_elsewhere(address):
    page = urlopen(f"{address}/docs", timeout=30)
    content = page.read().decode()
    assert "'self'" in page.headers["Content-Security-Policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', content)
    assert len(loaded) == 4 and all(path.startswith("/docs/") for path in loaded)
    for path in loaded:
        assert urlopen(Request(address + path, method="HEAD"), timeout=30).status == 200
    assert "/openapi.json" in urlopen(f"{address}/docs/start.js", timeout=30).read().decode()
