"""Reading the files of a data set: every file is checked as it is read, and what is wrong is said with its place."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple, Union

from ernie_inference.errors import InputError
from ernie_inference.text_files import read_lines

Example = Dict
Reader = Callable[["SplitFile"], Iterator[Example]]


@dataclass
class SplitFile:
    """The file of one split while it is read, and what its reader has to say of it."""

    path: Path
    split: str  # train, dev or test
    labels: List[str]
    skipped_label: Optional[str] = None  # of examples that the annotators could not agree on
    first_number: int = 0  # of its examples; those of the split's other files come before
    remarks: Dict[str, Tuple[int, str]] = field(default_factory=dict)  # what was done: how often, where first

    def __post_init__(self):
        self.known_labels = frozenset(self.labels)

    def remark(self, what: str, place: str) -> None:
        """Count something that was skipped or repaired."""
        count, first = self.remarks.get(what, (0, place))
        self.remarks[what] = (count + 1, first)

    def summary(self) -> str:
        """The remarks in one line; empty where there are none."""
        found = [(what, count, first[len(f"{self.path}, ") :]) for what, (count, first) in self.remarks.items()]
        return "; ".join(f"{what}: {count:,} (first: {first})" for what, count, first in found)

    def shown_labels(self) -> str:
        """The known labels, or the first of them, for people."""
        return ", ".join(map(repr, self.labels[:20])) + (", ..." if len(self.labels) > 20 else "")

    def check_may_lack(self, what: str, place: str) -> None:
        """Check that an example may be without an answer.

        Raises:
            InputError: the split is not one that may be without.
        """
        if self.split != "test":
            raise InputError(f"{place} has no {what}, which the {self.split} split needs")


NO_LABEL = ("", "-1", "-")  # what test sets write where a label would be, beside null and no field at all


def json_lines(path: Path) -> Iterator[Tuple[str, Dict]]:
    """(place, object) for each line; place is what an error message names."""
    for number, line in enumerate(read_lines(path), 1):
        if line.isspace():
            continue
        place = f"{path}, line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error}), and a JSON object a line is expected") from None
        if not isinstance(item, dict):
            raise InputError(f"{place}: a JSON object is expected, found {type(item).__name__}")
        yield place, item


def text_field(item: Dict, key: str, place: str) -> str:
    """The text under a key.

    Raises:
        InputError: it is missing or no text.
    """
    value = item.get(key)
    if not isinstance(value, str):
        raise InputError(f"{place}: {key!r} is {'missing' if key not in item else 'not a text'}")
    return value


def id_field(item: Dict, number: int, place: str) -> Union[str, int, float]:
    """The id (FewCLUE's CLUEWSC calls it idx), or the example's number where it has none.

    Raises:
        InputError: it is neither a text nor a number.
    """
    value = item.get("id", item.get("idx"))
    if value is None:
        return number
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not (is_number or isinstance(value, str)):
        raise InputError(f"{place}: 'id' is neither a text nor a number")
    return value
