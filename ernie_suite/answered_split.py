"""A split of any size, to be answered and compared."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Optional, Set

from ernie_suite.data import DatasetSpec, check_answered_examples, stream_examples
from ernie_suite.reading import Example

from ernie_inference.errors import InputError


class AnsweredSplit:
    """The first examples of a split, with their answers, read anew each time they are iterated over, not held.

    Attributes:
        labels: those that its answers name.

    Raises:
        InputError: as load_answered_examples, when it is made; its files hold fewer examples, when they are read again.
    """

    def __init__(self, spec: DatasetSpec, split: str, data_dir: Optional[str] = None, most: Optional[int] = None):
        self._read = partial(stream_examples, spec, split, data_dir)
        self._count = 0
        self.labels: Set[str] = set()
        for example in check_answered_examples(spec, split, data_dir):  # all of them: a later line may be malformed
            if most is None or self._count < most:
                self._count += 1
                self.labels.update(spec.family.labels_of(example))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        count = 0
        for example in islice(self._read(), self._count):
            count += 1
            yield example
        if count < self._count:
            raise InputError(f"the files of the split have changed: {self._count:,} examples before, now {count:,}")
