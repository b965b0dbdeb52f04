"""A service of several models under load for an hour, every answer checked:

    python benchmarks/serving_soak.py --models best_models/TNEWS/export best_models/MSRA_NER/export
    python benchmarks/serving_soak.py --models reviews=best_models/TNEWS/export --minutes 5 --reloads 2

A model is a prefix or a folder, as deploy/python takes it, or NAME=PREFIX; in NAME=PREFIX,PREFIX the second is another
version of it, and every reload changes from one to the other.

  1. --minutes of saturating clients, over gRPC and over HTTP, that ask all models for texts of 2 to 512 characters:
     every answer is compared with that of the same predictor called directly (over HTTP with that of the version which
     the answer names), and the resident memory of the supervisor and of each worker is read every 5 seconds. --reloads
     change the models' versions meanwhile, at fixed times.
  2. Half of that many requests a second, at fixed times: latencies from the moment each was due (p50, p99).

Clients and service share the machine's processors. Prints a table, and writes serving_soak.json and memory.png. Ends
with status 1 where an answer was wrong or lost, or a reload failed.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "serving"))

from benchmarks.plot import Source, draw_memory
from benchmarks.serving_load import percentiles
from benchmarks.serving_process import ServiceProcess
from benchmarks.soak_clients import ServedModel, crowd_of, mixed_inputs
from ernie_inference.console import Parser, number_above, number_from, print_table, run_command
from ernie_inference.engine_choice import load_with
from ernie_inference.errors import InputError
from ernie_inference.files import write_json
from ernie_inference.processors import describe_processor, usable_processors
from ernie_serving.loading import digest_of_model
from ernie_serving.metrics import resident_bytes
from ernie_serving.model_to_serving import convert

SAMPLE_SECONDS = 5.0
SETTLED_SECONDS = 600.0  # a level that is compared with the end is read this long after the start, or after a sixth
WINDOW_SECONDS = 60.0  # a level is the median over so long
WARM_UP_SECONDS = 10.0


class MemoryCurve:
    """Resident memory of a service's processes, sampled while the block runs.

    Attributes:
        samples: (seconds since the start, {process: MB}); a process is "supervisor" or "worker PID".
    """

    def __init__(self, service: ServiceProcess):
        self.samples: List[Dict[str, Any]] = []
        self._service = service
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        started = time.monotonic()
        while True:
            pids = {"supervisor": self._service.process.pid}
            pids.update({f"worker {pid}": pid for pid in self._service.workers()})
            megabytes = {name: resident_bytes(pid) / 1e6 for name, pid in pids.items()}
            self.samples.append({"seconds": time.monotonic() - started, "mb": megabytes})
            if self._end.wait(SAMPLE_SECONDS):
                return

    def __enter__(self) -> "MemoryCurve":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()

    def levels(self) -> Dict[str, float]:
        """Medians of all processes together over a minute: after ten minutes, and of the last; and the change."""
        last = self.samples[-1]["seconds"]
        settled = min(SETTLED_SECONDS, last / 6)
        window = min(WINDOW_SECONDS, last / 6)
        early = self._median(settled, settled + window)
        late = self._median(last - window, last)
        return {
            "settled_after_seconds": settled,
            "settled_mb": early,
            "end_mb": late,
            "highest_mb": max(sum(sample["mb"].values()) for sample in self.samples),
            "change_mb": late - early,
            "ratio": late / early,
        }

    def _median(self, begin: float, end: float) -> float:
        within = [sample for sample in self.samples if begin <= sample["seconds"] <= end] or self.samples[-1:]
        return statistics.median(sum(sample["mb"].values()) for sample in within)


class Reloads:
    """Changes the versions of all models while clients are at work, so many times at fixed times.

    A change that is due while an earlier one is still on its way comes right after it.

    Attributes:
        log: what was reloaded when, how long it took, and what went wrong.
        asked: how many reloads there were to be, of all models together.
    """

    def __init__(self, service: ServiceProcess, models: List[ServedModel], times: int, seconds: float):
        self.log: List[Dict[str, Any]] = []
        self._service = service
        self._models = models
        self.asked = times * len(models)
        self._due = [seconds * number / (times + 1) for number in range(1, times + 1)]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        started = time.monotonic()
        for number, due in enumerate(self._due, start=1):
            for model in self._models:
                if self._end.wait(max(started + due - time.monotonic(), 0)):
                    return
                begun = time.monotonic()
                entry: Dict[str, Any] = {"model": model.name, "seconds": begun - started}
                version = number % len(model.versions)
                model.current = model.current | {version}
                try:
                    convert(model.versions[version], model.folder)
                    entry["version"] = self._service.reload(model.name)
                    model.current = frozenset({version})
                except (InputError, OSError, TimeoutError) as error:
                    entry["problem"] = str(error)
                entry["took_seconds"] = time.monotonic() - begun
                self.log.append(entry)

    def __enter__(self) -> "Reloads":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()


def read_models(args: argparse.Namespace, folder: Path) -> List[ServedModel]:
    """Make the serving folders of all models, and find the right answers of every version of each.

    Raises:
        InputError: a model is wrong, or two have one name.
    """
    models: List[ServedModel] = []
    for argument in args.models:
        name, equals, paths = argument.rpartition("=")
        served, model = folder / f"model{len(models)}", None
        for path in paths.split(","):
            with tempfile.TemporaryDirectory(dir=folder) as own:
                converted = convert(path, own)
                digest = digest_of_model(Path(own))
                predictor = load_with(
                    args.engine, converted, precision=args.precision, num_threads=args.num_threads,
                    batch_size=args.batch_size,
                )  # fmt: skip
                task = predictor.task.name
                if model is None:
                    inputs = mixed_inputs(task, args.texts)
                    model = ServedModel(name if equals else task, task, served, paths.split(","), inputs)
                elif model.task != task:
                    raise InputError(f"{argument}: {task} is no version of a {model.task} model")
                model.learn(predictor, digest)
        convert(model.versions[0], served)
        if model.name in [other.name for other in models]:
            raise InputError(f"two models are called {model.name}: name them, NAME=PREFIX")
        models.append(model)
    return models


def measure(args: argparse.Namespace, folder: Path) -> Dict[str, Any]:
    """All figures, by part."""
    models = read_models(args, folder)
    service = start_service(args, models, folder)
    try:
        crowd = crowd_of(
            models, service.endpoint, service.http, args.rpc_clients, args.http_clients, args.texts_per_request
        )
        crowd.saturate(min(WARM_UP_SECONDS, 6 * args.minutes))
        seconds = 60 * args.minutes
        with MemoryCurve(service) as memory, Reloads(service, models, args.reloads, seconds) as reloads:
            full, took = crowd.saturate(seconds)
        rate = full.counts["answered"] / took / 2
        half, half_took = crowd.at_rate(rate, 60 * args.half_minutes)
        return {
            "models": [{"name": model.name, "task": model.task, "versions": len(model.versions)} for model in models],
            "full_load": {**full.facts(took), **percentiles(full.seconds)},
            "half_load": {"rate": rate, **half.facts(half_took), **percentiles(half.seconds)},
            "memory": {**memory.levels(), "samples": memory.samples},
            "reloads": reloads.log,
            "reloads_asked": reloads.asked,
            "errors_of_the_service": service.errors[:20],
        }
    finally:
        status = service.stop()
        if status:
            print(f"the service ended with status {status}", file=sys.stderr)


def start_service(args: argparse.Namespace, models: List[ServedModel], folder: Path) -> ServiceProcess:
    """The service of all models, on free ports."""
    options = {
        "engine": args.engine,
        "precision": args.precision,
        "thread_num": args.num_threads,
        "replicas": args.replicas,
        "batch_size": args.batch_size,
        "timeout": 60_000,
        "queue_size": 4 * (args.rpc_clients + args.http_clients),
        "models": {model.name: {"model_dir": str(model.folder)} for model in models},
    }
    config = folder / "service.yml"
    write_json(config, options)  # which is YAML too
    return ServiceProcess("", config)


def rows_of(figures: Dict[str, Any]) -> List[Dict[str, str]]:
    """The figures as a table for people."""
    measured: Dict[str, str] = {}
    for name, load in (("full load", figures["full_load"]), ("half load", figures["half_load"])):
        fates = ", ".join(f"{load[fate]} {fate}" for fate in ("answered", "refused", "lost"))
        measured[name] = f"{load['sent']} requests: {fates}; {load['wrong']} wrong answers"
        speeds = f"{load['requests_per_second']:.1f} requests/s, {load['texts_per_second']:.1f} texts/s"
        measured[f"{name}, speed"] = f"{speeds} for {load['seconds'] / 60:.1f} min"
        measured[f"{name}, latency"] = f"p50 {load['p50_ms']:.1f} ms, p99 {load['p99_ms']:.1f} ms"
    memory = figures["memory"]
    measured["memory"] = (
        f"{memory['settled_mb']:.0f} MB after {memory['settled_after_seconds'] / 60:.1f} min, "
        f"{memory['end_mb']:.0f} MB at the end: {memory['change_mb']:+.0f} MB, {memory['ratio']:.3f}"
    )
    failed = [entry for entry in figures["reloads"] if "problem" in entry]
    measured["reloads"] = f"{len(figures['reloads'])} of {figures['reloads_asked']}, of which {len(failed)} failed"
    return [{"what": name, "measured": value} for name, value in measured.items()]


def problems_of(figures: Dict[str, Any]) -> List[str]:
    """What must not be; empty where all went well."""
    found = [entry["problem"] for entry in figures["reloads"] if "problem" in entry]
    missing = figures["reloads_asked"] - len(figures["reloads"])
    if missing:
        found.append(f"{missing} of {figures['reloads_asked']} reloads were not made in the time: give more --minutes")
    for part in ("full_load", "half_load"):
        if figures[part]["wrong"] or figures[part]["lost"]:
            found += figures[part]["problems"]
    return found


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--models", nargs="+", required=True, help="PREFIX, NAME=PREFIX or NAME=PREFIX,PREFIX")
    parser.add_argument("--engine", default="paddle")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--num_threads", type=number_from(1), default=usable_processors())
    parser.add_argument("--batch_size", type=number_from(1), default=32)
    parser.add_argument("--replicas", type=number_from(1), default=1, help="worker processes")
    parser.add_argument("--minutes", type=number_above(0), default=60.0, help="of full load")
    parser.add_argument("--half_minutes", type=number_above(0), default=5.0, help="of half load")
    parser.add_argument("--reloads", type=number_from(0), default=0, help="of every model during full load")
    parser.add_argument("--rpc_clients", type=number_from(1), default=32, help="requests at the same time over gRPC")
    parser.add_argument("--http_clients", type=number_from(1), default=16, help="requests at the same time over HTTP")
    parser.add_argument("--texts_per_request", type=number_from(1), default=4, help="at the most")
    parser.add_argument("--texts", type=number_from(1), default=400, help="different texts for each model")
    parser.add_argument("--output_dir", default="serving_soak", help="where the two files go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args, Path(folder))
    machine = describe_processor(args.num_threads)
    print(f"{machine['processor']}, {args.num_threads} threads of {machine['usable_processors']}")
    print_table(rows_of(figures))
    settings = {name: value for name, value in vars(args).items() if name != "output_dir"}
    written = {**machine, "settings": settings, **figures}
    output = Path(args.output_dir)
    write_json(output / "serving_soak.json", written)
    draw_memory([Source("service", written)]).savefig(output / "memory.png", dpi=120)
    print(f"wrote {output / 'serving_soak.json'} and {output / 'memory.png'}")
    problems = problems_of(figures)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    run_command(main)
