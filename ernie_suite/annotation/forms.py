"""What is written of records: the suite's own formats, one object for each task family, and one for pairs of texts.

A new task family gets its form here and a place in FORMS.
"""

import re
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Optional, Set, Tuple, Type

from ernie_suite.annotation.records import Answer, Changes, Record, Span
from ernie_suite.annotation.spans import LONGEST, fit_spans, tags_of
from ernie_suite.tasks.qa import nearest

from ernie_inference.errors import InputError
from ernie_inference.text_output import ESCAPE, to_json

Example = Dict[str, Any]
SEVERAL_LABELS = "multi_label"  # the data set whose lines have a list of labels
BREAKING = re.compile("[\t\n\r\x02]")  # what separates columns, lines and tokens
UNSEEN = re.compile("[\x00-\x1f\x7f\ufeff]")  # which a label cannot have as a line of labels.txt, or nobody sees there
CHANGED_LABELS = "labels with white space more than they need, or characters that nobody sees, taken without them"
NO_QUESTION = "questions left out, as they are empty"
NO_TEXT = "texts left out, as they are empty"


class Form:
    """How records become the examples of a data set's format.

    Attributes:
        task_name: of the task family.
        dataset: whose format it is, for --task_name of the scripts, as far as is_like() does not know better.
        suffix: of its files.
        has_labels: whether labels.txt belongs to it.
        uses: what of a record, beside its text, goes into an example.

    Args:
        changes: where what is changed or left out is counted.
        overlaps: what becomes of spans that share characters, see spans.fit_spans.
    """

    task_name: ClassVar[str]
    dataset: ClassVar[str]
    suffix: ClassVar[str] = ".json"
    has_labels: ClassVar[bool] = True
    uses: ClassVar[Tuple[str, ...]]

    def __init__(self, changes: Changes, overlaps: str = LONGEST):
        self.changes, self.overlaps = changes, overlaps

    def is_like(self) -> str:
        """The data set whose format the examples have that were made so far."""
        return self.dataset

    def is_annotated(self, record: Record) -> bool:
        """Whether a record says something that this task can use; what is unclear without the task does not count."""
        raise NotImplementedError

    def emptiness(self, record: Record) -> Optional[str]:
        """Why a record is none that anything could be said of, for Changes; None where it is one."""
        return None if all(text.strip() for text in self.texts(record)) else NO_TEXT

    def example(self, record: Record) -> Optional[Example]:
        """The content of a record in the data set's format; None where it has no answer.

        Raises:
            InputError: it is annotated for another task.
        """
        raise NotImplementedError

    def count_unused(self, record: Record) -> None:
        """Count what a record says that this task does not read."""
        for name in ("labels", "spans", "answers", "question", "text_pair"):
            if name not in self.uses and getattr(record, name):
                self.changes.add(f"{name} left out, as {self.task_name} does not read them", record.place)

    def texts(self, record: Record) -> List[str]:
        """The texts of which none may be in two splits; the same number for each record."""
        return [record.text]

    def asked(self, record: Record) -> str:
        """What an answer is to, as one text: two records of which this is the same should have one answer."""
        return record.text

    def unlabeled(self, record: Record) -> Example:
        """A record without an answer as an input, for a model to answer or a teacher to learn from."""
        return {**({} if record.id is None else {"id": record.id}), "text": record.text}

    def labels(self, example: Example) -> List[str]:
        """The classes that an example is counted under."""
        raise NotImplementedError

    def answer(self, example: Example) -> str:
        """What is answered, as one text that tells answers apart."""
        return to_json(sorted(self.labels(example))).decode("utf-8")

    def label_lines(self, labels: Set[str]) -> List[str]:
        """The lines of labels.txt for classes that labels() named."""
        return sorted(labels)

    @contextmanager
    def writer(self, path: Path) -> Iterator[Callable[[Example], None]]:
        """A file of examples: what is given is called with each."""
        with open(path, "wb") as file:

            def write(example: Example) -> None:
                file.write(to_json(self.line(example)) + b"\n")

            yield write

    def line(self, example: Example) -> Example:
        """An example as it is written."""
        return example


class Classification(Form):
    """CLUE's JSON lines. With several labels of one text anywhere, all lines have a list of them under `labels`."""

    task_name = "seq_cls"
    dataset = "tnews"
    uses: ClassVar[Tuple[str, ...]] = ("labels",)

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.has_several = False  # labels of one text, as far as was seen

    def is_like(self) -> str:
        return SEVERAL_LABELS if self.has_several else self.dataset

    def is_annotated(self, record: Record) -> bool:
        return bool(record.labels)

    def example(self, record: Record) -> Optional[Example]:
        if record.spans and not record.labels:
            raise wrong_task(record, "spans", "labels of the whole text", "token_cls")
        labels = [one_line_label(label, record.place, self.changes) for label in record.labels or []]
        labels = list(dict.fromkeys(filter(None, labels)))
        if not labels:
            return None
        self.has_several |= len(labels) > 1
        return {**({} if record.id is None else {"id": record.id}), **self.fields(record), "labels": labels}

    def fields(self, record: Record) -> Example:
        return {"sentence": record.text}

    def labels(self, example: Example) -> List[str]:
        return example["labels"]

    def line(self, example: Example) -> Example:
        if self.has_several:
            return example
        return {**{name: value for name, value in example.items() if name != "labels"}, "label": example["labels"][0]}


class PairClassification(Classification):
    """The same of two texts, as OCNLI has it."""

    dataset = "ocnli"
    uses = ("labels", "text_pair")

    def fields(self, record: Record) -> Example:
        return dict(zip(("sentence1", "sentence2"), self.texts(record)))

    def texts(self, record: Record) -> List[str]:
        if record.text_pair is None:
            raise InputError(f"{record.place}: a second text is missing, which other texts have: give it")
        return [record.text, record.text_pair]

    def asked(self, record: Record) -> str:
        return "\n".join(self.texts(record))

    def unlabeled(self, record: Record) -> Example:
        return {**super().unlabeled(record), "text_pair": record.text_pair}


class Tagging(Form):
    """MSRA NER's columns, a character each, or a token each where the export has tokens."""

    task_name = "token_cls"
    dataset = "msra_ner"
    suffix = ".tsv"
    uses = ("spans",)

    def is_annotated(self, record: Record) -> bool:
        return bool(record.spans) and record.question is None

    def example(self, record: Record) -> Optional[Example]:
        if record.labels and not record.spans:
            raise wrong_task(record, "labels of the whole text", "spans", "seq_cls")
        if record.spans is None:
            return None
        tokens = list(record.text) if record.tokens is None else record.tokens
        spans = fit_spans(tokens, record.spans, record.place, self.changes, self.overlaps)
        named = [(span, one_line_label(span.label, record.place, self.changes)) for span in spans]
        spans = [Span(span.start, span.end, label) for span, label in named if label]
        if not spans:
            self.changes.add("texts without any span, kept as texts in which nothing is to be found", record.place)
        return {"tokens": [self._one_cell(token, record.place) for token in tokens], "spans": spans}

    def _one_cell(self, token: str, place: str) -> str:
        """A token without what separates tokens, columns and lines."""
        if BREAKING.search(token):
            self.changes.add("tabs, line ends and \\x02, which the columns cannot hold, written as spaces", place)
            return BREAKING.sub(" ", token)
        return token

    def labels(self, example: Example) -> List[str]:
        return [label for _, _, label in example["spans"]]

    def answer(self, example: Example) -> str:
        return to_json([["".join(example["tokens"][i:j]), label] for i, j, label in example["spans"]]).decode("utf-8")

    def label_lines(self, labels: Set[str]) -> List[str]:
        return [*(f"{prefix}-{label}" for label in sorted(labels) for prefix in "BI"), "O"]

    @contextmanager
    def writer(self, path: Path) -> Iterator[Callable[[Example], None]]:
        with open(path, "wb") as file:

            def write(example: Example) -> None:
                tags = tags_of(len(example["tokens"]), [Span(*span) for span in example["spans"]])
                line = "\x02".join(example["tokens"]) + "\t" + "\x02".join(tags) + "\n"
                file.write(line.encode("utf-8", "backslashreplace"))

            yield write


class Reading(Form):
    """CMRC 2018's JSON: questions about texts, each with its answers and where they stand."""

    task_name = "qa"
    dataset = "cmrc2018"
    has_labels = False
    uses = ("labels", "spans", "answers", "question")

    def is_annotated(self, record: Record) -> bool:
        if record.question is None:
            return False
        return bool(record.spans or record.answers) or self._are_parts(record)

    @staticmethod
    def _are_parts(record: Record) -> bool:
        """Whether what looks like labels are answers that were typed."""
        return bool(record.labels) and all(label in record.text for label in record.labels or [])

    def emptiness(self, record: Record) -> Optional[str]:
        is_blank = record.question is not None and not record.question.strip()
        return super().emptiness(record) or (NO_QUESTION if is_blank else None)

    def example(self, record: Record) -> Optional[Example]:
        if record.question is None:
            raise InputError(f"{record.place}: there is no question: name its field with --question_column")
        given = list(record.answers or [])
        spans = fit_spans(record.text, record.spans or [], record.place, self.changes, self.overlaps)
        given += [Answer(record.text[span.start : span.end], span.start) for span in spans]
        given += [Answer(label) for label in record.labels or []]
        answers = []
        for answer in given:
            text = answer.text.strip()
            start = nearest(record.text, text, answer.start)
            if start < 0:
                self.changes.add("answers left out, as they do not stand in the text", record.place, answer=answer.text)
            else:
                answers.append({"text": text, "answer_start": start})
        if not answers:
            return None
        return {"context": record.text, "question": record.question, "answers": answers}

    def asked(self, record: Record) -> str:
        return f"{record.text}\n{record.question}"

    def unlabeled(self, record: Record) -> Example:
        given = {} if record.id is None else {"id": record.id}
        return {**given, "question": record.question, "context": record.text}

    def labels(self, example: Example) -> List[str]:
        return []

    def answer(self, example: Example) -> str:
        return to_json([answer["text"] for answer in example["answers"]]).decode("utf-8")

    @contextmanager
    def writer(self, path: Path) -> Iterator[Callable[[Example], None]]:
        with open(path, "wb") as file:
            count, context = 0, None

            def write(example: Example) -> None:
                nonlocal count, context
                if example["context"] != context:
                    context = example["context"]
                    file.write(b"]}]}" + b",\n" if count else b'{"version": "1", "data": [\n')
                    file.write(b'{"title": "", "paragraphs": [{"context": ' + to_json(context) + b', "qas": [')
                else:
                    file.write(b", ")
                count += 1
                qa = {"id": f"{path.stem}-{count}", "question": example["question"], "answers": example["answers"]}
                file.write(to_json(qa))

            yield write
            file.write(b"]}]}\n]}\n" if count else b'{"version": "1", "data": []}\n')


FORMS: Tuple[Type[Form], ...] = (Classification, Tagging, Reading)
PAIRS: Dict[Type[Form], Type[Form]] = {Classification: PairClassification}  # where a record has two texts


def one_line_label(label: str, place: str, changes: Changes) -> str:
    """A label as a line of labels.txt; empty where there is nothing in it."""
    short = " ".join(UNSEEN.sub(" ", label).split()).encode("utf-8", ESCAPE).decode("utf-8")
    if not short:
        changes.add("labels left out, as they are empty", place)
    elif short != label:
        changes.add(CHANGED_LABELS, place, label=label, taken=short)
    return short


def wrong_task(record: Record, found: str, wanted: str, other: str) -> InputError:
    return InputError(
        f"{record.place}: it has {found} where {wanted} are expected: give --task_name {other}, or "
        "name the field that is meant with --label_column (of Label Studio's controls, with --from_name)"
    )
