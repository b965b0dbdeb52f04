"""Counts, latencies and states of a service, for Prometheus.

    Metrics          in a worker: what happens to requests
    ServiceMetrics   in the supervisor: what all workers counted, and what only the supervisor knows; makes the page

Workers count into files of prometheus_client's multiprocess mode, memory-mapped, so that what a worker had counted is
still there when it is killed. They lie in a temporary folder of the supervisor's. The files of a worker that ended are
added to one file of all that ended: counts never fall while the service runs, and files do not pile up.

Serving's own Prometheus support is not used: that of paddle-serving-server 0.9.0 listens on all interfaces, whatever
the service does, and has averages only.
"""

import os
import shutil
import tempfile
import threading
from collections import Counter as Counts
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from ernie_inference.errors import InputError
from ernie_serving.metric_files import FOLDER, UNREADABLE, add_up, count_in_files, reserve, room_of, say
from ernie_serving.protocol import Code

ADDED_UP = ("counter", "histogram")  # kinds of files whose values outlive their process
OF_THE_ENDED = "ended"  # stands for the process id in the names of the files of all workers that ended

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
GRPC, HTTP = "grpc", "http"  # the ways in
FORESEEN = {GRPC: ("INTERNAL", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED"), HTTP: ("400", "401", "404", "413", "503")}

FACTS = ("name", "version", "task", "engine", "precision")  # of a model, that are published


class Metrics:
    """What happens to the requests of one worker.

    Args:
        models: the names that the label `model` may have. A request for any other has an empty one, so that no client
            makes up new series.
    """

    def __init__(self, models: Iterable[str]):
        models = list(models)
        count_in_files(len(models))
        self.registry = CollectorRegistry()
        self._models: Set[str] = set()

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, registry=self.registry)

        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(name, meaning, ("model",), registry=self.registry, multiprocess_mode="livesum")

        def histogram(name: str, meaning: str, buckets: Tuple, *labels: str) -> Histogram:
            return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)

        self._requests = counter("ernie_requests", "Requests answered, by err_no (0: with results)", "model", "err_no")
        self._texts = counter("ernie_texts", "Texts with results", "model")
        self._refusals = counter(
            "ernie_refusals", "What gRPC or HTTP refused before it was a request, by their status", "way", "status"
        )
        self._lost_lines = counter("ernie_request_log_lost", "Lines of the request log that could not be written")
        self._seconds = histogram(
            "ernie_request_seconds", "From a request read to its answer, by err_no", SECONDS, "model", "err_no"
        )
        self._windows = histogram(
            "ernie_batch_windows", "Model inputs of waiting requests that were taken together", WINDOWS, "model"
        )
        self._in_flight = gauge("ernie_requests_in_flight", "Requests accepted and not yet answered")
        self._limit = gauge("ernie_requests_limit", "Requests in flight at which further ones are refused")
        for way, statuses in FORESEEN.items():
            for status in statuses:
                self._refusals.labels(way, status)
        for model in models:
            self.add_model(model)

    def add_model(self, model: str) -> None:
        """Let the label `model` have this name too. Counts begin at 0, so that the first of a kind is an increase."""
        self._models.add(model)
        for code in Code:
            self._requests.labels(model, int(code))
        self._seconds.labels(model, int(Code.OK))
        for metric in (self._texts, self._windows, self._in_flight, self._limit):
            metric.labels(model)

    def request(self, model: str, code: int, texts: int, seconds: float) -> None:
        """Count one answer, whatever it says.

        Args:
            model: which one was asked.
            code: err_no of the answer.
            texts: with results.
            seconds: from the request read to its answer.
        """
        model = self._known(model)
        self._requests.labels(model, int(code)).inc()
        self._seconds.labels(model, int(code)).observe(seconds)
        if texts:
            self._texts.labels(model).inc(texts)

    def refusal(self, way: str, status: str) -> None:
        """Count what was refused before it was a request of this protocol.

        Args:
            way: GRPC or HTTP.
            status: the name of gRPC's status, or the number of HTTP's; never what a client sent.
        """
        self._refusals.labels(way, str(status)).inc()

    def log_lines_lost(self, lines: int) -> None:
        """Count lines of the request log that could not be written."""
        self._lost_lines.inc(lines)

    def batch(self, model: str, windows: int) -> None:
        """Count the windows of waiting requests that were taken together."""
        self._windows.labels(self._known(model)).observe(windows)

    def in_flight(self, model: str, requests: int, limit: int) -> None:
        """Say how many requests are accepted and not yet answered now, and how many may be."""
        model = self._known(model)
        self._in_flight.labels(model).set(requests)
        self._limit.labels(model).set(limit)

    def value(self, name: str, **labels: str) -> float:
        """The sum of this process's samples of a name that have these labels."""
        return value_of(self.registry.collect(), name, **labels)

    def _known(self, model: str) -> str:
        return model if model in self._models else ""


class WorkerState(NamedTuple):
    """A worker as /metrics shows it: its number, which its successor has too, its process, and whether it answers."""

    number: int
    pid: int
    ready: bool


class ServiceMetrics:
    """What a service publishes: counts of all workers that are or were, and the supervisor's own.

    Args:
        workers: gives those that run.
        models: how many there are.

    Raises:
        InputError: there is no place for temporary files.
    """

    def __init__(self, workers: Callable[[], Iterable[WorkerState]], models: int = 1):
        self._workers = workers
        self._sizes = {kind: room_of(kind, models) for kind in ADDED_UP}
        try:
            self._make_folder()
        except OSError as error:
            raise InputError(f"no temporary folder can be written to ({error.strerror}): set TMPDIR to one") from None
        self._lock = threading.Lock()  # while files are added up, their counts would be read twice or not at all
        self._restarts = 0
        self._reloads: Counts = Counts()
        self._served: List[Tuple[str, ...]] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    @property
    def environment(self) -> Dict[str, str]:
        """What the environment of a worker's process has to have: it counts there, and not in its own memory."""
        return {FOLDER: str(self._folder)}

    def prepare(self) -> None:
        """Before a worker is started: make another folder where something that tidies up has removed this one. What was
        counted in it is lost."""
        with self._lock:
            if self._folder.is_dir():
                return
            say(f"{self._folder}, where workers count, has been removed: their counts begin anew with each")
            with suppress(OSError):  # which the worker will say
                self._make_folder()

    def _make_folder(self) -> None:
        """A new one, never one of that name which somebody else may have made meanwhile.

        Raises:
            OSError: there is no room, or no folder for temporary files.
        """
        self._temporary = tempfile.TemporaryDirectory(prefix="ernie-metrics-")
        self._folder = Path(self._temporary.name)
        for kind, size in self._sizes.items():
            reserve(self._total(kind), size)

    def _total(self, kind: str) -> Path:
        return self._folder / f"{kind}_{OF_THE_ENDED}.db"

    def worker_ended(self, pid: int) -> None:
        """Keep what a process had counted. Call it once the process has ended, however it did."""
        with self._lock:
            with suppress(OSError):
                mark_process_dead(pid, str(self._folder))
            for kind, size in self._sizes.items():
                file = self._folder / f"{kind}_{pid}.db"
                try:
                    add_up(file, self._total(kind), size)
                    file.unlink()
                except FileNotFoundError:  # it had counted nothing, or the folder has been removed
                    continue
                except OSError as error:  # no room: the file stays, and is read as if the process still ran
                    say(f"{file} stays beside the counts of other workers that ended ({error.strerror})")
                except UNREADABLE:
                    say(f"{file} cannot be read: what a worker that ended had counted is lost")
                    file.unlink(missing_ok=True)

    def restart(self) -> None:
        """Count a worker that ended and is started again."""
        with self._lock:
            self._restarts += 1

    def reload(self, model: str, done: bool) -> None:
        """Count a reload of a model: done, or failed, so that the old version goes on."""
        with self._lock:
            self._reloads[model, "success" if done else "failure"] += 1

    def models(self, served: Iterable[Dict[str, Any]]) -> None:
        """Say what is served now, by all workers, each model as Service.describe has it. Where nothing is, what was
        said last stays."""
        facts = list(dict.fromkeys(tuple(str(model[name]) for name in FACTS) for model in served))
        with self._lock:
            self._served = facts or self._served
            for name, *_ in facts:
                for result in ("success", "failure"):
                    self._reloads[name, result] += 0

    def page(self, accept: str = "") -> Tuple[str, bytes]:
        """Content type and text, in Prometheus's own format or as OpenMetrics, as the header Accept asks."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that have these labels."""
        return value_of(self.registry.collect(), name, **labels)

    def close(self) -> None:
        """Remove the files."""
        with suppress(OSError):
            self._temporary.cleanup()

    def describe(self) -> Iterable[Metric]:
        """Of the registry's protocol: names are not looked at before there are values."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Of the registry's protocol: all metrics as they are now."""
        workers = list(self._workers())
        with self._lock:
            counted = self._counted()
            restarts, reloads, served = self._restarts, dict(self._reloads), self._served
        yield from sorted(counted, key=lambda metric: metric.name)
        yield CounterMetricFamily(
            "ernie_worker_restarts", "Worker processes that ended and were started again", restarts
        )
        yield GaugeMetricFamily(
            "ernie_workers_ready", "Worker processes that answer", sum(worker.ready for worker in workers)
        )
        memory = GaugeMetricFamily(
            "ernie_worker_memory_bytes", "Resident memory of a worker process", labels=["worker"]
        )
        for worker in workers:
            memory.add_metric([str(worker.number)], resident_bytes(worker.pid))
        yield memory
        reloaded = CounterMetricFamily(
            "ernie_reloads", "Reloads of a model, by result: success or failure", labels=["model", "result"]
        )
        for labels, count in reloads.items():
            reloaded.add_metric(labels, count)
        yield reloaded
        info = InfoMetricFamily("ernie_model", "What is served", labels=["model"])
        for name, *facts in served:
            info.add_metric([name], dict(zip(FACTS[1:], facts)))
        yield info

    def _counted(self) -> Iterable[Metric]:
        """What workers counted; nothing where their files are just removed, or cannot be read."""
        try:
            # A file that a worker is just making is still empty, which the library cannot read.
            files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
            return list(MultiProcessCollector.merge(files))
        except (OSError, *UNREADABLE):
            return []


def remove_abandoned_files() -> None:
    """In a worker whose supervisor is gone without having removed them. What is counted from now on is lost."""
    if FOLDER in os.environ:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


def value_of(metrics: Iterable[Metric], name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels; 0 where there is none."""
    return sum(
        sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 for one that has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
