"""What a service publishes for Prometheus: the counts, whatever becomes of the processes that counted."""

import http.client
import os
import shutil
import signal
import subprocess
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from benchmarks.serving_process import wait_until
from ernie_inference.errors import InputError
from ernie_serving.metrics import GRPC, HTTP, Metrics, ServiceMetrics, WorkerState, resident_bytes, value_of
from ernie_serving.protocol import Code
from tests.support.load import Load
from tests.support.scripts import ROOT
from tests.support.services import RunningService

# A process that counts a request at each line, and gauges; it answers so that the test knows that it has counted.
WORKER = """
import sys
sys.path[:0] = [{serving!r}, {python!r}]
from ernie_serving.metrics import Metrics
metrics = Metrics(["a", "b"])
for number, line in enumerate(sys.stdin, start=1):
    metrics.request("a", 0, texts=2, seconds=0.03)
    metrics.batch("a", 3)
    metrics.in_flight("a", number, 8)
    print("counted", flush=True)
"""


class Counting(subprocess.Popen):
    def __init__(self, service: ServiceMetrics):
        code = WORKER.format(serving=str(ROOT / "deploy" / "serving"), python=str(ROOT / "deploy" / "python"))
        super().__init__(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **service.environment},
        )  # fmt: skip

    def count(self, times: int) -> None:
        for _ in range(times):
            self.stdin.write("\n")
            self.stdin.flush()
            assert self.stdout.readline() == "counted\n"


@pytest.fixture
def service():
    metrics = ServiceMetrics(lambda: [WorkerState(0, os.getpid(), True), WorkerState(1, os.getpid(), False)])
    yield metrics
    metrics.close()


def test_what_killed_processes_counted_stays_and_their_files_do_not(service):
    counted = 0
    for generation in range(3):
        workers = [Counting(service) for _ in range(2)]
        for worker in workers:
            worker.count(generation + 1)
            counted += generation + 1
        assert service.value("ernie_requests_in_flight", model="a") == 2 * (generation + 1)
        assert service.value("ernie_requests_limit", model="a") == 16
        for worker in workers:
            worker.kill()
            worker.wait()
            assert service.value("ernie_requests_total", model="a", err_no="0") == counted
            service.worker_ended(worker.pid)
            service.worker_ended(worker.pid)  # once more is nothing new
            assert service.value("ernie_requests_total", model="a", err_no="0") == counted
        assert service.value("ernie_requests_in_flight") == 0
    assert service.value("ernie_texts_total", model="a") == 2 * counted
    assert service.value("ernie_request_seconds_bucket", model="a", err_no="0", le="0.02") == 0
    assert service.value("ernie_request_seconds_bucket", model="a", err_no="0", le="0.05") == counted
    assert service.value("ernie_batch_windows_sum", model="a") == 3 * counted
    folder = service.environment["PROMETHEUS_MULTIPROC_DIR"]
    assert sorted(os.listdir(folder)) == ["counter_ended.db", "histogram_ended.db"]
    service.close()
    assert not os.path.exists(folder)


def test_a_file_that_is_just_being_made_is_no_error(service):
    open(os.path.join(service.environment["PROMETHEUS_MULTIPROC_DIR"], "counter_1.db"), "w").close()
    assert service.value("ernie_workers_ready") == 1
    service.worker_ended(1)
    assert service.value("ernie_requests_total") == 0


def served(version: str) -> dict:
    return {"name": "a", "version": version, "task": "qa", "engine": "paddle", "precision": "fp32", "state": "ready"}


FULL = """
import os, subprocess, sys
sys.path[:0] = [{serving!r}, {python!r}]
from ernie_serving.metrics import ServiceMetrics
service = ServiceMetrics(list)
command, environment = [sys.executable, "-c", sys.argv[1]], {{**os.environ, **service.environment}}
worker = subprocess.Popen(command, stdin=-1, stdout=-1, env=environment)
worker.stdin.write(b"\\n")
worker.stdin.flush()
assert worker.stdout.readline() == b"counted\\n"
try:
    open(sys.argv[2] + "/fill", "wb", buffering=0).write(b"x" * (1 << 20))
except OSError:
    pass
worker.kill()
worker.wait()
service.worker_ended(worker.pid)
successor = subprocess.run(command, input=b"\\n", stdout=-1, env=environment)
assert successor.stdout == b"counted\\n", successor.returncode
print(service.value("ernie_requests_total", model="a", err_no="0"))
service.close()
"""


def test_on_a_full_disk_all_processes_live_and_what_was_counted_stays(tmp_path):
    """On a real one: the room for a page that is mapped is what lacks, which ends a process with SIGBUS."""
    folders = {"serving": str(ROOT / "deploy" / "serving"), "python": str(ROOT / "deploy" / "python")}
    mounted = f'mount -t tmpfs -o size=1m none {tmp_path} && exec env TMPDIR={tmp_path} "$@"'
    namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c", mounted, "sh"]
    if subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = [*namespace, sys.executable, "-c", FULL.format(**folders), WORKER.format(**folders), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "1.0\n"), done.stderr
    said = done.stderr.splitlines()
    assert len(said) == 1 and said[0].startswith("what worker process ") and "(No space left on device)" in said[0]


def test_a_folder_that_was_tidied_up_is_made_again(service, capsys):
    worker = Counting(service)
    worker.count(2)
    removed = service.environment["PROMETHEUS_MULTIPROC_DIR"]
    shutil.rmtree(removed)
    worker.count(1)  # it lives
    assert service.value("ernie_requests_total") == 0
    worker.kill()
    worker.communicate()
    service.worker_ended(worker.pid)
    orphan = Counting(service)  # one that was started just before
    orphan.count(1)
    orphan.communicate()
    service.prepare()
    said = f"{removed}, where workers count, has been removed: their counts begin anew with each\n"
    assert capsys.readouterr().err == said
    successor = Counting(service)
    successor.count(2)
    successor.communicate()
    assert service.environment["PROMETHEUS_MULTIPROC_DIR"] != removed
    service.worker_ended(successor.pid)
    assert service.value("ernie_requests_total", model="a", err_no="0") == 2


def test_files_have_room_for_all_that_is_counted(service):
    """Names of models are as long as they may be; a file that had to grow would have holes."""
    code = """
import os, sys
sys.path[:0] = [{serving!r}, {python!r}]
from ernie_serving.metrics import GRPC, HTTP, Metrics
from ernie_serving.metric_files import room_of
from ernie_serving.protocol import Code
names = [str(number).rjust(64, "m") for number in range(40)]
metrics = Metrics(names)
for name in [*names, "?"]:
    for code in Code:
        metrics.request(name, code, 1, 0.1)
    metrics.batch(name, 1)
    metrics.in_flight(name, 1, 8)
for status in range(400, 520):
    metrics.refusal(HTTP, str(status))
folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
for kind in ("counter", "histogram", "gauge_livesum"):
    assert os.path.getsize(f"{{folder}}/{{kind}}_{{os.getpid()}}.db") == room_of(kind, len(names)), kind
"""
    folders = {"serving": str(ROOT / "deploy" / "serving"), "python": str(ROOT / "deploy" / "python")}
    argv = [sys.executable, "-c", code.format(**folders)]
    done = subprocess.run(argv, env={**os.environ, **service.environment}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_file_that_something_else_wrote_to_ends_no_supervisor(service, capsys):
    folder = service.environment["PROMETHEUS_MULTIPROC_DIR"]
    for content in (b"\xff" * 100, b"\x40\0\0\0" * 30, b"x"):
        for kind in ("counter", "histogram"):
            with open(os.path.join(folder, f"{kind}_7.db"), "wb") as file:
                file.write(content)
        assert service.value("ernie_workers_ready") == 1
        service.worker_ended(7)
        assert "counter_7.db cannot be read" in capsys.readouterr().err
    assert service.value("ernie_requests_total") == 0


def test_the_supervisors_own(service):
    service.models([served("1")])
    assert service.value("ernie_reloads_total", model="a", result="failure") == 0
    service.reload("a", True)
    service.models([])  # no worker is ready now
    service.models([served("2")] * 2)
    service.reload("a", False)
    service.restart()
    assert service.value("ernie_reloads_total", model="a", result="success") == 1
    assert service.value("ernie_reloads_total", model="a", result="failure") == 1
    assert service.value("ernie_worker_restarts_total") == 1
    assert service.value("ernie_model_info") == service.value("ernie_model_info", version="2") == 1
    service.models([served("2"), served("3")])  # workers that do not serve the same
    assert [service.value("ernie_model_info", version=version) for version in "123"] == [0, 1, 1]
    memory = service.value("ernie_worker_memory_bytes", worker="1")
    assert memory == pytest.approx(resident_bytes(os.getpid()), rel=0.2) and memory > 10e6
    assert service.value("process_resident_memory_bytes") == pytest.approx(memory, rel=0.2)


@pytest.mark.parametrize(
    ("accept", "kind", "parse"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", prometheus_text),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0", open_metrics),
    ],
)
def test_both_formats(service, accept, kind, parse):
    worker = Counting(service)
    worker.count(2)
    content_type, page = service.page(accept)
    worker.communicate()
    assert content_type.startswith(kind)
    assert value_of(parse(page.decode()), "ernie_requests_total", model="a", err_no="0") == 2


def test_no_client_makes_up_series():
    metrics = Metrics(["a"])
    for number in range(100):
        metrics.request(f"made-up-{number}", Code.NO_SERVICE, texts=0, seconds=0.0)
    metrics.refusal(HTTP, "414")
    metrics.refusal(GRPC, "INTERNAL")
    assert metrics.value("ernie_requests_total", model="", err_no="3002") == 100
    assert metrics.value("ernie_refusals_total") == 2 and metrics.value("ernie_refusals_total", way="http") == 1
    models = {sample.labels.get("model") for each in metrics.registry.collect() for sample in each.samples}
    assert models == {None, "", "a"}


def test_without_a_place_for_temporary_files(monkeypatch):
    def nowhere(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("ernie_serving.metrics.tempfile.TemporaryDirectory", nowhere)
    with pytest.raises(InputError, match="No usable temporary directory found.: set TMPDIR"):
        ServiceMetrics(list)


def test_counts_never_fall_while_workers_are_killed_under_load(serving_dir):
    """And the page is served in the format that was asked for."""
    service = RunningService("seq_cls", serving_dir("seq_cls"), "--thread_num=1", "--replicas=2")
    names = ("ernie_requests_total", "ernie_texts_total", "ernie_request_seconds_count", "ernie_batch_windows_sum")
    before = dict.fromkeys(names, 0.0)

    def scrape() -> None:
        families = list(prometheus_text(service.get("/metrics")[1]))
        for name in names:
            value = value_of(families, name)
            assert value >= before[name], f"{name} fell from {before[name]} to {value}"
            before[name] = value

    try:
        load = Load(service)
        for restarts in (1, 2):
            enough = load.answered + 60
            wait_until(lambda enough=enough: scrape() or load.answered > enough)
            os.kill(service.workers()[0], signal.SIGKILL)
            wait_until(lambda n=restarts: scrape() or service.metric("ernie_worker_restarts_total") == n)
            wait_until(lambda: scrape() or service.get("/health") == (200, {"ready": 2}))
        load.end()
        scrape()
        assert before["ernie_requests_total"] >= load.answered
        connection = http.client.HTTPConnection(service.monitor, timeout=60)
        connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        response = connection.getresponse()
        assert response.getheader("Content-Type").startswith("application/openmetrics-text")
        families = list(open_metrics(response.read().decode()))
        assert value_of(families, "ernie_requests_total", model="seq_cls", err_no="0") >= load.answered
    finally:
        assert service.stop() == 0
