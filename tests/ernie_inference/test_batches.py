"""Batches: each window in one run, no more padding than another run costs, and only the shapes that there are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_inference.batches import pad, plan, rows_for
from ernie_inference.engines.paddle_engine import distinct_length
from ernie_inference.engines.shapes import Shapes, all_lengths, few_lengths, row_counts
from ernie_inference.tasks.base import Window


def as_they_are(length: int) -> int:
    return length


def runs(lengths, batch_size, run_overhead):
    shapes = Shapes(all_lengths(512, as_they_are), row_counts(batch_size))
    return [(run.end, run.rows, run.length) for run in plan(lengths, shapes, run_overhead)]


def test_a_run_ends_where_its_padding_costs_more_than_another_one():
    assert runs([9, 9, 9, 9, 2, 2], 32, run_overhead=6) == [(4, 4, 9), (6, 2, 2)]
    assert runs([9, 9, 9, 8, 2, 2], 32, run_overhead=math.inf) == [(6, 8, 9)]
    assert runs([9, 9, 9, 8, 2, 2], 2, run_overhead=math.inf) == [(2, 2, 9), (4, 2, 9), (6, 2, 2)]
    assert runs([5], 1, run_overhead=0) == [(1, 1, 5)] and runs([], 4, 0) == []


def test_a_run_has_padding_rows_where_splitting_it_costs_more():
    assert runs([9] * 7, 32, run_overhead=4) == [(4, 4, 9), (6, 2, 9), (7, 1, 9)]
    assert runs([9] * 7, 32, run_overhead=5) == [(7, 8, 9)], "a row of 9 instead of two more runs of 5 each"
    assert runs([9] * 7, 7, run_overhead=0) == [(7, 7, 9)], "a whole batch is no odd number of rows"
    assert rows_for(3, [1, 2, 4], 100, math.inf) == 4 and rows_for(4, [1, 2, 4], 100, math.inf) == 4


@given(st.lists(st.integers(2, 512)), st.integers(1, 40), st.integers(0, 200), st.booleans(), st.booleans())
def test_every_window_is_in_one_run_of_a_known_shape(lengths, batch_size, run_overhead, few, in_order):
    run_overhead = math.inf if in_order else run_overhead
    if not in_order:
        lengths.sort(reverse=True)
    of_engine = (few_lengths if few else all_lengths)(512, distinct_length)
    shapes = Shapes(of_engine, row_counts(batch_size), 2048 if few else math.inf)
    known, begin = set(shapes), 0
    for run in plan(lengths, shapes, run_overhead):
        assert run.begin == begin < run.end <= begin + run.rows
        own = [shapes.length(length) for length in lengths[run.begin : run.end]]
        assert max(own) == run.length and (run.rows, run.length) in known
        assert run.length * len(own) - sum(own) <= run_overhead
        begin = run.end
    assert begin == len(lengths)


@pytest.mark.parametrize(("longest", "most"), [(128, 60), (512, 80), (8, 6), (17, 12)])
def test_few_shapes_are_few(longest, most):
    for padded_length in (as_they_are, distinct_length):
        lengths = few_lengths(longest, padded_length)
        assert lengths[-1] == padded_length(longest) and set(lengths) <= set(all_lengths(longest, padded_length))
        shapes = list(Shapes(lengths, row_counts(32), 2048))
        assert len(set(shapes)) == len(shapes) <= most
        tokens = [rows * length for rows, length in shapes]
        assert tokens == sorted(tokens, reverse=True) and max(tokens) <= 2048
        assert {length for rows, length in shapes if rows == 1} == set(lengths)
    assert row_counts(1) == [1] and row_counts(32) == [1, 2, 4, 8, 16, 32] and row_counts(20) == [1, 2, 4, 8, 16, 20]


def test_a_batch_is_padded_on_the_right_and_below():
    windows = [Window([1, 7, 2], [0, 0, 0], 1, 0, [0], [1]), Window([1, 7, 2, 8, 2], [0, 0, 0, 1, 1], 3, 0, [0], [1])]
    input_ids, token_type_ids = pad(windows, pad_id=9, length=5)
    assert input_ids.tolist() == [[1, 7, 2, 9, 9], [1, 7, 2, 8, 2]] and input_ids.dtype == np.int64
    assert token_type_ids.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]] and token_type_ids.dtype == np.int64
    more, types = pad(windows, pad_id=9, length=5, rows=4)
    assert more.tolist() == [*input_ids.tolist(), [1, 7, 2, 8, 2], [1, 7, 2, 8, 2]] and types.shape == (4, 5)
