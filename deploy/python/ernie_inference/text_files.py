"""Text files as people's editors write them: UTF-8 with or without a byte order mark, lines ended in any way."""

import codecs
from pathlib import Path
from typing import Iterator, Union

from ernie_inference.errors import InputError

BYTE_ORDER_MARKS_OF_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # those of UTF-32 begin or go on like them


def read_text(path: Union[str, Path]) -> str:
    """The text of a UTF-8 file, without its byte order mark and with "\\n" for every line end.

    Raises:
        FileNotFoundError: there is no such file; what to do about that, the caller knows.
        InputError: it cannot be read, or is in another encoding.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    return decode(content, path).replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Union[str, Path]) -> Iterator[str]:
    """The lines of a UTF-8 file one by one, for files too large for read_text; each but the last ends with "\\n".

    Raises:
        FileNotFoundError, InputError: as read_text, when the line is reached.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from file
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        with open(path, "rb") as binary:
            for number, line in enumerate(binary, 1):
                decode(line, path, number)  # names the line that is not UTF-8
        raise
    except OSError:
        read_text(path)  # names what is wrong with it
        raise


def decode(content: bytes, path: Union[str, Path], first_line: int = 1) -> str:
    """Bytes of the file `path` as text, without a byte order mark.

    Args:
        first_line: the number of the line that they begin with, where they are a part of the file.

    Raises:
        InputError: they are not UTF-8.
    """
    if first_line == 1 and content.startswith(BYTE_ORDER_MARKS_OF_UTF16):
        raise InputError(f"{path} is UTF-16, not UTF-8: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + first_line
        raise InputError(f"{path} is not UTF-8 (line {line}); if it is GBK or Big5, save it as UTF-8") from None
