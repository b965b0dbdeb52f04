"""Weights by which the rare labels of a training set count as much as the frequent ones (--class_weights)."""

from collections import Counter
from typing import List

from ernie_suite.reading import Example
from ernie_suite.tasks.family import TaskFamily

import numpy as np

from ernie_inference.console import note
from ernie_inference.errors import InputError

BALANCED = "balanced"
SHOWN_LABELS = 5


def balanced(counts: np.ndarray) -> np.ndarray:
    """n_samples / (n_classes * count) for each class along the first axis, so that all of them weigh the same together
    and an example weighs 1 on average (King and Zeng, "Logistic Regression in Rare Events Data", 2001; scikit-learn's
    "balanced").

    A class without examples weighs 1, which no example ever shows, and does not count among the classes.
    """
    classes = (counts > 0).sum(axis=0)
    return np.where(counts > 0, counts.sum(axis=0) / (classes * np.maximum(counts, 1)), 1.0)


def weights_of(family: TaskFamily, examples: List[Example], labels: List[str], say=print) -> np.ndarray:
    """The weights of a training set for the family's criterion; says their range, and which labels have no example.

    Raises:
        InputError: the labels of the task cannot be weighed.
    """
    if family.class_weights is None:
        raise InputError(f"--class_weights {BALANCED}: a label of {family.name} is not one of a text; leave it out")
    found = Counter(label for example in examples for label in family.labels_of(example))
    counts = np.array([found[label] for label in labels])
    missing = [repr(label) for label in labels if not found[label]]
    if missing:
        shown = ", ".join(missing[:SHOWN_LABELS]) + (", ..." if len(missing) > SHOWN_LABELS else "")
        note(f"no training example has the label {shown}: give some, or take it out of the labels")
    weights = family.class_weights(counts, len(examples))
    say(
        f"class weights: from {weights.min():.3g} to {weights.max():.3g}, for {counts.max():,} to {counts.min():,} "
        f"examples of a label among {len(examples):,}"
    )
    return weights
