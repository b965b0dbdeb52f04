"""Where a span stands, whatever its tool counted.

Label Studio counts code points, as Python does. It did not always: up to 2021 its editor counted the UTF-16 units of
JavaScript, two for an emoji (label-studio issue 1347, mended by label-studio-frontend pull request 308), and its
exports still lie about. It says the text of a span beside its positions, so that it is seen.

doccano says no such text. Since 1.5 its editor counts UTF-16 units (doccano issue 2290; v-annotator's Text.ts), before
that it counted code points, and grapheme clusters where a project is told to. What cannot be told apart is said.
"""

from typing import Callable, Dict, NamedTuple, Optional, Tuple

from ernie_suite.tasks.qa import nearest


def utf16_to_code_points(text: str, position: int) -> int:
    """The number of the character at a position that counts UTF-16 units; a half of a pair is its character."""
    units = text.encode("utf-16-le", "surrogatepass")
    beyond = max(position - len(units) // 2, 0)  # stays out of the text, for the reader to see
    return len(units[: 2 * position].decode("utf-16-le", "replace").rstrip("\ufffd")) + beyond


def code_points_to_utf16(text: str, position: int) -> int:
    """How many UTF-16 units the first `position` characters are."""
    return len(text[:position].encode("utf-16-le", "surrogatepass")) // 2


CODE_POINTS, UTF16 = "code_points", "utf16"
# What a position counts, and how it becomes a number of characters.
UNITS: Dict[str, Callable[[str, int], int]] = {
    CODE_POINTS: lambda text, position: position,
    UTF16: utf16_to_code_points,
}

ELSEWHERE = "spans whose positions do not fit their own text, taken where that text stands nearest"
NOWHERE = "spans left out, as their own text does not stand in the text"
UNSURE = {
    unit: f"spans behind an emoji or the like, whose positions are taken to count {unit} (if they are off: --offsets "
    f"{other})"
    for unit, other in ((UTF16, CODE_POINTS), (CODE_POINTS, UTF16))
}


class Located(NamedTuple):
    """Characters [start, end) of a text, and what there is to say of how they were found."""

    start: int
    end: int
    remark: Optional[str] = None


def locate(text: str, start: int, end: int, quoted: Optional[str], unit: str) -> Optional[Located]:
    """The characters that a span means; None where its own text does not stand in the text at all.

    Args:
        start, end: as the tool gives them, end excluded.
        quoted: the span's own text, where the tool gives that too.
        unit: what they count, a key of UNITS; where that does not give the span's text, the others are tried.
    """
    for name in sorted(UNITS, key=lambda name: name != unit):
        first, last = _characters(text, start, end, name)
        if quoted is None or (0 <= first < last and _same(text[first:last], quoted)):
            is_plain = name == unit
            return Located(first, last, None if is_plain else f"spans whose positions count {name}, read as such")
    found = nearest(text, quoted, start) if quoted else -1
    return None if found < 0 or not quoted else Located(found, found + len(quoted), ELSEWHERE)


def locate_unsaid(text: str, start: int, end: int, unit: str) -> Located:
    """The characters that a span without its own text means, where nobody said what its positions count.

    Args:
        unit: what its tool counts, a key of UNITS; another one is taken only where that cannot be.
    """
    read = {name: _characters(text, start, end, name) for name in UNITS}
    if len(set(read.values())) == 1:
        return Located(start, end)
    possible = [name for name in sorted(UNITS, key=lambda name: name != unit) if _can_count(text, start, end, name)]
    taken = possible[0] if possible else unit
    return Located(*read[taken], UNSURE[taken])


def _characters(text: str, start: int, end: int, unit: str) -> Tuple[int, int]:
    first, last = (UNITS[unit](text, position) if position > 0 else position for position in (start, end))
    return first, last


def _can_count(text: str, start: int, end: int, unit: str) -> bool:
    """Whether positions lie within the text, and in UTF-16 units between two characters."""
    first, last = _characters(text, start, end, unit)
    if not 0 <= first < last <= len(text):
        return False
    return unit != UTF16 or (code_points_to_utf16(text, first), code_points_to_utf16(text, last)) == (start, end)


def _same(found: str, quoted: str) -> bool:
    """White space does not count: Label Studio writes a line end within a span as a backslash and an n."""
    return found == quoted or "".join(found.split()) == "".join(quoted.replace("\\n", "\n").split())
