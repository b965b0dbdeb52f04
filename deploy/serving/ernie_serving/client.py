"""A client of the services, and the command that the three *_rpc_client.py are.

    client = Client(["10.0.0.1:18090", "10.0.0.2:18090"])
    client.predict(["今天股市大涨", "国足又输了"])

It needs grpcio, protobuf and paddle-serving-server (for the definition of the messages), not paddle.
"""

import importlib.util
import json
import os
import socket
import statistics
import sys
import time
from argparse import Namespace
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence

import grpc

from ernie_inference.bulk import read_examples
from ernie_inference.commands import format_answer
from ernie_inference.console import Parser, number_above, number_from, print_row, run_command
from ernie_inference.errors import InputError
from ernie_inference.predictor import as_inputs
from ernie_inference.tasks import TASKS
from ernie_inference.text_output import to_json
from ernie_serving.protocol import RESULTS, RPC_METHOD, TEXTS, Code

DEFAULT_ENDPOINTS = {"seq_cls": "127.0.0.1:18090", "token_cls": "127.0.0.1:18091", "qa": "127.0.0.1:18092"}
FIRST_PAUSE = 0.05  # seconds before the first retry; each further one waits twice as long


def load_messages() -> ModuleType:
    """The pipeline's message classes, without the rest of paddle_serving_server.

    To import its package starts Serving's logging, which writes files; see pipeline_ops.import_pipeline.
    """
    name = "paddle_serving_server.pipeline.proto.pipeline_service_pb2"
    if name not in sys.modules:
        package = importlib.util.find_spec("paddle_serving_server")
        if package is None:
            raise InputError("paddle-serving-server is not installed: pip install paddle-serving-server==0.9.0")
        file = Path(package.submodule_search_locations[0]).joinpath("pipeline", "proto", "pipeline_service_pb2.py")
        spec = importlib.util.spec_from_file_location("pipeline_service_pb2", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return sys.modules[name]


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


# ---------------------------------------------------------------- the command


def run_client(task_name: str, description: Optional[str]) -> None:
    """The command of a client."""
    run_command(lambda: main(task_name, description))


def main(task_name: str, description: Optional[str]) -> None:
    args = parse_arguments(task_name, description)
    client = Client(args.endpoints.split(","), args.timeout, args.retries)
    if args.task_name:
        evaluate(client, task_name, args)
    elif args.input_file:
        answer_file(client, task_name, args)
    else:
        task = TASKS[task_name]
        texts = [parse_text(text) for text in args.texts] if args.texts else task.sample_inputs
        for number, text in enumerate(texts, start=1):
            task.as_example(text, f"text {number}")
        seconds = []
        for _ in range(args.repeat):
            started = time.perf_counter()
            results = list(client.predict_iter(texts, args.batch_size, args.concurrency))
            seconds.append(time.perf_counter() - started)
        for text, result in zip(texts, results):
            print(format_answer(task, text, result))
        print_timing(len(texts), seconds)


def parse_arguments(task_name: str, description: Optional[str]) -> Namespace:
    parser = Parser(description=description)
    parser.add_argument(
        "--endpoints", default=DEFAULT_ENDPOINTS[task_name], help="host:port, or several with commas, asked in turn"
    )
    parser.add_argument("--texts", nargs="+", help="texts, or JSON as deploy/python takes it; default: two examples")
    parser.add_argument("--input_file", help="JSON lines, one input each")
    parser.add_argument("--output_file", help="where the answers to --input_file go, one a line")
    parser.add_argument("--task_name", "--dataset", help="evaluate on a data set of the suite, as tnews")
    parser.add_argument("--data_dir", help="folder of your own files in the data set's format")
    parser.add_argument("--split", default="dev", choices=["train", "dev", "test"])
    parser.add_argument(
        "--max_samples", type=number_from(1), help="use only the first so many examples of the data set"
    )
    parser.add_argument("--batch_size", type=number_from(1), default=32, help="texts of a request")
    parser.add_argument("--concurrency", type=number_from(1), default=1, help="requests at the same time")
    parser.add_argument(
        "--repeat", type=number_from(1), default=1, help="ask so many times, and print how long it took"
    )
    parser.add_argument("--timeout", type=number_above(0), default=30.0, help="seconds to wait for an answer")
    parser.add_argument(
        "--retries", type=number_from(0), default=5, help="how often to ask again where a server is full or away"
    )
    args = parser.parse_args()
    if bool(args.input_file) != bool(args.output_file):
        raise InputError("--input_file and --output_file belong together")
    if sum(map(bool, (args.texts, args.input_file, args.task_name))) > 1:
        raise InputError("--texts, --input_file and --task_name: give one of them")
    return args


def parse_text(text: str) -> Any:
    """A text of the command line, or the JSON list or object that it is."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return text


def print_timing(texts: int, seconds: List[float]) -> None:
    median = statistics.median(seconds)
    print(
        f"{texts} texts, {len(seconds)} times: {median * 1000:.1f} ms median, {min(seconds) * 1000:.1f} least, "
        f"{max(seconds) * 1000:.1f} most; {texts / median:.1f} texts/s"
    )


def answer_file(client: Client, task_name: str, args: Namespace) -> None:
    """Answer each line of a file; the answers take the output file's name when all are there."""
    target = Path(args.output_file)
    if target.exists():
        raise InputError(f"{target} is there already: remove it, or name another --output_file")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    started, lines = time.perf_counter(), 0
    try:
        with temporary.open("wb") as file:
            examples = read_examples(TASKS[task_name], args.input_file)
            for result in client.predict_iter(examples, args.batch_size, args.concurrency):
                file.write(to_json(result) + b"\n")
                lines += 1
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"{error.filename or target}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    print(f"wrote {lines} lines to {target}, {lines / (time.perf_counter() - started):.1f} texts/s")


def evaluate(client: Client, task_name: str, args: Namespace) -> None:
    """The metrics of a whole data set, answered by the service."""
    sys.path.insert(1, str(Path(__file__).resolve().parents[3]))  # the suite, which a client does not need otherwise
    from ernie_suite.data import find_dataset, load_answered_examples

    dataset = find_dataset(args.task_name)
    if dataset.task_name != task_name:
        raise InputError(f"data set {dataset.name} is for {dataset.task_name}: use {dataset.task_name}_rpc_client.py")
    examples = load_answered_examples(dataset, args.split, args.data_dir)[: args.max_samples]
    texts = [TASKS[task_name].input_of(example) for example in examples]
    started = time.perf_counter()
    results = list(client.predict_iter(texts, args.batch_size, args.concurrency))
    speed = len(texts) / (time.perf_counter() - started)
    metrics = dataset.family.metric(examples, results)
    print_row(
        task=task_name,
        data=f"{dataset.name} {args.split}",
        examples=f"{len(examples):,}",
        **{name: f"{value:.4f}" for name, value in metrics.items()},
        **{"texts/s": f"{speed:.0f}"},
    )
