"""Services that are killed, stopped, overloaded or wrongly set up: every accepted request is answered or refused."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.serving_process import SERVING, wait_until
from ernie_serving.metrics import FOLDER
from ernie_serving.ports import reserve
from tests.support.load import Load
from tests.support.scripts import ROOT
from tests.support.services import RunningService


def test_a_killed_worker_is_replaced(serving_dir):
    service = RunningService("seq_cls", serving_dir("seq_cls"), "--thread_num=1")
    try:
        load = Load(service)
        wait_until(lambda: load.answered > 50)
        (killed,) = service.workers()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: service.get("/health")[0] == 503, 20)
        assert service.get("/live")[0] == 200
        wait_until(lambda: service.get("/health")[0] == 200)
        before = load.answered
        wait_until(lambda: load.answered > before + 50)
        load.end()
        assert load.refused > 0 and killed not in service.workers()
        assert service.metric("ernie_worker_restarts_total") == 1
        assert service.errors == ["worker 0 ended (signal 9); starting another\n"]
    finally:
        assert service.stop() == 0


def test_sigterm_under_load(serving_dir):
    service = RunningService("seq_cls", serving_dir("seq_cls"), "--thread_num=1", "--pre_stop_delay=2000")
    load = Load(service)
    wait_until(lambda: load.answered > 50)
    told = time.monotonic()
    service.process.terminate()
    wait_until(lambda: service.get("/health")[0] == 503 and service.get("/health", monitor=False)[0] == 503)
    answered = load.answered
    wait_until(lambda: load.answered > answered + 20, 20)
    assert load.refused == 0, "it is not ready, and answers"
    stopped = time.monotonic()
    assert service.process.wait(60) == 0
    assert time.monotonic() - told >= 2
    wait_until(lambda: load.refused > 0, 20)
    load.end()
    assert service.errors == []
    assert not [sent for sent in load.broken if sent < stopped - 0.05], "accepted, and neither answered nor refused"


def test_two_workers_killed_at_once_and_one_that_cannot_start(tiny_serving):
    folder = tiny_serving("seq_cls")
    service = RunningService("seq_cls", folder, "--thread_num=1", "--replicas=2")
    try:
        killed = service.workers()
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: service.get("/health") == (200, {"ready": 2}) and not set(killed) & set(service.workers()))
        assert service.client().predict(["好"]) and service.metric("ernie_worker_restarts_total") == 2
        # One that finds no model any more is tried again and again, while the other serves.
        healthy, killed = service.workers()
        said = len(service.errors)
        folder.rename(folder.with_name("away"))
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: service.metric("ernie_worker_restarts_total") >= 5)
        assert healthy in service.workers() and service.client().predict(["好"])
        assert service.get("/health") == (200, {"ready": 1})
        folder.with_name("away").rename(folder)
        wait_until(lambda: service.get("/health") == (200, {"ready": 2}))
        ended, missing, again = service.errors[said:]
        number = ended.split()[1]
        assert ended == f"worker {number} ended (signal 9); starting another\n"
        assert missing.startswith(f"worker {number} ended (model_dir {folder} is missing: make the folder with ")
        assert again == f"worker {number} is ready again\n"
    finally:
        assert service.stop() == 0


def test_workers_end_when_their_supervisor_is_killed(serving_dir):
    service = RunningService("seq_cls", serving_dir("seq_cls"), "--thread_num=1")
    (worker,) = service.workers()
    environment = dict(
        entry.partition(b"=")[::2] for entry in Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    )
    counts = Path(environment[FOLDER.encode()].decode())
    assert list(counts.iterdir())
    service.process.kill()
    service.process.wait()
    wait_until(lambda: has_ended(worker), 60)
    assert not counts.exists()


def has_ended(pid: int) -> bool:
    """Also where nobody asks for the exit status of an orphan, which then stays as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def start(task, *flags):
    """A service that is expected to end by itself."""
    argv = [sys.executable, SERVING / f"{task}_service.py", "--rpc_port=0", "--http_port=0", "--monitor_port=0", *flags]
    return subprocess.run(list(map(str, argv)), cwd=ROOT, capture_output=True, text=True, timeout=300)


def refusal(done) -> str:
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr[len("error: ") :]


@pytest.mark.parametrize("option", ["rpc_port", "http_port", "monitor_port"])
def test_a_taken_port(tmp_path, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(start("seq_cls", f"--{option}={port}", f"--model_dir={tmp_path}"))
    assert said == f"{option} {port} at 127.0.0.1 cannot be had (Address already in use): give another --{option}\n"


def test_the_port_of_another_service_is_taken_too():
    """gRPC alone would share it."""
    reserved, address = reserve("127.0.0.1", 0)
    port = address.split(":")[1]
    assert "cannot be had" in refusal(start("seq_cls", f"--rpc_port={port}", "--model_dir=x"))
    for sock in reserved:
        sock.close()


def test_a_missing_or_broken_model(serving_dir, tmp_path):
    assert "model_dir nowhere is missing: make the folder with" in refusal(start("seq_cls", "--model_dir=nowhere"))
    assert "serving_server_conf.prototxt is missing" in refusal(start("seq_cls", f"--model_dir={tmp_path}"))
    for name, content, message in (
        ("model.pdiparams", lambda b: b[:-7], "cut short or damaged"),
        ("model.pdmodel", lambda b: b[: len(b) // 2], "is not a Paddle program|has the inputs|does not belong"),
        ("vocab.txt", lambda b: b"nothing\n", "vocab.txt cannot be used"),
        ("inference.json", lambda b: b"{", "is not what export writes"),
        ("serving_server_conf.prototxt", lambda b: b"\xff", "cannot be read|does not belong"),
    ):
        folder = tmp_path / name.replace(".", "-")
        shutil.copytree(serving_dir("seq_cls"), folder)
        (folder / name).write_bytes(content((folder / name).read_bytes()))
        assert re.search(message, refusal(start("seq_cls", f"--model_dir={folder}")))
    assert "is a seq_cls model" in refusal(start("qa", f"--model_dir={serving_dir('seq_cls')}"))
    assert "is not quantized" in refusal(start("seq_cls", f"--model_dir={serving_dir('seq_cls')}", "--precision=int8"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle_dir: x", "no option 'modle_dir', did you mean model_dir"),
        ("rpc_port: many", "rpc_port is 'many', which is no int"),
        ("auto_batching: 1", "auto_batching is 1, which is no bool"),
        ("model_dir: x\nqueue_size: 0", "queue_size is 0: give a number from 1 on"),
        ("model_dir: x\nrpc_port: 70000", "rpc_port is 70000: give a number up to 65535"),
        ("model_dir: x\nrpc_port: 5\nhttp_port: 5", "are not three different ports"),
        ("- a", "holds no options"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.mkdir [run]", "is not YAML"),
        ("host: 127.0.0.1", "model_dir is missing"),
        ("host: 256.0.0.1\nmodel_dir: x", "host 256.0.0.1 is no address"),
        ("model_dir: x\ntimeout: 1000000000000", "timeout is 1000000000000: give a number up to 86400000"),
        ("model_dir: x\nhost: 256.0.0.1\ndevice: tpu", "device 'tpu' is neither cpu nor gpu"),
        ("model_dir: x\nhost: 256.0.0.1\nmax_connections: 1048576", "open files in a worker, and the system allows"),
    ],
)
def test_a_wrong_config(tmp_path, text, message):
    file = tmp_path / "config.yml"
    file.write_text(text)
    argv = [sys.executable, str(SERVING / "seq_cls_service.py"), "--config", str(file)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert message in refusal(done) and sorted(tmp_path.iterdir()) == [file]


def test_a_wrong_flag():
    assert "unrecognized arguments: --modle_dir=x; see --help" in refusal(start("qa", "--modle_dir=x"))
    assert "'maybe' is neither true nor false" in refusal(start("qa", "--auto_batching=maybe"))
    assert "nowhere.yml cannot be read" in refusal(start("qa", "--config=nowhere.yml"))
