"""Files as wholes: written under a temporary name beside their place and then renamed, and told apart by content."""

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence

from ernie_inference.errors import InputError
from ernie_inference.text_output import to_json

BLOCK_BYTES = 1 << 20
TEMPORARY = ".writing-"  # the beginning of a folder's name in which files are written


class Unwritable(InputError):
    """A folder that cannot be written to, or a full disk; `reason` is what the system says."""

    def __init__(self, folder, error: OSError):
        self.reason = error.strerror or str(error)
        super().__init__(f"{folder} cannot be written to ({self.reason}): free space there or name another")


@contextmanager
def publish(folder) -> Iterator[Path]:
    """A temporary folder whose files take their names in `folder` when the block ends without an error.

    Raises:
        Unwritable: the folder cannot be written to, or the disk is full.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder))
    except OSError as error:
        raise Unwritable(folder, error) from None
    try:
        yield temporary
        for path in sorted(temporary.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise Unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path, content) -> None:
    """Write a JSON file in one step, whatever its texts hold.

    Raises:
        InputError: its folder cannot be written to, or there is NaN or infinity in it, which JSON does not have.
    """
    path = Path(path)
    try:
        text = to_json(content, indent=2)
    except ValueError as error:
        raise InputError(f"{path} is not written: a figure is NaN or infinite ({error})") from None
    with publish(path.parent) as temporary:
        (temporary / path.name).write_bytes(text + b"\n")


def check_writable(folder) -> None:
    """Fail in the first second rather than after the training, when nothing can be written to a folder."""
    with publish(folder) as temporary:
        probe = temporary / "probe"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()


def digest_of(files: Sequence[Path]) -> str:
    """SHA-256 over the contents of files, and where each ends.

    Raises:
        InputError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                for block in iter(lambda: file.read(BLOCK_BYTES), b""):
                    digest.update(block)
                digest.update(file.tell().to_bytes(8, "little"))
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    return digest.hexdigest()
