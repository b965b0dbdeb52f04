"""Plain JSON over HTTP: POST /MODEL/prediction, what is served, and health.

This stands where Serving's own HTTP gateway would (libproxy_server.so of paddle-serving-server 0.9.0): that one
always listens on all interfaces, reads bodies of any size into memory, waits for slow clients without a
limit, and takes texts only as JSON within JSON. Bodies made for it are understood here too.
"""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Optional, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ernie_serving.docs_page import docs_routes
from ernie_serving.entrance import Entrance
from ernie_serving.http_app import as_json, build_app, check_key, json_response
from ernie_serving.http_connection import Hooks, Limits
from ernie_serving.http_server import HttpServer
from ernie_serving.metrics import HTTP, Metrics
from ernie_serving.models import Models
from ernie_serving.openapi import describe_service
from ernie_serving.protocol import HTTP_STATUS, RESULTS, Code, Refusal, fields_of_http, http_body, shown, too_large
from ernie_serving.request_log import Entry
from ernie_serving.service import Service
from ernie_serving.service_config import ServiceConfig


class HttpFront(HttpServer):
    """Serves the models of a worker on listening sockets, in a thread of its own.

    Args:
        listening: which workers may share.
        entrance: who may come in; None: as the config says.
    """

    def __init__(
        self,
        models: Models,
        config: ServiceConfig,
        metrics: Metrics,
        listening: Sequence[socket.socket],
        entrance: Optional[Entrance] = None,
    ):
        self._models, self._most_bytes = models, config.max_request_bytes
        self._entrance = entrance or Entrance(config, metrics)
        # A connection has one request at a time, so that none waits for a thread, in which its own time limit begins.
        # But clients may leave while their requests are computed: places are counted apart from connections.
        self._threads = ThreadPoolExecutor(config.max_connections, thread_name_prefix="http")
        self._places = threading.BoundedSemaphore(config.max_connections)
        routes = [
            Route("/{model}/prediction", self._predict, methods=["POST"]),
            Route("/models", self._list),
            Route("/models/{model}", self._describe),
            Route("/health", self._ready),
            Route("/health/ready", self._ready),
            Route("/health/live", self._live),
            Route("/openapi.json", self._openapi),
            *docs_routes(),
        ]

        def refused(status: int) -> None:
            metrics.refusal(HTTP, str(status))

        app = build_app(routes, "see /openapi.json", refused)
        limits = Limits(config.max_connections, config.receive_timeout / 1000, config.keep_alive / 1000)
        certificates = self._entrance.certificates
        tls = None if certificates is None else certificates.ssl_context()
        super().__init__(app, listening, limits, Hooks(refused, lambda: models.stopping), tls)

    async def _predict(self, request: Request) -> Response:
        name = request.path_params["model"]
        entry = Entry(HTTP, request.state.id, request.client.host, model=shown(name))
        try:
            check_key(request, self._entrance.keys)
            service = self._models.get(name)
            given = await self._read(request)
            if not self._places.acquire(blocking=False):
                raise Refusal(Code.BUSY, "requests are computed whose clients have left: ask again later")
        except HTTPException as error:
            self._note(entry, error.status_code)
            raise
        except Refusal as refusal:
            entry.err_no = refusal.code
            self._note(entry, HTTP_STATUS[refusal.code])
            raise
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(self._threads, self._answer, service, given, entry)
        status = HTTP_STATUS.get(response.err_no, 500)
        entry.answered(name, response, str(status))
        self._entrance.log.write(entry)
        fields = dict(zip(response.key, response.value))
        body = http_body(response.err_no, response.err_msg, fields.pop(RESULTS, None), **fields)
        return json_response(body, status)

    def _answer(self, service: Service, given: bytes, entry: Entry):
        try:
            read = partial(fields_of_http, given, service.limits.texts)
            return service.answer(read, entry=entry, size=len(given))
        finally:
            self._places.release()

    def _note(self, entry: Entry, status: int) -> None:
        """Log a request that no model was asked."""
        entry.status = str(status)
        self._entrance.log.write(entry)

    async def _read(self, request: Request) -> bytes:
        """The body, of which no more than is allowed is kept.

        Raises:
            Refusal: it is larger.
            HTTPException: it is compressed, or encoded otherwise.
        """
        coding = request.headers.get("content-encoding", "identity")
        if coding.strip().lower() not in ("", "identity"):
            raise HTTPException(415, f"Content-Encoding {shown(coding)} is not taken: send the body as it is")
        body = bytearray()
        length = int(request.headers.get("content-length", 0))
        if length > self._most_bytes:
            too_large(f"the body has {length} bytes", str(self._most_bytes))
        async for part in request.stream():
            body += part
            if len(body) > self._most_bytes:
                too_large(f"the body has {len(body)} bytes or more", str(self._most_bytes))
        return bytes(body)

    async def _list(self, request: Request) -> Response:
        check_key(request, self._entrance.keys)
        return as_json({"models": self._models.describe()})

    async def _describe(self, request: Request) -> Response:
        check_key(request, self._entrance.keys)
        return as_json(self._models.get(request.path_params["model"]).describe())

    async def _ready(self, request: Request) -> Response:
        return as_json({"status": "stopping"}, 503) if self._models.stopping else as_json({"status": "ready"})

    async def _live(self, request: Request) -> Response:
        return as_json({"status": "live"})

    async def _openapi(self, request: Request) -> Response:
        return as_json(describe_service(self._models, self._entrance.keys.required))
