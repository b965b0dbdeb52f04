"""Outputs that are whole or not there (written under a temporary name beside their place, then renamed), and the
screen's table."""

import hashlib
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple, Union

import deploy_path  # noqa: F401
from ernie_predictor import InputError
from text_output import to_json


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


def figures_file(
    prefix: Union[str, Path],
    dataset: str,
    engine: Tuple[str, str, str],
    split: str = "dev",
    max_samples: Optional[int] = None,
    max_seq_length: Optional[int] = None,
    data_dir: Optional[str] = None,
) -> Path:
    """Where infer.py writes what it finds of the model PREFIX on a data set.

    PREFIX.tnews.paddle-cpu-fp32.json is the whole dev split as the model was trained. What else was asked for stands in
    the name too (PREFIX.tnews-test-first100.paddle-cpu-fp32.json), so that one does not overwrite the other.

    Args:
        engine: backend, device and precision.
        split, max_samples, max_seq_length, data_dir: infer.py's flags of these names.
    """
    parts = [dataset]
    if data_dir is not None:
        folder = Path(data_dir).resolve()
        parts.append(f"of-{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}")
    if split != "dev":
        parts.append(split)
    if max_samples is not None:
        parts.append(f"first{max_samples}")
    if max_seq_length is not None:
        parts.append(f"{max_seq_length}tokens")
    return Path(f"{prefix}.{'-'.join(parts)}.{'-'.join(engine)}.json")


def unwritable(folder, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be written to ({error.strerror or error}): free space there or name another")


def check_writable(folder) -> None:
    """Fail in the first second rather than after the training, when nothing can be written to a folder."""
    with publish(folder) as temporary:
        probe = temporary / "probe"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()


def note(text: str) -> None:
    """One line on stderr that the user should see, though nothing stops."""
    print(f"note: {text}", file=sys.stderr)


def print_row(**columns: str) -> None:
    """A table of one row on the screen."""
    print_table([columns])


def print_table(rows: List[Dict[str, str]]) -> None:
    """A table on the screen; all rows have the same columns."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for cells in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
