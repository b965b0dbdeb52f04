"""Tables of counts: precision, recall and F1 by class, and what is taken for what."""

from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

CONFUSED_PAIRS = 30

Row = Dict[str, Any]


def class_rows(labels: Sequence[str], right: np.ndarray, found: np.ndarray, support: np.ndarray) -> List[Row]:
    """Precision, recall and F1 of each class that occurs, the lowest F1 first; before them their means.

    A class that is never found has the precision 0, as scikit-learn has it with zero_division=0.

    Args:
        right, found, support: int [classes], how many of a class are right, found and wanted.
    """
    precision, recall = right / np.maximum(found, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(found + support, 1)
    figures = np.stack([precision, recall, f1], axis=1)
    occurs = np.flatnonzero(found + support)
    rows = [
        _class_row(labels[i], figures[i], support[i], found[i])
        for i in sorted(occurs, key=lambda i: (f1[i], -support[i]))
    ]
    if len(rows) < 2:
        return rows
    both = support.sum() + found.sum()
    micro = (right.sum() / max(found.sum(), 1), right.sum() / max(support.sum(), 1), 2 * right.sum() / max(both, 1))
    weighted = (figures * support[:, None]).sum(axis=0) / max(support.sum(), 1)
    means = {"macro": figures[occurs].mean(axis=0), "weighted": weighted, "micro": micro}
    of_all = [{**_class_row(name, mean, support.sum(), found.sum()), "is_mean": True} for name, mean in means.items()]
    return of_all + rows


def _class_row(label: str, figures: Sequence[float], support: int, found: int) -> Row:
    precision, recall, f1 = map(float, figures)
    return {
        "label": label, "precision": precision, "recall": recall, "f1": f1,
        "support": int(support), "found": int(found),
    }  # fmt: skip


def confusion(labels: Sequence[str], counts: Mapping[Tuple[int, int], int]) -> Dict[str, Any]:
    """The confusion matrix of a report, without its zeros: [label, answer, count], by numbers in `labels`."""
    return {"labels": list(labels), "counts": [[*pair, int(number)] for pair, number in sorted(counts.items())]}


def confused_pairs(matrix: Dict[str, Any]) -> List[Row]:
    """The CONFUSED_PAIRS most frequent confusions of a matrix, with their share of the examples of that label."""
    labels, support = matrix["labels"], np.zeros(len(matrix["labels"]), dtype=np.int64)
    for given, _, number in matrix["counts"]:
        support[given] += number
    wrong = [entry for entry in matrix["counts"] if entry[0] != entry[1]]
    return [
        {"label": labels[given], "predicted": labels[found], "count": number, "share": number / int(support[given])}
        for given, found, number in sorted(wrong, key=lambda entry: -entry[2])[:CONFUSED_PAIRS]
    ]
