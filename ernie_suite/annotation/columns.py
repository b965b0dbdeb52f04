"""CoNLL columns: a token and its tag a line, an empty line between texts, in any scheme of tags.

    北 B-LOC      or of BIOES  B I E S O,  of BMES  B M E S O,  of BILOU  B I L U O
    京 I-LOC

The token stands in the first column, the tag in the last; tabs or spaces are between them. A line of -DOCSTART- and a
comment (# with no tag) are gone over.
"""

import re
from typing import Iterator, List, Optional, Tuple

from ernie_suite.annotation.records import Record, Source, Span
from ernie_suite.annotation.values import shown

from ernie_inference.errors import InputError
from ernie_inference.text_files import read_lines

TAG = re.compile("([BIESMLUW])[-_](.+)")
OUTSIDE = ("O", "o")
BEGINS, ALONE, ENDS = "B", "SUW", "EL"  # the letters of all schemes; I and M are inside
DOCUMENT = "-DOCSTART-"
LONGEST_TOKEN = 30  # characters
UNSPLIT = (
    f"tokens of more than {LONGEST_TOKEN} characters, taken as they are (Label Studio does not split Chinese text in "
    "CoNLL2003: export JSON)"
)
AS_BEGINNING = "entities that begin with a tag of their inside or end, read as their beginning"


def read_columns(source: Source) -> Iterator[Record]:
    """The texts of a file of columns, with their tokens and spans of tokens.

    Raises:
        FileNotFoundError, InputError: the file cannot be read, or a line has no token and tag.
    """
    tokens: List[str] = []
    tags: List[Tuple[str, str]] = []  # each with its place
    for number, line in enumerate(read_lines(source.path), 1):
        place = f"{source.path}, line {number}"
        line = line.rstrip("\n")
        if not line.strip() or line.startswith(DOCUMENT):
            if tokens:
                yield _record(tokens, tags, source)
            tokens, tags = [], []
            continue
        cells = split_line(line)
        if line.startswith("#") and not is_tag(cells[-1]):
            continue
        if len(cells) < 2 or not is_tag(cells[-1]):
            raise InputError(
                f"{place}: {shown(cells[-1])} is no tag (O, B-..., I-..., E-..., S-... or M-...), and a token with its "
                "tag a line is expected"
            )
        tokens.append(cells[0] or " ")
        tags.append((cells[-1], place))
    if tokens:
        yield _record(tokens, tags, source)


def split_line(line: str) -> List[str]:
    """The cells of a line; the first is empty where the token is a space."""
    if "\t" in line:
        return [cell.strip() if number else cell for number, cell in enumerate(line.rstrip().split("\t"))]
    first, *rest = line.split(" ")
    return [first, *filter(None, rest)]


def is_tag(cell: str) -> bool:
    return cell in OUTSIDE or TAG.fullmatch(cell) is not None


def _record(tokens: List[str], tags: List[Tuple[str, str]], source: Source) -> Record:
    for token, (_, place) in zip(tokens, tags):
        if len(token) > LONGEST_TOKEN and not token.isascii():
            source.changes.add(UNSPLIT, place, token=token)
    return Record(tags[0][1], "".join(tokens), tokens=tokens, spans=list(spans_of(tags, source)))


def spans_of(tags: List[Tuple[str, str]], source: Source) -> Iterator[Span]:
    """The entities of one tag a token, in any of the schemes, which have no letter in two meanings."""
    label: Optional[str] = None  # of the entity that is open
    start = 0
    for number, (tag, place) in enumerate(tags):
        found = TAG.fullmatch(tag)
        letter, own = found.groups() if found else ("O", None)
        goes_on = label is not None and own == label and letter not in BEGINS + ALONE
        if label is not None and not goes_on:
            yield Span(start, number, label)
            label = None
        if own is None:
            continue
        if not goes_on:
            label, start = own, number
            if letter not in BEGINS + ALONE:
                source.changes.add(AS_BEGINNING, place, tag=tag)
        if letter in ENDS + ALONE:
            yield Span(start, number + 1, own)
            label = None
    if label is not None:
        yield Span(start, len(tags), label)
