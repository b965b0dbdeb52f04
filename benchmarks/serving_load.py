"""A service under load, beside the same predictor called directly:

    python benchmarks/serving_load.py --model_path best_models/TNEWS/export/model
    python benchmarks/serving_load.py --model_path best_models/TNEWS/export/model --duration 60 --texts_per_request 1

Four parts, in this order:
  1. direct calls and saturating clients in turn, so that a slower minute hits both: the ratio of their texts/s;
  2. saturating clients for --duration seconds: wrong and lost answers, and the memory of the worker;
  3. half of that many requests a second, at fixed times: latencies from the moment each was due (p50, p99);
  4. single texts from many clients, with batching across requests and without, in turn: the ratio.
Clients and service share the machine's processors. Every answer is compared with the predictor's own. Prints a table
and writes serving_load.json.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "serving"))

from ernie_suite.data import load_examples

from benchmarks.serving_process import ServiceProcess
from benchmarks.soak_clients import DATA
from ernie_inference.console import Parser, number_above, number_from, print_table, run_command
from ernie_inference.engine_choice import without_scores
from ernie_inference.errors import InputError
from ernie_inference.files import write_json
from ernie_inference.predictor import ErniePredictor, load_predictor
from ernie_inference.processors import describe_processor, usable_processors
from ernie_serving.client import Client, RequestError
from ernie_serving.metrics import resident_bytes
from ernie_serving.model_to_serving import convert
from ernie_serving.protocol import Code

SLICES = 4
WARM_UP_SECONDS = 3.0
LATE_CLIENTS = 64  # threads that send part 3's requests


class Outcome(NamedTuple):
    """What became of the requests of one run.

    Attributes:
        texts_per_second: of answered texts.
        sent, answered, refused, lost: requests; refused because the queue was full, lost for any other reason.
        wrong: texts whose answer is not the predictor's own.
        seconds: latency of each answered request.
    """

    texts_per_second: float
    sent: int
    answered: int
    refused: int
    lost: int
    wrong: int
    seconds: List[float]


class Texts:
    """Texts of the task's sample set with the predictor's own answers, handed out in groups, round and round."""

    def __init__(self, predictor: ErniePredictor, most: int):
        examples = load_examples(DATA[predictor.task.name], "test")[:most]
        self.texts = [predictor.task.input_of(example) for example in examples]
        self.expected = without_scores(predictor.predict_iter(self.texts))
        self._numbers = count()

    def group(self, size: int) -> Tuple[List[Dict], List[Dict]]:
        """The next `size` texts and their answers."""
        begin = next(self._numbers) * size
        places = [(begin + i) % len(self.texts) for i in range(size)]
        return [self.texts[i] for i in places], [self.expected[i] for i in places]


class Load:
    """Threads that send requests to a service and count what comes back."""

    def __init__(self, service: ServiceProcess, texts: Texts, size: int, threads: int):
        self.texts = texts
        self.size = size
        # A connection for a few threads each, as clients on other machines would have.
        clients = [Client([service.endpoint], timeout=120, retries=0) for _ in range(max(1, threads // 8))]
        self._clients = [clients[i % len(clients)] for i in range(threads)]
        self._lock = threading.Lock()

    def saturate(self, seconds: float) -> Outcome:
        """Every thread sends its next request as soon as it has the last answer."""
        end = time.monotonic() + seconds
        return self._run(lambda: time.monotonic() if time.monotonic() < end else None)

    def at_rate(self, requests_per_second: float, seconds: float) -> Outcome:
        """Requests at fixed times, whether or not earlier ones are answered; latencies count from those times."""
        begin, numbers, total = time.monotonic(), count(), int(requests_per_second * seconds)

        def next_due() -> Optional[float]:
            number = next(numbers)
            return begin + number / requests_per_second if number < total else None

        return self._run(next_due)

    def _run(self, next_due) -> Outcome:
        counts = dict.fromkeys(("sent", "answered", "refused", "lost", "wrong"), 0)
        latencies: List[float] = []

        def work(client: Client) -> None:
            while (due := next_due()) is not None:
                time.sleep(max(due - time.monotonic(), 0))
                texts, expected = self.texts.group(self.size)
                fate, wrong = ask(client, texts, expected)
                with self._lock:
                    counts["sent"] += 1
                    counts[fate] += 1
                    counts["wrong"] += wrong
                    if fate == "answered":
                        latencies.append(time.monotonic() - due)

        started = time.monotonic()
        threads = [threading.Thread(target=work, args=(client,)) for client in self._clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        speed = counts["answered"] * self.size / (time.monotonic() - started)
        return Outcome(texts_per_second=speed, seconds=latencies, **counts)


def ask(client: Client, texts: List[Dict], expected: List[Dict]) -> Tuple[str, int]:
    """What became of one request ("answered", "refused" or "lost"), and how many of its answers are wrong."""
    try:
        answers = client.predict(texts)
    except RequestError as error:
        return "refused" if error.code == Code.BUSY else "lost", 0
    if len(answers) != len(texts):
        return "lost", 0
    return "answered", sum(answer != wanted for answer, wanted in zip(without_scores(answers), expected))


def call_directly(predictor: ErniePredictor, texts: Texts, batch_size: int, seconds: float) -> float:
    """Texts/s of predict(), one batch after the other."""
    done, started = 0, time.monotonic()
    while time.monotonic() < started + seconds:
        predictor.predict(texts.group(batch_size)[0], batch_size)
        done += batch_size
    return done / (time.monotonic() - started)


class MemoryWatch:
    """Resident memory of processes, sampled once a second while the block runs."""

    def __init__(self, pids: List[int]):
        self.pids = pids
        self.samples: List[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._end.wait(1.0):
            self.samples.append(sum(resident_bytes(pid) for pid in self.pids))

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()

    def growth(self) -> Dict[str, float]:
        """Medians of the second and of the last tenth of the samples, in MB, and the latter over the former."""
        tenth = max(1, len(self.samples) // 10)
        parts = (self.samples[tenth : 2 * tenth + 1], self.samples[-tenth:])
        early, late = (statistics.median(part) / 1e6 for part in parts)
        return {"early_mb": early, "late_mb": late, "ratio": late / early}


def percentiles(seconds: List[float]) -> Dict[str, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds) or [float("nan")]
    return {f"p{p}_ms": 1000 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 99)}


def measure(args: argparse.Namespace, folder: Path) -> Dict[str, Any]:
    """All figures, by part."""
    model_dir = convert(args.model_path, folder)
    engine = {"precision": args.precision, "num_threads": args.num_threads, "batch_size": args.batch_size}
    predictor = load_predictor(model_dir, **engine)
    texts = Texts(predictor, args.max_texts)
    flags = [f"--precision={args.precision}", f"--thread_num={args.num_threads}", f"--batch_size={args.batch_size}"]
    flags += [f"--queue_size={4 * args.clients}", f"--max_texts={args.batch_size}", "--timeout=60000"]
    flags += ["--max_windows=100000"]
    task, size = predictor.task.name, args.texts_per_request
    print(f"{predictor.engine.config.describe()}, {len(texts.texts)} texts, {args.clients} clients", flush=True)
    services: Dict[str, ServiceProcess] = {}
    try:
        for name in ("true", "false"):
            services[name] = ServiceProcess(task, model_dir, *flags, f"--auto_batching={name}")
        return {
            "engine": predictor.engine.config.describe(),
            **against_direct(args, predictor, texts, services["true"], size),
            **under_load(args, texts, services["true"], size),
            "batching": with_and_without_batching(args, texts, services),
        }
    finally:
        for service in services.values():
            service.stop()


def against_direct(args, predictor: ErniePredictor, texts: Texts, service: ServiceProcess, size: int) -> Dict[str, Any]:
    load = Load(service, texts, size, args.clients)
    load.saturate(WARM_UP_SECONDS)
    call_directly(predictor, texts, args.batch_size, WARM_UP_SECONDS)
    direct, served = [], []
    for _ in range(SLICES):
        direct.append(call_directly(predictor, texts, args.batch_size, args.slice))
        served.append(load.saturate(args.slice).texts_per_second)
    return {
        "direct_texts_per_second": statistics.median(direct),
        "served_texts_per_second": statistics.median(served),
        "served_over_direct": statistics.median(s / d for s, d in zip(served, direct)),
    }


def under_load(args, texts: Texts, service: ServiceProcess, size: int) -> Dict[str, Any]:
    with MemoryWatch(service.workers()) as memory:
        full = Load(service, texts, size, args.clients).saturate(args.duration)
    half = Load(service, texts, size, LATE_CLIENTS).at_rate(full.texts_per_second / size / 2, args.duration / 5)
    return {
        "full_load": {**facts(full), **percentiles(full.seconds)},
        "half_load": {**facts(half), **percentiles(half.seconds)},
        "memory": memory.growth(),
    }


def with_and_without_batching(args, texts: Texts, services: Dict[str, ServiceProcess]) -> Dict[str, Any]:
    loads = {name: Load(service, texts, 1, args.clients) for name, service in services.items()}
    speeds: Dict[str, List[float]] = {name: [] for name in loads}
    for load in loads.values():
        load.saturate(WARM_UP_SECONDS)
    for _ in range(SLICES):
        for name, load in loads.items():
            speeds[name].append(load.saturate(args.slice).texts_per_second)
    return {
        "on_texts_per_second": statistics.median(speeds["true"]),
        "off_texts_per_second": statistics.median(speeds["false"]),
        "on_over_off": statistics.median(on / off for on, off in zip(speeds["true"], speeds["false"])),
    }


def facts(outcome: Outcome) -> Dict[str, Any]:
    return {name: value for name, value in outcome._asdict().items() if name != "seconds"}


def rows_of(figures: Dict[str, Any]) -> List[Dict[str, str]]:
    """The figures as a table for people."""
    memory, batching = figures["memory"], figures["batching"]
    measured = {
        "direct": f"{figures['direct_texts_per_second']:.1f} texts/s",
        "served": f"{figures['served_texts_per_second']:.1f} texts/s, {figures['served_over_direct']:.2f} of direct",
    }
    for name, load in (("full load", figures["full_load"]), ("half load", figures["half_load"])):
        fates = ", ".join(f"{load[fate]} {fate}" for fate in ("answered", "refused", "lost"))
        measured[name] = f"{load['sent']} requests: {fates}; {load['wrong']} wrong answers"
        measured[f"{name}, latency"] = f"p50 {load['p50_ms']:.1f} ms, p99 {load['p99_ms']:.1f} ms"
    measured["memory"] = f"{memory['early_mb']:.0f} MB, at the end {memory['late_mb']:.0f} MB: {memory['ratio']:.3f}"
    measured["batching"] = (
        f"on {batching['on_texts_per_second']:.1f} texts/s, off {batching['off_texts_per_second']:.1f}: "
        f"{batching['on_over_off']:.2f}x"
    )
    return [{"what": name, "measured": value} for name, value in measured.items()]


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model_path", required=True, help="prefix or folder of an exported model")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--num_threads", type=number_from(1), default=usable_processors())
    parser.add_argument("--batch_size", type=number_from(1), default=32)
    parser.add_argument(
        "--duration", type=number_above(0), default=300.0, help="seconds of full load; half load takes a fifth"
    )
    parser.add_argument("--slice", type=number_above(0), default=15.0, help="seconds of each slice of a comparison")
    parser.add_argument("--clients", type=number_from(1), default=64, help="requests at the same time")
    parser.add_argument("--texts_per_request", type=number_from(1), default=1, help="in parts 1 to 3")
    parser.add_argument("--max_texts", type=number_from(1), default=900, help="different texts")
    parser.add_argument("--output_dir", default="serving_load", help="where serving_load.json goes")
    args = parser.parse_args()
    if args.texts_per_request > args.batch_size:
        raise InputError(f"--texts_per_request {args.texts_per_request}: give at most the batch size")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args, Path(folder) / "serving")
    machine = describe_processor(args.num_threads)
    print(f"{machine['processor']}, {args.num_threads} threads of {machine['usable_processors']}")
    print_table(rows_of(figures))
    path = Path(args.output_dir) / "serving_load.json"
    settings = {name: value for name, value in vars(args).items() if name != "output_dir"}
    write_json(path, {**machine, "settings": settings, **figures})
    print(f"wrote {path}")


if __name__ == "__main__":
    run_command(main)
