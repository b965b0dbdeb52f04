"""GET /live, /health and /metrics of a whole service, for probes and Prometheus, and POST /models/NAME/reload."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Sequence, Tuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ernie_serving.http_app import as_json, build_app
from ernie_serving.http_connection import Limits
from ernie_serving.http_server import HttpServer

LIMITS = Limits(connections=64, receive=5.0, keep_alive=5.0, patience=0.2)
THREADS = 4


class Monitor(HttpServer):
    """Serves the pages of a service on listening sockets, in a thread of its own.

    Args:
        ready: gives the number of workers that answer.
        metrics: gives content type and text of all metrics, for a header Accept.
    """

    def __init__(
        self,
        listening: Sequence[socket.socket],
        ready: Callable[[], int],
        metrics: Callable[[str], Tuple[str, bytes]],
    ):
        self._count_ready, self._metrics = ready, metrics
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="monitor")
        routes = [
            Route("/live", self._live),
            Route("/health", self._health),
            Route("/metrics", self._page),
        ]
        app = build_app(routes, "there is /live, /health and /metrics")
        super().__init__(app, listening, LIMITS)

    async def _live(self, request: Request) -> Response:
        return as_json({"status": "live"})

    async def _health(self, request: Request) -> Response:
        ready = self._count_ready()
        return as_json({"ready": ready}, 200 if ready else 503)

    async def _page(self, request: Request) -> Response:
        loop = asyncio.get_running_loop()
        kind, content = await loop.run_in_executor(self._threads, self._metrics, request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": kind})
