"""gRPC as clients use it, and as they should not: whatever one does, the others are answered."""

import gzip
import resource
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import h2.exceptions
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.serving_process import wait_until
from ernie_serving import rpc_front
from ernie_serving.client import RequestError
from ernie_serving.ports import reserve
from ernie_serving.protocol import RPC_METHOD, Code
from tests.support.rpc import RawClient, ToyServer, call, health, refused
from tests.support.services import SLOW, pack, toy_predictor, unpack

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
TEXTS = ["好", "坏坏", "a"]


def answers(server: ToyServer) -> bool:
    client = server.client()
    try:
        return client.predict(TEXTS) == toy_predictor(0).predict(TEXTS) and is_healthy(server)
    finally:
        client.close()


def is_healthy(server: ToyServer) -> bool:
    return all(health(each) == SERVING for each in server.address.split(","))


# ---------------------------------------------------------------- calls that do not go on


def test_calls_whose_message_does_not_come_keep_nobody_out(start):
    """As many on one connection as it may have, and more on others than a server has threads."""
    server = start(receive_timeout=600_000, queue_size=4)
    connections = [RawClient(server.address) for _ in range(3)]
    try:
        for connection in connections:
            for _ in range(100):
                connection.begin()
        for connection in connections[1:]:  # with a part of the message
            connection._h2.send_data(connection.begin(), b"\0\0\0\1\0abc")
            connection._flush()
        wait_until(lambda: len(server.server._calls._reading) >= 300, 30)
        before = threading.active_count()
        assert all(answers(server) for _ in range(5))
        assert threading.active_count() <= before + 8
    finally:
        for connection in connections:
            connection.close()
    wait_until(lambda: not server.server._calls._reading, 30)
    assert answers(server)


def test_a_message_has_a_time_limit(start):
    server = start(receive_timeout=300)
    connection = RawClient(server.address)
    streams = [connection.begin(method) for method in (RPC_METHOD, rpc_front.HEALTH + "Check")]
    for stream in streams:
        assert connection.status(stream)["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    connection.close()
    assert server.refusals("DEADLINE_EXCEEDED") == 2 and answers(server)


def test_of_too_many_calls_without_their_message_the_oldest_ends(start, monkeypatch):
    monkeypatch.setattr(rpc_front, "MOST_READING", 20)
    server = start(receive_timeout=600_000)
    connection = RawClient(server.address)
    streams = [connection.begin() for _ in range(21)]
    assert connection.status(streams[0])["grpc-status"] == str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert server.refusals("RESOURCE_EXHAUSTED") == 1
    for _ in range(10):
        assert answers(server), "whose message comes at once is never the oldest"
    connection.send(streams[-1], pack(TEXTS))
    assert connection.status(streams[-1])["grpc-status"] == "0"
    connection.close()


def test_more_requests_than_threads_are_refused(start):
    server = start(60.0, queue_size=2, timeout=60_000)
    calls = server.server._calls
    calls._most_threads = 4
    with grpc.insecure_channel(server.address) as channel, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(channel.unary_unary(RPC_METHOD), pack([SLOW]), timeout=60) for _ in range(2)]
        wait_until(lambda: server.service.in_flight == 2, 30)
        assert unpack(call(server, pack(["好"]))[0]).err_no == Code.BUSY
        calls._most_threads = 2
        assert refused(server, pack(["好"])) == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert health(server.address) == SERVING
        server.gate.set()
        assert [unpack(each.result()).err_no for each in waiting] == [Code.OK] * 2
    wait_until(lambda: calls._answering == 0, 30)
    assert answers(server)


def test_clients_that_go_away_leave_nothing_behind(start):
    server = start(60.0, timeout=60_000)
    with grpc.insecure_channel(server.address) as channel:
        calls = [channel.unary_unary(RPC_METHOD).future(pack([SLOW]), timeout=60) for _ in range(20)]
        wait_until(lambda: server.service.in_flight == 20, 30)
        for each in calls:
            each.cancel()
    assert is_healthy(server)
    server.gate.set()
    wait_until(lambda: server.server._calls._answering == 0 and server.service.in_flight == 0, 30)
    assert answers(server)


# ---------------------------------------------------------------- messages


def peak_memory() -> int:
    """Bytes that this process has had at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


ZEROS = 1 << 30


def squeezed(compressor) -> bytes:
    """A gigabyte of zeros, made a piece at a time."""
    piece = bytes(1 << 20)
    return b"".join([*(compressor.compress(piece) for _ in range(ZEROS >> 20)), compressor.flush()])


@pytest.mark.parametrize("kind, wbits", [("gzip", 31), ("deflate", 15)])
@pytest.mark.parametrize("said", [True, False])
def test_a_message_that_inflates_is_not_inflated(start, kind, wbits, said):
    bomb = squeezed(zlib.compressobj(9, zlib.DEFLATED, wbits))
    server = start(max_request_bytes=2 << 20)
    assert len(bomb) < 2 << 20 and answers(server)
    before = peak_memory()
    connection = RawClient(server.address)
    stream = connection.begin(headers=(("grpc-encoding", kind),) if said else ())
    try:
        connection.send(stream, bomb, compressed=True)
        status = connection.status(stream).get("grpc-status")
    except (ConnectionError, h2.exceptions.ProtocolError):  # the server has closed it
        status = None
    assert status != "0" and peak_memory() - before < 64 << 20
    connection.close()
    assert answers(server)


def test_compressed_messages_of_real_clients_are_refused(start):
    server = start()
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert refused(server, pack(TEXTS), compression=compression) == grpc.StatusCode.UNIMPLEMENTED
    connection = RawClient(server.address)
    stream = connection.begin(headers=(("grpc-encoding", "gzip"),))
    connection.send(stream, gzip.compress(pack(TEXTS)), compressed=True)
    assert connection.status(stream)["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])
    connection.close()
    assert server.requests == 0 and answers(server)


def test_what_grpc_itself_refuses_is_counted(start):
    server = start()

    def unread() -> float:
        """Calls whose message was not taken: gRPC either says that it ends, or cancels the call."""
        return server.refusals("RESOURCE_EXHAUSTED") + server.refusals("CANCELLED")

    assert refused(server, pack(["a" * (2 << 20)])) == grpc.StatusCode.RESOURCE_EXHAUSTED
    wait_until(lambda: unread() == 1, 10)
    assert refused(server, b"\xff\xff no message") == grpc.StatusCode.INTERNAL
    assert server.refusals("INTERNAL") == 1
    assert refused(server, b"", "/no.such/method") == grpc.StatusCode.UNIMPLEMENTED
    assert server.refusals("UNIMPLEMENTED") == 1
    connection = RawClient(server.address)
    stream = connection.begin()
    connection._h2.end_stream(stream)
    connection._flush()
    assert "no message has come" in connection.status(stream)["grpc-message"]
    wait_until(lambda: unread() == 2, 10)
    stream = connection.begin()
    wait_until(lambda: server.server._calls._reading, 10)
    connection._h2.reset_stream(stream)
    connection._flush()
    wait_until(lambda: unread() == 3, 10)
    connection.close()
    assert server.requests == 0 and answers(server)


def test_metadata_that_is_too_large(start):
    server = start()
    for size in (20_000, 200_000):
        assert refused(server, pack(TEXTS), metadata=[("x-large", "a" * size)]) == grpc.StatusCode.RESOURCE_EXHAUSTED
    many = [(f"x-{number}", "a" * 50) for number in range(2000)]
    assert refused(server, pack(TEXTS), metadata=many) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answers(server)


def test_streams_that_are_opened_and_reset_at_once(start):
    server = start()
    connection = RawClient(server.address)
    try:
        for _ in range(2000):
            connection._h2.reset_stream(connection.begin())
        connection._flush()
    except (ConnectionError, OSError):
        pass  # gRPC has enough
    assert answers(server)
    connection.close()


# ---------------------------------------------------------------- requests


def test_names_of_models(start):
    server = start()
    for name, code in (("", Code.OK), ("toy", Code.OK), ("none", Code.NO_SERVICE), ("x" * 5000, Code.NO_SERVICE)):
        response = unpack(call(server, pack(TEXTS, name=name))[0])
        assert response.err_no == code and len(response.err_msg) < 200
    assert server.metrics.value("ernie_requests_total", model="", err_no="3002") == 2


def test_health_by_name(start):
    server = start()
    for name in ("", "toy", "baidu.paddle_serving.pipeline_serving.PipelineService"):
        assert health(server.address, name) == SERVING
    for name in ("other", "PipelineService", "x" * 5000):
        assert health(server.address, name) == grpc.StatusCode.NOT_FOUND
    server.models.stopping = True
    assert health(server.address, "toy") == NOT_SERVING and health(server.address) == NOT_SERVING


def test_health_is_watched(start, monkeypatch):
    monkeypatch.setattr(rpc_front, "WATCH_SECONDS", 0.02)
    server = start()
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        known = stub.Watch(health_pb2.HealthCheckRequest(service="toy"), timeout=30)
        unknown = stub.Watch(health_pb2.HealthCheckRequest(service="other"), timeout=30)
        assert next(known).status == SERVING
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        monkeypatch.setattr(rpc_front, "MOST_WATCHES", 2)
        with pytest.raises(grpc.RpcError) as too_many:
            next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=30))
        assert too_many.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        server.models.stopping = True
        assert [each.status for each in known] == [NOT_SERVING], "and then the stream ends"
        assert list(unknown) == []


def test_draining_answers_what_was_accepted(start):
    server = start(60.0, timeout=60_000)
    with grpc.insecure_channel(server.address) as channel:
        accepted = channel.unary_unary(RPC_METHOD).future(pack([SLOW]), timeout=60)
        wait_until(lambda: server.service.in_flight == 1, 30)
        draining = threading.Thread(target=server.models.drain)
        draining.start()
        wait_until(lambda: server.service.stopping, 10)
        assert unpack(call(server, pack(["好"]))[0]).err_no == Code.STOPPING
        ended = server.server.stop(30)
        server.gate.set()
        assert unpack(accepted.result()).err_no == Code.OK
        assert ended.wait(30)
        draining.join()
    with pytest.raises(RequestError):
        server.client(timeout=2).predict(["好"])


def test_several_servers_share_a_port(start):
    """As the workers of a service do."""
    server = start()
    other = rpc_front.rpc_server(server.models, server.config, server.metrics, server.address, server.entrance)
    for _ in range(20):
        assert answers(server)
    assert other.stop(5).wait(30)
    for _ in range(10):
        assert answers(server)


def test_localhost_is_both_families(start):
    server = start(host="localhost")
    addresses = server.address.split(",")
    ports = {each.rpartition(":")[2] for each in addresses}
    assert len(ports) == 1 and addresses[0].startswith("127.0.0.1:")
    if len(addresses) == 1:
        with pytest.raises(OSError), socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    for address in addresses:
        assert health(address) == SERVING
    assert answers(server)


def test_a_port_that_is_taken_at_one_family_is_taken():
    from ernie_inference.errors import InputError

    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        sock.listen()
        with pytest.raises(InputError, match="rpc_port .* at localhost cannot be had"):
            reserve("localhost", sock.getsockname()[1])


def test_a_server_that_cannot_listen_says_so(start):
    with pytest.raises(RuntimeError):
        start(host="127.0.0.1") and rpc_front.rpc_server(
            start().models, start().config, start().metrics, "192.0.2.1:1", start().entrance
        )
