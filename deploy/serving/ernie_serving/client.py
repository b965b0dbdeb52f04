"""Asks a service: from this package, what a program of your own imports.

    client = Client(["10.0.0.1:18090", "10.0.0.2:18090"])
    client.predict(["今天股市大涨", "国足又输了"])

It needs numpy, grpcio, protobuf and paddle-serving-server (for the definition of the messages), not paddle.
"""

import json
import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Dict, Iterable, Iterator, List, Sequence

import grpc

from ernie_inference.errors import InputError
from ernie_inference.predictor import as_inputs
from ernie_inference.text_output import to_json
from ernie_serving.messages import load_messages
from ernie_serving.protocol import RESULTS, RPC_METHOD, TEXTS, Code

FIRST_PAUSE = 0.05  # seconds before the first retry; each further one waits twice as long


class RequestError(InputError):
    """A request that was refused, or that nobody answered."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


class Client:
    """Asks one service, at one address or at several in turn (gRPC's round robin).

    Args:
        endpoints: host:port of each; a single host name stands for all its addresses.
        timeout: seconds to wait for an answer.
        retries: how often to ask again where a server is full, stopping, or cannot be reached.
    """

    def __init__(self, endpoints: Sequence[str], timeout: float = 30.0, retries: int = 5):
        self.endpoints = list(endpoints)
        self.timeout = timeout
        self.retries = retries
        messages = load_messages()
        self._request = messages.Request
        options = [
            ("grpc.lb_policy_name", "round_robin"),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # Connections of its own: clients in one process would share them, and all reach the same worker.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        self._channel = grpc.insecure_channel(target_of(self.endpoints), options)
        self._call = self._channel.unary_unary(
            RPC_METHOD, messages.Request.SerializeToString, messages.Response.FromString
        )

    def predict(self, texts: Sequence[Any]) -> List[Dict]:
        """The answers to texts, in their order, as ErniePredictor.predict gives them; a single str or dict is one text.

        Raises:
            RequestError: the service refused the request, or could not be reached.
        """
        texts = list(as_inputs(texts))
        request = self._request(key=[TEXTS], value=[to_json(texts).decode()])
        pause = FIRST_PAUSE
        for retry in range(self.retries + 1):
            try:
                return self._ask(request)
            except RequestError as error:
                if error.code in (Code.TOO_LARGE, Code.TIMEOUT) and len(texts) > 1:
                    middle = len(texts) // 2
                    return self.predict(texts[:middle]) + self.predict(texts[middle:])
                if error.code not in (Code.BUSY, Code.STOPPING) or retry == self.retries:
                    raise
            time.sleep(pause)
            pause *= 2
        raise AssertionError("not reached")

    def predict_iter(self, texts: Iterable[Any], batch_size: int = 32, concurrency: int = 1) -> Iterator[Dict]:
        """Like predict, for any number of texts, `batch_size` in a request and `concurrency` requests at a time."""
        texts, waiting = iter(as_inputs(texts)), deque()
        with ThreadPoolExecutor(concurrency) as pool:
            for group in iter(lambda: list(islice(texts, batch_size)), []):
                waiting.append(pool.submit(self.predict, group))
                if len(waiting) > concurrency:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def close(self) -> None:
        self._channel.close()

    def _ask(self, request) -> List[Dict]:
        try:
            response = self._call(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise RequestError(code_of(error), f"{', '.join(self.endpoints)}: {error.details()}") from None
        if response.err_no != Code.OK:
            raise RequestError(response.err_no, f"the service refused (err_no {response.err_no}): {response.err_msg}")
        return json.loads(dict(zip(response.key, response.value))[RESULTS])


def code_of(error: grpc.RpcError) -> Code:
    """Our code for what gRPC itself says."""
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Code.TOO_LARGE if "larger than max" in error.details() else Code.BUSY
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):  # nobody here cancels: the server did
        return Code.STOPPING
    return Code.TIMEOUT if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED else Code.FAILED


def target_of(endpoints: Sequence[str]) -> str:
    """gRPC's name for one endpoint, or for several among which it takes turns.

    Raises:
        InputError: an endpoint is not host:port, or its host is unknown.
    """
    addresses = []
    for endpoint in endpoints:
        host, _, port = endpoint.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise InputError(f"endpoint {endpoint!r} is not host:port")
        try:
            addresses.append(socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0])
        except OSError as error:
            raise InputError(f"endpoint {endpoint}: {error.strerror or error}") from None
    if len(endpoints) == 1:
        return f"dns:///{endpoints[0]}"
    families = {family for family, *_ in addresses}
    if len(families) > 1:
        raise InputError(f"endpoints {', '.join(endpoints)} are of IPv4 and IPv6: give one kind")
    if families == {socket.AF_INET6}:
        return "ipv6:" + ",".join(f"[{address[0]}]:{address[1]}" for *_, address in addresses)
    return "ipv4:" + ",".join(f"{address[0]}:{address[1]}" for *_, address in addresses)
