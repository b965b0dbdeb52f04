"""What every format of annotation tools is read into, and what is said of what could not be taken as it was."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Dict, List, NamedTuple, Optional, Tuple, Union

from ernie_suite.annotation.offsets import CODE_POINTS

from ernie_inference.errors import InputError
from ernie_inference.text_output import one_line, to_json

SHOWN = 60  # characters of a text in a line for people


class Span(NamedTuple):
    """A part of a text with its label: characters (code points), or tokens of a record that has them, [start, end)."""

    start: int
    end: int
    label: str


class Answer(NamedTuple):
    """An answer to a question, and the character of the context that it is said to begin at; -1 where nothing says."""

    text: str
    start: int = -1


@dataclass
class Record:
    """One annotated text, whatever tool it came from.

    Attributes:
        place: file and line (or item), for messages.
        text: what is annotated; of a question, the context.
        id: what the tool calls it.
        text_pair: the second text of a pair.
        question: what is asked about the text.
        tokens: the text as tokens, where the format has it so; then spans are of tokens.
        labels: of the whole text; None where the export says nothing of labels, empty where it has none.
        spans: likewise.
        answers: likewise, to the question.
    """

    place: str
    text: str
    id: Union[str, int, None] = None
    text_pair: Optional[str] = None
    question: Optional[str] = None
    tokens: Optional[List[str]] = None
    labels: Optional[List[str]] = None
    spans: Optional[List[Span]] = None
    answers: Optional[List[Answer]] = None


class Changes:
    """Counts what was changed or left out, and lists every case in a file of JSON lines.

    Args:
        file: where the cases go; None where they are only counted.
    """

    def __init__(self, file: Optional[IO[bytes]] = None):
        self._file = file
        self.counts: Dict[str, Tuple[int, str]] = {}  # what: how often, where first

    def add(self, what: str, place: str, **details: Any) -> None:
        count, first = self.counts.get(what, (0, place))
        self.counts[what] = (count + 1, first)
        if self._file is not None:
            self._file.write(to_json({"what": what, "place": place, **details}) + b"\n")

    def lines(self) -> List[str]:
        """A line for people of each kind, in the order in which they were met."""
        return [f"{what}: {count:,} (first: {first})" for what, (count, first) in self.counts.items()]


@dataclass(frozen=True)
class ReadOptions:
    """What the user says of an export that its format leaves open; None is found out.

    Attributes:
        text_column, text_pair_column, question_column, label_column: fields of a line, columns of a table, or keys of
            Label Studio's data.
        from_name: the control of Label Studio whose results count.
        label_separator: what stands between the labels of one cell, e.g. "#" in doccano's CSV.
        offsets: what positions of spans count, a key of offsets.UNITS; None: what the tool counts.
    """

    text_column: Optional[str] = None
    text_pair_column: Optional[str] = None
    question_column: Optional[str] = None
    label_column: Optional[str] = None
    from_name: Optional[str] = None
    label_separator: Optional[str] = None
    offsets: Optional[str] = None


@dataclass(frozen=True)
class Source:
    """A file that is being read; `offsets` is what its tool counts, where the options do not say it."""

    path: Path
    options: ReadOptions
    changes: Changes
    offsets: str = CODE_POINTS


# Where a text, and what else belongs to it, is looked for where nothing is said; the first that is there counts.
TEXT_NAMES = (
    *("text", "sentence", "sentence1", "text_a", "context", "content", "data"),
    *("文本", "内容", "句子", "文本1", "句子1", "原文", "正文"),
)
TEXT_PAIR_NAMES = ("text_pair", "sentence2", "text_b", "文本2", "句子2")
QUESTION_NAMES = ("question", "问题")
TOOL_LABEL_NAMES = ("label", "labels", "entities", "annotations", "cats")  # of doccano, several of them side by side
LABEL_NAMES = ("category", "categories", "class", "answers", "answer", "标签", "类别", "分类", "答案")


def pick(item: Dict, names: Tuple[str, ...], given: Optional[str], flag: str, place: str) -> Optional[str]:
    """The field of an item that the user gave, else the first of some names that is there; None for none.

    Raises:
        InputError: the one that was given is not there.
    """
    if given is not None:
        if given not in item:
            raise InputError(f"{place}: there is no {given!r} ({flag}); it has {fields_of(item)}")
        return given
    return next((name for name in names if name in item), None)


def tool_fields(item: Dict) -> List[str]:
    """The fields in which tools write annotations."""
    return [name for name in TOOL_LABEL_NAMES if name in item]


def label_fields(item: Dict, options: ReadOptions, place: str) -> List[str]:
    """The fields of an item that hold its annotation.

    Raises:
        InputError: the one that the user gave is not there.
    """
    if options.label_column is None and tool_fields(item):
        return tool_fields(item)
    name = pick(item, LABEL_NAMES, options.label_column, "--label_column", place)
    return [] if name is None else [name]


def fields_of(item: Dict) -> str:
    """The fields of an item as a line for people."""
    return one_line(", ".join(map(str, item)), 200) or "nothing"


def the_text(item: Dict, options: ReadOptions, place: str) -> Tuple[str, str]:
    """The field that holds the text of an item, and the text.

    Raises:
        InputError: there is none.
    """
    name = pick(item, TEXT_NAMES, options.text_column, "--text_column", place)
    if name is None:
        raise InputError(
            f"{place}: no text is found; it has {fields_of(item)}: name the field with --text_column (of a table, the "
            "first line has the names)"
        )
    if not isinstance(item[name], str):
        raise InputError(f"{place}: {name!r} is not a text: name the field of the text with --text_column")
    return name, item[name]


def text_beside(item: Dict, names: Tuple[str, ...], given: Optional[str], flag: str, place: str) -> Optional[str]:
    """A second text of an item, as the_text finds the first; None where there is none."""
    name = pick(item, names, given, flag, place)
    value = None if name is None else item[name]
    if given is not None and not isinstance(value, str):
        raise InputError(f"{place}: {name!r} is not a text, but {flag} names it")
    return value if isinstance(value, str) else None


def the_id(item: Dict) -> Union[str, int, None]:
    """What a tool calls an item, where that is a text or a whole number."""
    value = item.get("id", item.get("doc_id"))
    is_id = isinstance(value, (str, int)) and not isinstance(value, bool)
    return value if is_id else None
