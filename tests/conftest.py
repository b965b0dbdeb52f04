"""What the tests share: a small ERNIE and one model fine-tuned for each task, made once a session by the scripts.

Where pytest-xdist runs the tests in several workers, they share these too, through files; what a worker
makes in a second or two it makes for itself.
"""

import os
from pathlib import Path
from typing import Dict

import pytest

# Before grpc is imported: what it does before a fork can wait for ever while clients are at work (grpcio 1.80), and the
# tests start processes beside clients.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")

from ernie_serving.model_to_serving import convert
from tests.support.models import TinyModels
from tests.support.scripts import LEARNING_RATE, MAX_SEQ_LENGTH, SAMPLES, SCRIPTS, TRAINING, run_script
from tests.support.services import RunningService
from tests.support.sharing import SharedFolders


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> SharedFolders:
    """What all workers of a session share."""
    folder = tmp_path_factory.getbasetemp()  # below xdist a worker's own, beside those of the others
    return SharedFolders(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture(scope="session")
def small_ernie(shared) -> Path:
    """A two-layer ERNIE with random weights and the vocabulary of the sample text."""
    size = ("--num_hidden_layers", 2, "--hidden_size", 64, "--num_attention_heads", 4)

    def make(folder: Path) -> None:
        run_script("examples/make_small_ernie.py", "--num_train_epochs", 0, *size, "--output_dir", folder)

    return shared.made("ernie", make)


@pytest.fixture(scope="session")
def finetuned(small_ernie, shared):
    """The folder of the model fine-tuned for a task on a part of its sample set, trained when first asked for."""

    def get(task: str) -> Path:
        def train(folder: Path) -> None:
            run_script(
                SCRIPTS[task], "--task_name", SAMPLES[task], "--model_name_or_path", small_ernie,
                "--output_dir", folder, "--max_eval_samples", 300, "--learning_rate", LEARNING_RATE,
                "--max_seq_length", MAX_SEQ_LENGTH[task], *TRAINING[task],
                "--do_train", "--do_eval", "--do_predict", "--do_export",
            )  # fmt: skip

        return shared.made(f"finetuned-{task}", train)

    return get


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> TinyModels:
    return TinyModels(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def serving_dir(finetuned, tmp_path_factory):
    """The serving folder of the model fine-tuned for a task."""
    folders: Dict[str, Path] = {}

    def get(task: str) -> Path:
        if task not in folders:
            folders[task] = convert(finetuned(task) / "export", tmp_path_factory.mktemp("serving") / task)
        return folders[task]

    return get


@pytest.fixture(scope="session")
def services(serving_dir):
    """The running service of a task, started when first asked for."""
    running: Dict[str, RunningService] = {}

    def get(task: str) -> RunningService:
        if task not in running:
            running[task] = RunningService(task, serving_dir(task), "--thread_num=1", "--max_texts=200")
        return running[task]

    yield get
    assert {task: service.stop() for task, service in running.items()} == dict.fromkeys(running, 0)
