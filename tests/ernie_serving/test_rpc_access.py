"""API keys, request ids and the log of requests over gRPC."""

import json

import grpc
import pytest
from grpc_health.v1 import health_pb2

from benchmarks.serving_process import wait_until
from tests.support.rpc import RawClient, call, health, refused
from tests.support.services import pack, toy_predictor

SERVING = health_pb2.HealthCheckResponse.SERVING
TEXTS = ["好", "坏坏", "a"]


def test_request_ids_come_back(start):
    server = start()

    def id_of(*given) -> str:
        _, done = call(server, pack(TEXTS), metadata=[("x-request-id", each) for each in given])
        (found,) = [value for key, value in done.trailing_metadata() if key == "x-request-id"]
        return found

    assert id_of("my-id/1") == "my-id/1" and id_of("x" * 128) == "x" * 128 and id_of("first", "second") == "first"
    for bad in ("x" * 129, "x" * 4000, "two words", "", '{"a"} b'):
        assert len(id_of(bad)) == 32 and bad not in (id_of(bad),)
    assert len({id_of() for _ in range(20)}) == 20
    with pytest.raises(grpc.RpcError) as error:
        call(server, b"\xff", metadata=[("x-request-id", "of-a-refusal")])
    assert ("x-request-id", "of-a-refusal") in [tuple(each) for each in error.value.trailing_metadata()]


def test_ids_of_raw_bytes(start):
    """What gRPC clients do not send: control characters, line ends, bytes above 127."""
    server = start()
    for bad in ("a\r\nset-cookie: x", "a\nb", "\x01", "\x7f", "é", "\u00ff" * 100, "a\tb"):
        connection = RawClient(server.address)
        try:
            stream = connection.begin(headers=(("x-request-id", bad),))
            connection.send(stream, pack(TEXTS))
            said = connection.status(stream)
        except (ConnectionError, OSError):
            said = {}
        if said.get("grpc-status") == "0":
            assert len(said["x-request-id"]) == 32
        assert "set-cookie" not in said and bad not in said.values()
        connection.close()
    assert server.client().predict(TEXTS) == toy_predictor(0).predict(TEXTS)


def test_requests_need_a_key(start, tmp_path):
    file = tmp_path / "keys"
    file.write_text("old-key\n\nnew-key\n")
    server = start(api_key_file=str(file), request_log=str(tmp_path / "log"))
    for key in ("old-key", "new-key"):
        assert server.client(api_key=key).predict(TEXTS) == toy_predictor(0).predict(TEXTS)
    wrong = (
        None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic b2xkLWtleTo=", "old-key", "Bearer old-key new-key",
        "Bearer old-keyx", "Bearer OLD-KEY", "Bearer " + "x" * 5000,
    )  # fmt: skip
    for number, value in enumerate(wrong):
        metadata = [] if value is None else [("authorization", value)]
        assert refused(server, pack(TEXTS), metadata=metadata) == grpc.StatusCode.UNAUTHENTICATED
        assert server.refusals("UNAUTHENTICATED") == number + 1
    assert refused(server, pack(TEXTS), metadata=[("authorization", "Bearer " + "x" * 50_000)]) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED
    )
    assert server.requests == 2
    assert health(server.address) == SERVING, "without a key"
    file.write_text("newest\n")
    assert refused(server, pack(TEXTS), metadata=[("authorization", "Bearer old-key")]) == (
        grpc.StatusCode.UNAUTHENTICATED
    )
    assert server.client(api_key="newest").predict(TEXTS)
    wait_until(lambda: (tmp_path / "log").read_text().count("\n") == 5 + len(wrong), 10)
    text = (tmp_path / "log").read_text()
    assert not any(key in text for key in ("old-key", "newest", "wrong", "xxxx"))


def test_who_has_no_key_is_not_listened_to(start, tmp_path):
    """No message is waited for, whatever it may be."""
    file = tmp_path / "keys"
    file.write_text("key\n")
    server = start(api_key_file=str(file), receive_timeout=600_000)
    connection = RawClient(server.address)
    assert connection.status(connection.begin())["grpc-status"] == str(grpc.StatusCode.UNAUTHENTICATED.value[0])
    connection.close()


@pytest.mark.parametrize("texts", [False, True])
def test_what_the_log_says_of_requests(start, tmp_path, texts):
    log = tmp_path / "log"
    server = start(request_log=str(log), request_log_texts=texts, max_texts=3)
    call(server, pack(TEXTS), metadata=[("x-request-id", "one")])
    call(server, pack(TEXTS, name="no\nsuch"), metadata=[("x-request-id", "two")])
    call(server, pack(["好"] * 4), metadata=[("x-request-id", "three")])
    refused(server, b"\xff", metadata=[("x-request-id", "four")])
    wait_until(lambda: log.read_text().count("\n") == 4, 10)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["one", "two", "three", "four"]
    assert [line["err_no"] for line in lines] == [0, 3002, 5001, None]
    assert [line["status"] for line in lines] == ["OK", "OK", "OK", "INTERNAL"]
    first = lines[0]
    assert (first["way"], first["model"], first["texts"], first["windows"]) == ("grpc", "toy", 3, 3)
    assert first["peer"].startswith("ipv4:127.0.0.1:") and 0 <= first["seconds"] < 30 and "T" in first["time"]
    assert lines[1]["model"] == "no such"
    assert ("inputs" in first) == texts and ("好" in json.dumps(lines, ensure_ascii=False)) == texts
