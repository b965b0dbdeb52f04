"""What the tests share: a small ERNIE and one model fine-tuned for each task, made once a session by the scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before grpc is imported: what it does before a fork can wait for ever while clients are at work (grpcio 1.80), and the
# tests start processes beside clients.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


SAMPLES = {"seq_cls": "sample_reviews", "token_cls": "sample_people_daily", "qa": "sample_reading"}
SCRIPTS = {"seq_cls": "run_seq_cls.py", "token_cls": "run_token_cls.py", "qa": "run_qa.py"}
TRAIN_EXAMPLES = {"seq_cls": 4000, "token_cls": 1500, "qa": 400}


def run_script(*argv, check=True, **options) -> subprocess.CompletedProcess:
    """Run a script of the repository as a user would."""
    command = [sys.executable, *map(str, argv)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, **options)
    if check and done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    # What libraries think of each other is nothing for users (quiet_imports.py).
    assert "pkg_resources" not in done.stderr and "Setuptools" not in done.stderr, done.stderr[-3000:]
    return done


@pytest.fixture(scope="session")
def small_ernie(tmp_path_factory) -> Path:
    """A two-layer ERNIE with random weights and the vocabulary of the sample text."""
    folder = tmp_path_factory.mktemp("small") / "ernie"
    size = ("--num_hidden_layers", 2, "--hidden_size", 64, "--num_attention_heads", 4)
    run_script("make_small_ernie.py", "--num_train_epochs", 0, *size, "--output_dir", folder)
    return folder


@pytest.fixture(scope="session")
def finetuned(small_ernie, tmp_path_factory):
    """The folder of the model fine-tuned for a task on a part of its sample set, trained when first asked for."""
    folders = {}

    def get(task: str) -> Path:
        if task not in folders:
            folder = tmp_path_factory.mktemp("finetuned") / task
            run_script(
                SCRIPTS[task], "--task_name", SAMPLES[task], "--model_name_or_path", small_ernie,
                "--output_dir", folder, "--max_train_samples", TRAIN_EXAMPLES[task], "--max_eval_samples", 300,
                "--num_train_epochs", 2, "--learning_rate", 2e-3, "--max_seq_length", 96,
                "--per_device_train_batch_size", 32, "--do_train", "--do_eval", "--do_predict", "--do_export",
            )  # fmt: skip
            folders[task] = folder
        return folders[task]

    return get


os.environ.setdefault("OMP_NUM_THREADS", "2")
