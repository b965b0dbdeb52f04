"""What a client does where a service is full, slow, stopping or away: it asks again, later and not too often."""

import json
import time
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest

from ernie_inference.errors import InputError
from ernie_serving.access import KEY_VARIABLE, Tls, read_api_key
from ernie_serving.answers import PUSHBACK, RETRY_AFTER
from ernie_serving.client import REQUEST_ID, Client, RequestError
from ernie_serving.ports import reserve
from ernie_serving.protocol import RESULTS, TEXTS, Code
from ernie_serving.retries import FIRST_PAUSE, LONGEST_PAUSE, RetryBudget, pause_before
from ernie_serving.rpc_front import rpc_server
from ernie_serving.serving_library import pb2
from tests.support.services import SLOW, toy_models, toy_predictor


class Running:
    """A service with an engine of a few lines, and how many requests have reached it."""

    def __init__(self, seconds: float, address: str = "", **options):
        models, config = toy_models(seconds, **options)
        self.service = models.get()
        self.gate = self.service.toy.gate
        self._reserved, self.address = (None, address) if address else reserve("127.0.0.1", 0)
        self.server = rpc_server(models, config, self.service.metrics, self.address)

    @property
    def requests(self) -> float:
        return self.service.metrics.value("ernie_requests_total")


@pytest.fixture
def start():
    running = []

    def make(*args, **options):
        running.append(Running(*args, **options))
        return running[-1]

    yield make
    for each in running:
        each.gate.set()
        each.server.stop(None).wait()


def test_a_slow_service_is_not_asked_for_every_half(start):
    """Every run of the model takes longer than requests may: halving to the end would send 63 requests."""
    slow = start(60, timeout=100)
    budget = RetryBudget(share=0.1, per_second=0.01, reserve=4)
    with pytest.raises(RequestError) as refused:
        Client([slow.address], timeout=20, budget=budget).predict([SLOW] * 32)
    assert refused.value.code == Code.TIMEOUT
    assert 2 <= slow.requests <= 1 + 4


def test_many_requests_to_a_full_service_keep_to_the_budget(start):
    full = start(60, queue_size=1, timeout=60_000)
    with futures.ThreadPoolExecutor(9) as pool:
        pool.submit(Client([full.address], timeout=120).predict, [SLOW])
        while full.service.in_flight == 0:
            time.sleep(0.01)
        client = Client([full.address], timeout=3, retries=50, budget=RetryBudget(0.2, per_second=0.01, reserve=5))
        started = time.monotonic()

        def ask(_):
            with pytest.raises(RequestError) as refused:
                client.predict(["好"])
            return refused.value.code

        assert set(pool.map(ask, range(100))) == {Code.BUSY}
        seconds = time.monotonic() - started
        assert 100 < full.requests <= 100 + 0.2 * 100 + 5 + 0.01 * seconds
        full.gate.set()


def test_what_is_too_large_is_sent_in_halves(start):
    service = start(0, max_texts=8)
    client = Client([service.address], budget=RetryBudget(0, per_second=0.001, reserve=0))
    assert client.predict(["好"] * 32) == toy_predictor(0).predict(["好"] * 32)
    assert service.requests == 7  # 32, two of 16, four of 8: each refusal led to answers
    with pytest.raises(RequestError, match="text 1 has 3 characters") as refused:
        Client([start(0, max_texts=1, max_chars=2).address]).predict(["好好好", "好"])
    assert refused.value.code == Code.TOO_LARGE


def test_what_was_too_slow_together_is_answered_in_halves(start):
    service = start(0.5, timeout=1500, batch_size=1)  # all take 2 seconds, and a half 1
    client = Client([service.address], timeout=60, budget=RetryBudget(reserve=50))
    assert client.predict([SLOW] * 4) == toy_predictor(0).predict([SLOW] * 4)


def test_the_time_limit_holds_over_all_that_is_asked_again(monkeypatch):
    """No pause is begun that would end after it."""
    pauses, sleep = [], time.sleep
    monkeypatch.setattr("ernie_serving.client.time.sleep", lambda seconds: (pauses.append(seconds), sleep(seconds)))
    away = Client(["127.0.0.1:1"], timeout=1.0, retries=1000, budget=RetryBudget(1, 1000, 1000))
    with pytest.raises(RequestError) as refused:
        away.predict(["好"])
    assert refused.value.code == Code.STOPPING and pauses and sum(pauses) < 1.0


def test_the_clients_of_a_service_that_comes_back_are_answered(start):
    reserved, address = reserve("127.0.0.1", 0)
    with futures.ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(Client([address], timeout=60, retries=20).predict, ["好"]) for _ in range(4)]
        time.sleep(0.5)
        start(0, address=address)
        assert [each.result() for each in waiting] == [toy_predictor(0).predict(["好"])] * 4


# ---------------------------------------------------------------- what a server says


class Recorder(grpc.GenericRpcHandler):
    """A gRPC server that notes requests and metadata, and refuses the first `refusals`, as it is told."""

    def __init__(self, refusals: int = 0, **metadata: str):
        self.left = refusals
        self.metadata = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        self.asked = []

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.answer, pb2.Request.FromString, pb2.Response.SerializeToString)

    def answer(self, request, context):
        self.asked.append((time.monotonic(), request, dict(context.invocation_metadata())))
        if self.left:
            self.left -= 1
            context.set_trailing_metadata(self.metadata)
            return pb2.Response(err_no=Code.BUSY, err_msg="later")
        texts = json.loads(dict(zip(request.key, request.value))[TEXTS])
        return pb2.Response(key=[RESULTS], value=[json.dumps([{}] * len(texts))])


@contextmanager
def serving(recorder: Recorder):
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[recorder])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("said", [{"grpc_retry_pushback_ms": "700"}, {"retry_after": "1"}])
def test_a_server_says_how_long_to_wait(said):
    recorder = Recorder(1, **said)
    with serving(recorder) as address:
        assert Client([address]).predict(["好"]) == [{}]
    (first, *_), (second, *_) = recorder.asked
    assert second - first >= 0.7


def test_a_server_says_not_to_ask_again():
    recorder = Recorder(1, grpc_retry_pushback_ms="-1")
    with serving(recorder) as address, pytest.raises(RequestError):
        Client([address]).predict(["好"])
    assert len(recorder.asked) == 1
    assert (PUSHBACK, RETRY_AFTER) == ("grpc-retry-pushback-ms", "retry-after")  # gRPC's and HTTP's own names


def test_what_a_request_carries():
    recorder = Recorder(1)
    with serving(recorder) as address:
        client = Client([address], model="news", api_key="secret")
        client.predict(["好"], request_id="mine", top_k=2, threshold=None)
        list(client.predict_iter(["好"] * 3, batch_size=2, request_id="run"))
        list(client.predict_iter(["好"] * 3, batch_size=2))
    requests = [request for _, request, _ in recorder.asked]
    assert {request.name for request in requests} == {"news"}
    assert (list(requests[0].key), list(requests[0].value)) == ([TEXTS, "top_k"], ['["好"]', "2"])
    metadata = [each for *_, each in recorder.asked]
    assert {each["authorization"] for each in metadata} == {"Bearer secret"}
    ids = [each[REQUEST_ID] for each in metadata]
    assert ids[:4] == ["mine", "mine", "run-1", "run-2"]  # what is asked again has the same
    assert len(set(ids[4:])) == 2 and all(len(each) == 32 for each in ids[4:])


# ---------------------------------------------------------------- parts


def test_pauses_grow_and_are_random():
    for retry in range(12):
        most = min(LONGEST_PAUSE, FIRST_PAUSE * 2**retry)
        pauses = [pause_before(retry) for _ in range(200)]
        assert max(pauses) <= most and max(pauses) > 0.8 * most and min(pauses) < 0.2 * most
        assert min(pause_before(retry, told=3.0) for _ in range(20)) >= 3.0


def test_a_budget_is_a_share_of_requests():
    budget = RetryBudget(share=0.25, per_second=1e-9, reserve=2)
    assert [budget.claim(10.0) for _ in range(3)] == [0.0, 0.0, None]
    for _ in range(4):
        budget.first_request()
    assert budget.claim(10.0) == 0.0 and budget.claim(10.0) is None
    for _ in range(100):
        budget.first_request()
    assert [budget.claim(10.0) for _ in range(3)] == [0.0, 0.0, None]  # no more than the reserve is saved


def test_a_budget_without_requests_grows_with_time():
    budget = RetryBudget(share=0, per_second=2.0, reserve=1)
    waits = [budget.claim(1.2) for _ in range(4)]
    assert waits[0] == 0.0 and waits[1] == pytest.approx(0.5, abs=0.2) and waits[2] == pytest.approx(1.0, abs=0.2)
    assert waits[3] is None


# ---------------------------------------------------------------- keys and certificates


def test_where_the_api_key_comes_from(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_api_key() is None
    monkeypatch.setenv(KEY_VARIABLE, "of-the-environment")
    assert read_api_key() == "of-the-environment"
    file = tmp_path / "key"
    file.write_text("of-the-file\n")
    assert read_api_key(file) == "of-the-file"
    file.write_bytes(b"\xef\xbb\xbfthe-new-one\r\nthe-old-one\r\n")  # the service's own file, while keys are exchanged
    assert read_api_key(file) == "the-new-one"
    for content, message in (("", "is empty"), ("two words", "holds no API key"), ("钥匙", "holds no API key")):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            read_api_key(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_api_key(tmp_path / "nowhere")


def test_certificates_that_cannot_be_used(tmp_path):
    file = tmp_path / "root.pem"
    file.write_text("nothing")
    with pytest.raises(InputError, match="root.pem is not PEM"):
        Client(["127.0.0.1:1"], tls=Tls(root=file))
    with pytest.raises(InputError, match="nowhere cannot be read"):
        Client(["127.0.0.1:1"], tls=Tls(root=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="belong together"):
        Client(["127.0.0.1:1"], tls=Tls(certificate=file))
