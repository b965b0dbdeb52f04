"""Outputs that are whole or not there: written under a temporary name beside their place, then renamed."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from ernie_inference.errors import InputError
from ernie_inference.text_output import to_json


@contextmanager
def publish(folder) -> Iterator[Path]:
    """A temporary folder whose files take their names in `folder` when the block ends without an error.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield temporary
        for path in sorted(temporary.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise unwritable(folder, error) from error
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


def unwritable(folder, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be written to ({error.strerror or error}): free space there or name another")


def check_writable(folder) -> None:
    """Fail in the first second rather than after the training, when nothing can be written to a folder."""
    with publish(folder) as temporary:
        probe = temporary / "probe"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
