"""Which of train, dev and test a text goes to, by a seed, and never to two of them."""

from typing import NamedTuple

import numpy as np

from ernie_inference.errors import InputError

SPLITS = ("train", "dev", "test")


class Shares(NamedTuple):
    """Shares of the texts that go to dev and test, 0 to 1; the rest is for training."""

    dev: float
    test: float


def assign(groups: np.ndarray, strata: np.ndarray, shares: Shares, seed: int) -> np.ndarray:
    """The split of each example, as its number in SPLITS, uint8 [examples].

    Every split has its share of each stratum, as far as whole groups allow. Train has a group of each stratum, and the
    groups that have more examples than dev or test should, as far as there are enough others. The order of the examples
    does not matter.

    Args:
        groups: of each example, as of same_texts.groups_of.
        strata: of each example, e.g. its label, int64 [examples]; the first one of a group counts.

    Raises:
        InputError: there are fewer groups than splits.
    """
    _, first, numbers, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    count = len(first)
    wanted = [max(1, round(count * share)) if share else 0 for share in shares]
    if count <= sum(wanted):
        tied = f" ({len(groups):,} examples, but those with a text in common cannot be parted)"
        raise InputError(
            f"{count} different texts are too few for {sum(map(bool, wanted)) + 1} splits"
            f"{tied if len(groups) > count else ''}: give more, or a smaller --dev_share and --test_share"
        )
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(count), strata[first]))
    is_first = np.diff(strata[first][order], prepend=-1) != 0
    is_large = sizes[order] > max(len(groups) * min(filter(None, shares), default=0), np.median(sizes))
    # What stays in train, from all that should to nothing.
    staying = (is_first | is_large, is_large, np.zeros(count, dtype=bool))
    candidates = order[~next(some for some in staying if (~some).sum() >= sum(wanted))]
    split = np.zeros(count, dtype=np.uint8)
    for number, size in enumerate(wanted, 1):
        rest = candidates[split[candidates] == 0]
        split[rest[((np.arange(size) + rng.random()) * len(rest) / max(size, 1)).astype(np.int64)]] = number
    return split[numbers]
