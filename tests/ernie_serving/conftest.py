"""What the tests of services share: one service of several models, and serving folders of tiny models."""

from pathlib import Path

import pytest
import yaml

from ernie_inference.inference_config import InferenceConfig
from ernie_serving.model_to_serving import convert
from tests.support.models import TASK_NAMES, TinyModels
from tests.support.rpc import ToyServer
from tests.support.services import RunningService

NAMES = {
    "seq_cls": "news",
    "token_cls": "ner.v2",
    "qa": "qa-1",
    "multiple_choice": "exam",
}  # of the models of `several`
# Options that one of them has for itself.
OWN = {
    "news": {"max_texts": 3},
    "ner.v2": {"engine": "onnxruntime"},
    "qa-1": {"queue_size": 7},
    "exam": {"batch_size": 16},
}


@pytest.fixture
def start():
    """Starts gRPC servers in this process, which end with the test."""
    running = []

    def make(*args, **options) -> ToyServer:
        running.append(ToyServer(*args, **options))
        return running[-1]

    yield make
    for each in running:
        each.stop()


@pytest.fixture(scope="session")
def tiny_serving(tiny, tmp_path_factory):
    """A new serving folder of the tiny model of a task."""

    def make(task: str, models: TinyModels = tiny) -> Path:
        return convert(models[task], tmp_path_factory.mktemp("folder") / "serving")

    return make


@pytest.fixture(scope="session")
def others(tmp_path_factory) -> TinyModels:
    """Tiny models that answer otherwise: other weights, and the labels of the classes the other way round."""
    models = TinyModels(tmp_path_factory.mktemp("others"), seed=7)
    folder = models["seq_cls"].parent
    config = InferenceConfig.load(folder)
    config.labels.reverse()
    config.save(folder)
    return models


@pytest.fixture(scope="session")
def several(tiny_serving, tmp_path_factory):
    """A running service of a model of each family. Its `folders` are theirs, by name."""
    folders = {NAMES[task]: tiny_serving(task) for task in TASK_NAMES}
    config = tmp_path_factory.mktemp("several") / "models.yml"
    models = {name: {"model_dir": str(folder), **OWN[name]} for name, folder in folders.items()}
    config.write_text(yaml.safe_dump({"thread_num": 1, "max_texts": 9, "models": models}, sort_keys=False))
    service = RunningService("", None, f"--config={config}")
    service.folders = folders
    yield service
    assert service.stop() == 0
