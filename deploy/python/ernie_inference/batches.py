"""Windows put together into batches, in the shapes that an engine runs."""

import time
from typing import Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from ernie_inference.engines.shapes import Shapes
from ernie_inference.tasks.base import Window


class Run(NamedTuple):
    """A run of the model: windows [begin, end) of those that are planned, in a shape with at least as many rows."""

    begin: int
    end: int
    rows: int
    length: int


def plan(lengths: Sequence[int], shapes: Shapes, run_overhead: float) -> Iterator[Run]:
    """The runs for windows, in their order.

    A run ends where its padding costs more than another run. One whose number of windows is no number of rows goes
    with padding rows where that costs less than splitting it, and else leaves the last windows to the next run.

    Args:
        lengths: tokens of each window; unless run_overhead is infinite, the longest come first.
        run_overhead: what one more run costs, in tokens.
    """
    begin = 0
    while begin < len(lengths):
        end, longest, padding = begin, 0, 0
        while end < len(lengths):
            length = shapes.length(lengths[end])
            padding += max(longest, length) - length
            if end - begin >= shapes.rows(max(longest, length))[-1] or padding > run_overhead:
                break
            longest = max(longest, length)
            end += 1
        rows = rows_for(end - begin, shapes.rows(longest), longest, run_overhead)
        end = min(end, begin + rows)
        yield Run(begin, end, rows, longest)
        begin = end


def rows_for(windows: int, allowed: Sequence[int], length: int, run_overhead: float) -> int:
    """How many rows the next run has for so many windows: more than these with padding rows, or fewer."""
    if windows in allowed:
        return windows
    above = min(rows for rows in allowed if rows > windows)
    below = max(rows for rows in allowed if rows < windows)
    return above if (above - windows) * length <= run_overhead * (runs_of(windows, allowed) - 1) else below


def runs_of(windows: int, allowed: Sequence[int]) -> int:
    """How many runs without padding rows so many windows take."""
    runs = 0
    for rows in reversed(allowed):
        runs, windows = runs + windows // rows, windows % rows
    return runs


def pad(windows: Sequence[Window], pad_id: int, length: int, rows: int = 0) -> Tuple[np.ndarray, np.ndarray]:
    """input_ids and token_type_ids of a batch, int64 [rows or as many as there are windows, length].

    Padding rows repeat the last window: INT8 that is scaled by what is in the batch is not changed by them.
    """
    missing: List[Window] = [windows[-1]] * (rows - len(windows))
    input_ids = np.full((len(windows) + len(missing), length), pad_id, dtype=np.int64)
    token_type_ids = np.zeros_like(input_ids)
    for row, window in enumerate([*windows, *missing]):
        input_ids[row, : len(window.input_ids)] = window.input_ids
        token_type_ids[row, : len(window.token_type_ids)] = window.token_type_ids
    return input_ids, token_type_ids


def run_seconds(engine, batches: Iterable[Tuple[np.ndarray, np.ndarray]]) -> float:
    """Seconds that an engine takes for batches of input_ids and token_type_ids that are ready, one after another."""
    started = time.perf_counter()
    for batch in batches:
        engine.run(*batch)
    return time.perf_counter() - started
