"""Several models in one service, and models that are exchanged while it serves."""

import json
import os
import signal
import threading

import pytest

from benchmarks.serving_process import wait_until
from ernie_inference.predictor import load_predictor
from ernie_serving.client import Client
from ernie_serving.model_to_serving import convert
from ernie_serving.protocol import RESULTS, VERSION, Code
from tests.ernie_serving.conftest import NAMES
from tests.support.models import corpus, example_inputs
from tests.support.services import RunningService, pack, unpack

RELOADS = 10


def test_models_are_asked_by_their_names(several):
    for task, name in NAMES.items():
        inputs = example_inputs(task, corpus()[::9000][:3])
        expected = load_predictor(several.folders[name]).predict(inputs)
        answers = Client([several.endpoint], model=name).predict(inputs)
        status, answer = several.post(json.dumps({"texts": inputs}).encode(), f"/{name}/prediction")
        assert status == 200
        for found in (answers, answer["results"]):
            assert [set(each) for each in found] == [set(each) for each in expected]
            assert [each.get("label") for each in found] == [each.get("label") for each in expected]


def test_an_answer_names_its_model_and_version(several):
    response = unpack(several.rpc(pack(["好"], name="news")))
    assert list(response.key) == [RESULTS, "model", VERSION] and response.value[1] == "news"
    number, digest = response.value[2].split("-")
    assert number.isdecimal() and len(digest) == 6


def test_a_name_that_nobody_has(several):
    for name in ("", "seq_cls", "news2"):
        response = unpack(several.rpc(pack(["好"], name=name)))
        assert response.err_no == Code.NO_SERVICE and "take one of news, ner.v2, qa-1" in response.err_msg
    assert several.post(b"{}", "/other/prediction")[0] == 404


def test_models_have_limits_of_their_own(several):
    for name, most in (("news", 3), ("ner.v2", 9)):
        assert unpack(several.rpc(pack(["好"] * most, name=name))).err_no == Code.OK
        response = unpack(several.rpc(pack(["好"] * (most + 1), name=name)))
        message = f"{most + 1} texts, the limit is {most} in one request"
        assert (response.err_no, response.err_msg) == (Code.TOO_LARGE, message)


def test_what_is_said_at_the_start(several):
    assert several.lines[0].startswith(f"news: {several.folders['news']}, Paddle Inference, oneDNN, FP32, 1 thread")
    assert several.lines[1].startswith(f"ner.v2: {several.folders['ner.v2']}, ONNX Runtime, CPU, FP32, 1 thread")
    assert any(line.endswith("/NAME/prediction\n") for line in several.lines)


def reload_by_signal(service: RunningService, lines: int) -> list:
    """What the service says when it has loaded all its models again."""
    before = len(service.errors)
    os.kill(service.process.pid, signal.SIGHUP)
    wait_until(lambda: len(service.errors) >= before + lines)
    return service.errors[before:]


def test_a_model_that_cannot_be_loaded_changes_nothing(several):
    parameters = several.folders["news"] / "model.pdiparams"
    whole, before = parameters.read_bytes(), several.rpc(pack(["好"], name="news"))
    broken = parameters.with_name("broken")
    try:
        broken.write_bytes(whole[:-7])
        broken.rename(parameters)
        said = reload_by_signal(several, 3)
    finally:
        parameters.write_bytes(whole)
    assert "news: not reloaded: " in said[0] and "cut short or damaged" in said[0]
    assert said[1].startswith("ner.v2: reloaded, 1-") and said[2].startswith("qa-1: reloaded, 1-")
    assert several.rpc(pack(["好"], name="news")) == before
    assert unpack(several.rpc(pack(["好"], name="ner.v2"))).value[2].startswith("2-")
    assert several.metric("ernie_reloads_total", model="news", result="failure") == 1
    assert several.metric("ernie_reloads_total", model="qa-1", result="success") == 1
    assert several.metric("ernie_model_info", model="news") == 1


class Answers:
    """What clients are answered that ask without a pause until they are told to stop."""

    def __init__(self, service: RunningService, texts, clients: int):
        self.found, self.failed = [], []
        self._service, self._texts = service, texts
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        while not self._end.is_set():
            number = (number + 1) % len(self._texts)
            try:
                response = unpack(self._service.rpc(pack([self._texts[number]])))
                answer = dict(zip(response.key, response.value))
                assert response.err_no == Code.OK, response.err_msg
                self.found.append((number, answer[VERSION], json.loads(answer[RESULTS])[0]))
            except Exception as error:
                self.failed.append(error)

    def wait_for_more(self, count: int) -> None:
        before = len(self.found)
        wait_until(lambda: len(self.found) > before + count)

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)


def test_no_request_fails_while_a_model_is_exchanged(tiny, others, tiny_serving):
    """Two models take turns in one folder; every answer is that of the model whose version it names."""
    texts, folder = corpus()[::4000][:12], tiny_serving("seq_cls")
    expected = [load_predictor(models["seq_cls"]).predict(texts) for models in (tiny, others)]
    seen = [[(answer["label"], round(answer["confidence"], 3)) for answer in answers] for answers in expected]
    assert all(a != b for a, b in zip(*seen)), "else a wrong version would not be noticed"
    service = RunningService("seq_cls", folder, "--thread_num=1", "--replicas=2")
    load = Answers(service, texts, 4)
    try:
        versions = [unpack(service.rpc(pack(["好"]))).value[2]]
        for number in range(1, RELOADS + 1):
            convert((tiny, others)[number % 2]["seq_cls"], folder)
            (said,) = reload_by_signal(service, 1)
            assert said.startswith(f"seq_cls: reloaded, {versions[-1]} -> "), said
            versions.append(said.split()[-1])
            load.wait_for_more(20)
    finally:
        load.end()
        assert service.stop() == 0
    assert load.failed == []
    assert {version for _, version, _ in load.found} == set(versions)
    assert [version.split("-")[0] for version in versions] == [str(n) for n in range(1, RELOADS + 2)]
    assert len({version.split("-")[1] for version in versions}) == 2
    for number, version, answer in load.found:
        wanted = expected[(int(version.split("-")[0]) - 1) % 2][number]
        assert answer["label"] == wanted["label"] and answer["confidence"] == pytest.approx(
            wanted["confidence"], abs=1e-4
        )
