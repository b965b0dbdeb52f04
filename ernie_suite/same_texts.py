"""Which texts count as the same, and which examples hang together by them.

Texts are told apart by 8 bytes of a hash, so that half a million of them take a few megabytes.
"""

import re
import unicodedata
from array import array
from hashlib import blake2b
from typing import Iterable, List

import numpy as np

UNREAD = frozenset(("Cc", "Cf", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"))  # categories of Unicode
NOT_LETTERS = re.compile(r"[\W_]+")


def comparable(text: str) -> str:
    """A text without what hardly makes another text of it: all but letters and digits; one without any stays."""
    return NOT_LETTERS.sub("", text.casefold()) or text


def without_punctuation(text: str) -> str:
    """A text without case, white space, punctuation and characters that nobody sees; symbols stay, as emoji and +."""
    shown = (char for char in text.casefold() if not (char.isspace() or unicodedata.category(char) in UNREAD))
    return "".join(shown) or text


def digest(text: str) -> int:
    """8 bytes that tell any two texts apart."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def tie_digest(text: str) -> int:
    """8 bytes of what ties examples together, so that they are never in two parts of a data set: all but letters and
    digits may differ."""
    return digest(comparable(text))


def repeat_digest(text: str) -> int:
    """8 bytes of what makes an example the repeat of another: what a reader takes for another text differs."""
    return digest(without_punctuation(text))


class Digests:
    """One number for each of many, in 8 bytes each."""

    def __init__(self) -> None:
        self._values = array("Q")

    def extend(self, values: Iterable[int]) -> None:
        self._values.extend(values)

    def numpy(self) -> np.ndarray:
        """uint64 [numbers]."""
        return np.array(self._values, dtype=np.uint64)


def groups_of(texts: np.ndarray, owners: np.ndarray, count: int) -> np.ndarray:
    """The group of each example, so that no text is in two groups, int64 [count]; as many groups as that allows.

    Groups are numbered by the least of their texts, whatever the order of the examples; those without a text come last,
    each a group of its own.

    Args:
        texts: digests, uint64 [texts].
        owners: the number of the example that has each, int64 [texts].
        count: of the examples.
    """
    from scipy.sparse import coo_matrix  # here, as it takes half a second
    from scipy.sparse.csgraph import connected_components

    different, numbers = np.unique(texts, return_inverse=True)
    nodes = len(different) + count
    ties = coo_matrix((np.ones(len(texts), dtype=np.int8), (numbers, len(different) + owners)), shape=(nodes, nodes))
    _, groups = connected_components(ties, directed=False)
    return groups[len(different) :].astype(np.int64)


def group_examples(texts: Iterable[Iterable[str]]) -> List[List[int]]:
    """The numbers of the examples in each group of those that texts tie together, in the order of the examples.

    Args:
        texts: of each example.
    """
    digests, owners, count = Digests(), array("q"), 0
    for count, of_example in enumerate(texts, 1):
        found = {tie_digest(text) for text in of_example}
        digests.extend(found)
        owners.extend([count - 1] * len(found))
    groups: dict = {}
    for number, group in enumerate(groups_of(digests.numpy(), np.array(owners, dtype=np.int64), count).tolist()):
        groups.setdefault(group, []).append(number)
    return list(groups.values())
