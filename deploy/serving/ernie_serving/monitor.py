"""GET /live, /health and /metrics of a whole service, for probes and Prometheus."""

import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import Callable, Tuple

from ernie_serving.bounded_server import BoundedServer

MOST_CONNECTIONS = 64  # at the same time; others are closed


class Monitor(BoundedServer):
    """Serves the three pages on a listening socket.

    Args:
        ready: gives the number of workers that answer.
        metrics: gives content type and text of all metrics, for a header Accept.
    """

    def __init__(self, listening: socket.socket, ready: Callable[[], int], metrics: Callable[[str], Tuple[str, bytes]]):
        super().__init__(listening, MonitorHandler, MOST_CONNECTIONS)
        self.ready = ready
        self.metrics = metrics

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True).start()


class MonitorHandler(BaseHTTPRequestHandler):
    server: Monitor
    timeout = 5

    def do_GET(self) -> None:
        ready = self.server.ready()
        pages = {
            "/live": (200, "application/json", '{"status": "live"}'),
            "/health": (200 if ready else 503, "application/json", f'{{"ready": {ready}}}'),
        }
        nowhere = (404, "application/json", '{"pages": ["/live", "/health", "/metrics"]}')
        status, kind, body = pages.get(self.path, nowhere)
        content = body.encode()
        if self.path == "/metrics":
            status, (kind, content) = 200, self.server.metrics(self.headers.get("Accept", ""))
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args) -> None:
        """Probes are not logged."""
