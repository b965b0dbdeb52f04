"""Asks a service: from this package, what a program of your own imports.

    client = Client(["10.0.0.1:18090", "10.0.0.2:18090"])
    client.predict(["今天股市大涨", "国足又输了"])

It needs numpy, grpcio, protobuf and paddle-serving-server (for the definition of the messages), not paddle.
"""

import re
import socket
import time
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import grpc

from ernie_inference.errors import InputError
from ernie_inference.predictor import as_inputs
from ernie_inference.text_output import one_line, to_json
from ernie_serving.access import Tls, is_key
from ernie_serving.answers import (
    MOST_BYTES,
    MOST_SAID,
    BadAnswer,
    code_of,
    read_response,
    read_results,
    reason_of,
    wait_of,
)
from ernie_serving.messages import load_messages
from ernie_serving.protocol import RPC_METHOD, TEXTS, Code, is_word, shown
from ernie_serving.request_ids import REQUEST_ID, check_request_id, numbered
from ernie_serving.retries import RetryBudget, pause_before

AGAIN = (Code.BUSY, Code.STOPPING, Code.TIMEOUT)  # what may be answered later
MOST_SECONDS = 2**31  # for an answer
ENDPOINT = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]+)|\[(?P<ipv6>[^\s\[\]]+)\]):(?P<port>[0-9]{1,5})")


class RequestError(InputError):
    """A request that was refused, or that nobody answered.

    Attributes:
        code: err_no.
        wait: seconds for which the server asked to be left alone; None: it did not say.
    """

    def __init__(self, code: int, message: str, wait: Optional[float] = None):
        super().__init__(message)
        self.code = code
        self.wait = wait


class Client:
    """Asks one service, at one address or at several in turn (gRPC's round robin).

    Where a service is full, stopping or away, or does not answer in time, it is asked again: after a pause, as long as
    retries, time and the budget last. What is too large for it, and what it could not answer in time, is sent in
    halves. Threads may share a client.

    What a service answers is checked: there is one result for each text, an object of JSON, in an answer of at most
    64 MiB. A text whose answer is larger is an error; several are asked for in halves.

    Args:
        endpoints: host:port of each; a single host name stands for all its addresses.
        timeout: seconds for the answer, retries and pauses included.
        retries: how often to ask again at the most.
        model: which model of a service that has several; empty for its only one.
        api_key: what the service asks for; read_api_key reads one.
        tls: for an encrypted connection.
        budget: how many requests are sent again, of all; None: a tenth, and some more where there are few.

    Raises:
        InputError: an endpoint is wrong, a file of `tls`, or a number, name or key is none that can be.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        timeout: float = 30.0,
        retries: int = 5,
        *,
        model: str = "",
        api_key: Optional[str] = None,
        tls: Optional[Tls] = None,
        budget: Optional[RetryBudget] = None,
    ):
        if not 0 < timeout < MOST_SECONDS:  # NaN is not, either
            raise InputError(f"timeout is {timeout}: give seconds above 0, up to {MOST_SECONDS}")
        if retries < 0:
            raise InputError(f"retries is {retries}: give a number from 0 on")
        if not is_word(model):
            raise InputError(f"model {shown(model)} is no name of one: those have letters, digits, - _ and .")
        if api_key and not is_key(api_key):
            raise InputError("api_key is none: one is a single line of ASCII without spaces")
        self.endpoints = [endpoint.strip() for endpoint in endpoints]
        self.timeout = timeout
        self.retries = retries
        self.model = model
        self._metadata = [("authorization", f"Bearer {api_key}")] if api_key else []
        self._budget = budget or RetryBudget()
        messages = load_messages()
        self._request = messages.Request
        self._channel = open_channel(self.endpoints, tls)
        self._call = self._channel.unary_unary(RPC_METHOD, messages.Request.SerializeToString)

    def predict(self, texts: Sequence[Any], request_id: str = "", **options: Any) -> List[Dict]:
        """The answers to texts, in their order, as ErniePredictor.predict gives them; a single str or dict is one text.

        Args:
            request_id: under which the service notes the request and all that is sent again of it; empty: a new one.
            options: top_k, threshold and long_texts, as ErniePredictor.predict takes them; None is not sent.

        Raises:
            RequestError: the service refused the request, could not be reached, or answered something else.
            InputError: request_id cannot be one.
        """
        request_id = request_id or uuid.uuid4().hex
        check_request_id(request_id)
        self._budget.first_request()
        asking = Asking(time.monotonic() + self.timeout, request_id, options)
        return self._answer(list(as_inputs(texts)), asking, self.retries)

    def predict_iter(
        self,
        texts: Iterable[Any],
        batch_size: int = 32,
        concurrency: int = 1,
        request_id: str = "",
        **options: Any,
    ) -> Iterator[Dict]:
        """Like predict, for any number of texts, `batch_size` in a request and `concurrency` requests at a time.

        request_id: of which the requests' own are made, by a number at its end.
        """
        texts, waiting = iter(as_inputs(texts)), deque()
        ids = numbered(request_id) if request_id else repeat("")
        with ThreadPoolExecutor(concurrency) as pool:
            for group in iter(lambda: list(islice(texts, batch_size)), []):
                waiting.append(pool.submit(self.predict, group, next(ids), **options))
                if len(waiting) > concurrency:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def close(self) -> None:
        self._channel.close()

    def _answer(self, texts: List[Any], asking: "Asking", retries: int) -> List[Dict]:
        for retry in range(retries + 1):
            try:
                return self._ask(texts, asking)
            except RequestError as error:
                if error.code == Code.TOO_LARGE and len(texts) > 1:
                    return self._in_halves(texts, asking, retries)
                if error.code not in AGAIN or retry == retries or (error.wait or 0) < 0:
                    raise
                # Less at a time may be answered in time; but then two requests take the place of one.
                halve = error.code == Code.TIMEOUT and len(texts) > 1
                pause = pause_before(retry, error.wait)
                turn = self._budget.claim(asking.seconds_left, 1 + halve)
                if turn is None or max(pause, turn) >= asking.seconds_left:
                    raise
                time.sleep(max(pause, turn))
                if halve:
                    return self._in_halves(texts, asking, retries - retry - 1)
        raise AssertionError("not reached")

    def _in_halves(self, texts: List[Any], asking: "Asking", retries: int) -> List[Dict]:
        middle = len(texts) // 2
        return self._answer(texts[:middle], asking, retries) + self._answer(texts[middle:], asking, retries)

    def _ask(self, texts: List[Any], asking: "Asking") -> List[Dict]:
        fields = {TEXTS: texts, **asking.options}
        request = self._request(
            name=self.model, key=list(fields), value=[to_json(value).decode() for value in fields.values()]
        )
        metadata = [*self._metadata, (REQUEST_ID, asking.request_id)]
        where = ", ".join(self.endpoints)
        try:
            content, call = self._call.with_call(request, timeout=max(asking.seconds_left, 0), metadata=metadata)
        except grpc.RpcError as error:
            raise RequestError(code_of(error), f"{where}: {reason_of(error)}", wait_of(error)) from None
        if asking.seconds_left <= 0:  # gRPC had it, and this process came to it too late
            raise RequestError(Code.TIMEOUT, f"{where}: no answer in time")
        try:
            response = read_response(content)
            if response.err_no == Code.OK:
                return read_results(response, len(texts))
        except BadAnswer as error:
            raise RequestError(Code.FAILED, f"{where}: the answer {error}") from None
        message = f"the service refused (err_no {response.err_no}): {one_line(response.err_msg, MOST_SAID)}"
        raise RequestError(response.err_no, message, wait_of(call))


class Asking:
    """What all requests of one predict() have in common.

    Args:
        deadline: of time.monotonic.
        request_id: for the service's notes.
        options: fields of the request beside its texts.
    """

    def __init__(self, deadline: float, request_id: str, options: Dict[str, Any]):
        self.deadline = deadline
        self.request_id = request_id
        self.options = {name: value for name, value in options.items() if value is not None}

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()


def open_channel(endpoints: Sequence[str], tls: Optional[Tls]) -> grpc.Channel:
    """A channel to the endpoints, asked in turn.

    Raises:
        InputError: an endpoint is wrong, or a file of `tls`.
    """
    target = target_of(endpoints)
    options: List[Tuple[str, Any]] = [
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.max_send_message_length", -1),
        # Connections of its own: clients in one process would share them, and all reach the same worker.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if tls is None:
        return grpc.insecure_channel(target, options)
    # Several addresses have no name of their own that a certificate could have.
    name = tls.server_name or endpoints[0].rpartition(":")[0].strip("[]")
    return grpc.secure_channel(target, tls.credentials(), [*options, ("grpc.ssl_target_name_override", name)])


def target_of(endpoints: Sequence[str]) -> str:
    """gRPC's name for one endpoint, or for several among which it takes turns.

    Raises:
        InputError: an endpoint is not host:port, or its host is unknown.
    """
    addresses = [address_of(endpoint) for endpoint in endpoints]
    if len(endpoints) == 1:
        return f"dns:///{endpoints[0]}"
    families = {family for family, *_ in addresses}
    if len(families) > 1:
        raise InputError(f"endpoints {', '.join(endpoints)} are of IPv4 and IPv6: give one kind")
    if families == {socket.AF_INET6}:
        return "ipv6:" + ",".join(f"[{address[0]}]:{address[1]}" for *_, address in addresses)
    return "ipv4:" + ",".join(f"{address[0]}:{address[1]}" for *_, address in addresses)


def address_of(endpoint: str) -> Tuple:
    """What socket.getaddrinfo says of host:port.

    Raises:
        InputError: it is something else, or the host is unknown.
    """
    form = ENDPOINT.fullmatch(endpoint)
    if form is None or not 0 < int(form["port"]) <= 65535:
        raise InputError(f"endpoint {shown(endpoint)!r} is not host:port, as 10.0.0.1:18090 or [::1]:18090")
    try:
        return socket.getaddrinfo(form["name"] or form["ipv6"], int(form["port"]), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(f"endpoint {shown(endpoint)}: {error.strerror or error}") from None
    except UnicodeError:  # of a name that the system cannot even ask for
        raise InputError(f"endpoint {shown(endpoint)!r}: its host is no name of one") from None
