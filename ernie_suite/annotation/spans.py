"""Spans made fit for one tag a token: none out of the text, none with white space at its edges, none in another."""

from typing import List, Sequence

from ernie_suite.annotation.records import Changes, Span

from ernie_inference.errors import InputError

LONGEST, REFUSE = OVERLAPS = ("longest", "refuse")  # what becomes of spans that share a token

OUT_OF_TEXT = "spans left out, as they are empty or end beyond the text (positions in UTF-16 units? see --offsets)"
BLANK = "spans left out, as they hold nothing but white space"
TRIMMED = "spans with white space at their edges, taken without it"
TWICE = "spans that stand there twice, taken once"
NESTED = "spans left out, as they lie within a longer one (nested)"
OVERLAPPING = "spans left out, as they overlap one that is as long or longer"


def fit_spans(units: Sequence[str], spans: List[Span], place: str, changes: Changes, overlaps: str) -> List[Span]:
    """The spans that can be tags of the units of a text, in its order.

    Args:
        units: the characters of a text, or its tokens.
        overlaps: of OVERLAPS: of spans that share a unit keep the longest, of equal ones the first; or refuse them.

    Raises:
        InputError: spans share a unit, and that is to be refused.
    """
    trimmed = []
    for span in spans:
        details = {"span": list(span), "text": "".join(units[max(span.start, 0) : max(span.end, 0)])}
        if not 0 <= span.start < span.end <= len(units):
            changes.add(OUT_OF_TEXT, place, **details)
            continue
        start, end = span.start, span.end
        while start < end and units[start].isspace():
            start += 1
        while start < end and units[end - 1].isspace():
            end -= 1
        if start == end:
            changes.add(BLANK, place, **details)
            continue
        if (start, end) != span[:2]:
            changes.add(TRIMMED, place, **details, taken=[start, end])
        trimmed.append(Span(start, end, span.label))
    return _without_overlaps(units, trimmed, place, changes, overlaps)


def _without_overlaps(
    units: Sequence[str], spans: List[Span], place: str, changes: Changes, overlaps: str
) -> List[Span]:
    kept: List[Span] = []
    owner: List[int] = [-1] * len(units)  # of each unit the number of its span in `kept`
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):  # the longest first
        others = {number for number in owner[span.start : span.end] if number >= 0}
        if not others:
            owner[span.start : span.end] = [len(kept)] * (span.end - span.start)
            kept.append(span)
            continue
        other = kept[min(others)]
        details = {"span": list(span), "text": "".join(units[span.start : span.end]), "kept": list(other)}
        if span == other:
            changes.add(TWICE, place, **details)
        elif overlaps == REFUSE:
            raise InputError(
                f"{place}: {details['text']!r} ({span.label}) and {''.join(units[other.start : other.end])!r} "
                f"({other.label}) share characters: mend it in the tool, or keep the longest with --overlaps {LONGEST}"
            )
        else:
            is_nested = other.start <= span.start and span.end <= other.end
            changes.add(NESTED if is_nested else OVERLAPPING, place, **details)
    return sorted(kept)


def tags_of(units: int, spans: List[Span]) -> List[str]:
    """BIO tags of so many units; spans share none."""
    tags = ["O"] * units
    for start, end, label in spans:
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags
