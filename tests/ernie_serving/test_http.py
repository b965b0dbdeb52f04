"""HTTP as it comes from a socket: forms of a request, what is refused, slow clients, and more clients than there is
room for. The front end runs in this process, on real sockets, with a model of a few lines."""

import contextlib
import http.client
import json
import re
import resource
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.serving_process import wait_until
from ernie_serving.ports import listen
from ernie_serving.protocol import Code
from tests.support.fronts import GET, GOOD, POST, SLOWLY, Front, length, read_all, running_front, statuses


@pytest.fixture(scope="module")
def front():
    running = Front(max_connections=100, receive_timeout=1000, keep_alive=1000)
    yield running
    running.close()


# ---------------------------------------------------------------- forms of a request


@pytest.mark.parametrize("host", [b"[", b"x/a?b", b"[::1", b"a b"])
def test_a_host_that_is_none_breaks_no_answer(front, host):
    assert statuses(front.send(b"GET /nothing HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")) in ([404], [400])


def test_clients_that_leave_while_they_are_answered_do_not_pile_up():
    with running_front(max_connections=4, queue_size=200) as front:
        for _ in range(40):
            front.send_and_leave(POST + length(SLOWLY))
        assert front.server._threads._work_queue.qsize() == 0
        refusals = front.metrics.value("ernie_refusals_total", way="http", status="503")
        assert refusals > 0


@pytest.mark.parametrize(
    "target",
    [b"/health", b"/health?x=1", b"/health/", b"http://example.com/health?x=1", b"/health/ready", b"/%68ealth"],
)
def test_forms_of_a_path(front, target):
    for method in (b"GET", b"HEAD"):
        answer = front.send(method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert statuses(head) == [200] and b"content-length: 19" in head
        assert body == (b"" if method == b"HEAD" else b'{"status": "ready"}')


@pytest.mark.parametrize("target", [b"", b"/", b"?a=b&c", b"/?a"])
def test_forms_of_a_request_to_a_model(front, target):
    post = b"POST /seq_cls/prediction" + target + b" HTTP/1.1\r\nHost: x\r\n"
    whole = front.send(post + length(GOOD))
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD[:5], GOOD[5:]))
    chunked = front.send(post + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
    assert statuses(whole) == statuses(chunked) == [200]
    answer = json.loads(whole.partition(b"\r\n\r\n")[2])
    assert answer["results"] == json.loads(chunked.partition(b"\r\n\r\n")[2])["results"]
    assert answer["results"][0]["scores"][0]["label"] == answer["results"][0]["label"]


def test_requests_one_after_the_other_on_a_connection(front):
    """Sent at once, and the client closes its half before it reads the answers."""
    assert statuses(front.send((POST + length(GOOD) + GET + b"\r\n") * 2)) == [200] * 4


def test_a_client_that_waits_before_it_sends_its_body(front):
    with front.connect() as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
        assert statuses(connection.recv(1 << 16)) == [100]
        connection.sendall(GOOD)
        assert statuses(connection.recv(1 << 16)) == [200]


def test_methods_and_paths_that_are_none(front):
    for method, path, status in (
        (b"GET", b"/seq_cls/prediction", 405), (b"X" * 100, b"/seq_cls/prediction", 405), (b"DELETE", b"/health", 405),
        (b"TRACE", b"/health", 405), (b"POST", b"/seq_cls", 404), (b"GET", b"/", 404), (b"OPTIONS", b"*", 404),
        (b"POST", b"/%2e%2e/prediction", 404), (b"POST", b"/../../etc/passwd", 404), (b"GET", b"/models/..%2f..", 404),
        (b"GET", b"/docs/../../../etc/passwd", 404), (b"GET", b"/docs/%2e%2e%2fhttp_front.py", 404),
        (b"POST", b"/" + b"a" * 10_000 + b"/prediction", 404), (b"GET", b"http://[::1/nothing", 404),
    ):  # fmt: skip
        answer = front.send(method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n" + length(b"{}"))
        assert statuses(answer) == [status], (method, path)
        error = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert error["err_no"] == (Code.NO_SERVICE if status == 404 else Code.INVALID) and "\n" not in error["err_msg"]
        assert len(error["err_msg"]) < 200 and (status == 404 or b"\r\nallow: " in answer)


# ---------------------------------------------------------------- what can be read in two ways


@pytest.mark.parametrize("start", [GET, POST])
@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"Content-Length: 3, 3\r\n\r\nabc",
        b"Content-Length: +3\r\n\r\nabc",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x3\r\n\r\nabc",
        b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Content-Length : 3\r\n\r\nabc",
        b"A line without a colon\r\n\r\n",
        b"A: b\r\n c\r\n\r\n",
        b"A: b\r\n\tc\r\n\r\n",
        b"A: \x00\r\n\r\n",
        b"A: b\rContent-Length: 3\r\n\r\nabc",
    ],
)
def test_what_two_servers_may_read_differently_is_refused(front, start, rest):
    """And the connection is closed, so that nothing behind it is read as a request."""
    answer = front.send(start + rest + GET + b"\r\n", ended=False)
    assert len(statuses(answer)) == 1 and statuses(answer)[0] in (400, 501), answer
    assert b"\r\nConnection: close\r\n" in answer and b'"err_no": 5000' in answer


def test_other_requests_that_are_refused(front):
    for content, status in (
        (b"POST /seq_cls/prediction HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /seq_cls/prediction HTTP/1.1\r\n" + length(GOOD), 400),  # without Host
        (b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS
        (POST + b"Content-Length: 5\r\n\r\nabc", 400),
        (POST + b"A: b", 400),
        (POST + b"A: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (POST + b"".join(b"A%d: b\r\n" % i for i in range(3000)) + b"\r\n", 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n", 431),
        (POST + b"Content-Length: 99999999999\r\n\r\n", 413),
    ):
        answer = front.send(content)
        assert statuses(answer) == [status], content[:60]
        assert b"\r\nconnection: close" in answer.lower()
    assert front.metrics.value("ernie_refusals_total", way="http", status="431") >= 3


@pytest.mark.parametrize(("coding", "status"), [(b"gzip", 415), (b"identity, br", 415), (b"Identity", 200)])
def test_a_body_that_says_it_is_encoded_is_not_taken_as_it_is(front, coding, status):
    answer = front.send(POST + b"Content-Encoding: " + coding + b"\r\n" + length(GOOD))
    assert statuses(answer) == [status]
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["err_no"] == (0 if status == 200 else Code.INVALID)


def test_a_body_after_get_is_not_read_as_the_next_request(front):
    hidden = GET + b"\r\n"
    assert statuses(front.send(GET + length(hidden))) == [200]
    assert statuses(front.send(GET + b"Content-Length: 1000000\r\n\r\n" + hidden, ended=False)) == [200]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_client_that_sends_too_much_reads_why(front, framing):
    """It is still sending when it is refused; nothing is reset under it."""
    with front.connect() as connection:
        if framing == "length":
            connection.sendall(POST + b"Content-Length: 100000000\r\n\r\n")
        else:
            connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n5f5e100\r\n")
        for _ in range(50):
            connection.sendall(b" " * 100_000)
        answer = read_all(connection)
    assert statuses(answer) == [413] and b'"err_no": 5001' in answer


# ---------------------------------------------------------------- keys, ids and the log


def test_with_keys_what_models_say_needs_one(tmp_path):
    keys, log = tmp_path / "keys", tmp_path / "log"
    keys.write_text("right\n")
    with running_front(api_key_file=str(keys), request_log=str(log)) as front:
        key = b"Authorization: Bearer right\r\n"
        for start, status in ((POST, 401), (POST + b"Authorization: Bearer wrong\r\n", 401), (POST + key, 200)):
            answer = front.send(start + b"X-Request-ID: id-1\r\n" + length(GOOD))
            assert statuses(answer) == [status] and b"\r\nx-request-id: id-1\r\n" in answer
            assert (b"\r\nwww-authenticate: Bearer\r\n" in answer) == (status == 401)
        # Nothing of a body is read before the key.
        assert statuses(front.send(POST + b"Content-Length: 1000000\r\n\r\n", ended=False)) == [401]
        models = b"GET /models HTTP/1.1\r\nHost: x\r\n"
        assert statuses(front.send(models + b"\r\n")) == [401]
        assert statuses(front.send(models + key + b"\r\n")) == [200]
        assert statuses(front.send(GET + b"\r\n")) == [200]
        wait_until(lambda: log.exists() and len(log.read_text().splitlines()) == 4, 10)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(entry["status"], entry["err_no"], entry["texts"]) for entry in entries] == [
        ("401", None, 0), ("401", None, 0), ("200", 0, 1), ("401", None, 0),
    ]  # fmt: skip
    assert {entry["id"] for entry in entries[:3]} == {"id-1"} and {entry["way"] for entry in entries} == {"http"}


@pytest.mark.parametrize("given", [b"a" * 10_000, b"a b", b"\xff\xfe", b""])
def test_ids_that_are_none_are_not_sent_back(front, given):
    answer = front.send(GET + b"X-Request-ID: " + given + b"\r\n\r\n")
    (sent,) = re.findall(rb"\r\nx-request-id: ([^\r]*)", answer)
    assert statuses(answer) == [200] and 0 < len(sent) <= 128 and sent != given


# ---------------------------------------------------------------- slow clients


@pytest.mark.parametrize(
    "start", [POST, POST + b"Content-Length: 1000\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_a_request_that_comes_byte_by_byte_is_given_up(front, start):
    """However regularly it does: the time is that of the whole request."""
    with front.connect() as connection:
        connection.sendall(start)
        for _ in range(200):
            if select.select([connection], [], [], 0.05)[0]:
                break
            connection.sendall(b"a")
        else:
            pytest.fail("it was still read after ten times the limit")
        assert statuses(read_all(connection)) == [408]


def test_connections_that_say_nothing_are_closed(front):
    assert front.send(b"", ended=False) == b""
    assert statuses(front.send(GET + b"\r\n", ended=False)) == [200]  # and after the answer


def test_a_client_that_does_not_read_its_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr("ernie_serving.http_connection.LINGER_SECONDS", 0.2)
    with running_front(receive_timeout=500, keep_alive=200) as front, front.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        wait_until(lambda: len(front.server.connections) == 1, 10)
        wait_until(lambda: not front.server.connections, 20)


# ---------------------------------------------------------------- more clients than there is room for


def test_the_slowest_make_room(front):
    with running_front(max_connections=4, receive_timeout=60_000) as front, contextlib.ExitStack() as stack:
        held = [stack.enter_context(front.connect()) for _ in range(4)]
        for connection in held:
            connection.sendall(POST)
        for _ in range(3):
            assert statuses(front.send(POST + length(GOOD))) == [200]
        assert statuses(read_all(held[0])) == [408]
        assert len(front.server.connections) <= 4


def test_too_many_are_told_so_where_nobody_has_room():
    with ThreadPoolExecutor() as threads, running_front(max_connections=2, timeout=60_000) as front:
        held = [threads.submit(front.send, POST + length(SLOWLY)) for _ in range(2)]
        wait_until(lambda: front.models.get().in_flight == 2, 10)
        # The answer reaches a client that is still sending.
        answer = front.send(POST + length(b" " * 500_000))
        assert statuses(answer) == [503] and b"\r\nRetry-After: 1\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
            "err_no": Code.BUSY, "err_msg": "too many connections: ask again later",
        }  # fmt: skip
        assert front.metrics.value("ernie_refusals_total", way="http", status="503") == 1
        waiting = threads.submit(front.send, POST + length(GOOD))
        front.engine.gate.set()
        assert [statuses(each.result()) for each in (*held, waiting)] == [[200]] * 3


def test_a_full_worker_leaves_connections_to_one_that_has_room():
    """Both have the same listening socket, as worker processes have."""
    with ThreadPoolExecutor() as threads, running_front(max_connections=2, timeout=60_000) as full:
        held = [threads.submit(full.send, POST + length(SLOWLY)) for _ in range(2)]
        wait_until(lambda: full.models.get().in_flight == 2, 10)
        with running_front([sock.dup() for sock in full.listening], max_connections=2) as free:
            answers = list(threads.map(lambda _: statuses(free.send(POST + length(GOOD))), range(40)))
        assert answers == [[200]] * 40
        full.engine.gate.set()
        assert [statuses(each.result()) for each in held] == [[200]] * 2


def test_without_file_descriptors_nothing_spins(front):
    """The connection waits in the queue until there are some again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as connection, socket.socket() as lowest:
        free = lowest.fileno() + 1
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            connection.settimeout(30)
            connection.connect(front.address)
            connection.sendall(GET + b"Connection: close\r\n\r\n")
            used = time.process_time()
            assert not select.select([connection], [], [], 1)[0], "a descriptor was free"
            assert time.process_time() - used < 0.5
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert statuses(read_all(connection)) == [200]


def test_drain_sends_what_is_on_its_way_and_closes_the_rest():
    with running_front(timeout=60_000) as front, front.connect() as asking:
        idle = http.client.HTTPConnection(*front.address, timeout=30)
        idle.request("GET", "/health")
        assert idle.getresponse().read() == b'{"status": "ready"}'
        asking.sendall(POST + length(SLOWLY))
        wait_until(lambda: front.models.get().in_flight == 1, 10)
        thread = threading.Thread(target=front.server.drain, args=(20,))
        thread.start()
        assert read_all(idle.sock) == b""
        assert thread.is_alive()
        front.engine.gate.set()
        answer = read_all(asking)
        assert statuses(answer) == [200] and b"\r\nconnection: close" in answer
        thread.join(20)
        assert not thread.is_alive()


def test_localhost_is_both_families():
    sockets = listen("localhost", 0, "http_port")
    assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
    with running_front(sockets) as front:
        for host in ("127.0.0.1", "::1"):
            front.address = (host, front.address[1])
            assert statuses(front.send(GET + b"\r\n")) == [200]
