"""Where a span stands, whatever its tool counted.

doccano and Label Studio count code points, as Python does. Label Studio did not always: up to 2021 its editor counted
the UTF-16 units of JavaScript, two for an emoji (label-studio issue 1347, mended by label-studio-frontend pull request
308), and its exports still lie about. Label Studio says the text of a span beside its positions, so that it is seen.
"""

from typing import Callable, Dict, NamedTuple, Optional

from ernie_suite.tasks.qa import nearest


def utf16_to_code_points(text: str, position: int) -> int:
    """The number of the character at a position that counts UTF-16 units; a half of a pair is its character."""
    units = text.encode("utf-16-le", "surrogatepass")
    beyond = max(position - len(units) // 2, 0)  # stays out of the text, for the reader to see
    return len(units[: 2 * position].decode("utf-16-le", "replace").rstrip("\ufffd")) + beyond


# What a position counts, and how it becomes a number of characters.
UNITS: Dict[str, Callable[[str, int], int]] = {
    "code_points": lambda text, position: position,
    "utf16": utf16_to_code_points,
}

ELSEWHERE = "spans whose positions do not fit their own text, taken where that text stands nearest"
NOWHERE = "spans left out, as their own text does not stand in the text"


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
        first, last = (UNITS[name](text, position) if position > 0 else position for position in (start, end))
        if quoted is None or (0 <= first < last and _same(text[first:last], quoted)):
            is_plain = name == unit
            return Located(first, last, None if is_plain else f"spans whose positions count {name}, read as such")
    found = nearest(text, quoted, start) if quoted else -1
    return None if found < 0 or not quoted else Located(found, found + len(quoted), ELSEWHERE)


def _same(found: str, quoted: str) -> bool:
    """White space does not count: Label Studio writes a line end within a span as a backslash and an n."""
    return found == quoted or "".join(found.split()) == "".join(quoted.replace("\\n", "\n").split())
