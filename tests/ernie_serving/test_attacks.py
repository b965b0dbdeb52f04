"""Bad requests to a real service: no code runs, each is answered, and the next good request is answered rightly."""

import http.client
import io
import json
import os
import pickle
import random
import socket
import time

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ernie_serving.client import RequestError
from ernie_serving.messages import load_messages
from ernie_serving.protocol import TEXTS, Code, fields_of_http, fields_of_rpc
from tests.support.models import corpus
from tests.support.services import RunningService, pack, unpack

MAX_BYTES = 1 << 20
messages = load_messages()


class Marker:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def service(services):
    """The classification service, which must still give the right answer after the test, and have the same workers."""
    service, texts = services("seq_cls"), corpus()[:5]
    client = service.client()
    before, workers = client.predict(texts), service.workers()
    yield service
    assert client.predict(texts) == before
    assert service.post(json.dumps({"texts": texts}).encode())[1]["results"] == before
    assert service.workers() == workers and service.process.poll() is None
    client.close()


def ask(service, **fields):
    """err_no and err_msg of a pipeline request."""
    response = unpack(service.rpc(messages.Request(**fields).SerializeToString()))
    return response.err_no, response.err_msg


def tensor(**fields):
    return {"tensors": [messages.Tensor(name="texts", **fields)]}


@pytest.mark.parametrize("allow_pickle", [True, False])
def test_a_pickle_in_a_bytes_tensor(service, tmp_path, allow_pickle):
    marker = tmp_path / "run"
    if allow_pickle:
        file = io.BytesIO()
        np.save(file, np.array([Marker(marker)], dtype=object), allow_pickle=True)
        data = file.getvalue()
    else:
        data = pickle.dumps(Marker(marker))
    error, message = ask(service, **tensor(elem_type=13, byte_data=data, shape=[1]))
    assert error == Code.INVALID and "tensors are not taken" in message
    assert ask(service, key=["texts"], value=['["好"]'], **tensor(elem_type=13, byte_data=data))[0] == Code.INVALID
    body = {"tensors": [{"name": "x", "elem_type": 13, "byte_data": data.hex()}], "key": ["texts"], "value": ['["好"]']}
    assert service.post(json.dumps(body).encode())[0] == 400
    assert not marker.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_tensors_of_numbers(service, value):
    assert ask(service, **tensor(elem_type=1, float_data=[value], shape=[1]))[0] == Code.INVALID


def test_python_source_in_every_string(service, tmp_path):
    marker = tmp_path / "run"
    source = f"__import__('os').mkdir({str(marker)!r})"
    for value in (
        source,
        json.dumps([source]),
        f"array(['a']) if {source} else 1",
        "{{ 7*7 }}",
        f"!!python/object/apply:os.mkdir [{marker}]",
    ):
        fields = {"name": value, "method": value, "clientip": value}
        assert ask(service, key=[value], value=[value])[0] == Code.INVALID
        assert ask(service, key=["texts"], value=[value], name=value)[0] == Code.NO_SERVICE
        for name in ("method", "clientip"):
            assert ask(service, key=["texts"], value=['["好"]'], **{name: fields[name]})[0] == Code.OK
        assert service.post(value.encode())[0] == 400
        assert service.post(json.dumps({"texts": [value], "key": [value]}).encode())[0] == 400
    assert service.client().predict([source]) and not marker.exists()


def test_a_body_of_100_megabytes(service):
    body = b'{"texts": ["' + b"a" * (100 << 20) + b'"]}'
    assert service.post(body) == (
        413,
        {"err_no": Code.TOO_LARGE, "err_msg": f"the body has {len(body)} bytes, the limit is {MAX_BYTES}"},
    )
    with pytest.raises(grpc.RpcError) as refused:
        service.rpc(pack(["a" * (100 << 20)]))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in refused.value.details()


def test_a_million_texts(service):
    with pytest.raises(grpc.RpcError, match="larger than max"):
        service.rpc(pack(["a"] * 1_000_000))
    assert service.post(json.dumps({"texts": ["a"] * 1_000_000}).encode())[0] == 413
    texts = json.dumps([""] * 200_000, separators=(",", ":"))
    assert ask(service, key=["texts"], value=[texts]) == (
        Code.TOO_LARGE,
        "200000 texts, the limit is 200 in one request",
    )


def test_texts_that_are_too_long(service):
    assert ask(service, key=["texts"], value=[json.dumps(["好" * 10_001])]) == (
        Code.TOO_LARGE, "text 1 has 10001 characters, the limit is 10000",
    )  # fmt: skip
    assert ask(service, key=["texts"], value=[json.dumps(["好" * 10_000])])[0] == Code.OK


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_json(service, depth, opening):
    for value in (opening * depth, opening * depth + "1" + {"[": "]"}.get(opening, "}") * depth):
        assert ask(service, key=["texts"], value=[value])[0] in (Code.INVALID, Code.TOO_LARGE)
        assert service.post(value.encode()[:MAX_BYTES])[0] in (400, 413)
        assert service.post(b'{"texts": [' + value.encode()[: MAX_BYTES - 20] + b"]}")[0] in (400, 413)


def test_numbers_that_take_long_to_read(service):
    started = time.monotonic()
    for digits in ("9" * 1_000_000, "1e" + "9" * 1_000_000, "[" + "1," * 400_000 + "1]"):
        assert ask(service, key=["texts"], value=[digits])[0] in (Code.INVALID, Code.TOO_LARGE)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("unit", ["[0]", "[]", "{}", "[[]]", '{"a":""}', "0", "1.5"])
def test_a_body_of_small_values_is_not_read(service, unit):
    """It would be a quarter of a million, each of which takes the time of an object of Python's or of a call."""
    texts = "[" + ",".join([unit] * (1_000_000 // (len(unit) + 1))) + "]"
    code, http, message = Code.TOO_LARGE, 413, "lists and objects, the limit is 664"
    if unit in ("0", "1.5"):
        code, http, message = Code.INVALID, 400, "64 numbers"
    error, said = ask(service, key=["texts"], value=[texts])
    assert error == code and message in said
    status, answer = service.post(b'{"texts": ' + texts.encode() + b"}")
    assert status == http and answer["err_no"] == code and message in answer["err_msg"]
    status, answer = service.post(json.dumps({"key": ["texts"], "value": [texts[:400_000] + "]"]}).encode())
    assert status == http and answer["err_no"] == code


def test_brackets_in_a_text_are_no_lists(service):
    texts = ['[{"' * 3_000, "\\[" * 4_000, '\\"[' * 3_000]
    assert len(service.client().predict(texts)) == 3
    assert len(service.client().predict([["好", "坏"]] * 500)) == 500  # too many at once, and sent in halves
    assert service.post(json.dumps({"texts": texts}).encode())[0] == 200


def test_more_keys_than_there_are(service):
    keys = [str(number) for number in range(50_000)]
    said = "50000 keys, and there are 4: texts, top_k, threshold, long_texts"
    assert ask(service, key=keys, value=["0"] * 50_000) == (Code.INVALID, said)
    assert service.post(json.dumps({"key": keys, "value": ["0"] * 50_000}).encode())[1]["err_msg"] == said


@pytest.mark.parametrize("string", [b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b'["\xe5\xa5"]'])
def test_invalid_utf8(service, string):
    """In a string of the message, which gRPC then refuses, and in an HTTP body."""
    request = b"\x0a\x05texts\x12" + bytes([len(string)]) + string
    with pytest.raises(grpc.RpcError) as refused:
        service.rpc(request)
    assert refused.value.code() == grpc.StatusCode.INTERNAL
    assert service.post(string)[0] == 400


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "is not a list with at least one input"),
        ({}, "is not a list with at least one input"),
        ("好", "is not a list with at least one input"),
        (None, "is not a list with at least one input"),
        ([1], "text 1 is not a text"),
        (["好", None], "text 2 is not a text"),
        ([["a", "b", "c"]], "text 1 is not a text"),
        ([{"text_pair": "a"}], "text 1 is not a text"),
        ([{"text": ["a"]}], "text 1 is not a text"),
        ([{"text": "a", "text_pair": 3}], "text 1 is not a text"),
        ([{"text": "a", "tokens": ["a"]}], "text 1 has the unknown field tokens"),
        ([{"text": "a", "\n\u0000": "a"}], "text 1 has the unknown field"),
    ],
)
def test_wrong_types_and_missing_keys(service, texts, message):
    error, said = ask(service, key=["texts"], value=[json.dumps(texts)])
    assert error == Code.INVALID and message in said and "\n" not in said
    status, answer = service.post(json.dumps({"texts": texts}).encode())
    assert status == 400 and answer == {"err_no": Code.INVALID, "err_msg": said}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, Code.INVALID),
        ({"key": ["texts"]}, Code.INVALID),
        ({"value": ['["好"]']}, Code.INVALID),
        ({"key": ["texts", "texts"], "value": ['["好"]', '["好"]']}, Code.INVALID),
        ({"key": ["texts", "pipeline.profile"], "value": ['["好"]', "1"]}, Code.INVALID),
        ({"key": ["text"], "value": ['["好"]']}, Code.INVALID),
        ({"key": ["texts"], "value": ['["好"]'], "name": "token_cls"}, Code.NO_SERVICE),
        ({"key": ["texts"], "value": ['["好"]'], "name": "@DAGExecutor"}, Code.NO_SERVICE),
    ],
)
def test_unknown_services_and_fields(service, fields, error):
    assert ask(service, **fields)[0] == error


def test_10_000_names_of_models(service):
    """Some of them long, some with parts of other paths: each is refused, and no metric gets a label of them."""
    connection = http.client.HTTPConnection(service.http, timeout=60)
    for number in range(10_000):
        name = (f"model-{number}", f"%2e%2e%2f{number}", f"..;{number}", "a" * number)[number % 4]
        connection.request("POST", f"/{name}/prediction", b'{"texts": ["a"]}')
        response = connection.getresponse()
        assert response.status == 404 and json.loads(response.read())["err_no"] == Code.NO_SERVICE
    connection.close()
    page = service.get("/metrics")[1]
    assert not [part for part in ("model-", "%2e", "../", "..;", "aaa") if part in page]


def connect(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while True:
            more = connection.recv(1 << 16)
            if not more:
                return received
            received += more
    except ConnectionResetError:
        return received


def test_200_half_open_connections(service):
    starts = [
        b"",
        b"POST /seq_cls/prediction HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET",
    ]
    open_ones = []
    for number in range(200):
        connection = connect(service.http if number % 2 else service.endpoint)
        connection.sendall(starts[number // 2 % len(starts)])
        open_ones.append(connection)
    texts = corpus()[:3]
    assert service.post(json.dumps({"texts": texts}).encode())[1]["results"] == service.client().predict(texts)
    for connection in open_ones:
        connection.close()


def test_more_grpc_connections_than_allowed_are_refused(serving_dir):
    service = RunningService("seq_cls", serving_dir("seq_cls"), "--max_connections=3", "--thread_num=1")
    try:
        held = [connect(service.endpoint) for _ in range(3)]
        with pytest.raises(RequestError):
            service.client(retries=0, timeout=3).predict(["好"])
        for connection in held:
            connection.close()
        assert service.client(retries=8).predict(["好"])
    finally:
        assert service.stop() == 0


def test_random_bytes_on_both_ports(service):
    generator = random.Random(7)
    for number in range(60):
        content = generator.randbytes(generator.choice([1, 10, 100, 10_000]))
        for address in (service.http, service.endpoint, service.monitor):
            with connect(address) as connection:
                try:
                    connection.sendall(content + b"\r\n\r\n" * (number % 2))
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    continue  # closed already
                connection.settimeout(30)
                read_all(connection)  # it ends: the server closes


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["texts", "text", "text_pair", "key", "value", "tensors", "pipeline.profile", ""]) | st.text(
    max_size=8
)
BODIES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    ANY_JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(KEYS, ANY_JSON, max_size=3).map(lambda value: json.dumps(value).encode()),
    st.lists(ANY_JSON, max_size=3).map(lambda value: json.dumps({"texts": value}).encode()),
)
SAFE_TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
TENSORS = st.builds(
    messages.Tensor,
    name=SAFE_TEXT,
    elem_type=st.integers(-1, 20),
    byte_data=st.binary(max_size=50),
    float_data=st.lists(st.floats(width=32), max_size=3),
    int64_data=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    str_data=st.lists(SAFE_TEXT, max_size=2),
    shape=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    lod=st.lists(st.integers(-5, 5), max_size=3),
)
REQUESTS = st.one_of(
    st.binary(max_size=300),
    st.builds(
        messages.Request,
        key=st.lists(st.sampled_from(["texts", "x"]) | SAFE_TEXT, max_size=3),
        value=st.lists(
            SAFE_TEXT | ANY_JSON.map(json.dumps) | st.lists(ANY_JSON, max_size=3).map(json.dumps), max_size=3
        ),
        tensors=st.lists(TENSORS, max_size=2),
        name=st.sampled_from(["", "seq_cls"]) | SAFE_TEXT,
        method=SAFE_TEXT,
        logid=st.integers(-(2**63), 2**63 - 1),
    ).map(lambda request: request.SerializeToString()),
)
SENT = []


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(request=REQUESTS, body=BODIES)
def test_generated_requests_are_all_answered(service, request, body):
    """300 over gRPC and 300 over HTTP; those that happen to be good are answered as such."""
    SENT.append(1)
    try:
        response = unpack(service.rpc(request))
        assert (response.err_no == Code.OK) == bool(response.value), response
        assert is_good(lambda: fields_of_rpc(messages.Request.FromString(request), 200)) or response.err_no != Code.OK
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INTERNAL  # no message of this kind
    status, answer = service.post(body)
    assert (status == 200) == (answer["err_no"] == Code.OK) == ("results" in answer), answer
    assert is_good(lambda: fields_of_http(body, 200)) or status in (400, 413)


def is_good(read) -> bool:
    try:
        return bool(read().get(TEXTS))
    except Exception:
        return False


def test_enough_requests_were_generated():
    assert not SENT or len(SENT) >= 250  # twice as many requests
