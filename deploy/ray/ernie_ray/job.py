"""What an output folder was begun from, and which of its parts are complete.

    _manifest.json               the model, the settings and the content of each input file: one run, one manifest
    _parts/part-000000.json      of a complete part: what it was made from, and what it holds
    part-000000.jsonl            the part

Names that begin with _ are no data for Spark, pyarrow and Ray, which read the folder as it is.
"""

import fcntl
import hashlib
import json
import os
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ernie_inference.errors import InputError
from ernie_inference.text_output import to_json

MANIFEST = "_manifest.json"
RECORDS = "_parts"


class InputFile(NamedTuple):
    """A file of the input, as it was when it was read through."""

    path: str
    sha256: str
    rows: int
    begins: List[int]  # the byte at which each part begins
    size: int
    mtime_ns: int


class Piece(NamedTuple):
    """A part to make: which rows of which file, and what is written of it when it is complete."""

    name: str  # without an ending
    file: str
    first_row: int  # from 0 on
    rows: int
    begin: int
    size: int  # of the input file, which must be as it was
    mtime_ns: int
    origin: Dict[str, Any]


def pieces_of(files: List[InputFile], rows_per_part: int, made_from: Dict[str, Any]) -> List[Piece]:
    """All parts of a run, in the order of its rows."""
    run = hashlib.sha256(to_json(made_from)).hexdigest()
    pieces: List[Piece] = []
    for file in files:
        for first, begin in zip(range(0, file.rows, rows_per_part), file.begins):
            rows = min(rows_per_part, file.rows - first)
            origin = {"input": file.sha256, "first_row": first, "rows": rows, "made_from": run}
            name = f"part-{len(pieces):06d}"
            pieces.append(Piece(name, file.path, first, rows, begin, file.size, file.mtime_ns, origin))
    return pieces


def record_name(piece_name: str) -> str:
    return f"{RECORDS}/{piece_name}.json"


def record_of(piece: Piece, content: bytes) -> bytes:
    """What is written beside a complete part."""
    made = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return to_json({**piece.origin, **made}) + b"\n"


@contextmanager
def locked(store) -> Iterator[None]:
    """The output folder, made if it is not there, for one run at a time where it is on a disk of this machine.

    Raises:
        InputError: another run has it.
    """
    store.make()
    if not store.is_local:
        yield
        return
    folder = os.open(store.local_path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another run is writing {store}: wait for it, or name another --output_dir") from None
        yield
    finally:
        os.close(folder)


def begun_from(store) -> Optional[Dict[str, Any]]:
    """The manifest of an output folder; None where no run has begun.

    Raises:
        InputError: there are other files in it, or the manifest is damaged.
    """
    names = store.sizes()
    if MANIFEST not in names:
        others = sorted(name for name in names if not name.startswith("."))
        if others:
            raise InputError(f"{store} holds {others[0]} and no {MANIFEST}: name a new or an empty folder")
        return None
    try:
        manifest = json.loads(store.read(MANIFEST))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise InputError(f"{store}/{MANIFEST} is damaged: name another --output_dir, or remove {store}")
    return manifest


def check_same(store, before: Dict[str, Any], made_from: Dict[str, Any]) -> None:
    """Refuse the folder of another run.

    Raises:
        InputError: it was begun from something else; the message names what.
    """
    before = before.get("made_from") or {}
    changed = [name for name in {**made_from, **before} if before.get(name) != made_from.get(name)]
    if changed:
        raise InputError(
            f"{store} was begun with another {', '.join(changed)}: name another --output_dir, or remove it"
        )


def begin(store, made_from: Dict[str, Any], files: List[InputFile]) -> None:
    """Write the manifest."""
    inputs = [{"file": file.path, "sha256": file.sha256, "rows": file.rows} for file in files]
    store.write(MANIFEST, to_json({"made_from": made_from, "inputs": inputs}, indent=2) + b"\n")


def split_done(store, pieces: List[Piece], ending: str) -> Tuple[List[Piece], List[Piece]]:
    """(complete, to be made): complete is a part whose record says what it would be made from, and whose file is whole.

    What else a record says is of no run that this folder can be gone on with.
    """
    records, sizes = store.sizes(RECORDS), store.sizes()
    done: List[Piece] = []
    missing: List[Piece] = []
    for piece in pieces:
        complete = False
        if f"{piece.name}.json" in records:
            try:
                record = json.loads(store.read(record_name(piece.name)))
                size = sizes.get(piece.name + ending, -1)
                complete = record == {**piece.origin, "bytes": size, "sha256": record["sha256"]}
            except (ValueError, KeyError, TypeError):
                pass
        (done if complete else missing).append(piece)
    return done, missing
