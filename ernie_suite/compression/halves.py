"""The dev set in two halves: one that everything is chosen by, and one that only the change is shown on.

The best of many models on some examples looks better on these than on others. So what makes or chooses models reads the
choosing half: the importance of heads and neurons, the best state of a training, the calibration of INT8, the choice
among what comes out. The held-out half is for the report alone.
"""

import copy
from typing import Callable, Iterable, List, NamedTuple

from ernie_suite.features import Features
from ernie_suite.reading import Example
from ernie_suite.same_texts import group_examples

import numpy as np

FEWEST_EXAMPLES = 20  # of a dev set that is split; with half of them in each part


class Halves(NamedTuple):
    """The numbers of the examples in either half, in ascending order; held_out is empty where there is no such half."""

    choosing: np.ndarray
    held_out: np.ndarray


def split(examples: List[Example], texts_of: Callable[[Example], Iterable[str]], seed: int) -> Halves:
    """Two halves of a dev set as equal as can be, drawn by the seed, with no text in both.

    Texts are the same if they differ in case, white space and punctuation alone. Examples that share a text, also by
    way of others, stay together. Where that, or the number of examples, leaves less than FEWEST_EXAMPLES / 2 for one
    half, all are in the first.

    Args:
        texts_of: TaskFamily.texts_of.
    """
    groups = group_examples(map(texts_of, examples))
    order = np.random.default_rng(seed).permutation(len(groups))
    halves: List[List[int]] = [[], []]
    for number in sorted(order, key=lambda number: -len(groups[number])):  # large ones first: they even out best
        halves[len(halves[1]) < len(halves[0])].extend(groups[number])
    if min(map(len, halves)) < FEWEST_EXAMPLES // 2:
        halves = [halves[0] + halves[1], []]
    return Halves(*(np.array(sorted(half), dtype=np.int64) for half in halves))


def halves_of(trainer) -> Halves:
    """The halves of a trainer's dev set, by args.seed."""
    return split(trainer.eval_examples, trainer.family.texts_of, trainer.args.seed)


def count_calibration_texts(trainer) -> int:
    """How many texts of the dev set there are to calibrate with: the windows of its choosing half."""
    return trainer.eval_dataset.count_windows(halves_of(trainer).choosing)


def on_choosing_half(trainer):
    """A trainer like this one, with the same model, to which the choosing half is the whole dev set."""
    choosing = copy.copy(trainer)
    examples = [trainer.eval_examples[number] for number in halves_of(trainer).choosing]
    choosing.eval_dataset = Features(trainer.family, trainer.task, examples, by_length=True)
    return choosing
