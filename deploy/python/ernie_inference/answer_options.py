"""What of the answers is wanted: how many of the likeliest, from which confidence on, and of long texts."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Any, Dict, Optional, Union

from ernie_inference.errors import InputError

# What becomes of a text that is longer than one window, where there is one answer for all of it: it is cut, or each of
# its windows is answered, and a label's probability is the mean, or the largest, of those that the windows give it.
CUT, WINDOWS, WINDOWS_MAX = LONG_TEXTS = ("cut", "windows", "windows_max")


@dataclass(frozen=True)
class AnswerOptions:
    """What of the answers is wanted. Without either, an answer is the likeliest one alone, however uncertain it is.

    What each means for a task family is said by its Task.decode. Checked when it is made.

    Attributes:
        top_k: so many of the likeliest labels, entities or answers, from 1 on; where there are fewer, all of them.
        threshold: what the model is less certain of than this, from 0 to 1, is no answer.
        long_texts: for classification, one of LONG_TEXTS; by default as the model was trained.

    Raises:
        InputError: a value is out of its range.
    """

    top_k: Optional[int] = None
    threshold: Optional[float] = None
    long_texts: Optional[str] = None

    def __post_init__(self):
        if self.top_k is not None and not (_is_number(self.top_k, int) and self.top_k >= 1):
            raise InputError(f"top_k is {_shown(self.top_k)}: give a whole number from 1 on")
        if self.threshold is not None and not (_is_number(self.threshold, (int, float)) and 0 <= self.threshold <= 1):
            raise InputError(f"threshold is {_shown(self.threshold)}: give a number from 0 to 1")
        if self.long_texts is not None and self.long_texts not in LONG_TEXTS:
            raise InputError(f"long_texts is {_shown(self.long_texts)}: give one of {', '.join(LONG_TEXTS)}")

    @property
    def given(self) -> Dict[str, Any]:
        """Those that are asked for, by name: arguments of ErniePredictor.predict, or fields of a request."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def drops(self, confidence: float) -> bool:
        """Whether something of this confidence is no answer."""
        return self.threshold is not None and confidence < self.threshold


PLAIN = AnswerOptions()


def add_answer_flags(parser: ArgumentParser) -> None:
    """The flags of AnswerOptions; their values are checked by answer_options_of."""
    parser.add_argument(
        "--top_k", type=int, help="so many of the likeliest labels, entities or answers, with their confidence"
    )
    parser.add_argument(
        "--threshold", type=float, help="from 0 to 1: what the model is less certain of than this is no answer"
    )
    parser.add_argument(
        "--long_texts",
        choices=LONG_TEXTS,
        help="classification of what is longer than one window: cut it, or answer all its windows and take the mean of "
        "their probabilities, or the largest; default: as the model was trained",
    )


def answer_options_of(args: Namespace) -> AnswerOptions:
    """What the flags ask for.

    Raises:
        InputError: a value is out of its range.
    """
    return AnswerOptions(args.top_k, args.threshold, args.long_texts)


def _is_number(value: Any, kinds: Union[type, tuple]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A value as a part of a message; it may be anything that a client sent."""
    if not _is_number(value, (int, float)):
        return f"a {type(value).__name__}"
    # Python writes no number of more than 4,300 digits, and nobody wants to read one.
    return f"{value}" if isinstance(value, float) or abs(value) < 10**20 else "a number of very many digits"
