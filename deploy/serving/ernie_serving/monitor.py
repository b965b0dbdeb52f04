"""GET /live, /health and /metrics of a whole service, for probes and Prometheus, and POST /models/NAME/reload."""

import asyncio
import ipaddress
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Dict, Optional, Sequence, Tuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ernie_inference.errors import InputError
from ernie_serving.api_keys import ApiKeys
from ernie_serving.http_app import as_json, build_app, check_key, json_response
from ernie_serving.http_connection import Limits
from ernie_serving.http_server import HttpServer
from ernie_serving.protocol import Code, http_body
from ernie_serving.reloading import ReloadRunning, UnknownModel

LIMITS = Limits(connections=64, receive=5.0, keep_alive=5.0, patience=0.2)
THREADS = 4
FAILURES = {UnknownModel: (404, Code.NO_SERVICE), ReloadRunning: (409, Code.BUSY), InputError: (422, Code.FAILED)}
# Of a request that a proxy hands on, or that a page in a browser makes, which are not those of a user of this machine.
FOREIGN = ("forwarded", "x-forwarded-for", "x-real-ip", "via", "origin")


class Monitor(HttpServer):
    """Serves the pages of a service on listening sockets, in a thread of its own.

    Args:
        ready: gives the number of workers that answer.
        metrics: gives content type and text of all metrics, for a header Accept.
        reload: loads a model again; see Reloading.reload.
        keys: that a reload needs. Where there are none, it is taken from this machine alone.
        tls: for HTTPS.
    """

    def __init__(
        self,
        listening: Sequence[socket.socket],
        ready: Callable[[], int],
        metrics: Callable[[str], Tuple[str, bytes]],
        reload: Callable[[str], Dict[str, str]],
        keys: ApiKeys,
        tls: Optional[ssl.SSLContext] = None,
    ):
        self._count_ready, self._metrics, self._reload, self._keys = ready, metrics, reload, keys
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="monitor")
        routes = [
            Route("/live", self._live),
            Route("/health", self._health),
            Route("/metrics", self._page),
            Route("/models/{model}/reload", self._reload_model, methods=["POST"]),
        ]
        app = build_app(routes, "there is /live, /health, /metrics and POST /models/NAME/reload")
        super().__init__(app, listening, LIMITS, tls=tls)

    async def _live(self, request: Request) -> Response:
        return as_json({"status": "live"})

    async def _health(self, request: Request) -> Response:
        ready = self._count_ready()
        return as_json({"ready": ready}, 200 if ready else 503)

    async def _page(self, request: Request) -> Response:
        loop = asyncio.get_running_loop()
        kind, content = await loop.run_in_executor(self._threads, self._metrics, request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": kind})

    async def _reload_model(self, request: Request) -> Response:
        check_key(request, self._keys)
        if not self._keys.required and not is_local(request):
            return json_response(
                http_body(Code.INVALID, "without API keys, a reload is taken from this machine alone"), 403
            )
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(self._threads, self._reload, request.path_params["model"])
        except InputError as error:
            status, code = next(found for kind, found in FAILURES.items() if isinstance(error, kind))
            return json_response(http_body(code, str(error)), status)
        return as_json(done)


def is_local(request: Request) -> bool:
    """Whether a user of this machine asks."""
    address = ipaddress.ip_address(request.client.host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback and not any(name in request.headers for name in FOREIGN)
