"""The scripts of the repository, run as a user would."""

import os
import subprocess
import sys
from pathlib import Path
from typing import List

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = {"seq_cls": "sample_reviews", "token_cls": "sample_people_daily", "qa": "sample_reading"}
SCRIPTS = {"seq_cls": "run_seq_cls.py", "token_cls": "run_token_cls.py", "qa": "run_qa.py"}


def run_script(*argv, check=True, **options) -> subprocess.CompletedProcess:
    """Run a script of the repository as a user would."""
    command = [sys.executable, *map(str, argv)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, **options)
    if check and done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    # What libraries think of each other is nothing for users (quiet_imports.py of ernie_inference).
    assert "pkg_resources" not in done.stderr and "Setuptools" not in done.stderr, done.stderr[-3000:]
    return done


# Paddle warns of this one, which conftest.py sets.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def infer_cpu_command(*flags) -> List[str]:
    return [sys.executable, "deploy/python/infer_cpu.py", *map(str, flags)]


def infer_cpu(*flags) -> subprocess.CompletedProcess:
    """Run deploy/python/infer_cpu.py as a user would, whatever it ends with."""
    command = infer_cpu_command(*flags)
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
