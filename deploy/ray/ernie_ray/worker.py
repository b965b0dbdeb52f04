"""What runs on the workers. Ray hands them JSON texts, and they give JSON texts back; what is wrong is an answer too.

An exception of a worker would arrive as several pages; and Ray would do again what can only fail again.
"""

import json
import socket
from typing import Any, Callable, Dict, List

from ernie_inference.engine_choice import load_with
from ernie_inference.errors import InputError
from ernie_inference.tasks import TASKS
from ernie_ray.job import InputFile, Piece, record_name, record_of
from ernie_ray.rows import FORMATS, Columns, Part
from ernie_ray.store import Stat, Store, one_line, stat_of

Batch = Dict[str, List[str]]  # one column of JSON texts, as Ray's map_batches passes it (numpy arrays of them)


def each(batch: Batch, work: Callable[[Any], Any]) -> Batch:
    """The results of some work, or the reason why there is none."""
    results = []
    for text in batch["item"]:
        try:
            result = {"result": work(json.loads(text))}
        except (InputError, OSError) as error:
            result = {"error": one_line(error), "machine": socket.gethostname()}
        results.append(json.dumps(result))
    return {"item": results}


class ScanFiles:
    """Reads input files through: each row is checked, and the file told apart by content."""

    def __init__(self, format_name: str, task_name: str, columns: List, rows_per_part: int):
        self.format, self.task = FORMATS[format_name], TASKS[task_name]
        self.columns, self.rows_per_part = Columns(*columns), rows_per_part

    def __call__(self, batch: Batch) -> Batch:
        return each(batch, self.scan)

    def scan(self, path: str) -> InputFile:
        before = stat_of(path)
        found = self.format.scan(path, self.task, self.columns, self.rows_per_part)
        if stat_of(path) != before:
            raise changed(path)
        return InputFile(path, *found, *before)


def changed(path: str) -> InputError:
    return InputError(f"{path} changed while it was answered: name another --output_dir and begin again")


class AnswerParts:
    """A worker: one predictor, which answers part after part and writes them.

    Args:
        expected: what the predictor's answers must depend on: the model of the machine that started the run.
        output_dir, format_name, columns: where parts are written, and how.
        model: arguments of load_with.
        batch_size: texts computed at once.
        options: of the answers, those of AnswerOptions that are asked for.
    """

    def __init__(
        self,
        expected: Dict[str, Any],
        output_dir: str,
        format_name: str,
        columns: List,
        model: Dict[str, Any],
        batch_size: int,
        options: Dict[str, Any],
    ):
        self.format, self.columns = FORMATS[format_name], Columns(*columns)
        self.batch_size, self.options = batch_size, options
        self.problem = ""
        try:
            self.store = Store(output_dir)
            self.predictor = load_with(**model)
            self.problem = difference(self.predictor.depends_on(), expected)
        except (InputError, OSError, ImportError) as error:
            self.problem = f"the model cannot be loaded here ({one_line(error)})"

    def __call__(self, batch: Batch) -> Batch:
        return each(batch, lambda given: self.answer(Piece(*given)))

    def answer(self, piece: Piece) -> List:
        """Make a part. Returns its name, its rows and its size in bytes."""
        if self.problem:
            raise InputError(self.problem)
        if stat_of(piece.file) != Stat(piece.size, piece.mtime_ns):
            raise changed(piece.file)
        part = Part(piece.file, piece.first_row, piece.rows, piece.begin)
        rows, examples = self.format.read(part, self.predictor.task, self.columns)
        answers = self.predictor.predict(examples, self.batch_size, **self.options)
        if len(answers) != piece.rows or stat_of(piece.file) != Stat(piece.size, piece.mtime_ns):
            raise changed(piece.file)
        content = self.format.write(rows, examples, answers, self.columns)
        self.store.write(piece.name + self.format.endings[0], content)
        self.store.write(record_name(piece.name), record_of(piece, content))
        return [piece.name, piece.rows, len(content)]


def difference(found: Dict[str, Any], expected: Dict[str, Any]) -> str:
    """What of the model here is not as where the run was started."""
    names = [name for name in expected if found.get(name) != expected[name]]
    if not names:
        return ""
    return f"the model here has another {', '.join(names)} than where the run was started: copy the same files"
