"""Answers for a whole file: JSON lines in, JSON lines out, one line for each line.

Memory does not grow with the file. Answers go to FILE.part, which takes the name FILE when all are
there, and FILE.part.json says what they were made from. A run that was killed goes on after its
last complete line when the same command is given again. Only one run at a time writes to FILE.part.

Who answers is an Answerer: an exported model here, a service in deploy/serving.
"""

import fcntl
import json
import os
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterable, Iterator, Protocol, Tuple, Type, Union

from tqdm import tqdm

from ernie_inference.errors import InputError
from ernie_inference.files import digest_of, write_json
from ernie_inference.tasks.base import Task
from ernie_inference.text_files import decode
from ernie_inference.text_output import to_json

BLOCK_BYTES = 1 << 20
QUIET_SECONDS = 1.0  # before the progress is shown: what is wrong from the beginning has the screen to itself


class Answerer(Protocol):
    """Who answers the inputs of a file: a model (commands.py), or a service (ernie_serving/client_command.py)."""

    @property
    def task(self) -> Union[Task, Type[Task]]:
        """What an input is."""

    def predict_iter(self, inputs: Iterable[Dict], batch_size: int) -> Iterator[Dict]:
        """The answers, in the order of the inputs, which are read as it goes."""

    def depends_on(self) -> Dict[str, Any]:
        """All that answers depend on beside the input, as JSON has it, each under a name for people."""


def answer_file(
    answerer: Answerer, input_file: Union[str, Path], output_file: Union[str, Path], batch_size: int = 32
) -> int:
    """Answer each line of input_file in output_file; an input is a JSON value in one of the task's forms.

    Returns the number of lines of output_file.

    Raises:
        InputError: a line is not an input, a file cannot be read or written, output_file exists, its .part was
            begun from something else or is being written by another run, or input_file changed meanwhile.
    """
    input_file, output_file = Path(input_file), Path(output_file)
    part, origin_file = (Path(f"{output_file}.part{ending}") for ending in ("", ".json"))
    try:
        if any(path.exists() and path.samefile(input_file) for path in (part, origin_file)):
            raise InputError(f"{input_file} has the name under which answers are kept until all are there: rename it")
        with _locked(part, origin_file, output_file) as file:
            origin = {"input": digest_of([input_file]), **answerer.depends_on()}
            total, _ = count_lines(input_file)
            done = _resume(part, origin_file, origin)
            with tqdm(
                total=total, initial=done, unit="text", desc=output_file.name, delay=QUIET_SECONDS, leave=False
            ) as progress:
                examples = islice(read_examples(answerer.task, input_file), done, None)
                for answer in answerer.predict_iter(examples, batch_size):
                    file.write(to_json(answer) + b"\n")
                    progress.update()
                progress.leave = True  # as all is done; of a run that failed, the error is left
            file.flush()
            os.fsync(file.fileno())
            if not _is_named(file, part):
                raise InputError(f"{part} was removed or replaced by another program: begin again")
            if digest_of([input_file]) != origin["input"]:
                raise InputError(f"{input_file} changed while it was answered: remove {part} and begin again")
            if count_lines(part) != (total, part.stat().st_size):
                raise InputError(f"{part} has not one line for each of {input_file}: remove it and begin again")
            os.replace(part, output_file)
            origin_file.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{error.filename or output_file}: {error.strerror}") from None
    return total


def read_examples(task: Union[Task, Type[Task]], path: Union[str, Path]) -> Iterator[Dict]:
    """The inputs of a file of JSON lines, each as the example that a Task takes.

    Raises:
        InputError: a line is not UTF-8, not JSON or not an input of the task.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            _, given = parse_line(line, path, number)
            yield task.as_example(given, f"{path}, line {number}")


def parse_line(line: bytes, path: Union[str, Path], number: int) -> Tuple[str, Any]:
    """A line of JSON lines as text, and the value that it is.

    Raises:
        InputError: it is not UTF-8 or not JSON; the message names file and line.
    """
    text = decode(line, path, first_line=number)
    try:
        return text, json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {number} is not JSON ({error})") from None


def count_lines(path: Path) -> Tuple[int, int]:
    """The number of lines of a file, and where the last complete one ends (in bytes)."""
    lines = position = complete = 0
    for block in _blocks(path):
        lines += block.count(b"\n")
        if b"\n" in block:
            complete = position + block.rindex(b"\n") + 1
        position += len(block)
    return lines + (position > complete), complete


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(BLOCK_BYTES), b"")


@contextmanager
def _locked(part: Path, origin_file: Path, output_file: Path) -> Iterator[BinaryIO]:
    """FILE.part, open to be appended to, and this process's alone as long as the block runs.

    It is removed, and FILE.part.json with it, when there is no answer in it to go on after.

    Raises:
        InputError: another process has it, or FILE is there.
    """
    if output_file.exists():
        raise _already_there(output_file)
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another run is writing {part}: wait for it, or name another --output_file") from None
        try:
            if output_file.exists():  # another run has ended since, and this .part may be a new one
                raise _already_there(output_file)
            if not _is_named(file, part):
                raise InputError(f"another run has just removed {part}: begin again")
            yield file
        finally:
            file.flush()
            if _is_named(file, part) and part.stat().st_size == 0:
                origin_file.unlink(missing_ok=True)
                part.unlink()


def _is_named(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one that has this name now."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def _already_there(output_file: Path) -> InputError:
    return InputError(f"{output_file} is there already: remove it, or name another --output_file")


def _resume(part: Path, origin_file: Path, origin: Dict) -> int:
    """Make FILE.part, which is there, ready to be appended to. Returns how many lines it holds."""
    if part.stat().st_size == 0:  # new, or of a run that got no further
        write_json(origin_file, origin)
        return 0
    try:
        before = json.loads(origin_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before != origin:
        before = before if isinstance(before, dict) else {}
        changed = [key for key in {**origin, **before} if before.get(key) != origin.get(key)]
        raise InputError(f"{part} was begun with another {', '.join(changed)}: remove it to begin again")
    lines, complete = count_lines(part)
    if part.stat().st_size > complete:
        os.truncate(part, complete)
        lines -= 1
    return lines
