"""What the analyses of the task families have in common."""

import heapq
from itertools import count
from typing import Any, Dict, Generic, List, Tuple, TypeVar

from ernie_suite.analysis.calibration import Calibration
from ernie_suite.reading import Example

import numpy as np

from ernie_inference.tasks.base import Task, Window

SHOWN = 100  # of the worst mistakes and of the suspect labels
MOST_CHARACTERS = 2000  # of a text in a report

Report = Dict[str, Any]  # parts of a report by the names of page.SECTIONS, as JSON holds them
Item = TypeVar("Item")
SomeTask = TypeVar("SomeTask", bound=Task)


class Analysis(Generic[SomeTask]):
    """Takes one example after another, and keeps figures of each, but neither texts nor logits.

    Args:
        family: the TaskFamily, which names this class.
        task: its task object, which made the windows and makes the answers.
    """

    def __init__(self, family: Any, task: SomeTask):
        self.family, self.task = family, task
        self.calibration = Calibration(task.temperature)

    def add(self, number: int, example: Example, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """Count an example of a data set, with its answer. Returns the model's answer, as Task.decode gives it.

        Args:
            number: of the example, in the list that report() gets.
            windows, outputs: as Task.decode takes them; outputs are not kept.
        """
        raise NotImplementedError

    def report(self, examples: List[Example]) -> Report:
        """What was found in all that was added.

        Args:
            examples: all examples, of which a few are shown.
        """
        raise NotImplementedError

    def key_of(self, example: Example) -> str:
        """The text by which an example is in one half of those that a temperature is fitted on and shown on."""
        return next(iter(self.family.texts_of(example)), "")


class Worst(Generic[Item]):
    """The `most` items with the largest keys, of any number; of equal keys the first ones."""

    def __init__(self, most: int):
        self.most = most
        self._heap: List[Tuple[float, int, Item]] = []
        self._numbers = count(0, -1)

    def add(self, key: float, item: Item) -> None:
        entry = (key, next(self._numbers), item)
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def in_order(self) -> List[Item]:
        """The largest key first."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def place_of(number: int, example: Example) -> Dict[str, Any]:
    """How an example is named in a report: its number among those that were read, from 1 on, and its own id."""
    return {"example": number + 1, "id": example["id"]}


def shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "..."
