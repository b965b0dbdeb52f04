"""The shapes in which inputs are run.

Engines keep something for each shape that they have seen, and never give it back: oneDNN its primitives and buffers,
ONNX Runtime and OpenVINO plans and memory.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Callable, Iterator, List, Sequence, Tuple

SHORTEST_INPUT = 2  # tokens: [CLS] [SEP]
LENGTH_STEP = 1.25  # few lengths: each is so many times the one before
SHORTEST_STEP = 16  # tokens; shorter inputs take hardly less time
# Few shapes: rows of a run are no more than it takes for one more run to cost nothing beside it.
MOST_OVERHEADS = 64


@dataclass(frozen=True)
class Shapes:
    """The shapes (rows, tokens) in which inputs are run: every length with every number of rows.

    Attributes:
        lengths: tokens of an input, ascending; each input is padded to the next one.
        row_counts: inputs of a run, ascending, from 1 on; the last one is the batch size.
        most_tokens: of a run, rows x length, where it has more than one row.
    """

    lengths: Sequence[int]
    row_counts: Sequence[int]
    most_tokens: float = math.inf

    def length(self, tokens: int) -> int:
        """What an input of so many tokens is padded to."""
        return self.lengths[bisect_left(self.lengths, tokens)]

    def rows(self, length: int) -> List[int]:
        """How many rows a run of inputs of this length can have, ascending."""
        return [rows for rows in self.row_counts if rows == 1 or rows * length <= self.most_tokens]

    def __iter__(self) -> Iterator[Tuple[int, int]]:
        """All of them, the largest first: what is kept for it can serve the others too."""
        pairs = [(rows, length) for length in self.lengths for rows in self.rows(length)]
        return iter(sorted(pairs, key=lambda pair: (-pair[0] * pair[1], pair)))


def row_counts(batch_size: int) -> List[int]:
    """1, 2, 4, 8 ... batch_size."""
    return [1 << power for power in range((batch_size - 1).bit_length())] + [batch_size]


def all_lengths(longest: int, padded_length: Callable[[int], int]) -> List[int]:
    """The lengths to which an engine pads inputs of up to `longest` tokens."""
    return sorted({padded_length(length) for length in range(SHORTEST_INPUT, longest + 1)})


def few_lengths(longest: int, padded_length: Callable[[int], int]) -> List[int]:
    """A few of them, up to the longest in equal steps: of 128 tokens 10, of 512 tokens 16."""
    lengths = [padded_length(longest)]
    step = 1
    while (length := math.ceil(longest / LENGTH_STEP**step)) > SHORTEST_STEP:
        lengths.append(padded_length(length))
        step += 1
    return sorted(set(lengths))
