"""What the scripts check before they make a trainer."""

from ernie_suite.scripts import check_processes

import pytest

from ernie_inference.errors import InputError


def test_fewer_examples_than_processes_are_refused():
    check_processes({"train": [{}] * 2, "dev": [{}] * 2}, 2)
    with pytest.raises(InputError, match="3 processes for 2 dev examples"):
        check_processes({"train": [{}] * 9, "dev": [{}] * 2}, 3)
