"""Plain JSON over HTTP: POST /<service>/prediction, GET /health.

This stands where Serving's own HTTP gateway would (libproxy_server.so of paddle-serving-server 0.9.0): that one
always listens on all interfaces, reads bodies of any size into memory, waits for slow clients without a
limit, and takes texts only as JSON within JSON. Bodies made for it are understood here too.
"""

import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Optional

from ernie_serving.bounded_server import BoundedServer
from ernie_serving.metrics import HTTP, Metrics
from ernie_serving.models import Models
from ernie_serving.protocol import HTTP_STATUS, RESULTS, Code, Refusal, fields_of_http, http_body, shown
from ernie_serving.service_config import ServiceConfig

IDLE_SECONDS = 30  # a connection that sends nothing for so long is closed
DISCARD_SECONDS = 10  # how long what a refused client still sends is read and thrown away
REFUSALS = 32  # connections over the limit that are told so at the same time; others are closed without a word


class HttpFront(BoundedServer):
    """Serves HTTP on a listening socket."""

    def __init__(self, models: Models, config: ServiceConfig, metrics: Metrics, listening: socket.socket):
        super().__init__(listening, Handler, config.max_connections)
        # Workers share the socket: one that another has taken the connection from must not wait in accept().
        self.socket.setblocking(False)
        self.models, self.config, self.metrics = models, config, metrics
        self._refusals = threading.BoundedSemaphore(REFUSALS)
        self._exchanges = 0
        self._changed = threading.Condition()

    def get_request(self):
        connection, address = self.socket.accept()
        connection.setblocking(True)
        return connection, address

    def refuse(self, request, client_address) -> None:
        if not self.start_in(self._refusals, self._say_busy, request, client_address):
            super().refuse(request, client_address)

    def _say_busy(self, request: socket.socket, client_address) -> None:
        self.metrics.refusal(HTTP, "503")
        body = http_body(Code.BUSY, "too many connections: ask again later")
        head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n"
        head += f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
        with suppress(OSError):
            request.settimeout(IDLE_SECONDS)
            request.sendall(head.encode() + body)
            discard_input(request)
        self.shutdown_request(request)

    def exchange(self, step: int) -> None:
        """Count a request that begins (1) or whose answer is sent (-1)."""
        with self._changed:
            self._exchanges += step
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Accept no more connections, and wait for answers that are on their way."""
        self.shutdown()
        with self._changed:
            self._changed.wait_for(lambda: self._exchanges == 0, seconds)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: HttpFront
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            self.close_connection = True  # what follows would be read as the next request
        if self.path != "/health":
            return self._refuse(Code.NO_SERVICE, "GET /health, or POST a request")
        stopping = self.server.models.stopping
        self._send(503 if stopping else 200, b'{"status": "stopping"}' if stopping else b'{"status": "ready"}')

    def do_POST(self) -> None:
        self.server.exchange(1)
        try:
            self._post()
        finally:
            self.server.exchange(-1)

    def _post(self) -> None:
        try:
            body = self._read_body()
        except Refusal as refusal:
            return self._refuse(refusal.code, refusal.message)
        name, _, action = self.path[1:].partition("/")
        try:
            if not name or action != "prediction":
                raise Refusal(Code.NO_SERVICE, f"nothing at {shown(self.path)}: POST /NAME/prediction")
            service = self.server.models.get(name)
        except Refusal as refusal:
            return self._refuse(refusal.code, refusal.message)
        response = service.answer(lambda: fields_of_http(body))
        results = response.value[0] if RESULTS in response.key else None
        status = HTTP_STATUS.get(response.err_no, 500)
        self._send(status, http_body(response.err_no, response.err_msg, results), retry=status == 503)

    def _read_body(self) -> bytes:
        length, most = self.headers.get_all("Content-Length", []), self.server.config.max_request_bytes
        if "Transfer-Encoding" in self.headers or len(length) != 1 or not (length[0].isascii() and length[0].isdigit()):
            self.close_connection = True
            raise Refusal(Code.INVALID, "the length of the body is not given by one Content-Length")
        if len(length[0]) > 18 or int(length[0]) > most:
            self.close_connection = True
            raise Refusal(Code.TOO_LARGE, f"the body has {shown(length[0])} bytes, the limit is {most}")
        try:
            body = self.rfile.read(int(length[0]))
        except OSError:
            body = b""
        if len(body) < int(length[0]):
            self.close_connection = True
            raise Refusal(Code.INVALID, f"the body ends after {len(body)} bytes of {length[0]}")
        return body

    def _refuse(self, code: Code, message: str) -> None:
        self._count_refusal(HTTP_STATUS[code])
        self._send(HTTP_STATUS[code], http_body(code, message))
        if self.close_connection:
            discard_input(self.connection)

    def _send(self, status: int, body: bytes, retry: bool = False) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if retry:
            self.send_header("Retry-After", "1")
        if self.close_connection or self.server.models.stopping:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:
        """What http.server itself refuses (a bad request line, an unknown method ...), as JSON too."""
        self.close_connection = True
        self._count_refusal(code)
        self._send(code, http_body(Code.INVALID, shown(message or "not an HTTP request")))
        discard_input(self.connection)

    def _count_refusal(self, status: int) -> None:
        self.server.metrics.refusal(HTTP, str(int(status)))

    def log_message(self, *args) -> None:
        """Requests are counted, not logged."""


def discard_input(connection: socket.socket) -> None:
    """Send no more, and read on for a while: to close a connection while its client still sends would reset it,
    perhaps before the client has read its answer."""
    end = time.monotonic() + DISCARD_SECONDS
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(1 << 16):
                return
