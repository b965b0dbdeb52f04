"""The objects of a JSON file one by one, be it JSON lines or one array, however long either is.

Label Studio exports one array, often on one line; doccano lines. json.load would hold all of it several times over.
"""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Dict, Iterator, Tuple

from ernie_suite.reading import json_lines

from ernie_inference.errors import InputError
from ernie_inference.text_files import read_lines

BLOCK = 1 << 20  # characters read at once
LARGEST = 64 << 20  # of one item: what is longer is an unclosed quote
NEAR_THE_END = 32  # where a parser stops at the cut between two blocks, at "tru" or "\ud83d\ud"


def json_items(path: Path) -> Iterator[Tuple[str, Dict]]:
    """(place, object) of a file of JSON lines, or of one array of objects.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not UTF-8 or not JSON, or an item is no object.
    """
    if first_character(path) != "[":
        yield from json_lines(path)
        return
    with open_utf8(path) as file:
        yield from _array(path, file)


@contextmanager
def open_utf8(path: Path) -> Iterator[IO[str]]:
    """A text file to read in pieces, however long its lines are.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it cannot be read, or what was read of it is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield file
    except FileNotFoundError:
        raise
    except (UnicodeDecodeError, OSError):
        for _ in read_lines(path):  # says what is wrong, and where
            pass
        raise


def first_character(path: Path) -> str:
    """The first character of a UTF-8 file that is no white space; empty where there is none.

    Raises:
        FileNotFoundError, InputError: as open_utf8.
    """
    with open_utf8(path) as file:
        for block in iter(lambda: file.read(BLOCK), ""):
            if block.strip():
                return block.lstrip()[0]
    return ""


def _array(path: Path, file: IO[str]) -> Iterator[Tuple[str, Dict]]:
    window = _Window(path, file)
    window.skip("[")
    number = 0
    while window.peek() != "]":
        if number:
            window.skip(",")
            window.peek()
        number += 1
        place = f"{path}, item {number} (line {window.line})"
        item = window.value(place)
        if not isinstance(item, dict):
            raise InputError(f"{place}: a JSON object is expected, found {type(item).__name__}")
        yield place, item
    window.skip("]")
    if window.peek():
        raise InputError(f"{path}, line {window.line}: something stands behind the end of the JSON array: remove it")


class _Window:
    """The part of a file that a JSON parser looks at.

    Attributes:
        line: the line of the next character, from 1.
    """

    def __init__(self, path: Path, file: IO[str]):
        self._path, self._file, self._text, self._position = path, file, "", 0
        self._decoder = json.JSONDecoder()
        self.line = 1

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            rest = self._text[self._position : self._position + 64].lstrip()
            while not rest and self._position < len(self._text):
                self._advance(min(64, len(self._text) - self._position))
                rest = self._text[self._position : self._position + 64].lstrip()
            if rest:
                ahead = self._text[self._position : self._position + 64]
                self._advance(len(ahead) - len(rest))
                return rest[0]
            if not self._more(BLOCK):
                return ""

    def skip(self, char: str) -> None:
        """Go over a character, which must be the next one."""
        found = self.peek()
        if found != char:
            what = f"{found!r}" if found else "the end of the file"
            raise InputError(f"{self._path}, line {self.line}: not JSON: {char!r} is expected, found {what}")
        self._advance(1)

    def value(self, place: str):
        """The JSON value that begins here."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
                break
            except RecursionError as error:
                raise InputError(f"{place}: not JSON that can be read ({error})") from None
            except json.JSONDecodeError as error:
                is_open = error.msg.startswith("Unterminated") or error.pos > len(self._text) - NEAR_THE_END
                size = len(self._text) - self._position
                if not (is_open and size < LARGEST and self._more(max(BLOCK, size))):
                    line = self.line + self._text.count("\n", self._position, error.pos)
                    raise InputError(
                        f"{place}: not JSON ({error.msg}, line {line}): is the file whole? export it again"
                    ) from None
        self._advance(end - self._position)
        return value

    def _advance(self, count: int) -> None:
        self.line += self._text.count("\n", self._position, self._position + count)
        self._position += count

    def _more(self, count: int) -> bool:
        """Read on; what was gone over is let go. False at the end of the file."""
        block = self._file.read(count)
        self._text, self._position = self._text[self._position :] + block, 0
        return bool(block)
