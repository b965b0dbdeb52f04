"""One HTTP/1.1 connection: uvicorn's protocol over h11, and what a service that others reach needs beside it.

    StrictConnection   h11, but for heads that another server might read in another way
    Connection         a time limit on a whole request; errors in JSON; answers that a client reads before it is cut off

What is here by hand has no option in uvicorn 0.39 or hypercorn 0.17: both time the pause between two requests, or
between two reads, and none a request as a whole, so that a client which sends a byte now and then stays for ever.
"""

import asyncio
import re
import time
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Callable, NamedTuple, Optional

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ernie_serving.protocol import Code, http_body, shown

MOST_HEAD_BYTES = 16 << 10  # of a request line with its headers
LINGER_SECONDS = 10.0  # how long what a refused client still sends is read and thrown away
JSON_TYPE = "application/json; charset=utf-8"

FOLD = re.compile(rb"\n[ \t]")
LENGTH = re.compile(rb"\ncontent-length:([^\n]*)", re.IGNORECASE)
BYTES = re.compile(r"bytearray\(b(.*)\)", re.DOTALL)  # as h11's messages show them
ENCODING = re.compile(rb"\ntransfer-encoding:", re.IGNORECASE)


class StrictConnection(h11.Connection):
    """h11's reader, which also refuses what RFC 9112 lets a server refuse, as a server behind or before this one might
    see another end of the request there: header lines that go on in the next one, two lengths, a length beside chunks,
    and chunks in HTTP/1.0.

    Attributes:
        fault: the error of the last request that was refused.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MOST_HEAD_BYTES)
        self.fault: Optional[h11.RemoteProtocolError] = None

    def next_event(self) -> Any:
        """As h11 has it.

        Raises:
            h11.RemoteProtocolError: the client does not speak HTTP/1.1, or not so that it can only be read in one way.
        """
        before = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                check_head(before[: len(before) - len(self.trailing_data[0])], event.http_version)
        except h11.RemoteProtocolError as error:
            self.fault = error
            raise
        return event


def check_head(head: bytes, version: bytes) -> None:
    """Refuse a request line with its headers, which h11 has accepted.

    Raises:
        h11.RemoteProtocolError: its end, or that of its body, can be read in two ways, or it is too long.
    """
    lengths, chunked = LENGTH.findall(head), ENCODING.search(head)
    if len(head) > MOST_HEAD_BYTES:
        raise h11.RemoteProtocolError("the headers are too long", error_status_hint=431)
    if not version.startswith(b"1."):
        raise h11.RemoteProtocolError("another version of HTTP", error_status_hint=505)
    if FOLD.search(head):
        raise h11.RemoteProtocolError("a header line begins with a space")
    if len(lengths) > 1 or b"," in b"".join(lengths):
        raise h11.RemoteProtocolError("Content-Length is there twice")
    if chunked and (lengths or version < b"1.1"):
        raise h11.RemoteProtocolError("Transfer-Encoding with Content-Length, or in HTTP/1.0")


class Limits(NamedTuple):
    """How many clients there may be, and how long one is waited for.

    Attributes:
        connections: at the same time.
        receive: seconds for a whole request, from the connection or its first byte to the end of its body.
        keep_alive: seconds between two requests.
        patience: seconds before its place may be given to another one, where there is none left.
    """

    connections: int
    receive: float
    keep_alive: float
    patience: float = 1.0


class Hooks(NamedTuple):
    """What a connection tells and asks.

    Attributes:
        refused: called with the status of what is refused before it reaches the application.
        closing: whether connections are to be closed after their next answer.
    """

    refused: Callable[[int], None] = lambda status: None
    closing: Callable[[], bool] = lambda: False


class Connection(H11Protocol):
    """A connection, from when it is accepted to when it is closed.

    Attributes:
        waiting_since: since when its client has been waited for (time.monotonic); None while the client waits.

    Args:
        lost: called when the connection is gone.
        drop: ends a connection on which no transport stands yet, as while encryption is agreed on.
        busy: tell the client that there are too many, and close.
    """

    conn: StrictConnection

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: Limits,
        hooks: Hooks,
        lost: Callable[["Connection"], None],
        drop: Callable[[], None],
        busy: bool = False,
    ):
        super().__init__(config, state, {})
        self.conn = StrictConnection()
        self.app = self._answer
        self.waiting_since: Optional[float] = time.monotonic()
        self._inner = config.loaded_app
        self._limits = limits
        self._hooks, self._lost, self._drop, self._busy = hooks, lost, drop, busy
        self._timer: Optional[asyncio.TimerHandle] = None  # until the whole request has come
        self._stalled: Optional[asyncio.TimerHandle] = None  # until more of the answer is taken
        self._ended = False  # the client sends no more
        self._draining = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(LingeringTransport(transport, self._begin_to_close))  # type: ignore[arg-type]
        if self._busy:
            return self.refuse(503, Code.BUSY, "too many connections: ask again later", retry=True)
        self._time(self._limits.receive)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._time(None)
        super().connection_lost(exc)
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # thrown away
        if self.conn.their_state is h11.IDLE and self._timer is None:
            self.waiting_since = time.monotonic()
            self._time(self._limits.receive)
        super().data_received(data)
        self._note_progress()

    def eof_received(self) -> bool:
        """The client may have closed its half alone, and wait for the answer."""
        self._ended = True
        if self.transport.is_closing():
            return False
        if self.conn.their_state is h11.SEND_BODY:
            self.refuse(400, Code.INVALID, "the body ends before its end")
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self.refuse(400, Code.INVALID, "the request ends within its headers")
        return self.waiting_since is None and self.scheme == "http"

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self._note_progress()
        if self._ended and self.waiting_since is not None:
            self.transport.close()
        elif self.conn.trailing_data[0] and self.waiting_since is not None:  # the beginning of the next request
            self._time(self._limits.receive)

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is made: it has as much time as to send a request."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._limits.receive, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def shutdown(self) -> None:
        """Close, after the answer to the request that has begun to come."""
        self._draining = True
        if self.transport is None:
            return self._drop()
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()

    def abandon(self) -> None:
        """Close a connection whose client is waited for, as its place is needed."""
        if self.transport is None:
            return self._drop()
        if self.transport.is_closing():
            return self.transport.abort()
        self._ended = True  # it has had its time: what it still sends is not waited for
        self._too_slow()

    @property
    def owes_an_answer(self) -> bool:
        """Whether a request has begun to come, and its answer is not sent yet."""
        if self.transport is None:
            return False  # while encryption is agreed on
        return not self.transport.is_closing() or self.transport.get_write_buffer_size() > 0

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls where h11 has refused something."""
        fault = self.conn.fault
        status = fault.error_status_hint if fault is not None else 400
        said = BYTES.sub(r"\1", str(fault))
        self.refuse(status, Code.INVALID, f"not HTTP/1.1 as it is read here: {shown(said, 80)}")

    def refuse(self, status: int, code: Code, message: str, retry: bool = False) -> None:
        """Answer in place of the application, if that has not begun to, and close."""
        self._hooks.refused(status)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = http_body(code, message)
            headers = [("Content-Type", JSON_TYPE), ("Content-Length", str(len(body))), ("Connection", "close")]
            headers += [("Date", formatdate(usegmt=True)), *([("Retry-After", "1")] if retry else [])]
            events = (
                h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode()),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def _begin_to_close(self) -> bool:
        """Returns whether the client may still send some of a request that is answered already."""
        self._time(None)
        self.waiting_since = time.monotonic()
        has_more = self.conn.their_state in (h11.SEND_BODY, h11.ERROR) or bool(self.conn.trailing_data[0])
        return not self._ended and (has_more or self._busy)

    async def _answer(self, scope, receive, send) -> None:
        """The application, whose answers say that the connection is closed where what follows cannot be read."""

        async def send_message(message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"date", formatdate(usegmt=True).encode())]
                if self._draining or self._hooks.closing() or self.conn.their_state is h11.SEND_BODY:
                    headers.append(CLOSE_HEADER)
                message = {**message, "headers": headers}
            await send(message)

        await self._inner(scope, receive, send_message)

    def _note_progress(self) -> None:
        """Note whether the client is waited for, and stop the clock where a whole request has come."""
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self.waiting_since = self.waiting_since or time.monotonic()
        else:
            self.waiting_since = None
            self._time(None)

    def _time(self, seconds: Optional[float]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            return self.transport.close()
        self.refuse(408, Code.INVALID, "the request does not come in time: send it faster")


class LingeringTransport:
    """A transport whose close() lets the client read what it was sent.

    To close a connection while its client still sends would reset it, perhaps before the client has read its answer.
    So this end says first that it sends no more, and reads on for a while. One that does not take its answer meanwhile
    is cut off.

    Between the loss of an encrypted connection and connection_lost() asyncio's transport has none below it, and raises
    AttributeError for what it would ask of that one; here it is a connection that is closing, with nothing to send.

    Args:
        begin_to_close: called before; returns whether the client may still send.
    """

    def __init__(self, transport: asyncio.Transport, begin_to_close: Callable[[], bool]):
        self._transport = transport
        self._begin_to_close = begin_to_close
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        try:
            return self._transport.get_write_buffer_size()
        except AttributeError:
            return 0

    def pause_reading(self) -> None:
        with suppress(AttributeError):
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        with suppress(AttributeError):
            self._transport.resume_reading()

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = True
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)
        if not self._begin_to_close():
            return self._transport.close()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.resume_reading()
