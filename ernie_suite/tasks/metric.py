"""Metrics that are known of any part of a data set, as they follow from sums over its examples."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from ernie_suite.reading import Example

import numpy as np


@dataclass(frozen=True)
class Metric:
    """Figures of examples and the results that a model gave; called with both it returns the figures by name.

    Attributes:
        outcome: (example, result) to the numbers of one example, the same count of them for each; with columns it takes
            these too.
        figures: these numbers, each summed over the examples, to figures by name. Takes arrays of sums too, and then
            gives arrays of figures: one call for thousands of resamples.
        columns: examples to what the numbers of each are of, where that depends on the examples.
    """

    outcome: Callable[..., Tuple[float, ...]]
    figures: Callable[..., Dict[str, Any]]
    columns: Optional[Callable[[Iterable[Example]], Any]] = None

    def __call__(self, examples: List[Example], results: List[Dict]) -> Dict[str, float]:
        return self.of_outcomes(self.outcomes(examples, results))

    def outcomes(self, examples: List[Example], results: List[Dict]) -> np.ndarray:
        """The numbers of each example, float64 [examples, numbers]."""
        return self.outcomes_of(zip(examples, results), examples)

    def outcomes_of(self, pairs: Iterable[Tuple[Example, Dict]], examples: Iterable[Example]) -> np.ndarray:
        """The same of examples with their results, each taken once; `examples` are those of the pairs."""
        columns = () if self.columns is None else (self.columns(examples),)
        return np.array([self.outcome(*pair, *columns) for pair in pairs], dtype=np.float64)

    def of_outcomes(self, outcomes: np.ndarray) -> Dict[str, float]:
        """The figures of the examples that have these outcomes [examples, numbers]."""
        return {name: float(value) for name, value in self.figures(*outcomes.sum(axis=0)).items()}


def micro_f1(right, found, wanted) -> Dict:
    """Micro precision, recall and F1; 0 where there is nothing to count."""
    precision, recall = right / np.maximum(found, 1), right / np.maximum(wanted, 1)
    return {"f1": 2 * right / np.maximum(found + wanted, 1), "precision": precision, "recall": recall}
