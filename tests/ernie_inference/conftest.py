"""What the tests of inference share."""

import pytest

from ernie_inference.predictor import load_predictor
from tests.support.models import TASK_NAMES


@pytest.fixture(scope="module")
def predictors(tiny):
    return {task: load_predictor(tiny[task], num_threads=1) for task in TASK_NAMES}
