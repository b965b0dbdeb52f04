"""Counters and latencies of a service, and their text in Prometheus's format.

Serving's own Prometheus support is not used: paddle-serving-server 0.9.0 needs a package that it does
not install (prometheus_client), listens on all interfaces, whatever the service does, and has averages
only. Workers count; each sends its counts to the supervisor, which adds them up and publishes them.
"""

import threading
from collections import Counter
from typing import Dict, Iterable, List

LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # windows

HELP = {
    "ernie_requests_total": ("counter", "Requests answered, by err_no"),
    "ernie_texts_total": ("counter", "Texts with results"),
    "ernie_request_seconds": ("histogram", "From a request read to its answer, refused requests included"),
    "ernie_batch_windows": ("histogram", "Model inputs of waiting requests that were taken together"),
    "ernie_worker_restarts_total": ("counter", "Worker processes that ended and were started again"),
    "ernie_requests_in_flight": ("gauge", "Requests accepted and not yet answered"),
    "ernie_workers_ready": ("gauge", "Worker processes that answer"),
}


class Metrics:
    """Counts of one worker. Keys are Prometheus's names of single values, with labels."""

    def __init__(self):
        self._lock = threading.Lock()
        self._values: Counter = Counter()

    def request(self, code: int, texts: int, seconds: float) -> None:
        """Count one answer."""
        with self._lock:
            self._values[f'ernie_requests_total{{err_no="{int(code)}"}}'] += 1
            self._values["ernie_texts_total"] += texts
            self._observe("ernie_request_seconds", seconds, LATENCY_BUCKETS)

    def refusal(self, code: int) -> None:
        """Count an HTTP request that was refused before it was read."""
        with self._lock:
            self._values[f'ernie_requests_total{{err_no="{int(code)}"}}'] += 1

    def batch(self, windows: int) -> None:
        """Count the windows of waiting requests that were taken together."""
        with self._lock:
            self._observe("ernie_batch_windows", windows, BATCH_BUCKETS)

    def snapshot(self) -> Dict[str, float]:
        with self._lock:
            return dict(self._values)

    def _observe(self, name: str, value: float, buckets: Iterable[float]) -> None:
        for bound in buckets:
            self._values[f'{name}_bucket{{le="{bound}"}}'] += value <= bound
        self._values[f'{name}_bucket{{le="+Inf"}}'] += 1
        self._values[f"{name}_sum"] += value
        self._values[f"{name}_count"] += 1


def prometheus_text(values: Dict[str, float]) -> str:
    """Values by name, as Prometheus reads them (text format 0.0.4)."""
    lines: List[str] = []
    for name, (kind, meaning) in HELP.items():
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        lines += [f"{key} {value}" for key, value in values.items() if _belongs(key, name)]
    return "\n".join(lines) + "\n"


def _belongs(key: str, name: str) -> bool:
    return key.split("{")[0] in (name, f"{name}_bucket", f"{name}_sum", f"{name}_count")
