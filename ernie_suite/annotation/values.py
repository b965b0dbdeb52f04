"""The value of an annotation in any of the forms that doccano, Label Studio and tables have for it.

"positive"   7   ["sports", "news"]   {"choices": ["sports", "news"]}            labels of the whole text
[0, 2, "ORG"]   {"start_offset": 0, "end_offset": 2, "label": "ORG"}             spans of doccano
{"start": 0, "end": 2, "text": "EU", "labels": ["ORG"]}                          spans of Label Studio
{"label": 3, "user": 1}   {"label": 3, "label_name": "negative", "user": 1}      labels of doccano before 1.3
{"response": "Obama", "start_offset": 10, "user": 1}                             answers of doccano's questions
{"start": 0, "end": 2, "text": "EU", "choices": ["ORG"]}                         choices of a region of Label Studio
{"text": ["Obama"]}   {"text": "Obama", "user": 1}                               answers that were typed
"""

from typing import Any, Dict, List, Optional

from ernie_suite.annotation.offsets import NOWHERE, Located, locate, locate_unsaid
from ernie_suite.annotation.records import Answer, Record, Source, Span

from ernie_inference.errors import InputError
from ernie_inference.text_output import one_line

SKIPPED = "_SKIPPED_BY_USER"  # what doccano writes where an annotator passed over a question
BY_NUMBER = "labels that are the tool's numbers and no names: export it with the names (doccano: JSONL, from 1.3 on)"


def add_value(record: Record, value: Any, source: Source) -> None:
    """Add what a value says to a record; what it leaves open stays None.

    Raises:
        InputError: it has none of these forms.
    """
    if value is None:
        return
    if isinstance(value, list):
        for name in ("labels", "spans"):  # an empty list may be either: nothing was found
            if getattr(record, name) is None:
                setattr(record, name, [])
        for item in value:
            _add_item(record, item, source)
    else:
        _add_item(record, value, source)


def _add_item(record: Record, item: Any, source: Source) -> None:
    if isinstance(item, dict):
        _add_dict(record, item, source)
    elif isinstance(item, list) and len(item) >= 3:
        _add_span(record, item[0], item[1], item[2], None, source)
    elif isinstance(item, (str, int)) and not isinstance(item, bool):
        _add_label(record, item)
    else:
        raise InputError(f"{record.place}: {shown(item)} is no label and no span: is it another field that is meant?")


def _add_dict(record: Record, item: Dict, source: Source) -> None:
    start, end = (item.get(f"{name}_offset", item.get(name)) for name in ("start", "end"))
    if "response" in item:
        if item["response"] != SKIPPED:
            _add_answer(record, item["response"], start)
    elif end is not None:  # with choices, where they are of a region
        labels = _listed(next((item[name] for name in ("label", "labels", "choices") if name in item), None))
        if not any(label not in (None, "") for label in labels):
            source.changes.add("spans left out, as they have no label", record.place, span=[start, end])
        for label in labels:
            if label not in (None, ""):
                _add_span(record, start, end, label, item.get("text"), source)
    elif "choices" in item:
        for label in _listed(item["choices"]):
            _add_label(record, label)
    elif "label" in item:
        if "label_name" not in item and isinstance(item["label"], int):
            source.changes.add(BY_NUMBER, record.place, label=item["label"])
        _add_label(record, item.get("label_name", item["label"]))
    elif "text" in item:
        for text in _listed(item["text"]):
            _add_answer(record, text, None)
    else:
        raise InputError(f"{record.place}: {shown(item)} is no label, span or answer that is known here")


def _listed(value: Any) -> List:
    """What stands there as a list, by itself, or not at all."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _add_label(record: Record, label: Any) -> None:
    if isinstance(label, bool) or not isinstance(label, (str, int)):
        raise InputError(f"{record.place}: {shown(label)} is no label: a text is expected")
    record.labels = [*(record.labels or []), str(label)]


def _add_answer(record: Record, text: Any, start: Any) -> None:
    if not isinstance(text, str):
        raise InputError(f"{record.place}: {shown(text)} is no answer: a text is expected")
    record.answers = [*(record.answers or []), Answer(text, start if isinstance(start, int) else -1)]


def _add_span(record: Record, start: Any, end: Any, label: Any, quoted: Any, source: Source) -> None:
    """Add a span of characters, or say why not."""
    for value in (start, end):
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{record.place}: {shown(value)} is no position of a span: a whole number is expected")
    if isinstance(label, bool) or not isinstance(label, (str, int)):
        raise InputError(f"{record.place}: {shown(label)} is no label of a span: a text is expected")
    if isinstance(label, int):
        source.changes.add(BY_NUMBER, record.place, label=label)
    if record.spans is None:
        record.spans = []
    quoted = quoted if isinstance(quoted, str) and quoted else None
    unit = source.options.offsets or source.offsets
    if quoted is None and source.options.offsets is None:
        found: Optional[Located] = locate_unsaid(record.text, start, end, unit)
    else:
        found = locate(record.text, start, end, quoted, unit)
    details = {"span": [start, end, str(label)], "text": record.text[max(start, 0) : max(end, 0)], "own_text": quoted}
    if found is None:
        source.changes.add(NOWHERE, record.place, **details)
        return
    if found.remark:
        source.changes.add(found.remark, record.place, **details, taken=[found.start, found.end])
    record.spans.append(Span(found.start, found.end, str(label)))


def shown(value: Any) -> str:
    """What stands in a file, as a part of a line for people."""
    return one_line(repr(value), 60)
