"""Each split gets its share, by whole groups of examples."""

from ernie_suite.annotation.splits import Shares, assign

import numpy as np
import pytest

from ernie_inference.errors import InputError


@pytest.mark.parametrize("count", [3, 4, 10, 1000])
def test_every_split_gets_something(count):
    split = assign(np.arange(count), np.zeros(count, dtype=np.int64), Shares(0.1, 0.1), seed=3)
    sizes = np.bincount(split, minlength=3).tolist()
    assert sizes[1:] == [max(1, round(0.1 * count))] * 2 and sum(sizes) == count


def test_every_split_has_its_share_of_each_label():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    split = assign(np.random.default_rng(1).permutation(1000), labels, Shares(0.1, 0.2), seed=3)
    shares = [np.bincount(split[labels == label], minlength=3).tolist() for label in range(3)]
    assert np.abs(np.array(shares) - [[630, 90, 180], [63, 9, 18], [7, 1, 2]]).max() <= 1


def test_too_few_groups_are_refused():
    with pytest.raises(InputError, match="2 different texts are too few for 3 splits"):
        assign(np.array([0, 0, 1, 1]), np.zeros(4, dtype=np.int64), Shares(0.1, 0.1), seed=3)
