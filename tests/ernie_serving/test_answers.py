"""What a client makes of the answers of a server that is broken, or an enemy."""

import json
import subprocess
import sys
import time
from concurrent import futures

import grpc
import pytest

from ernie_serving import answers
from ernie_serving.client import Client, RequestError
from ernie_serving.messages import load_messages
from ernie_serving.protocol import Code
from tests.support.scripts import ROOT

Response = load_messages().Response


class Enemy(grpc.GenericRpcHandler):
    """A server whose `answer` is the same bytes to everybody, or a status of gRPC's."""

    def __init__(self):
        self.answer, self.metadata, self.asked = b"", (), 0
        pool = futures.ThreadPoolExecutor(2)
        self.server = grpc.server(pool, handlers=[self], options=[("grpc.max_send_message_length", -1)])
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request, context) -> bytes:
        self.asked += 1
        context.set_trailing_metadata(self.metadata)
        if isinstance(self.answer, str):
            context.abort(grpc.StatusCode.INTERNAL, self.answer)
        return self.answer


@pytest.fixture(scope="module")
def enemy():
    server = Enemy()
    yield server
    server.server.stop(None).wait()


def results(text: str) -> bytes:
    return Response(key=["results"], value=[text]).SerializeToString()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Response().SerializeToString(), "the answer has no results"),
        (results("{nope"), "the answer cannot be read: results is not JSON"),
        (results("[]"), "the answer has 0 results to 1 texts"),
        (results(json.dumps([{}] * 5)), "the answer has 5 results to 1 texts"),
        (results('{"a": 1}'), "the answer has results that are no list of objects"),
        (results("null"), "the answer has results that are no list of objects"),
        (results("[1]"), "the answer has results that are no list of objects"),
        (results('[{"confidence": NaN}]'), "the answer cannot be read"),
        (results('[{"confidence": 1e999}]'), "the answer cannot be read"),
        (results("[" * 100_000), "the answer cannot be read"),
        (results("[" + "9" * 1_000_000 + "]"), "a number of 1000000 characters"),
        (b"\xff" * 20, "the answer is no response of the pipeline protocol"),
    ],
)
def test_an_answer_that_is_none_is_one_line(enemy, capfd, answer, message):
    enemy.answer = answer
    with pytest.raises(RequestError) as error:
        Client([enemy.address]).predict(["好"])
    said = str(error.value)
    assert error.value.code == Code.FAILED and message in said and said.startswith(f"{enemy.address}: ")
    assert len(said) < 300 and said.isprintable() and capfd.readouterr().err == ""


@pytest.mark.parametrize("way", ["answer", "status"])
def test_no_command_to_the_screen_gets_through(enemy, way):
    said = "\x1b]0;title\x07 line\r\n\u202e好\u3000" + "x" * 5_000
    enemy.answer = said if way == "status" else Response(err_no=Code.INVALID, err_msg=said).SerializeToString()
    with pytest.raises(RequestError) as error:
        Client([enemy.address], retries=0).predict(["好"])
    assert len(str(error.value)) < 600
    assert r"\x1b]0;title\x07 line\r\n\u202e好" + "\u3000xxx" in str(error.value)


@pytest.mark.parametrize("name", [answers.PUSHBACK, answers.RETRY_AFTER])
@pytest.mark.parametrize("value", ["9" * 300, "9" * 400, "9" * 5_000, "nan", "inf", "1_0"], ids=lambda value: value[:5])
def test_any_time_to_wait_is_taken_or_left(enemy, name, value):
    enemy.answer, enemy.metadata = Response(err_no=Code.BUSY, err_msg="later").SerializeToString(), ((name, value),)
    try:
        with pytest.raises(RequestError, match="later") as error:
            Client([enemy.address], retries=1, timeout=5).predict(["好"])
    finally:
        enemy.metadata = ()
    # Of a pushback that is no number gRPC itself makes one far below 0: do not ask again.
    assert error.value.code == Code.BUSY and (error.value.wait is None or abs(error.value.wait) > 1e9)


def test_an_answer_over_the_bound_is_not_taken(enemy, monkeypatch):
    """And several texts are asked for in halves, as a smaller answer may do."""
    monkeypatch.setattr("ernie_serving.client.MOST_BYTES", 1 << 20)
    enemy.answer, enemy.asked = results(json.dumps([{"label": "a" * (1 << 20)}])), 0
    with pytest.raises(RequestError, match="larger than max") as error:
        Client([enemy.address]).predict(["好", "坏"])
    assert error.value.code == Code.TOO_LARGE and enemy.asked == 2  # both, and then the first


def test_an_answer_that_is_read_too_late_is_none(enemy, monkeypatch):
    enemy.answer = results("[{}]")
    client = Client([enemy.address], retries=0)

    class Late:
        @staticmethod
        def with_call(request, timeout, metadata):
            answer = client._channel.unary_unary("/any", None).with_call(b"", timeout=timeout)
            time.sleep(timeout)
            return answer

    client.timeout, client._call = 1.0, Late
    with pytest.raises(RequestError, match="no answer in time") as error:
        client.predict(["好"])
    assert error.value.code == Code.TIMEOUT


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([{"label": "a"}] * 3, "the service answers what no seq_cls model does: check --endpoints and --model"),
        ([{"label": "a", "confidence": "1", "truncated": False}] * 3, "the service answers what no seq_cls model does"),
        ([{"label": "a", "confidence": 1.0, "truncated": False}] * 2, "the answer has 2 results to 3 texts"),
    ],
)
def test_no_file_gets_out_of_step(enemy, tmp_path, answer, message):
    enemy.answer = results(json.dumps(answer))
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('"a"\n"b"\n"c"\n')
    command = [sys.executable, "deploy/serving/seq_cls_rpc_client.py", "--endpoints", enemy.address]
    command += ["--input_file", str(source), "--output_file", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_what_is_printed_of_an_answer_is_no_command(enemy):
    enemy.answer = results(json.dumps([{"label": "\x1b[2Jnews", "confidence": 1.0, "truncated": False}]))
    command = [sys.executable, "deploy/serving/seq_cls_rpc_client.py", "--endpoints", enemy.address, "--texts", "a"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "label: \\x1b[2Jnews   confidence: 1.0000" in done.stdout, done.stderr
