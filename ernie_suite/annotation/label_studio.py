"""Label Studio: its JSON, one task with all that was done to it, and its JSON_MIN, the data with the results beside it.

Of a task with several annotations one counts: the ground truth, else the first that was not skipped. Predictions that
were imported are no annotations.
"""

from typing import Any, Dict, Iterable, Iterator, Set
from xml.sax.saxutils import quoteattr

from ernie_suite.annotation.items import json_items
from ernie_suite.annotation.prelabels import Names, Prelabel
from ernie_suite.annotation.records import (
    LABEL_NAMES,
    QUESTION_NAMES,
    TEXT_NAMES,
    TEXT_PAIR_NAMES,
    TOOL_LABEL_NAMES,
    ReadOptions,
    Record,
    Source,
    fields_of,
    text_beside,
    the_id,
    the_text,
)
from ernie_suite.annotation.values import add_value, shown

from ernie_inference.errors import InputError
from ernie_inference.text_output import to_json

KINDS = ("choices", "labels", "textarea")  # the controls whose results are taken
# What JSON_MIN writes beside the data and the results.
OF_THE_TOOL = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
FURTHER = "annotations of texts beyond the one that counts, left out"


def read_tasks(source: Source) -> Iterator[Record]:
    """The records of an export as JSON.

    Raises:
        FileNotFoundError, InputError: the file cannot be read, or an item is no task.
    """
    controls: Set[str] = set()
    for place, task in json_items(source.path):
        data = task.get("data")
        if not isinstance(data, dict):
            raise InputError(f"{place}: no 'data' of a Label Studio task; it has {fields_of(task)}: is it JSON_MIN?")
        record = _record_of(data, place, source.options)
        record.id = the_id(task)
        annotation = _annotation_of(task, record, source)
        if annotation is not None:
            _add_results(record, annotation.get("result"), controls, source)
        yield record


def _record_of(data: Dict, place: str, options: ReadOptions) -> Record:
    """A record without its annotation, of the data of a task."""
    texts = [name for name, value in data.items() if isinstance(value, str)]
    is_clear = options.text_column is not None or any(name in data for name in TEXT_NAMES)
    question = text_beside(data, QUESTION_NAMES, options.question_column, "--question_column", place)
    if not is_clear and len(texts) == 1:  # $review in the labeling configuration, say
        return Record(place, data[texts[0]], the_id(data))
    pair = text_beside(data, TEXT_PAIR_NAMES, options.text_pair_column, "--text_pair_column", place)
    return Record(place, the_text(data, options, place)[1], the_id(data), pair, question)


def _annotation_of(task: Dict, record: Record, source: Source):
    """The annotation that counts; None where there is none."""
    given = task.get("annotations", task.get("completions")) or []  # completions: before 1.0
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise InputError(f"{record.place}: 'annotations' is no list of objects (ids alone?): export it as JSON")
    done = [item for item in given if not item.get("was_cancelled")]
    for item in given:
        if item.get("was_cancelled"):
            source.changes.add("annotations left out, as they were skipped", record.place, annotation=item.get("id"))
    done.sort(key=lambda item: not item.get("ground_truth"))
    for item in done[1:]:
        source.changes.add(FURTHER, record.place, annotation=item.get("id"), result=item.get("result"))
    return done[0] if done else None


def _add_results(record: Record, results: Any, controls: Set[str], source: Source) -> None:
    """Add the results of an annotation; `controls` are those of the tasks before."""
    record.labels, record.spans = [], []
    if not isinstance(results, (list, type(None))):
        raise InputError(f"{record.place}: the 'result' of an annotation is {shown(results)}, and a list is expected")
    for result in results or []:
        kind = result.get("type") if isinstance(result, dict) else None
        value = result.get("value") if kind in KINDS else None
        if not isinstance(value, dict):
            source.changes.add(f"results of type {shown(kind)}, left out", record.place, result=result)
            continue
        name = str(result.get("from_name"))
        if source.options.from_name not in (None, name):
            source.changes.add("results of other controls than --from_name, left out", record.place, result=result)
            continue
        controls.add(f"{name} ({kind})")
        if len(controls) > 1:
            raise InputError(
                f"{record.place}: there are results of several controls, {', '.join(sorted(controls))}: "
                "say which counts with --from_name"
            )
        add_value(record, value, source)


def read_min(source: Source) -> Iterator[Record]:
    """The records of an export as JSON_MIN, which has an item for each annotation.

    Raises:
        FileNotFoundError, InputError: the file cannot be read, or an item is not what JSON_MIN has.
    """
    previous = None  # the annotations of one task stand one after another
    for place, item in json_items(source.path):
        control = control_of(item, source.options, place)
        rest = {name: value for name, value in item.items() if name != control}
        record = _record_of({k: v for k, v in rest.items() if k not in OF_THE_TOOL}, place, source.options)
        record.id = the_id(item)
        if record.id is not None and record.id == previous:
            source.changes.add(FURTHER, place, annotation=item.get("annotation_id"), result=item.get(control))
            continue
        previous = record.id
        if control in item or item.get("annotation_id") is not None:  # where nothing was found there is no field
            record.labels, record.spans = [], []
            add_value(record, item.get(control), source)
        yield record


def control_of(item: Dict, options: ReadOptions, place: str) -> str:
    """The field of an item of JSON_MIN that holds the results: it stands between the data with its id and `annotator`.

    Raises:
        InputError: there are several.
    """
    given = options.from_name or options.label_column
    if given is not None:
        return given
    names = list(item)
    last = names.index("annotator") if "annotator" in names else len(names)
    first = names.index("id") + 1 if "id" in names[:last] else 0
    between = [name for name in names[first:last] if name not in (*OF_THE_TOOL, *TEXT_NAMES, *QUESTION_NAMES)]
    known = [name for name in between if name in (*TOOL_LABEL_NAMES, *LABEL_NAMES)]
    found = between if len(between) == 1 else known
    if len(found) > 1 or (between and not found):
        raise InputError(f"{place}: which of {', '.join(between)} holds the results? name it with --from_name")
    return found[0] if found else ""


def write_tasks(prelabels: Iterator[Prelabel], names: Names) -> Iterator[bytes]:
    """An array of tasks with predictions, which Label Studio imports."""
    yield b"[\n"
    for number, prelabel in enumerate(prelabels):
        if names.text in prelabel.beside:
            raise InputError(f"text {number + 1} has a field {names.text!r} already: name another --text_column")
        task: Dict[str, Any] = {"data": {**prelabel.beside, names.text: prelabel.text}}
        if not prelabel.is_empty or prelabel.score is not None:
            prediction: Dict[str, Any] = {"model_version": names.model_version}
            if prelabel.score is not None:
                prediction["score"] = prelabel.score
            task["predictions"] = [{**prediction, "result": list(_results(prelabel, number, names))}]
        yield (b",\n" if number else b"") + to_json(task)
    yield b"\n]\n"


def labeling_config(labels: Iterable[str], are_spans: bool, names: Names) -> str:
    """A labeling configuration of a project that takes predictions of these labels."""
    control, value = ("Labels", "Label") if are_spans else ("Choices", "Choice")
    values = "".join(f"<{value} value={quoteattr(label)}/>" for label in labels)
    ends = f"name={quoteattr(names.from_name)} toName={quoteattr(names.to_name)}"
    text = f"<Text name={quoteattr(names.to_name)} value={quoteattr('$' + names.text)}/>"
    return f"<View><{control} {ends}>{values}</{control}>{text}</View>"


def _results(prelabel: Prelabel, number: int, names: Names) -> Iterator[Dict]:
    """What an answer says as results of Label Studio; each has an id of its own, as its documentation asks for."""
    ends = {"from_name": names.from_name, "to_name": names.to_name}
    if prelabel.labels:
        yield {"id": f"{number}-choices", **ends, "type": "choices", "value": {"choices": prelabel.labels}}
    for i, span in enumerate(prelabel.spans):
        value = {"start": span.start, "end": span.end, "text": prelabel.text[span.start : span.end]}
        result = {"id": f"{number}-{i}", **ends, "type": "labels", "value": {**value, "labels": [span.label]}}
        yield {**result, "score": prelabel.scores[i]} if prelabel.scores else result
