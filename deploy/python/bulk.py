"""Answers for a whole file: JSON lines in, JSON lines out, one line for each line.

Memory does not grow with the file. Answers go to FILE.part, which takes the name FILE when all are
there, and FILE.part.json says what they were made from. A run that was killed goes on after its
last complete line when the same command is given again.
"""

import json
import os
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple, Union

from tqdm import tqdm

from ernie_predictor import ErniePredictor, as_example
from model_files import InputError

BLOCK_BYTES = 1 << 20


def answer_file(
    predictor: ErniePredictor,
    input_file: Union[str, Path],
    output_file: Union[str, Path],
    batch_size: int = 32,
) -> int:
    """Answer each line of input_file in output_file; an input is a JSON value that ErniePredictor takes.

    Returns the number of lines of output_file.

    Raises:
        InputError: a line is not an input, a file cannot be read or written, output_file exists, or its
            .part was begun from something else.
    """
    input_file, output_file = Path(input_file), Path(output_file)
    part, origin_file = (Path(f"{output_file}.part{ending}") for ending in ("", ".json"))
    if output_file.exists():
        raise InputError(f"{output_file} is there already: remove it, or name another --output_file")
    try:
        total, _ = count_lines(input_file)
        done = _resume(part, origin_file, _origin(predictor, input_file))
        with part.open("ab") as file, tqdm(total=total, initial=done, unit="text", desc=output_file.name) as progress:
            examples = islice(_examples(predictor.task.name, input_file), done, None)
            for answer in predictor.predict_iter(examples, batch_size):
                file.write(to_json(answer) + b"\n")
                progress.update()
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, output_file)
        origin_file.unlink()
    except OSError as error:
        raise InputError(f"{error.filename or output_file}: {error.strerror}") from None
    return total


def to_json(content: Any) -> bytes:
    """One line of JSON in UTF-8; half a surrogate pair, which UTF-8 cannot hold, is written as an escape.

    Raises:
        ValueError: there is NaN or infinity in it, which JSON does not have.
    """
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, allow_nan=False).encode("ascii")


def count_lines(path: Path) -> Tuple[int, int]:
    """The number of lines of a file, and where the last complete one ends (in bytes)."""
    lines = position = complete = 0
    with path.open("rb") as file:
        for block in iter(lambda: file.read(BLOCK_BYTES), b""):
            lines += block.count(b"\n")
            if b"\n" in block:
                complete = position + block.rindex(b"\n") + 1
            position += len(block)
    return lines + (position > complete), complete


def _examples(task_name: str, path: Path) -> Iterator[Dict]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            try:
                given = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where} is not JSON ({error})") from None
            yield as_example(task_name, given, where)


def _origin(predictor: ErniePredictor, input_file: Path) -> Dict:
    """What answers depend on, to tell whether a .part belongs to the run that is asked for."""
    engine = predictor.engine
    return {
        "input_file": str(input_file.resolve()),
        "input_bytes": input_file.stat().st_size,
        "input_modified": input_file.stat().st_mtime_ns,
        "model": str(engine.prefix.resolve()),
        "model_modified": max(file.stat().st_mtime_ns for file in engine.files),
        "backend": engine.config.backend,
        "precision": engine.config.precision,
        "max_seq_length": predictor.task.max_seq_length,
    }


def _resume(part: Path, origin_file: Path, origin: Dict) -> int:
    """Make FILE.part ready to be appended to. Returns how many lines it holds."""
    if not part.exists():
        temporary = origin_file.with_name(f".{origin_file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(origin, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, origin_file)
        return 0
    try:
        before = json.loads(origin_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before != origin:
        changed = [key for key in origin if not isinstance(before, dict) or before.get(key) != origin[key]]
        raise InputError(f"{part} was begun with another {', '.join(changed)}: remove it to begin again")
    lines, complete = count_lines(part)
    if part.stat().st_size > complete:
        os.truncate(part, complete)
        lines -= 1
    return lines
