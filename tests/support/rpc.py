"""A gRPC server in the test's own process, with an engine of a few lines, and what clients of all kinds do to it."""

import socket
import subprocess
from pathlib import Path
from typing import Any, Dict, Optional, Set, Tuple

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from ernie_serving.client import Client
from ernie_serving.entrance import Entrance
from ernie_serving.metrics import GRPC
from ernie_serving.ports import reserve
from ernie_serving.protocol import RPC_METHOD
from ernie_serving.rpc_front import rpc_server
from tests.support.services import toy_models


class ToyServer:
    """Serves the toy model as "toy" and as whatever else is asked of it."""

    def __init__(self, seconds: float = 0.0, host: str = "127.0.0.1", **options: Any):
        self.models, self.config = toy_models(seconds, "toy", **options)
        self.service = self.models.get()
        self.gate, self.metrics = self.service.toy.gate, self.service.metrics
        self.entrance = Entrance(self.config, self.metrics)
        self._reserved, self.address = reserve(host, 0)
        self.server = rpc_server(self.models, self.config, self.metrics, self.address, self.entrance)

    def client(self, **options: Any) -> Client:
        return Client(self.address.split(",")[:1], **{"timeout": 30, "retries": 0, **options})

    def refusals(self, status: str) -> float:
        return self.metrics.value("ernie_refusals_total", way=GRPC, status=status)

    @property
    def requests(self) -> float:
        return self.metrics.value("ernie_requests_total")

    def stop(self) -> None:
        self.gate.set()
        assert self.server.stop(None).wait(30)
        for sock in self._reserved:
            sock.close()


def call(server: ToyServer, message: bytes, method: str = RPC_METHOD, **options: Any):
    """The answer to a message, and the call."""
    with grpc.insecure_channel(server.address, [("grpc.max_send_message_length", -1)]) as channel:
        return channel.unary_unary(method).with_call(message, timeout=30, **options)


def refused(server: ToyServer, *args: Any, **options: Any) -> grpc.StatusCode:
    """The status with which a call is refused."""
    with pytest.raises(grpc.RpcError) as error:
        call(server, *args, **options)
    return error.value.code()


class RawClient:
    """An HTTP/2 connection on which frames can be sent as no gRPC client would."""

    def __init__(self, address: str):
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self._answers: Dict[int, Dict[str, str]] = {}
        self._ended: Set[int] = set()
        self._h2.initiate_connection()
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def begin(self, method: str = RPC_METHOD, headers: Tuple[Tuple[str, str], ...] = ()) -> int:
        """Open a stream; returns its number."""
        stream = self._h2.get_next_available_stream_id()
        fixed = (
            (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost"),
            ("te", "trailers"), ("content-type", "application/grpc"),
        )  # fmt: skip
        self._h2.send_headers(stream, [*fixed, *headers])
        self._flush()
        return stream

    def send(self, stream: int, message: bytes, compressed: bool = False, end: bool = True) -> None:
        """A message in gRPC's frame of 5 bytes, as fast as the server takes it."""
        data = bytes([compressed]) + len(message).to_bytes(4, "big") + message
        while data:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(data))
            if room == 0:
                self._receive()
                continue
            self._h2.send_data(stream, data[:room])
            data = data[room:]
            self._flush()
        if end:
            self._h2.end_stream(stream)
            self._flush()

    def _receive(self) -> None:
        content = self._socket.recv(1 << 16)
        if not content:
            raise ConnectionError("the server has closed the connection")
        for event in self._h2.receive_data(content):
            stream = getattr(event, "stream_id", None)
            if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                said = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                self._answers.setdefault(stream, {}).update(said)
            if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self._ended.add(stream)
        self._flush()

    def status(self, stream: int) -> Dict[str, str]:
        """The headers and trailers of an answer, grpc-status among them; empty where the stream was reset."""
        while stream not in self._ended:
            self._receive()
        return self._answers.get(stream, {})

    def close(self) -> None:
        self._socket.close()


def health(address: str, service: str = "", credentials: Optional[grpc.ChannelCredentials] = None, **options: Any):
    """What the standard health check says: the number of the status, or gRPC's own status."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    own = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.secure_channel(address, credentials, own) if credentials else grpc.insecure_channel(address, own)
    with channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            return health_pb2_grpc.HealthStub(channel).Check(request, timeout=30, **options).status
        except grpc.RpcError as error:
            return error.code()


def openssl(*arguments: Any, cwd: Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, check=True, capture_output=True)


class Authority:
    """A certificate authority in a folder, which signs certificates for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path, name: str = "ca"):
        self.folder = folder
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate, cwd=folder,
        )  # fmt: skip

    def sign(self, name: str) -> Tuple[Path, Path]:
        """A certificate and its key."""
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        extensions = self.folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request, cwd=self.folder,
        )  # fmt: skip
        openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", "2", "-extfile", extensions, "-out", certificate, cwd=self.folder,
        )  # fmt: skip
        return certificate, key
