"""The scripts of the repository, run as a user would: each as a process of its own, or in this one."""

import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = {
    "seq_cls": "sample_reviews",
    "token_cls": "sample_people_daily",
    "qa": "sample_reading",
    "multiple_choice": "sample_choice",
}
SCRIPTS = {task: f"run_{task}.py" for task in SAMPLES}
# How conftest.py fine-tunes: short, and long enough for each model to have answers of every kind, some of them right.
LEARNING_RATE, MAX_SEQ_LENGTH = 2e-3, {"seq_cls": 48, "token_cls": 48, "qa": 96, "multiple_choice": 96}
TRAINING = {
    task: (
        *("--max_train_samples", examples, "--num_train_epochs", epochs, "--per_device_train_batch_size", batch),
        *("--eval_steps", eval_steps),
    )
    for task, examples, epochs, batch, eval_steps in (
        ("seq_cls", 2000, 1, 16, 50),
        ("token_cls", 300, 4, 8, 200),
        ("qa", 400, 2, 32, 30),
        ("multiple_choice", 160, 1, 16, 10),
    )
}


def run_script(*argv, check=True, **options) -> subprocess.CompletedProcess:
    """Run a script of the repository as a user would."""
    command = [sys.executable, *map(str, argv)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, **options)
    if check and done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    # What libraries think of each other is nothing for users (quiet_imports.py of ernie_inference).
    assert "pkg_resources" not in done.stderr and "Setuptools" not in done.stderr, done.stderr[-3000:]
    return done


def run_here(script, *argv, check=True) -> subprocess.CompletedProcess:
    """Run a script as run_script does, but in this process, which has imported paddle already.

    That import takes 2 to 6 seconds, and most refusals less than one. What is about a process itself (its settings,
    what it imports, kills, what C++ code prints) needs run_script, and so does one test of each script. An exception,
    a stack trace to a user, is raised here as it is.
    """
    command = [str(ROOT / script), *map(str, argv)]
    # The kind of stream that a process has, which the script itself may reconfigure.
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    status = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        paths = [str(Path(command[0]).parent), *sys.path]
        for name, value in {"argv": command, "path": paths, "stdout": output, "stderr": errors}.items():
            patch.setattr(sys, name, value)
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
    texts = [io.TextIOWrapper(io.BytesIO(stream.buffer.getvalue()), "utf-8").read() for stream in (output, errors)]
    if check and status:
        raise AssertionError(f"{command} ended with {status}:\n{texts[1][-3000:]}")
    return subprocess.CompletedProcess(command, status, *texts)


IN_TURN = """
import json, sys
from tests.support.scripts import run_here
for line in json.load(sys.stdin):
    done = run_here(*line, check=False)
    print(json.dumps([done.returncode, done.stdout, done.stderr]))
"""


def run_in_turn(lines, **options) -> List[subprocess.CompletedProcess]:
    """What each of several command lines ends with, all run in one process of their own."""
    given = json.dumps([list(map(str, line)) for line in lines])
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN], input=given, cwd=ROOT, capture_output=True, text=True, timeout=600, **options
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ends = done.stdout.splitlines()[-len(lines) :]
    return [subprocess.CompletedProcess(line, *json.loads(end)) for line, end in zip(lines, ends)]


# Paddle warns of this one, which conftest.py sets.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
INFER_CPU = "deploy/python/infer_cpu.py"


def infer_cpu_command(*flags) -> List[str]:
    return [sys.executable, INFER_CPU, *map(str, flags)]


def infer_cpu(*flags) -> subprocess.CompletedProcess:
    """Run deploy/python/infer_cpu.py as a user would, whatever it ends with."""
    command = infer_cpu_command(*flags)
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
