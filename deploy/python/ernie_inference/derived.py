"""Files that are made from a model and kept beside it: ONNX forms, TensorRT's shape ranges.

Each ends with a mark that says what it was made from, by content, and how. One whose mark does not fit is made
again; one without a mark was made by somebody else, and is not replaced.
"""

import re
import sys
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Sequence

from ernie_inference.errors import InputError
from ernie_inference.files import Unwritable, digest_of, publish

MARK = re.compile(rb"made-from:([0-9a-f]{64}) by:([^\s\0]*)\s*\Z")
MARK_BYTES = 512  # of the end of a file in which its mark is looked for


class Origin(NamedTuple):
    """What a file was made from: the SHA-256 of its sources, and the tools and settings that made it."""

    digest: str
    recipe: str


class Kind(NamedTuple):
    """A kind of derived file.

    Attributes:
        mark: a text as the bytes that may stand at the end of such a file without changing what it means.
        instead: what to do where the file cannot be written.
        replace_unmarked: whether its name is nobody else's to give, so that one without a mark is made again too.
    """

    mark: Callable[[str], bytes]
    instead: str
    replace_unmarked: bool = False


def derive(
    target: Path,
    sources: Sequence[Path],
    recipe: Optional[str],
    make: Callable[[Path], None],
    kind: Kind,
    always: bool = False,
) -> Path:
    """A file made from others: the one that is there if it was made from what they hold now, else made (again).

    It takes its name when it is complete.

    Args:
        recipe: the tools and settings that make it, without white space; None where they are not installed, so that
            a file of any recipe will do.
        make: writes the file under the path that it is given.
        always: make it whatever is there.

    Raises:
        InputError: the file cannot be written, or one is there that somebody else made.
    """
    digest = digest_of(sources)
    if target.exists() and not always:
        origin = origin_of(target)
        if origin is None and not kind.replace_unmarked:
            raise InputError(
                f"{target} does not say what it was made from: name it itself to use it as it is, "
                f"or remove it to have it made from {sources[0]}"
            )
        if origin is not None and origin.digest == digest and recipe in (None, origin.recipe):
            return target
    try:
        # A folder of its own, as others may be making the same file; and made before C++ code that ends the process.
        with publish(target.parent) as folder:
            make(folder / target.name)
            with (folder / target.name).open("ab") as file:
                file.write(kind.mark(f"made-from:{digest} by:{recipe or ''}"))
    except Unwritable as error:
        raise InputError(f"{target} cannot be written ({error.reason}): {kind.instead}") from None
    print(f"wrote {target}", file=sys.stderr)
    return target


def origin_of(file: Path) -> Optional[Origin]:
    """What a file's mark says; None where it has none (or was cut short)."""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - MARK_BYTES))
        found = MARK.search(content.read())
    return Origin(*(part.decode("ascii", "replace") for part in found.groups())) if found else None
