"""The command that the four *_rpc_client.py are: it asks the service of a task."""

import json
import os
import shlex
import statistics
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Type

from ernie_inference.answer_options import PLAIN, AnswerOptions, add_answer_flags, answer_options_of
from ernie_inference.bulk import answer_file
from ernie_inference.commands import format_answer
from ernie_inference.console import Parser, filled, number_above, number_from, print_row, run_command
from ernie_inference.errors import InputError
from ernie_inference.tasks import TASKS, Task
from ernie_inference.text_output import to_json
from ernie_serving.access import KEY_VARIABLE, Tls, read_api_key
from ernie_serving.client import Client
from ernie_serving.ports import host_port
from ernie_serving.request_ids import numbered
from ernie_serving.service_config import ServiceConfig, config_file, read_config

HELP = """Ask the {task} service.

    python deploy/serving/{task}_rpc_client.py
    python deploy/serving/{task}_rpc_client.py --texts {text} --repeat 20
    python deploy/serving/{task}_rpc_client.py --endpoints 10.0.0.1:18090,10.0.0.2:18090 \\
        --input_file texts.jsonl --output_file answers.jsonl
    python deploy/serving/{task}_rpc_client.py --task_name DATASET --concurrency 4

An interrupted run of --input_file goes on where it was when the same command is given again.
"""
MOST_REQUESTS = 1024  # at the same time: each has a thread
OF_EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to ask a service that listens there


def run_client(task_name: str) -> None:
    """The command of a task's client."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # of an encryption that fails, gRPC would tell in lines of its own
    run_command(lambda: main(TASKS[task_name]))


def main(task: Type[Task]) -> None:
    args = parse_arguments(task)
    endpoints = [configured_endpoint(task.name)] if args.endpoints is None else args.endpoints.split(",")
    client = Client(
        endpoints,
        args.timeout,
        args.retries,
        model=args.model or "",
        api_key=read_api_key(args.api_key_file),
        tls=tls_of(args),
    )
    if args.task_name:
        evaluate(client, task, args)
    elif args.input_file:
        answer_lines_of(client, task, args)
    else:
        answer_texts(client, task, args)


def parse_arguments(task: Type[Task]) -> Namespace:
    """The command line, checked before any work."""
    text = task.sample_inputs[0]
    text = shlex.quote(text if isinstance(text, str) else to_json(text).decode())
    parser = Parser(description=HELP.format(task=task.name, text=text))
    parser.add_argument(
        "--endpoints",
        type=filled(str),
        help=f"host:port, or several with commas, asked in turn; default: as {config_file(task.name).name} says",
    )
    parser.add_argument("--texts", nargs="+", help="texts, or JSON as deploy/python takes it; default: two examples")
    parser.add_argument("--input_file", type=filled(str), help="JSON lines, one input each")
    parser.add_argument("--output_file", type=filled(str), help="where the answers to --input_file go, one a line")
    parser.add_argument(
        "--task_name", "--dataset", type=filled(str), help="evaluate on a data set of the suite, as tnews"
    )
    parser.add_argument("--data_dir", type=filled(str), help="folder of your own files in the data set's format")
    parser.add_argument("--split", default="dev", choices=["train", "dev", "test"])
    parser.add_argument(
        "--max_samples", type=number_from(1), help="use only the first so many examples of the data set"
    )
    parser.add_argument("--batch_size", type=number_from(1), default=32, help="texts of a request")
    parser.add_argument(
        "--concurrency", type=number_from(1, most=MOST_REQUESTS), default=1, help="requests at the same time"
    )
    parser.add_argument(
        "--repeat", type=number_from(1), default=1, help="ask so many times, and print how long it took"
    )
    parser.add_argument(
        "--timeout", type=number_above(0), default=30.0, help="seconds for an answer, with all that is asked again"
    )
    parser.add_argument(
        "--retries", type=number_from(0), default=5, help="how often to ask again where a server is full or away"
    )
    add_answer_flags(parser)
    parser.add_argument("--model", type=filled(str), help="which model of a service that has several")
    parser.add_argument(
        "--request_id", type=filled(str), help="under which the service notes the requests: ID-1, ID-2 ..."
    )
    parser.add_argument(
        "--api_key_file",
        type=filled(str),
        help=f"file that holds the API key; default: {KEY_VARIABLE} of the environment",
    )
    parser.add_argument("--tls", action="store_true", help="encrypt; any of the next four flags does too")
    parser.add_argument("--tls_root", type=filled(Path), help="PEM file of the authorities that are trusted")
    parser.add_argument("--tls_certificate", type=filled(Path), help="PEM file of the client's own certificate")
    parser.add_argument("--tls_key", type=filled(Path), help="PEM file of its key")
    parser.add_argument("--tls_server_name", type=filled(str), help="name in the server's certificate, if not its host")
    args = parser.parse_args()
    args.options = answer_options_of(args)
    if args.request_id is not None:
        numbered(args.request_id)
    if bool(args.input_file) != bool(args.output_file):
        raise InputError("--input_file and --output_file belong together")
    if sum(map(bool, (args.texts, args.input_file, args.task_name))) > 1:
        raise InputError("--texts, --input_file and --task_name: give one of them")
    return args


def tls_of(args: Namespace) -> Optional[Tls]:
    """What the flags say of encryption; None: there is none."""
    tls = Tls(args.tls_root, args.tls_certificate, args.tls_key, args.tls_server_name or "")
    return tls if args.tls or tls != Tls() else None


def asking_of(args: Namespace) -> Dict[str, Any]:
    """What predict_iter takes beside the texts."""
    return {
        "batch_size": args.batch_size,
        "concurrency": args.concurrency,
        "request_id": args.request_id or "",
        **args.options.given,
    }


def configured_endpoint(task_name: str) -> str:
    """Where the service of a task listens when it is started without flags.

    Raises:
        InputError: its config file is missing or wrong, or leaves the port open.
    """
    path = config_file(task_name)
    if not path.exists():
        raise InputError(f"{path} is missing: name the service with --endpoints")
    options = read_config(path)
    if not options.get("rpc_port"):
        raise InputError(f"{path} gives no rpc_port: name the service with --endpoints")
    host = options.get("host", ServiceConfig.host)
    return host_port(OF_EVERY_INTERFACE.get(host, host), options["rpc_port"])


def answer_texts(client: Client, task: Type[Task], args: Namespace) -> None:
    """Print the answers to texts of the command line, and how long they took."""
    texts = [parse_text(text) for text in args.texts] if args.texts else task.sample_inputs
    for number, text in enumerate(texts, start=1):
        task.as_example(text, f"text {number}")
    seconds = []
    for _ in range(args.repeat):
        started = time.perf_counter()
        results = list(of_task(task, client.predict_iter(texts, **asking_of(args))))
        seconds.append(time.perf_counter() - started)
    for text, result in zip(texts, results):
        print(format_answer(task, text, result))
    print_timing(len(texts), seconds)


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


def of_task(task: Type[Task], answers: Iterable[Dict]) -> Iterator[Dict]:
    """The answers of a service, as they come.

    Raises:
        InputError: one is none of this task.
    """
    for answer in answers:
        try:
            task.describe(answer)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            where = "check --endpoints and --model"
            raise InputError(f"the service answers what no {task.name} model does: {where}") from None
        yield answer


class ServiceAnswerer:
    """A service, to answer a file. What model it has, its client cannot know: the endpoints stand for that."""

    def __init__(self, client: Client, task: Type[Task], options: AnswerOptions = PLAIN, **asking: Any):
        self.task = task
        self.answered = 0
        self._client = client
        self._options = options.given
        self._asking = asking

    def predict_iter(self, inputs: Iterable[Dict], batch_size: int) -> Iterator[Dict]:
        answers = self._client.predict_iter(inputs, batch_size, **self._asking, **self._options)
        for answer in of_task(self.task, answers):
            self.answered += 1
            yield answer

    def depends_on(self) -> Dict[str, Any]:
        model = {"model": self._client.model} if self._client.model else {}
        return {"task": self.task.name, "endpoints": sorted(self._client.endpoints), **model, **self._options}


def answer_lines_of(client: Client, task: Type[Task], args: Namespace) -> None:
    """Answer each line of a file, or what an interrupted run has left of it."""
    answerer = ServiceAnswerer(
        client, task, args.options, concurrency=args.concurrency, request_id=args.request_id or ""
    )
    started = time.perf_counter()
    lines = answer_file(answerer, args.input_file, args.output_file, args.batch_size)
    speed = answerer.answered / (time.perf_counter() - started)
    print(f"wrote {lines} lines to {args.output_file}, {speed:.1f} texts/s")


def evaluate(client: Client, task: Type[Task], args: Namespace) -> None:
    """The metrics of a whole data set, answered by the service."""
    sys.path.insert(1, str(Path(__file__).resolve().parents[3]))
    try:  # the suite, with paddle, which a client does not need otherwise
        from ernie_suite.data import find_dataset, load_answered_examples
    except ModuleNotFoundError as error:
        raise InputError(f"--task_name needs the whole suite; {error.name} is missing") from None

    dataset = find_dataset(args.task_name)
    if dataset.task_name != task.name:
        raise InputError(f"data set {dataset.name} is for {dataset.task_name}: use {dataset.task_name}_rpc_client.py")
    examples = load_answered_examples(dataset, args.split, args.data_dir)[: args.max_samples]
    texts = [task.input_of(example) for example in examples]
    started = time.perf_counter()
    results = list(of_task(task, client.predict_iter(texts, **asking_of(args))))
    speed = len(texts) / (time.perf_counter() - started)
    try:
        metrics = dataset.family.metric(examples, results)
    except LookupError:  # e.g. one label a text, where the data set has several
        what = f"the service answers otherwise than {dataset.name} has it"
        raise InputError(f"{what}: check --task_name, --endpoints and --model") from None
    print_row(
        task=task.name,
        data=f"{dataset.name} {args.split}",
        examples=f"{len(examples):,}",
        **{name: f"{value:.4f}" for name, value in metrics.items()},
        **{"texts/s": f"{speed:.0f}"},
    )
