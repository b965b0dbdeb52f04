"""deploy/ray/bulk.py as a user runs it, with Ray: workers that are killed, runs that are, and what is refused."""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Optional

import pyarrow as pa
import pytest
from pyarrow import parquet

from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from ernie_inference.text_output import to_json
from ernie_ray.address import check_address
from tests.support.models import corpus
from tests.support.scripts import ENVIRONMENT, ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="ray is not installed (requirements/ray.txt); test_rows.py and test_job.py need none",
)
ROWS, ROWS_PER_PART = 3000, 50
LOOPBACK = "127.0.0.1"


def bulk_command(model, source, target, *flags) -> List[str]:
    paths = ["--model_path", model, "--input_path", source, "--output_dir", target]
    return [sys.executable, "deploy/ray/bulk.py", *map(str, [*paths, "--num_workers", 2, *flags])]


def start(*arguments) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(bulk_command(*arguments), cwd=ROOT, env=ENVIRONMENT, start_new_session=True, **pipes)


def bulk(*arguments) -> subprocess.CompletedProcess:
    process = start(*arguments)
    output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def parts_in(folder) -> List[Path]:
    return sorted(Path(folder).glob("part-*"))


def wait_for_parts(process, folder, wanted: int) -> None:
    while process.poll() is None and len(parts_in(folder)) < wanted:
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()


def parent_of(pid: int) -> Optional[int]:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def workers_of(pid: int) -> List[int]:
    """The processes below a run that answer parts."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        above: Optional[int] = int(folder.name)
        while b"AnswerParts" in title and above and above != pid:
            above = parent_of(above)
        if b"AnswerParts" in title and above == pid:
            found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def texts():
    return [f"第{number}句：{text}" for number, text in enumerate(corpus()[::11][:ROWS])]


@pytest.fixture(scope="module")
def source(texts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ray") / "in.jsonl"
    rows = (to_json({"id": number, "text": text}) for number, text in enumerate(texts))
    path.write_bytes(b"".join(row + b"\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def model(tiny) -> Path:
    load_predictor(tiny["seq_cls"], backend="onnxruntime", num_threads=1)  # makes the .onnx file
    return Path(f"{tiny['seq_cls']}.onnx")


@pytest.fixture(scope="module")
def labels(model, texts) -> List[str]:
    """Without Ray."""
    predictor = load_predictor(model, backend="onnxruntime", num_threads=1)
    return [answer["label"] for answer in predictor.predict(texts)]


def check_answers(folder, texts, labels) -> None:
    """Every row once, in its place, with its own answer."""
    rows = [json.loads(line) for part in parts_in(folder) for line in part.read_bytes().splitlines()]
    assert [row["id"] for row in rows] == list(range(len(texts)))
    assert [row["text"] for row in rows] == texts
    assert [row["answer"]["label"] for row in rows] == labels


def test_a_worker_that_is_killed_costs_no_row(model, source, texts, labels, tmp_path):
    process = start(model, source, tmp_path / "out", "--rows_per_part", ROWS_PER_PART)
    try:
        wait_for_parts(process, tmp_path / "out", 5)
        killed = workers_of(process.pid)[0]
        os.kill(killed, signal.SIGKILL)
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert output.endswith(f"wrote 3,000 rows in 60 parts to {tmp_path}/out\n")
    check_answers(tmp_path / "out", texts, labels)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["_manifest.json", "_parts", *(f"part-{number:06d}.jsonl" for number in range(60))]


def test_a_run_that_ended_early_goes_on(model, source, texts, labels, tiny, tmp_path):
    folder, flags = tmp_path / "out", ("--rows_per_part", ROWS_PER_PART)
    for ending, wanted in ((signal.SIGKILL, 5), (signal.SIGINT, 20)):
        process = start(model, source, folder, *flags)
        wait_for_parts(process, folder, wanted)
        workers = workers_of(process.pid)
        process.send_signal(ending)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[ending], errors
        assert ending != signal.SIGINT or "interrupted: the same command goes on after" in errors
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers), "its workers stayed"
    before = {path: path.stat().st_mtime_ns for path in parts_in(folder)}
    assert wanted <= len(before) < 60
    recorded = {path.with_suffix("").name for path in (folder / "_parts").glob("part-*")}

    other = bulk(model, source, folder, *flags, "--max_seq_length", 32)
    expected = f"error: {folder} was begun with another max_seq_length: name another --output_dir, or remove it\n"
    assert other.returncode == 2 and other.stderr == expected
    source_of_other = tmp_path / "other.jsonl"
    source_of_other.write_bytes(source.read_bytes().replace(b'"id": 7,', b'"id": 8,'))
    other = bulk(model, source_of_other, folder, *flags)
    assert other.returncode == 2 and "out was begun with another input: name another" in other.stderr

    done = bulk(model, source, folder, *flags)
    assert done.returncode == 0, done.stderr
    assert f"wrote 3,000 rows in 60 parts to {folder}, {len(recorded)} of which were there already" in done.stdout
    kept = {path: path.stat().st_mtime_ns for path in before if path.stem in recorded}
    assert kept == {path: before[path] for path in kept} and len(kept) >= wanted - 2
    check_answers(folder, texts, labels)


def test_parquet_in_parquet_out(model, texts, labels, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, part in enumerate((slice(0, 70), slice(70, 200))):
        table = pa.table({"id": range(part.start, part.stop), "review": texts[part]})
        parquet.write_table(table, folder / f"{number}.parquet", row_group_size=33)
    done = bulk(model, folder, tmp_path / "out", "--text_column", "review", "--rows_per_part", 60, "--num_threads", 1)
    assert done.returncode == 0, done.stderr
    assert len(parts_in(tmp_path / "out")) == 5
    table = parquet.read_table(tmp_path / "out")  # as anybody reads a folder
    assert table["id"].to_pylist() == list(range(200)) and table["review"].to_pylist() == texts[:200]
    assert [json.loads(answer)["label"] for answer in table["answer"].to_pylist()] == labels[:200]


def test_what_is_wrong_is_one_line(model, source, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b'{"text": "a"}\n{"text": 1}\n')
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    cases = [
        ((model, bad, tmp_path / "out"), "bad.jsonl, line 2 is not a text, a pair of texts"),
        ((model, empty, tmp_path / "out"), "there are no rows in"),
        ((model, tmp_path / "away", tmp_path / "out"), "--input_path .*away is missing"),
        ((model, tmp_path, tmp_path / "out"), "--output_dir .* is in --input_path"),
        ((tmp_path / "m.onnx", source, tmp_path / "out"), "holds no .onnx file"),
        ((model, source, tmp_path / "out", "--address", "127.0.0.1:9"), "no Ray cluster is there"),
        ((model, source, tmp_path / "out", "--address", "somewhere"), "give auto, host:port or ray://host:port"),
        ((model, source, tmp_path / "out", "--precision_mode", "bf16"), "does not run bf16"),
    ]
    for arguments, message in cases:
        done = bulk(*arguments)
        errors = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
        assert done.returncode == 2 and errors[-1].startswith("error: "), done.stderr
        assert len([line for line in errors if "reading" not in line]) == 1 and "Traceback" not in done.stderr
        assert re.search(message, errors[-1]), errors[-1]
    assert not parts_in(tmp_path / "out")


@pytest.fixture
def cluster():
    """(host:port, ray://host:port) of a cluster of this machine."""
    with socket.create_server((LOOPBACK, 0)) as one, socket.create_server((LOOPBACK, 0)) as other:
        control, clients = one.getsockname()[1], other.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=1"]
    command += ["--include-dashboard=false", f"--node-ip-address={LOOPBACK}"]
    command += [f"--port={control}", f"--ray-client-server-port={clients}"]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    yield f"{LOOPBACK}:{control}", f"ray://{LOOPBACK}:{clients}"
    process.terminate()
    process.wait(60)


def test_a_cluster_is_known_by_its_answer(cluster):
    """Both kinds of address, when the cluster is up."""
    for where in cluster:
        deadline = time.monotonic() + 90
        while True:
            try:
                check_address(where)
                break
            except InputError as refusal:
                assert time.monotonic() < deadline, refusal
                time.sleep(0.5)
