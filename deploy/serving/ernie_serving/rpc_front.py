"""gRPC: Serving's pipeline requests, and the standard health check.

All calls are awaited in one event loop; only a request that has come as a whole, with its key, gets a thread. So calls
whose messages do not come, however many, keep nobody else out, health checks least of all. Connections do: those
without a call count among max_connections too, until they have been idle for IDLE_SECONDS, as gRPC has no way to choose
whom to close. Who has to know of the service meanwhile asks the monitor.
"""

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Awaitable, Dict, Optional

import grpc
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ernie_serving.api_keys import AUTHORIZATION
from ernie_serving.entrance import Entrance
from ernie_serving.metrics import GRPC, Metrics
from ernie_serving.models import Models
from ernie_serving.protocol import RPC_METHOD, Refusal, fields_of_rpc
from ernie_serving.request_ids import REQUEST_ID, request_id
from ernie_serving.request_log import Entry
from ernie_serving.service_config import ServiceConfig
from ernie_serving.serving_library import pb2
from ernie_serving.turns import turn_to_read

HANDSHAKE_SECONDS, IDLE_SECONDS = 10, 300  # then gRPC closes a connection that is half open, or without a call
AGE_SECONDS = 30 * 60  # of a connection; its client opens another, perhaps to another worker
PING_SECONDS, PONG_SECONDS = 60, 20  # a client whose machine is gone is noticed
MOST_STREAMS = 256  # calls of one connection at the same time
MOST_METADATA = 16 << 10  # bytes
MOST_READING = 1024  # calls whose message has not come yet
MOST_WATCHES = 256
WATCH_SECONDS = 0.5  # between two looks
SPARE_THREADS = 32  # beside those of requests that wait for the model: for requests to be refused
PIPELINE = RPC_METHOD.split("/")[1]
HEALTH = "/grpc.health.v1.Health/"
UNCOMPRESSED = 1  # a set of bits: only the algorithm "identity"


class RpcRefusal(Exception):
    """What ends a call with a status of gRPC's, before there is an answer."""

    def __init__(self, status: StatusCode, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


def rpc_server(
    models: Models, config: ServiceConfig, metrics: Metrics, address: str, entrance: Optional[Entrance] = None
) -> "RpcServer":
    """A gRPC server, listening, for pipeline requests and for the standard health check (grpc.health.v1).

    PipelineServer of 0.9.0 listens on all interfaces, takes messages of 256 MB, and queues requests without limit.

    Args:
        address: host:port, or several with commas.
        entrance: who may come in; None: as the config says.
    """
    return RpcServer(Calls(models, config, metrics, entrance or Entrance(config, metrics)), config, address)


class RpcServer:
    """gRPC's server, with its event loop in a thread.

    Raises:
        RuntimeError: it cannot listen at an address.
    """

    def __init__(self, calls: "Calls", config: ServiceConfig, address: str):
        self._calls = calls
        self._started: Future = Future()
        options = options_of(config, calls.longest_seconds)
        threading.Thread(target=lambda: asyncio.run(self._serve(options, address)), name="grpc", daemon=True).start()
        self._loop, self._server = self._started.result()

    async def _serve(self, options: Dict[str, int], address: str) -> None:
        try:
            server = aio.server(handlers=[self._calls], options=tuple(options.items()))
            certificates = self._calls.entrance.certificates
            for each in address.split(","):
                if certificates is None:
                    server.add_insecure_port(each)
                else:
                    server.add_secure_port(each, certificates.rpc_credentials())
            await server.start()
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._started.set_result((asyncio.get_running_loop(), server))
        await server.wait_for_termination()

    def stop(self, grace: Optional[float]) -> threading.Event:
        """Take no more calls, tell clients to go elsewhere, and end calls that are not answered in so many seconds.
        The event is set once that is done."""
        ended = threading.Event()
        if self._loop.is_closed():  # stopped before
            ended.set()
            return ended
        stopping = asyncio.run_coroutine_threadsafe(self._server.stop(grace), self._loop)
        stopping.add_done_callback(lambda _: ended.set())
        return ended


def options_of(config: ServiceConfig, longest_seconds: float) -> Dict[str, int]:
    """The settings of gRPC's C++ part (grpc/impl/channel_arg_names.h).

    Messages are not compressed: gRPC 1.80 counts the bytes of a message after it has inflated all of them.
    """
    return {
        "grpc.max_receive_message_length": config.max_request_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.compression_enabled_algorithms_bitset": UNCOMPRESSED,
        "grpc.max_metadata_size": MOST_METADATA,
        "grpc.absolute_max_metadata_size": MOST_METADATA,
        "grpc.so_reuseport": 1,  # replicas share the port
        "grpc.max_allowed_incoming_connections": config.max_connections,
        "grpc.max_concurrent_streams": MOST_STREAMS,
        "grpc.server_handshake_timeout_ms": HANDSHAKE_SECONDS * 1000,
        "grpc.max_connection_idle_ms": IDLE_SECONDS * 1000,
        "grpc.max_connection_age_ms": AGE_SECONDS * 1000,
        "grpc.max_connection_age_grace_ms": int(longest_seconds * 1000),
        "grpc.keepalive_time_ms": PING_SECONDS * 1000,
        "grpc.keepalive_timeout_ms": PONG_SECONDS * 1000,
    }


class Calls(grpc.GenericRpcHandler):
    """Answers the calls of a server.

    All are taken as calls of several messages, of which one is read: only so is there a say in how long that may take.
    """

    def __init__(self, models: Models, config: ServiceConfig, metrics: Metrics, entrance: Entrance):
        self.entrance = entrance
        self._models = models
        self._metrics = metrics
        self._most_bytes = config.max_request_bytes
        self._receive_seconds = config.receive_timeout / 1000
        self._most_threads = sum(service.config.queue_size for service in models) + SPARE_THREADS
        self._threads = ThreadPoolExecutor(self._most_threads, thread_name_prefix="rpc")
        self._answering = 0
        self._reading: Dict[asyncio.Future, None] = {}  # in the order in which they began
        self._watches = 0
        self._answer_seconds = max(service.config.timeout for service in models) / 1000
        self.longest_seconds = self._receive_seconds + self._answer_seconds
        self._handlers = {
            RPC_METHOD: grpc.stream_unary_rpc_method_handler(self._inference),
            HEALTH + "Check": grpc.stream_unary_rpc_method_handler(self._check),
            HEALTH + "Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }
        self._nothing = grpc.stream_unary_rpc_method_handler(self._unknown)

    def service(self, handler_call_details):
        return self._handlers.get(handler_call_details.method, self._nothing)

    async def _inference(self, messages, context: aio.ServicerContext) -> bytes:
        said = dict(reversed(list(context.invocation_metadata() or ())))  # the first of several values
        entry = Entry(GRPC, request_id(said.get(REQUEST_ID)), context.peer())
        context.set_trailing_metadata(((REQUEST_ID, entry.id),))
        try:
            return await self._or_refused(context, self._answer(context, said.get(AUTHORIZATION), entry), entry)
        except asyncio.CancelledError:
            entry.status = entry.status or StatusCode.CANCELLED.name
            raise
        finally:
            self.entrance.log.write(entry)

    async def _check(self, messages, context: aio.ServicerContext) -> bytes:
        return await self._or_refused(context, self._health(context))

    async def _watch(self, messages, context: aio.ServicerContext) -> None:
        await self._or_refused(context, self._health_changes(context))

    async def _unknown(self, messages, context: aio.ServicerContext) -> bytes:
        async def refuse():
            raise RpcRefusal(StatusCode.UNIMPLEMENTED, f"there is {RPC_METHOD}, and {HEALTH}Check and Watch")

        return await self._or_refused(context, refuse())

    async def _or_refused(
        self, context: aio.ServicerContext, work: Awaitable[Any], entry: Optional[Entry] = None
    ) -> Any:
        """What the work results in; a refusal is counted, and ends the call."""
        try:
            return await work
        except RpcRefusal as refusal:
            self._metrics.refusal(GRPC, refusal.status.name)
            if entry is not None:
                entry.status = refusal.status.name
            await context.abort(refusal.status, refusal.message)

    async def _answer(self, context: aio.ServicerContext, authorization: Optional[Any], entry: Entry) -> bytes:
        if not self.entrance.keys.check(authorization):
            raise RpcRefusal(StatusCode.UNAUTHENTICATED, "no API key, or none that is valid: authorization: Bearer KEY")
        message = await self._message(context)
        if self._answering >= self._most_threads:
            raise RpcRefusal(StatusCode.RESOURCE_EXHAUSTED, "too many requests at the same time: ask again later")
        self._answering += 1
        working = asyncio.get_running_loop().run_in_executor(
            self._threads, self._compute, message, context.time_remaining(), entry
        )
        working.add_done_callback(self._answered)
        # A thread that works for a client that has gone is not free before it has ended.
        return await asyncio.shield(working)

    def _answered(self, working: asyncio.Future) -> None:
        self._answering -= 1
        if not working.cancelled():
            working.exception()  # asked for, so that it is not reported where the client has gone

    def _compute(self, message: bytes, seconds: Optional[float], entry: Entry) -> bytes:
        """The answer to a message, in a thread."""
        left = self._answer_seconds if seconds is None else min(seconds, self._answer_seconds)
        name = ""
        try:
            with turn_to_read(len(message), time.monotonic() + left):
                request = request_of(message)
            name = request.name
            service = self._models.get(name)
        except Refusal as refusal:
            response = pb2.Response(err_no=refusal.code, err_msg=refusal.message)
            self._metrics.request(name, refusal.code, 0, 0.0)
            entry.answered(name, response, StatusCode.OK.name)
        else:
            read = partial(fields_of_rpc, request, service.limits.texts)
            response = service.answer(read, seconds, entry, len(message))
            entry.answered(service.name, response, StatusCode.OK.name)
        return response.SerializeToString()

    async def _message(self, context: aio.ServicerContext) -> bytes:
        """The message of a call.

        Raises:
            RpcRefusal: there is none, it is too large, it does not come in time, or there are too many calls to wait
                for: then the one ends that has waited for longest.
        """
        reading = asyncio.ensure_future(context.read())
        self._reading[reading] = None
        if len(self._reading) > MOST_READING:
            next(iter(self._reading)).cancel()
        try:
            await asyncio.wait({reading}, timeout=self._receive_seconds)
        except asyncio.CancelledError:  # the client has, or its connection has ended, or the message is compressed
            self._metrics.refusal(GRPC, StatusCode.CANCELLED.name)
            raise
        finally:
            del self._reading[reading]
            in_time = reading.done()
            reading.cancel()
        if not in_time:
            raise RpcRefusal(
                StatusCode.DEADLINE_EXCEEDED, f"the message has not come within {self._receive_seconds:g} seconds"
            )
        if reading.cancelled():
            raise RpcRefusal(StatusCode.RESOURCE_EXHAUSTED, "too many calls are without their message: ask again later")
        message = reading.result()
        if message is aio.EOF:  # for a message that is too large, gRPC puts its own words in the place of these
            raise RpcRefusal(
                StatusCode.RESOURCE_EXHAUSTED, f"no message has come, or one larger than max ({self._most_bytes} bytes)"
            )
        return message

    async def _health(self, context: aio.ServicerContext) -> bytes:
        status = self._health_of(await self._asked_service(context))
        if status is None:
            raise RpcRefusal(StatusCode.NOT_FOUND, f"no such service: there are models, {PIPELINE}, and no name")
        return HealthCheckResponse(status=status).SerializeToString()

    async def _health_changes(self, context: aio.ServicerContext) -> None:
        """The state of a service, and again whenever it changes, until the server stops."""
        name, told = await self._asked_service(context), None
        if self._watches >= MOST_WATCHES:
            raise RpcRefusal(StatusCode.RESOURCE_EXHAUSTED, "too many watch already: use Check")
        self._watches += 1
        try:
            while True:
                stopping, status = self._models.stopping, self._health_of(name)
                status = HealthCheckResponse.SERVICE_UNKNOWN if status is None else status
                if status != told:
                    await context.write(HealthCheckResponse(status=status).SerializeToString())
                    told = status
                if stopping:
                    return
                await asyncio.sleep(WATCH_SECONDS)
        finally:
            self._watches -= 1

    async def _asked_service(self, context: aio.ServicerContext) -> str:
        message = await self._message(context)
        try:
            return HealthCheckRequest.FromString(message).service
        except Exception:
            raise RpcRefusal(StatusCode.INTERNAL, "the message is no HealthCheckRequest") from None

    def _health_of(self, name: str) -> Optional[int]:
        """None where there is nothing of this name."""
        if name not in ("", PIPELINE):
            try:
                self._models.get(name)
            except Refusal:
                return None
        return HealthCheckResponse.NOT_SERVING if self._models.stopping else HealthCheckResponse.SERVING


def request_of(message: bytes):
    """The pipeline Request that a message is.

    Raises:
        RpcRefusal: it is none.
    """
    try:
        return pb2.Request.FromString(message)
    except Exception:  # protobuf 3.20 has DecodeError, and others for invalid UTF-8
        raise RpcRefusal(StatusCode.INTERNAL, "the message is no request of the pipeline protocol") from None
