"""The process that a *_service.py command is: it holds the ports, runs the workers, and publishes health and metrics.

Workers answer the requests (worker.py). One that ends is started again (replicas.py); SIGHUP loads the models again
(reloading.py); SIGTERM or Ctrl-C ends all workers after they have answered what they accepted. If this process is
killed, they do the same by themselves.
"""

import queue
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import Any, Dict, List

from ernie_inference.engine_choice import AUTO
from ernie_inference.errors import InputError
from ernie_serving.api_keys import ApiKeys
from ernie_serving.descriptors import raise_limit
from ernie_serving.entrance import check_entrance, monitor_tls
from ernie_serving.loading import check_model, digest_in
from ernie_serving.metrics import ServiceMetrics, WorkerState
from ernie_serving.monitor import Monitor
from ernie_serving.ports import address_of, listen, reserve
from ernie_serving.reloading import Reloading, reload_all
from ernie_serving.replicas import Replicas, say
from ernie_serving.service_config import ServiceConfig
from ernie_serving.signals import on_signals
from ernie_serving.worker_process import Worker

CHECK_SECONDS = 1.0


class Supervisor:
    """Runs the workers of one service until it is told to stop.

    Args:
        task_name: that the models have to be for; empty: any.

    Raises:
        InputError: the machine cannot run a model so, has too few open files for the connections, or a port is taken.
    """

    def __init__(self, config: ServiceConfig, task_name: str = ""):
        for model in config.models.values():
            check_model(model)
        raise_limit(config)
        self.config = config
        self.task_name = task_name
        warnings = check_entrance(config)
        self._monitor_tls = monitor_tls(config)
        self._reserved, self._rpc_address = reserve(config.host, config.rpc_port)
        self._http = listen(config.host, config.http_port, "http_port")
        self._monitor = listen(config.monitor_host or config.host, config.monitor_port, "monitor_port")
        for warning in warnings:
            print(warning, file=sys.stderr, flush=True)
        self.metrics = ServiceMetrics(self._worker_states, len(config.models))
        self.replicas = Replicas(self._settings, self.metrics)
        self._reloading = Reloading(list(config.models), lambda: self.workers, self.metrics)
        self._announced = False
        self._compared: Dict[int, int] = {}  # by the numbers of workers: the processes whose models were looked at
        self._versions: Dict[str, str] = {}  # of the models, as they were served last
        self._stopping = False

    @property
    def workers(self) -> List[Worker]:
        return self.replicas.workers

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit status.

        Raises:
            InputError: the model cannot be served so, or its workers keep ending.
        """
        on_signals(self.replicas.events.put, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        if self._monitor:
            keys = ApiKeys(self.config.api_key_file)
            Monitor(self._monitor, lambda: self.ready, self.metrics.page, self.reload, keys, self._monitor_tls).start()
        try:
            # The first one chooses engines for all, where that is left to it.
            chooses = any(model.engine == AUTO for model in self.config.models.values())
            self.replicas.start(1 if chooses else self.config.replicas)
            while True:
                try:
                    event = self.replicas.events.get(timeout=CHECK_SECONDS)
                except queue.Empty:
                    event = None
                if event in (signal.SIGTERM, signal.SIGINT):
                    return self._stop()
                if event == signal.SIGHUP:
                    threading.Thread(target=reload_all, args=(self._reloading,), daemon=True).start()
                elif event is not None:
                    self._look_after(event)
                self.replicas.tick()
        finally:
            self.replicas.kill()
            self.metrics.close()

    def reload(self, name: str) -> Dict[str, str]:
        """Serve what is in a model's folder now; from any thread. As Reloading.reload."""
        return self._reloading.reload(name)

    def models(self) -> List[Dict[str, Any]]:
        """What is served now, as Models.describe has it: what the first worker that is ready says of it."""
        return next((worker.models for worker in self.workers if worker.state == "ready"), [])

    def _settings(self) -> Dict[str, Any]:
        """What a worker is told when it is started."""
        return {
            "task": self.task_name,
            "config": self.config.as_dict(),
            "numbers": dict(self._reloading.numbers),
            "rpc_address": self._rpc_address,
            "http_fds": [sock.fileno() for sock in self._http],
        }

    def _look_after(self, worker: Worker) -> None:
        if "error" in worker.last and not self._announced:
            raise InputError(worker.last["error"])
        self.replicas.look_after(worker)
        if worker.state == "ready" and self._compared.get(worker.number) != worker.process.pid:
            self._compared[worker.number] = worker.process.pid
            self._compare(worker.models)
        served = [model for each in self.workers if each.state == "ready" for model in each.models]
        self._versions.update({model["name"]: model["version"] for model in served})
        self.metrics.models(served)
        if self._announced or not all(each.state == "ready" for each in self.workers):
            return
        self._adopt_engines(self.models())
        if len(self.workers) < self.config.replicas:
            self.replicas.start(self.config.replicas)
            return
        self._announced = True
        print(self.describe(), flush=True)

    def _compare(self, models: List[Dict[str, Any]]) -> None:
        """Say which models of a worker that has just become ready are others than those that were served before: one
        that is started again loads what is in the folders now."""
        for name, version in ((model["name"], model["version"]) for model in models):
            before = self._versions.get(name, version)
            if digest_in(before) != digest_in(version):
                say(f"{name}: a worker that was started again has found {version} in the folder, it was {before}")

    def _adopt_engines(self, models: List[Dict[str, Any]]) -> None:
        """All other workers run the models with the engines that the first one has chosen."""
        for model in models:
            name = model["name"]
            self.config.models[name] = replace(self.config.models[name], engine=model["engine"])

    def _stop(self) -> int:
        """Let all workers finish. Returns 0, or 1 where one had to be killed."""
        self._stopping = True
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        end = time.monotonic() + self.config.pre_stop_delay / 1000 + self.config.drain_seconds
        while any(worker.process.poll() is None for worker in self.workers):
            try:
                event = self.replicas.events.get(timeout=max(end - time.monotonic(), 0))
            except queue.Empty:
                return 1
            if event in (signal.SIGTERM, signal.SIGINT):
                return 1  # told to stop a second time
        # One that was still starting ends by the signal; it has accepted nothing.
        failed = [worker for worker in self.workers if worker.process.returncode != 0 and worker.last]
        for worker in failed:
            print(f"worker {worker.number} ended ({worker.ending}) while it stopped", file=sys.stderr, flush=True)
        return 1 if failed else 0

    def _worker_states(self) -> List[WorkerState]:
        return [
            WorkerState(worker.number, worker.process.pid, worker.state == "ready")
            for worker in self.workers
            if worker.state != "ended"
        ]

    @property
    def ready(self) -> int:
        """Workers that others may send requests to."""
        return 0 if self._stopping else sum(worker.state == "ready" for worker in self.workers)

    def describe(self) -> str:
        """What is served and where, for people."""
        models = self.models()
        lines = [
            f"{model['name']}: {self.config.models[model['name']].model_dir}, {model['description']}"
            for model in models
        ]
        lines.append(f"gRPC     {self._rpc_address}")
        if self._http:
            name = models[0]["name"] if len(models) == 1 else "NAME"
            scheme = "https" if self.config.tls_cert else "http"
            lines.append(f"HTTP     {scheme}://{address_of(self._http[0])}/{name}/prediction")
        if self._monitor:
            scheme = "https" if self.config.monitor_tls else "http"
            lines.append(f"monitor  {scheme}://{address_of(self._monitor[0])}/health and /metrics")
        return "\n".join([*lines, "ready"])
