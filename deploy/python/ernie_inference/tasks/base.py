"""What the task families have in common: an example becomes windows of tokens, and their logits an answer."""

import copy
from typing import Any, ClassVar, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

import numpy as np

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.errors import InputError
from ernie_inference.wordpiece import Tokens, WordPiece


class Window(NamedTuple):
    """One model input: [CLS] text [SEP], or [CLS] first [SEP] text [SEP].

    `starts` and `ends` are the character spans of the text's tokens that are in this window; they
    stand at input_ids[offset : offset + len(starts)]. `begin` is the number of the first of them
    among all tokens of the text. `truncated` is whether the example holds more than its windows do.
    """

    input_ids: List[int]
    token_type_ids: List[int]
    offset: int
    begin: int
    starts: List[int]
    ends: List[int]
    truncated: bool = False


# An example, its windows, and the model's outputs for each of them: what decode() makes an answer of.
Computed = Tuple[Dict, List[Window], List[Tuple[np.ndarray, ...]]]


class Encoded(NamedTuple):
    """An example as tokens: what stands before the text in each window ([CLS], or [CLS] first [SEP]), and the text.

    `truncated` is whether some of the example is left out, for lack of room. Of an example with choices, it is one of
    them: `choice` is its number among those of the question of the number `question`.
    """

    head: List[int]
    tokens: Tokens
    truncated: bool = False
    question: int = 0
    choice: int = 0


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithm of softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def finite(logits: np.ndarray) -> np.ndarray:
    """The logits themselves.

    Raises:
        InputError: they hold NaN or infinity, of which no answer can be made.
    """
    if not np.isfinite(logits).all():
        raise InputError(
            "the model computed NaN or infinite logits: its training diverged, its weights are damaged, or fp16 or "
            "bf16 is too narrow for them (try fp32)"
        )
    return logits


def windows_of_tokens(windows: Sequence["Window"]) -> List[int]:
    """For each token of a text the number of the window to read it from: the one in which it has the most context
    on its poorer side, the first of those that are equal."""
    best: List[Tuple[int, int]] = []  # a token's context and window
    for number, window in enumerate(windows):
        count = len(window.starts)
        for i in range(count):
            context, token = min(i, count - 1 - i), window.begin + i
            if token == len(best):
                best.append((context, number))
            elif context > best[token][0]:
                best[token] = (context, number)
    return [number for _, number in best]


AnyTask = TypeVar("AnyTask", bound="Task")


class Task:
    """A task family: all in which classification, tagging and reading differ, for inference.

    Subclasses say what an input is, how an example becomes tokens, and how logits become an answer.

    Attributes:
        name: as in --task_name of deploy/python and in inference.json.
        fields: that an input in the form of a dict may have.
        forms: that an input may have, for people.
        input_schema: the same for programs, a schema of OpenAPI 3.0.
        sample_inputs: what a command answers that is given no others.
        cuts_long_texts: whether it reads one window of a text unless it is told otherwise (long_texts).
        has_labels: whether the model's outputs are classes, which have names.
        most_answers: the most that top_k may ask for; None where there are only so many anyway.
        min_seq_length: the fewest tokens of a window that leave room for text.
        thresholds: of each label, where a text may have several; None where it has one.
        temperature: above 0; decode() divides logits by it before they become confidences, and answers stay what they
            are (temperature scaling, Guo et al. 2017, section 4.2).

    Args:
        tokenizer: splits text into tokens with character positions.
        labels: the classes in the order of the model's outputs (empty for reading).
        max_seq_length: the most tokens of one window, special tokens included.
        doc_stride: tokens that neighbouring windows of a long text share.
    """

    name: ClassVar[str]
    fields: ClassVar[Tuple[str, ...]]
    forms: ClassVar[str]
    input_schema: ClassVar[Dict[str, Any]]
    sample_inputs: ClassVar[List[Any]]
    cuts_long_texts: ClassVar[bool] = False
    has_labels: ClassVar[bool] = True
    most_answers: ClassVar[Optional[int]] = None
    min_seq_length: ClassVar[int] = 8
    thresholds: Optional[List[float]] = None
    temperature: float = 1.0

    def __init__(self, tokenizer: WordPiece, labels: Sequence[str], max_seq_length: int, doc_stride: int = 32):
        if max_seq_length < self.min_seq_length:
            raise InputError(
                f"max_seq_length {max_seq_length} leaves no room for text: give at least {self.min_seq_length}"
            )
        self.tokenizer = tokenizer
        self.labels = list(labels)
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride
        self.long_texts: Optional[str] = None

    def read_long_texts(self, long_texts: Optional[str]) -> None:
        """Say what becomes of a text of several windows where AnswerOptions do not: one of LONG_TEXTS; None is CUT, and
        answers do not speak of it.

        Raises:
            InputError: it is none of them, or the task does not take any.
        """
        self.long_texts = self.answer_options(long_texts=long_texts).long_texts

    def at(self: AnyTask, temperature: float) -> AnyTask:
        """The same task with another temperature."""
        other = copy.copy(self)
        other.temperature = temperature
        return other

    @classmethod
    def as_example(cls, given: Any, where: str) -> Dict:
        """One input in any of the task's forms, as the example that encode() takes.

        Raises:
            InputError: it is in none of these forms; the message begins with `where` it came from.
        """
        example = given if isinstance(given, dict) else cls.example_of(given)
        if not cls.is_example(example):
            raise InputError(f"{where} is not {cls.forms}{cls.hint(given)}")
        return example

    @classmethod
    def example_of(cls, given: Any) -> Dict:
        """An input that is no dict, as an example; an empty one where it has none of the task's forms."""
        raise NotImplementedError

    @classmethod
    def is_example(cls, example: Dict) -> bool:
        """Whether a dict has the fields that it must have, each of its kind."""
        raise NotImplementedError

    @classmethod
    def hint(cls, given: Any) -> str:
        """What else to say of an input that has none of the task's forms."""
        return ""

    @classmethod
    def input_of(cls, example: Dict) -> Dict:
        """What of a dict is the input; one of a data set holds an answer too."""
        return {name: example[name] for name in cls.fields if name in example}

    @classmethod
    def answer_options(
        cls, top_k: Optional[int] = None, threshold: Optional[float] = None, long_texts: Optional[str] = None
    ) -> AnswerOptions:
        """AnswerOptions of this task family.

        Raises:
            InputError: a value is out of its range, top_k is more than the family gives, or it takes no long_texts.
        """
        options = AnswerOptions(top_k, threshold, long_texts)
        if options.long_texts is not None and not cls.cuts_long_texts:
            raise InputError(f"long_texts is {options.long_texts}: that is for classification, {cls.name} takes none")
        if cls.most_answers is not None and (options.top_k or 0) > cls.most_answers:
            raise InputError(f"top_k is {options.top_k}: {cls.name} gives at most {cls.most_answers} answers")
        return options

    @classmethod
    def describe(cls, answer: Dict) -> List[str]:
        """An answer as lines for people, in the form that the reference implementation prints."""
        raise NotImplementedError

    def windows(self, example: Dict, options: AnswerOptions = PLAIN) -> List[Window]:
        """The model inputs of one example: at least one, also for an empty text."""
        return list(self.windows_iter(example, options))

    def windows_iter(self, example: Dict, options: AnswerOptions = PLAIN) -> Iterator[Window]:
        """The same one by one, each made when it is asked for: who has a limit stops there."""
        for encoded in self.encodings(example, options):
            for part in self.parts(len(encoded.head), len(encoded.tokens.ids)):
                yield self._window(encoded, part)

    def encodings(self, example: Dict, options: AnswerOptions = PLAIN) -> Iterator[Encoded]:
        """The tokens of one example: once, or once for each of its choices."""
        yield self.encode(example, options)

    def encode(self, example: Dict, options: AnswerOptions = PLAIN) -> Encoded:
        """The tokens of one example, as many as its windows need."""
        raise NotImplementedError

    def decode(
        self,
        example: Dict,
        windows: List[Window],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions = PLAIN,
    ) -> Dict:
        """The answer to one example, from the model's outputs for each of its windows (one tuple a window).

        Raises:
            InputError: the logits that decide it hold NaN or infinity.
        """
        raise NotImplementedError

    def answer_schema(self) -> Dict[str, Any]:
        """What decode() returns, as a schema of OpenAPI 3.0."""
        raise NotImplementedError

    def choices(self, window: Window, outputs: Tuple[np.ndarray, ...]) -> List[int]:
        """What the model takes for the likeliest in one window, as numbers, by which engines are compared."""
        raise NotImplementedError

    def answers(
        self,
        examples: Iterable[Dict],
        windows: Iterable[List[Window]],
        outputs: Iterable[Tuple[np.ndarray, ...]],
        options: AnswerOptions = PLAIN,
    ) -> Iterator[Dict]:
        """The answers to examples, from the windows of each and the outputs for all these windows, one after another.

        Raises:
            InputError: as decode.
        """
        remaining = iter(outputs)
        for example, own in zip(examples, windows):
            yield self.decode(example, own, [next(remaining) for _ in own], options)

    def parts(self, head: int, tokens: int) -> List[range]:
        """Which tokens of the text are in each window, for so many tokens of head and text; windows overlap."""
        room = self.max_seq_length - head - 1
        step = max(room - min(self.doc_stride, room // 2), 1)  # a head may leave no room, for a text without tokens
        last = max(tokens - room, 0)
        return [range(begin, min(begin + room, tokens)) for begin in range(0, last + step, step)]

    def _window(self, encoded: Encoded, part: range) -> Window:
        """[CLS] (first [SEP]) text [SEP], with the tokens of `part` of the text."""
        head, inside = encoded.head, slice(part.start, part.stop)
        return Window(
            input_ids=[*head, *encoded.tokens.ids[inside], self.tokenizer.sep_id],
            token_type_ids=token_types(len(head), len(part)),
            offset=len(head),
            begin=part.start,
            starts=encoded.tokens.starts[inside],
            ends=encoded.tokens.ends[inside],
            truncated=encoded.truncated,
        )

    def _head(self, first: Sequence[int] = ()) -> List[int]:
        return [self.tokenizer.cls_id, *first, self.tokenizer.sep_id] if first else [self.tokenizer.cls_id]


def token_types(head: int, tokens: int) -> List[int]:
    """token_type_ids of a window: all 0 for one text, 1 for the second of two and its [SEP]."""
    return [0] * head + [1 if head > 1 else 0] * (tokens + 1)
