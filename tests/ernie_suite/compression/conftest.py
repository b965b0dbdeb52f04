"""What the tests of compression share."""

from ernie_suite.compression import fresh_process
from ernie_suite.compression.importance import compute_importance

import pytest

from tests.support.trainers import tiny_trainer


@pytest.fixture(autouse=True, scope="module")
def few_rounds():
    """Each compression compares the speed of its models; how often they run for that proves nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fresh_process, "MOST_ROUNDS", 1)
        yield


@pytest.fixture(scope="session")
def trainer(tmp_path_factory):
    """Without dropout; its model stays as it is."""
    return tiny_trainer(tmp_path_factory.mktemp("pruning"), dropout=0.0)


@pytest.fixture(scope="session")
def importance(trainer):
    return compute_importance(trainer, trainer.get_eval_dataloader(trainer.eval_dataset))


@pytest.fixture
def batch(trainer):
    return next(iter(trainer.get_eval_dataloader(trainer.eval_dataset)))
