"""Which model is named: chosen by one half of the dev set, with its change on the other and the interval of that."""

from functools import partial
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ernie_suite.compression.halves import Halves
from ernie_suite.tasks.metric import Metric

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
BLOCK = 1 << 22  # counts of resamples that are held at a time
ROUNDING = 1e-9  # what sums of shares are off by

Row = Dict[str, Any]


# ---------------------------------------------------------------- the change and its interval


def add_changes(
    rows: List[Row], outcomes: Dict[str, np.ndarray], halves: Halves, metric: Metric, name: str, seed: int
) -> None:
    """Add to each row, the first of which is the original's, what it reaches on either half of the dev set.

    "choosing": {"metric", "change" against the original}, and "held_out": the same with "interval", the ends of the
    change's 95 % confidence interval; all from 0 to 1.

    Args:
        outcomes: Metric.outcomes of each row's model on the dev set.
        name: which of the metric's figures.
    """
    models = [row["model"] for row in rows]
    of_half = {}
    for half, numbers in halves._asdict().items():
        of_half[half] = {model: metric.of_outcomes(outcomes[model][numbers])[name] for model in models}
    intervals = change_intervals([outcomes[model][halves.held_out] for model in models], metric, name, seed)
    for row, interval in zip(rows, intervals):
        for half, values in of_half.items():
            value = values[row["model"]]
            row[half] = {"metric": value, "change": value - values[models[0]]}
        low, high, change = *interval, row["held_out"]["change"]
        row["held_out"]["interval"] = [min(low, change), max(high, change)]


def change_intervals(outcomes: Sequence[np.ndarray], metric: Metric, name: str, seed: int) -> List[Tuple[float, float]]:
    """(low, high) of the change of each model against the first one: percentiles of a paired bootstrap.

    Examples are drawn with replacement, the same ones for all models, as often as there are examples (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13); the metric is that of all which were drawn.

    Args:
        outcomes: of each model, [examples, numbers].
    """
    stacked = np.concatenate(outcomes, axis=1)
    totals = np.concatenate([counts @ stacked for counts in draws(len(stacked), seed)])
    values = [metric.figures(*numbers.T)[name] for numbers in np.split(totals, len(outcomes), axis=1)]
    tail = 50 * (1 - CONFIDENCE)
    ends = [np.percentile(value - values[0], [tail, 100 - tail]) for value in values]
    return [(float(low), float(high)) for low, high in ends]


def draws(examples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of RESAMPLES resamples has each example, float64 [resamples, examples], in blocks of resamples."""
    random = np.random.default_rng(seed)
    size = max(1, BLOCK // examples)
    for begin in range(0, RESAMPLES, size):
        block = min(size, RESAMPLES - begin)
        drawn = random.integers(examples, size=(block, examples)) + examples * np.arange(block)[:, None]
        yield np.bincount(drawn.ravel(), minlength=block * examples).reshape(block, examples).astype(np.float64)


# ---------------------------------------------------------------- what a row is chosen by


def score(row: Row, metric: str) -> float:
    """What models are ranked by: the metric on the choosing half, or on the whole dev set, where that is not split."""
    return row["choosing"]["metric"] if "choosing" in row else row["metrics"][metric]


def loss(row: Row) -> float:
    """How many points of the metric a model has lost against the original on what it is chosen by."""
    return -100 * (row["choosing"]["change"] if "choosing" in row else row["change"])


def shown_change(row: Row) -> float:
    """The change that is shown, from -1 to 1: on the held-out half, or on the dev set, where that is not split."""
    return row["held_out"]["change"] if "held_out" in row else row["change"]


def fastest(speeds: Dict[str, float]) -> str:
    return max(speeds, key=speeds.__getitem__)


def speeds_of(rows: List[Row]) -> Dict[str, float]:
    """How many times as fast as the original on Paddle each model is: on its fastest engine, where all were timed on
    several, else on Paddle."""
    if all(row.get("engines") for row in rows):
        return {row["model"]: max(row["engines"].values()) for row in rows}
    return {row["model"]: row["speedup"] for row in rows}


def by_score(metric: str, speeds: Dict[str, float]) -> Callable[[Row], Tuple]:
    """The order of models, the best first.

    Ties go by speed, to a tenth of the original's, which does not change from one run to the next; then by size.
    """
    return lambda row: (-score(row, metric), -round(speeds[row["model"]], 1), row["bytes"])


def by_speed(metric: str, speeds: Dict[str, float]) -> Callable[[Row], Tuple]:
    """Likewise, the fastest first."""
    return lambda row: (-round(speeds[row["model"]], 1), -score(row, metric), row["bytes"])


def front(rows: List[Row], speeds: Dict[str, float]) -> List[str]:
    """The models that no other one equals in shown change and in speed and beats in one of them (Pareto front)."""
    points = {row["model"]: (speeds[row["model"]], shown_change(row)) for row in rows}

    def is_beaten(speed: float, change: float) -> bool:
        return any((s, c) != (speed, change) and s >= speed and c >= change for s, c in points.values())

    return [model for model, point in points.items() if not is_beaten(*point)]


# ---------------------------------------------------------------- what is asked for


class Wish(NamedTuple):
    """What a model shall hold.

    Attributes:
        flag, limit: as they are typed.
        needs: what it shall hold, in words: "is at least 4 times as fast".
        best: which of those that hold it is named: "the most accurate on the choosing half".
        missed_by: row to how far it is from holding it; 0 or less where it does.
        order: row to its rank among those that hold it, the best first.
    """

    flag: str
    limit: float
    needs: str
    best: str
    missed_by: Callable[[Row], float]
    order: Callable[[Row], Tuple]


def find_wishes(rows: List[Row], metric: str, max_loss: Optional[float], min_speedup: Optional[float]) -> List[Wish]:
    """What the options ask for, and what models were made for, by the target_speedup of their rows.

    Where there are INT8 models for a target, it is their speed that was asked for, not that of what they are made of.
    """
    speeds = speeds_of(rows)
    accurate, quick = by_score(metric, speeds), by_speed(metric, speeds)
    where = "on the choosing half" if "choosing" in rows[0] else "on the dev set"

    def loss_above(limit: float, row: Row) -> float:
        return loss(row) - limit - ROUNDING

    def speed_below(limit: float, row: Row) -> float:
        return limit - speeds[row["model"]]

    def is_for_another(target: Any, precisions: Set[str], row: Row) -> float:
        return float(row.get("target_speedup") != target or row["precision"] not in precisions)

    wishes = []
    if max_loss is not None:
        needs = f"loses at most {max_loss:g} points {where}"
        wishes.append(Wish("--max_loss", max_loss, needs, "the fastest", partial(loss_above, max_loss), quick))
    if min_speedup is not None:
        needs, misses = f"is at least {min_speedup:g} times as fast", partial(speed_below, min_speedup)
        wishes.append(Wish("--min_speedup", min_speedup, needs, f"the most accurate {where}", misses, accurate))
    for target in sorted({row["target_speedup"] for row in rows if row.get("target_speedup")}, key=float):
        precisions = {row["precision"] for row in rows if row.get("target_speedup") == target}
        misses = partial(is_for_another, target, precisions & {"int8"} or precisions)
        needs = f"was made for {float(target):g} times the speed"
        wishes.append(Wish("--target_speedup", float(target), needs, f"the most accurate {where}", misses, accurate))
    return wishes


def choose(rows: List[Row], wish: Wish) -> Dict:
    """{"flag", "limit", "needs", "best", "model", "nearest"}: the model, or None and the one that comes nearest, which
    is None too where there is no model but the original, the first row, which is no choice."""
    named = {**wish._asdict(), "model": None, "nearest": None}
    del named["missed_by"], named["order"]
    holding = [row for row in rows[1:] if wish.missed_by(row) <= 0]
    if holding:
        return {**named, "model": min(holding, key=wish.order)["model"]}
    return {**named, "nearest": min(rows[1:], key=wish.missed_by)["model"] if rows[1:] else None}
