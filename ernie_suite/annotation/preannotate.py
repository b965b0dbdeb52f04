"""Answers of a model, as deploy/python writes them for a whole file, as pre-annotations for people to correct."""

import math
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator, NamedTuple, Sequence, Tuple, Type

from ernie_suite.annotation.formats import FORMATS
from ernie_suite.annotation.prelabels import Names, Prelabel
from ernie_suite.annotation.records import Span

from ernie_inference.bulk import parse_line
from ernie_inference.errors import InputError
from ernie_inference.files import publish
from ernie_inference.tasks.base import Task
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.tasks.token_cls import TokenClassification, join_tokens

ANSWER = "ANSWER"  # the label of the span that answers a question
TOOLS = [name for name, found in FORMATS.items() if found.write is not None]


class Kind(NamedTuple):
    """The answers of a task family: the family, and how an answer to an example becomes a pre-annotation."""

    task: Type[Task]
    prelabel: Callable[[Dict, Dict], Prelabel]


def of_label(example: Dict, answer: Dict) -> Prelabel:
    beside = {name: value for name, value in example.items() if name != "text" and value is not None}
    labels = answer["labels"] if "labels" in answer else [answer["label"]]
    if not isinstance(labels, list):
        raise ValueError(f"{labels!r} is no list of labels")
    sure = [label["confidence"] for label in labels if isinstance(label, dict)]
    names = [label["label"] if isinstance(label, dict) else label for label in labels if label is not None]
    return Prelabel(example["text"], beside, names, score=answer.get("confidence", min(sure, default=None)))


def of_entities(example: Dict, answer: Dict) -> Prelabel:
    beside = {name: value for name, value in example.items() if name not in TokenClassification.fields}
    text, starts, ends = _positions(example)
    spans = []
    for entity in answer["entities"]:
        first, last = entity["pos"]
        span = Span(starts[first], ends[last], entity["label"])
        check_part(text, span, entity["entity"])
        spans.append(span)
    scores = [entity["confidence"] for entity in answer["entities"] if "confidence" in entity]
    return Prelabel(text, beside, spans=spans, scores=scores, score=min(scores, default=None))


def _positions(example: Dict) -> Tuple[str, Sequence[int], Sequence[int]]:
    """The text of a tagging example, and where each of what positions count begins and ends: characters or tokens."""
    if "text" in example:
        text = example["text"]
        return text, range(len(text)), range(1, len(text) + 1)
    tokens = example["tokens"]
    text, starts = join_tokens(tokens)
    return text, starts, [start + len(token) for start, token in zip(starts, tokens)]


def of_answer(example: Dict, answer: Dict) -> Prelabel:
    beside = {name: value for name, value in example.items() if name != "context"}
    text, spans = example["context"], []
    if answer["answer"]:
        first, last = answer["pos"]
        spans = [Span(first, last + 1, ANSWER)]
        check_part(text, spans[0], answer["answer"])
    score = answer.get("score")
    return Prelabel(text, beside, spans=spans, scores=[score] * len(spans) if score is not None else [], score=score)


# By the field that an answer has.
KINDS = {
    "label": Kind(SequenceClassification, of_label),
    "labels": Kind(SequenceClassification, of_label),
    "entities": Kind(TokenClassification, of_entities),
    "answer": Kind(QuestionAnswering, of_answer),
}


def check_part(text: str, span: Span, part: str) -> None:
    """Raises ValueError where a span of a text is not the part that the answer says."""
    if not 0 <= span.start < span.end <= len(text) or text[span.start : span.end] != part:
        raise ValueError(f"{part!r} does not stand in the text at {span.start}")


def check_prelabel(prelabel: Prelabel) -> None:
    """Raises ValueError where labels are no texts, or scores no numbers."""
    for label in [*prelabel.labels, *(span.label for span in prelabel.spans)]:
        if not isinstance(label, str):
            raise ValueError(f"{label!r} is no label")
    for score in [*prelabel.scores, *([] if prelabel.score is None else [prelabel.score])]:
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
            raise ValueError(f"{score!r} is no confidence")


class Preannotated(NamedTuple):
    """What was written.

    Attributes:
        texts, empty: how many there are, and how many of them have no answer.
        labels: how often each stands there.
        config: the configuration of a project that takes them; empty where the tool needs none.
    """

    texts: int
    empty: int
    labels: Dict[str, int]
    config: str


def preannotate(input_file: Path, answer_file: Path, output_file: Path, tool: str, names: Names) -> Preannotated:
    """Write the answers to the texts of a file as what a tool imports, with the texts; all of it or nothing.

    Args:
        input_file, answer_file: JSON lines, as bulk.answer_file reads and writes them.
        tool: of TOOLS.

    Raises:
        InputError: a file cannot be used, or these are not the answers to these texts; or output_file is there.
    """
    write, config = FORMATS[tool].write, FORMATS[tool].config
    if write is None:
        raise InputError(f"{FORMATS[tool].about} imports no answers: choose {', '.join(TOOLS)}")
    if output_file.exists():
        raise InputError(f"{output_file} is there already: remove it, or name another --output_file")
    missing = next((path for path in (input_file, answer_file) if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing} is no file: give the texts with --input_file, their answers with --answer_file")
    texts = empty = spans = 0
    labels: Dict[str, int] = {}

    def counted() -> Iterator[Prelabel]:
        nonlocal texts, empty, spans
        with open(input_file, "rb") as inputs, open(answer_file, "rb") as answers:
            for prelabel in _prelabels(input_file, inputs, answer_file, answers):
                texts += 1
                empty += prelabel.is_empty
                spans += len(prelabel.spans)
                for label in [*prelabel.labels, *(span.label for span in prelabel.spans)]:
                    labels[label] = labels.get(label, 0) + 1
                yield prelabel

    with publish(output_file.parent) as folder, open(folder / output_file.name, "wb") as file:
        for piece in write(counted(), names):
            file.write(piece)
    return Preannotated(texts, empty, labels, config(sorted(labels), spans > 0, names) if config and labels else "")


def _prelabels(input_file: Path, inputs: BinaryIO, answer_file: Path, answers: BinaryIO) -> Iterator[Prelabel]:
    for number, (given, answered) in enumerate(zip_longest(inputs, answers), 1):
        if given is None or answered is None:
            short, long = (input_file, answer_file) if given is None else (answer_file, input_file)
            raise InputError(
                f"{short} ends at line {number - 1}, and {long} goes on: these are not the answers to these texts"
            )
        place = f"{answer_file}, line {number}"
        answer = parse_line(answered, answer_file, number)[1]
        kind = _kind_of(answer, place)
        text = parse_line(given, input_file, number)[1]
        example = kind.task.as_example(text, f"{input_file}, line {number}")
        try:
            prelabel = kind.prelabel(example, answer)
            check_prelabel(prelabel)
            yield prelabel
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"{place}: this is not the answer to line {number} of {input_file} ({error}): give the file that was "
                "answered, unchanged"
            ) from None


def _kind_of(answer: Any, place: str) -> Kind:
    fields = answer if isinstance(answer, dict) else {}
    found = next((kind for field, kind in KINDS.items() if field in fields), None)
    if found is None:
        raise InputError(
            f"{place}: no answer of a model, which has one of {', '.join(KINDS)}: give what --output_file of "
            "deploy/python/infer_cpu.py wrote"
        )
    return found
