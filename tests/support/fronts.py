"""A front end in this process, and requests as bytes on a socket."""

import contextlib
import json
import re
import socket
import struct
import time

from benchmarks.serving_process import wait_until
from ernie_serving.http_front import HttpFront
from ernie_serving.ports import listen
from tests.support.services import SLOW, toy_models

GOOD = json.dumps({"texts": ["好"], "top_k": 1}).encode()
SLOWLY = json.dumps({"texts": [SLOW]}).encode()
POST = b"POST /seq_cls/prediction HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"


def length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


class Front:
    """A front end on one or more sockets, which may be another one's too."""

    def __init__(self, listening=None, **options):
        self.models, config = toy_models(30, "seq_cls", **options)
        self.engine, self.metrics = self.models.get().toy, self.models.get().metrics
        self.listening = listening or listen("127.0.0.1", 0, "http_port")
        self.server = HttpFront(self.models, config, self.metrics, [sock.dup() for sock in self.listening])
        self.server.start()
        self.address = self.listening[0].getsockname()[:2]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def send(self, content: bytes, ended: bool = True) -> bytes:
        """All that comes back for some bytes, until the connection is closed."""
        with self.connect() as connection:
            connection.sendall(content)
            if ended:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def send_and_leave(self, content: bytes) -> None:
        """Send bytes, and close the connection once the server has read them."""
        with self.connect() as connection:
            connection.sendall(content)
            wait_until(lambda: len(self.server.connections) > 0, 10)
            time.sleep(0.02)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.engine.gate.set()
        self.server.drain(5)
        for sock in self.listening:
            sock.close()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes. A reset is an error: what was sent before may be lost by it."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def statuses(received: bytes) -> list:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@contextlib.contextmanager
def running_front(listening=None, **options):
    front = Front(listening, **options)
    try:
        yield front
    finally:
        front.close()
