"""Text on its way out, to files, to clients and to the screen.

Half of a surrogate pair is a character that UTF-8 cannot hold. It comes from texts that were cut in the middle of an
emoji ("\\ud83d" in JSON). It is written as the escape that JSON has for it, and all else as it is: no answer is lost
for it, and a JSON file gives it back.
"""

import json
import re
import sys
from pathlib import Path
from typing import IO, Any, Optional, Union

# Control characters, ends of lines and paragraphs, directions, and halves of surrogate pairs.
COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
ESCAPE = "backslashreplace"  # "\ud83d" as the six characters \ud83d


def to_json(content: Any, indent: Optional[int] = None) -> bytes:
    """JSON in UTF-8, on one line unless it is indented.

    Raises:
        ValueError: there is NaN or infinity in it, which JSON does not have.
    """
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent).encode("utf-8", ESCAPE)


def one_line(text: str, most: Optional[int] = None) -> str:
    """What somebody else wrote, as a part of a line for people: what a screen takes for a command or for the end of the
    line, or what turns the order of characters around, is written as an escape.

    Args:
        most: characters that are kept; None: all.
    """
    short = text if most is None or len(text) <= most else text[:most] + "..."
    return COMMANDS.sub(lambda found: ascii(found[0])[1:-1], short)


def open_text(path: Union[str, Path], mode: str = "w") -> IO[str]:
    """A text file to write in UTF-8, with "\\n" for line ends."""
    return open(path, mode, encoding="utf-8", errors=ESCAPE, newline="\n")


def print_anything() -> None:
    """From now on what is printed shows as an escape what the screen's encoding lacks, instead of an error."""
    if hasattr(sys.stdout, "reconfigure"):  # not where something else stands in for it
        sys.stdout.reconfigure(errors=ESCAPE)
