"""The assignment of columns to rows has the highest sum there is: as SciPy finds it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from ernie_inference.assignment import best_assignment


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 9), st.integers(0, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_the_sum_is_that_of_scipy(rows, more_columns, seed, has_ties):
    random = np.random.default_rng(seed)
    shape = (rows, rows + more_columns)
    scores = random.integers(-2, 2, shape) if has_ties else random.normal(size=shape) * 10
    found = best_assignment(scores)
    assert len(set(found)) == rows
    best = linear_sum_assignment(scores, maximize=True)
    assert np.isclose(scores[np.arange(rows), found].sum(), scores[best].sum(), atol=1e-9)


def test_the_best_of_each_row_may_have_to_give_way():
    scores = np.log([[0.9, 0.1, 0.0001], [0.8, 0.19, 0.01]])
    assert best_assignment(scores) == [0, 1]
    assert best_assignment(scores[::-1]) == [1, 0]
