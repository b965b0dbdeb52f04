"""What the tests of compression share."""

from ernie_suite.compression import report

import pytest


@pytest.fixture(autouse=True, scope="module")
def few_rounds():
    """Each compression compares the speed of its models; how often they run for that proves nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "COMPARED_ROUNDS", 1)
        yield
