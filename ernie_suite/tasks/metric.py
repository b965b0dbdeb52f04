"""Metrics that are known of any part of a data set, as they follow from sums over its examples."""

from dataclasses import dataclass
from itertools import islice
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from ernie_suite.reading import Example

import numpy as np

BLOCK = 1024  # examples whose numbers are held at a time where all that is wanted are sums


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
        return np.array(list(self._outcomes(zip(examples, results), examples)), dtype=np.float64)

    def of_outcomes(self, outcomes: np.ndarray) -> Dict[str, float]:
        """The figures of the examples that have these outcomes [examples, numbers]."""
        return {name: float(value) for name, value in self.figures(*outcomes.sum(axis=0)).items()}

    def of_pairs(self, pairs: Iterable[Tuple[Example, Dict]], examples: Iterable[Example]) -> Dict[str, float]:
        """The figures of examples with their results, each taken once and not held.

        Args:
            examples: those of the pairs, on their own.
        """
        outcomes = self._outcomes(pairs, examples)
        blocks = iter(lambda: list(islice(outcomes, BLOCK)), [])
        return self.of_outcomes(np.array([np.sum(block, axis=0, dtype=np.float64) for block in blocks]))

    def _outcomes(
        self, pairs: Iterable[Tuple[Example, Dict]], examples: Iterable[Example]
    ) -> Iterator[Tuple[float, ...]]:
        columns = () if self.columns is None else (self.columns(examples),)
        return (self.outcome(*pair, *columns) for pair in pairs)


def micro_f1(right, found, wanted) -> Dict:
    """Micro precision, recall and F1; 0 where there is nothing to count."""
    precision, recall = right / np.maximum(found, 1), right / np.maximum(wanted, 1)
    return {"f1": 2 * right / np.maximum(found + wanted, 1), "precision": precision, "recall": recall}
