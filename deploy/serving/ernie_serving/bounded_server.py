"""An HTTP server with a bounded number of connections, as http_front.py and monitor.py are."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable, Type


class BoundedServer(ThreadingHTTPServer):
    """Serves HTTP on a listening socket, each connection in a thread; those over the limit are refused.

    Args:
        listening: the socket.
        handler: makes answers.
        connections: the most at the same time.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, handler: Type[BaseHTTPRequestHandler], connections: int):
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._slots = threading.BoundedSemaphore(connections)

    def process_request(self, request, client_address) -> None:
        if not self.start_in(self._slots, self.process_request_thread, request, client_address):
            self.refuse(request, client_address)

    def start_in(self, slots: threading.BoundedSemaphore, work: Callable, request, client_address) -> bool:
        """Call work(request, client_address) in a thread that has one of the slots; False where none is free."""
        if not slots.acquire(blocking=False):
            return False

        def run() -> None:
            try:
                work(request, client_address)
            finally:
                slots.release()

        try:
            threading.Thread(target=run, daemon=True).start()
        except RuntimeError:  # the system has no more threads
            slots.release()
            return False
        return True

    def refuse(self, request, client_address) -> None:
        """Close a connection over the limit."""
        self.shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """A connection that broke; its client knows."""
