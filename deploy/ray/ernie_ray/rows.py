"""The two formats: rows are read and checked, and written again with their answers."""

import hashlib
from itertools import islice
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type, Union

import pyarrow as pa
from pyarrow import parquet

from ernie_inference.bulk import parse_line
from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Task
from ernie_inference.text_output import to_json
from ernie_ray.store import BUFFER_BYTES, one_line, open_input

AnyTask = Union[Task, Type[Task]]


class Columns(NamedTuple):
    """Where in a row the input stands, and where the answer goes.

    Attributes:
        text: the column that is the input; None where the task's own fields are columns.
        answer: the new column.
    """

    text: Optional[str]
    answer: str


class Scan(NamedTuple):
    """A file, read through once: what it holds, how many rows, and the byte at which each part begins.

    For Parquet, whose parts begin at rows, all of these are 0.
    """

    sha256: str
    rows: int
    begins: List[int]


class Part(NamedTuple):
    """Neighbouring rows of one file."""

    file: str
    first_row: int  # from 0 on
    rows: int
    begin: int


class JsonLines:
    """One JSON value a line: an object, or another form of the task's inputs, which becomes an object."""

    name = "jsonl"
    endings = (".jsonl", ".json", ".ndjson")
    place = "line"

    @classmethod
    def scan(cls, path: str, task: AnyTask, columns: Columns, rows_per_part: int) -> Scan:
        """Read a file through and check each line.

        Raises:
            InputError: a line is no input; the message names it.
            OSError: the file cannot be read.
        """
        digest, begins, position, number = hashlib.sha256(), [], 0, 0
        with open_input(path) as file:
            for number, line in enumerate(file, start=1):
                cls._example(parse_line(line, path, number), task, columns, f"{path}, line {number}")
                if (number - 1) % rows_per_part == 0:
                    begins.append(position)
                digest.update(line)
                position += len(line)
        return Scan(digest.hexdigest(), number, begins)

    @classmethod
    def read(cls, part: Part, task: AnyTask, columns: Columns) -> Tuple[List[Tuple[str, Any]], List[Dict]]:
        """The rows of a part, and the example that each is."""
        rows, examples = [], []
        with open_input(part.file, part.begin) as file:
            for number, line in enumerate(islice(file, part.rows), start=part.first_row + 1):
                text, given = parse_line(line, part.file, number)
                rows.append((text, given))
                examples.append(cls._example((text, given), task, columns, f"{part.file}, line {number}"))
        return rows, examples

    @classmethod
    def write(cls, rows: List[Tuple[str, Any]], examples: List[Dict], answers: List[Dict], columns: Columns) -> bytes:
        """The rows as they are written, and the answer as one more field: a number or a text is not written anew."""
        lines = []
        for (text, given), example, answer in zip(rows, examples, answers):
            if not isinstance(given, dict):
                text = to_json(example).decode("utf-8")
            body = text.strip()[:-1].rstrip()
            field = to_json({columns.answer: answer}).decode("utf-8")
            lines.append(f"{body}, {field[1:]}\n")
        return "".join(lines).encode("utf-8")

    @staticmethod
    def _example(row: Tuple[str, Any], task: AnyTask, columns: Columns, where: str) -> Dict:
        given = row[1]
        if isinstance(given, dict):
            if columns.answer in given:
                raise InputError(f"{where} has a field {columns.answer} already: name another with --answer_column")
            if columns.text is not None:
                if columns.text not in given:
                    raise InputError(f"{where} has no field {columns.text}: --text_column names one that all have")
                given = given[columns.text]
        elif columns.text is not None:
            raise InputError(f"{where} is not an object, which --text_column is for")
        return task.as_example(given, where)


class Parquet:
    """Columns; the answer is one more, of JSON texts, so that it has the same type whatever the task is."""

    name = "parquet"
    endings = (".parquet",)
    place = "row"

    @classmethod
    def scan(cls, path: str, task: AnyTask, columns: Columns, rows_per_part: int) -> Scan:
        """As JsonLines.scan, of rows, counted from 1 on."""
        digest = hashlib.sha256()
        with open_input(path) as file:
            for block in iter(lambda: file.read(BUFFER_BYTES), b""):
                digest.update(block)
        rows = 0
        with open_input(path) as file:
            source = cls._open(file, path)
            wanted = cls._wanted(source.schema_arrow, path, task, columns)
            for batch in cls._batches(source, path, wanted):
                for number, row in enumerate(batch.to_pylist(), start=rows + 1):
                    cls._example(row, task, columns, f"{path}, row {number}")
                rows += batch.num_rows
        return Scan(digest.hexdigest(), rows, [0] * -(-rows // rows_per_part))

    @classmethod
    def read(cls, part: Part, task: AnyTask, columns: Columns) -> Tuple[pa.Table, List[Dict]]:
        """As JsonLines.read. No more than the part and what a row group's reader holds is in memory."""
        with open_input(part.file) as file:
            source = cls._open(file, part.file)
            skip = part.first_row
            groups: List[int] = []
            for number in range(source.num_row_groups):  # those before the part are not read
                count = source.metadata.row_group(number).num_rows
                if groups or skip < count:
                    groups.append(number)
                else:
                    skip -= count
            batches, missing = [], part.rows
            for batch in cls._batches(source, part.file, None, groups):
                taken = batch.slice(skip, missing)
                skip, missing = max(skip - batch.num_rows, 0), missing - taken.num_rows
                if taken.num_rows:
                    batches.append(taken)
                if not missing:
                    break
            table = pa.Table.from_batches(batches, source.schema_arrow)
        wanted = cls._wanted(table.schema, part.file, task, columns)
        examples = [
            cls._example(row, task, columns, f"{part.file}, row {number}")
            for number, row in enumerate(table.select(wanted).to_pylist(), start=part.first_row + 1)
        ]
        return table, examples

    @classmethod
    def write(cls, rows: pa.Table, examples: List[Dict], answers: List[Dict], columns: Columns) -> bytes:
        texts = pa.array([to_json(answer).decode("utf-8") for answer in answers], pa.string())
        sink = pa.BufferOutputStream()
        parquet.write_table(rows.append_column(columns.answer, texts), sink)
        return sink.getvalue().to_pybytes()

    @staticmethod
    def _open(file, path: str) -> parquet.ParquetFile:
        try:
            return parquet.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a Parquet file, or is damaged ({one_line(error)})") from None

    @staticmethod
    def _batches(
        source: parquet.ParquetFile, path: str, wanted: Optional[List[str]], groups: Optional[List[int]] = None
    ) -> Iterator[pa.RecordBatch]:
        if groups == []:
            return
        try:
            yield from source.iter_batches(batch_size=1024, columns=wanted, row_groups=groups)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged ({one_line(error)})") from None

    @staticmethod
    def _wanted(schema: pa.Schema, path: str, task: AnyTask, columns: Columns) -> List[str]:
        """The columns that make the input."""
        names = schema.names
        if columns.answer in names:
            raise InputError(f"{path} has a column {columns.answer} already: name another with --answer_column")
        wanted = [columns.text] if columns.text is not None else [name for name in task.fields if name in names]
        if not wanted or wanted[0] not in names:
            lacking = wanted[0] if wanted else " or ".join(task.fields)
            raise InputError(f"{path} has no column {lacking}, but {', '.join(names)}: name one with --text_column")
        return wanted

    @staticmethod
    def _example(row: Dict[str, Any], task: AnyTask, columns: Columns, where: str) -> Dict:
        if columns.text is not None:
            return task.as_example(row[columns.text], where)
        return task.as_example({name: value for name, value in row.items() if value is not None}, where)


FORMATS = {kind.name: kind for kind in (JsonLines, Parquet)}
Format = Union[Type[JsonLines], Type[Parquet]]


def format_of(files: List[str]) -> Format:
    """The format that the names of the files say.

    Raises:
        InputError: they say none, or not the same.
    """
    kinds = set()
    for file in files:
        kind = next((kind for kind in FORMATS.values() if file.endswith(kind.endings)), None)
        if kind is None:
            endings = ", ".join(ending for kind in FORMATS.values() for ending in kind.endings)
            raise InputError(f"{file} is of no known kind: its name must end with one of {endings}")
        kinds.add(kind)
    if len(kinds) > 1:
        raise InputError(f"the inputs are of {' and '.join(sorted(k.name for k in kinds))}: give those of one kind")
    return kinds.pop()
