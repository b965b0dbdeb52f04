"""Labels that a model contradicts: confident learning.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (Journal of Artificial
Intelligence Research 70, sections 3.1 and 3.2): a class counts as an example's own where its probability is at least
the mean that the class has over the examples labelled with it. A label is suspect where the likeliest of these classes
is another one. The suspects are ranked by the normalized margin: the probability of the label less that of the
likeliest other class.
"""

from typing import NamedTuple

import numpy as np

NONE = -1


class Ranking(NamedTuple):
    """Which labels are suspect, and how much.

    Attributes:
        order: the numbers of all examples, the most suspect one first; those that are suspect come before the others.
        margins: float [examples], from -1, a label that the model excludes, to 1.
        suggested: the class that contradicts the label, NONE where none does.
        thresholds: float [classes], the mean probability of each class where it is the label.
    """

    order: np.ndarray
    margins: np.ndarray
    suggested: np.ndarray
    thresholds: np.ndarray

    @property
    def suspects(self) -> int:
        return int((self.suggested != NONE).sum())


def class_thresholds(given: np.ndarray, self_confidence: np.ndarray, classes: int) -> np.ndarray:
    """The mean probability of each class over the examples labelled with it; infinite for a class without any.

    Args:
        given: the labels, int [examples].
        self_confidence: the probability of each one's own label, float [examples].
    """
    counts = np.bincount(given, minlength=classes)
    sums = np.bincount(given, weights=self_confidence, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def rank_labels(
    given: np.ndarray, self_confidence: np.ndarray, likeliest: np.ndarray, probabilities: np.ndarray, classes: int
) -> Ranking:
    """All labels, the most suspect one first.

    Args:
        given, self_confidence: as of class_thresholds.
        likeliest: the likeliest classes of each example, best first, int [examples, some].
        probabilities: theirs, float [examples, some]. Classes that are less likely are not looked at.
    """
    thresholds = class_thresholds(given, self_confidence, classes)
    confident = probabilities >= thresholds[likeliest]
    first = confident.argmax(axis=1)
    rows = np.arange(len(given))
    suggested = np.where(confident[rows, first], likeliest[rows, first], NONE)
    suggested[suggested == given] = NONE
    others = np.where(likeliest == given[:, None], 0.0, probabilities)
    margins = self_confidence - others.max(axis=1)
    return Ranking(np.lexsort((margins, suggested == NONE)), margins, suggested, thresholds)
