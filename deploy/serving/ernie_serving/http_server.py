"""An HTTP server in a thread: an ASGI application on listening sockets, with a bounded number of connections.

uvicorn's own accept loop (asyncio's create_server) takes whatever the kernel has, and closes or refuses what is too
much. Here workers share a listening socket: one that is full leaves connections in the kernel's queue, where another
one takes them. That is why accepting is done here.
"""

import asyncio
import functools
import logging
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import List, Optional, Sequence, Set

from starlette.applications import Starlette
from uvicorn.config import Config
from uvicorn.server import ServerState

from ernie_serving.http_connection import Connection, Hooks, Limits

LOOK_SECONDS, LOOKS = 0.1, 15  # how far apart, and how often, a full server sees that nobody takes a connection
REFUSALS = 32  # connections over the limit that are told so at the same time
ERROR_PAUSE_SECONDS = 0.5  # after a connection that cannot be accepted, for want of file descriptors or memory
HANDSHAKE_SECONDS = 10.0
NO_HOOKS = Hooks()


class HttpServer:
    """Serves an application on listening sockets, in a thread of its own.

    Once it has as many connections as it may have, and another one waits, it closes the one whose client has been
    waited for the longest, between two requests or within one, and for as long as `limits` say. If there is none, it
    accepts no more: the connection waits in the kernel's queue, from where another process that shares the socket takes
    it. If none does so for LOOKS x LOOK_SECONDS, all are full, and the client is told so (503).

    Args:
        listening: the sockets, which may be shared with other processes.
        hooks: called in the server's thread.
        tls: for HTTPS.
    """

    def __init__(
        self,
        app: Starlette,
        listening: Sequence[socket.socket],
        limits: Limits,
        hooks: Hooks = NO_HOOKS,
        tls: Optional[ssl.SSLContext] = None,
    ):
        # What clients do wrong is counted, and they are told.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self.connections: Set[Connection] = set()
        self._busy: Set[Connection] = set()
        self._listening, self._limits = list(listening), limits
        self._hooks, self._tls = hooks, tls
        # proxy_headers off: who asks is who is connected, as what a proxy's headers say may be a client's own.
        self._config = Config(
            app, lifespan="off", ws="none", log_config=None, access_log=False, proxy_headers=False, server_header=False,
            timeout_keep_alive=limits.keep_alive,  # type: ignore[arg-type]
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._accepting: List[asyncio.Task] = []
        self._connecting: Set[asyncio.Task] = set()

    def start(self) -> None:
        for sock in self._listening:
            sock.setblocking(False)  # one that another process was faster to take must not be waited for
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Accept no more connections, and wait, so long at the most, until answers that are on their way are sent."""
        asyncio.run_coroutine_threadsafe(self._drain(seconds), self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._freed = asyncio.Event()
        self._accepting = [self._loop.create_task(self._accept(sock)) for sock in self._listening]
        self._loop.run_forever()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            busy = await self._wait_for_room(listening)
            try:
                sock, _ = await self._loop.sock_accept(listening)
            except OSError as error:
                # Too few file descriptors, say. The connection stays in the queue: to try at once would spin.
                logging.error("no connection can be accepted: %s", error)
                await asyncio.sleep(ERROR_PAUSE_SECONDS)
                continue
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            drop = functools.partial(shut, sock)
            connection = Connection(self._config, self._state, self._limits, self._hooks, self._lose, drop, busy)
            (self._busy if busy else self.connections).add(connection)
            task = self._loop.create_task(self._connect(sock, connection))
            self._connecting.add(task)  # the loop itself would not keep it
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, sock: socket.socket, connection: Connection) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls is not None else None,
            )
        except OSError:  # a client that left, or does not speak TLS
            self._lose(connection)

    def _lose(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._busy.discard(connection)
        self._freed.set()

    async def _wait_for_room(self, listening: socket.socket) -> bool:
        """Wait until a connection may be accepted. Returns whether it is one too many."""
        looks = 0
        while len(self.connections) >= self._limits.connections:
            if looks >= LOOKS and len(self._busy) < REFUSALS:
                return True
            waits = has_connection(listening)
            looks = looks + 1 if waits else 0
            if waits:
                self._give_up_one()
            self._freed.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._freed.wait(), LOOK_SECONDS)
        return False

    def _give_up_one(self) -> None:
        """Close the connection whose client has been waited for the longest, if there is one."""
        latest = time.monotonic() - self._limits.patience
        waited = [each for each in self.connections if each.waiting_since is not None and each.waiting_since <= latest]
        if waited:
            min(waited, key=lambda each: each.waiting_since).abandon()

    async def _drain(self, seconds: float) -> None:
        for task in self._accepting:
            task.cancel()
        for sock in self._listening:
            sock.close()
        for connection in list(self.connections):
            connection.shutdown()
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(each.owes_an_answer for each in self.connections):
            await asyncio.sleep(0.02)


def shut(sock: socket.socket) -> None:
    """End a connection, whoever waits for something on it."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def has_connection(listening: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    return bool(poll.poll(0))
