"""The two formats and the folders they are in: rows come back as they were, with an answer more; no Ray is needed."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from ernie_inference.errors import InputError
from ernie_inference.tasks import TASKS
from ernie_ray import job
from ernie_ray.rows import Columns, JsonLines, Parquet, Part, format_of
from ernie_ray.store import Store, find_files

SEQ_CLS, TOKEN_CLS, QA = TASKS["seq_cls"], TASKS["token_cls"], TASKS["qa"]
PLAIN = Columns(None, "answer")


def rewrite(kind, path, task, columns, rows_per_part):
    """The parts of a file, answered with the example that each row was taken for."""
    scan = kind.scan(str(path), task, columns, rows_per_part)
    file = job.InputFile(str(path), *scan, 0, 0)
    parts = []
    for piece in job.pieces_of([file], rows_per_part, {}):
        rows, examples = kind.read(Part(piece.file, piece.first_row, piece.rows, piece.begin), task, columns)
        assert len(examples) == piece.rows <= rows_per_part
        answers = [{"seen": {name: example[name] for name in task.fields if name in example}} for example in examples]
        parts.append(kind.write(rows, examples, answers, columns))
    return scan, parts


# ---------------------------------------------------------------- JSON lines

LINES = [
    b'\xef\xbb\xbf{"text": "a", "big": 123456789012345678901234567890, "e": 1E5, "n": NaN}\r\n',
    b'  {"id":1,"text":"\\ud83d b" }  \n',
    '{"text": "好", "text_pair": null}\n'.encode(),
    b'"only a text"\n',
    b'["one", "and another"]\n',
    b'{"text": "no end of the line"}',
]


@pytest.mark.parametrize("rows_per_part", [1, 2, 4, 6, 100])
def test_lines_come_back_as_they_were(tmp_path, rows_per_part):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(LINES))
    scan, parts = rewrite(JsonLines, path, SEQ_CLS, PLAIN, rows_per_part)
    assert scan.rows == 6 and [part.count(b"\n") for part in parts] == [
        min(rows_per_part, 6 - first) for first in range(0, 6, rows_per_part)
    ]
    lines = b"".join(parts).decode().splitlines()
    assert lines[0].startswith('{"text": "a", "big": 123456789012345678901234567890, "e": 1E5, "n": NaN, "answer": ')
    assert lines[1].startswith('{"id":1,"text":"\\ud83d b", "answer": ')
    assert json.loads(lines[1])["answer"] == {"seen": {"text": "\ud83d b"}}
    assert lines[3] == '{"text": "only a text", "answer": {"seen": {"text": "only a text"}}}'
    assert json.loads(lines[4])["answer"]["seen"] == {"text": "one", "text_pair": "and another"}
    assert lines[5] == '{"text": "no end of the line", "answer": {"seen": {"text": "no end of the line"}}}'


def test_a_column_of_another_name_is_the_input(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"review": "a", "text": 1, "answer": "gold"}\n{"review": ["a", "b"], "text": null}\n')
    _, (part,) = rewrite(JsonLines, path, SEQ_CLS, Columns("review", "found"), 5)
    rows = [json.loads(line) for line in part.splitlines()]
    assert rows[0] == {"review": "a", "text": 1, "answer": "gold", "found": {"seen": {"text": "a"}}}
    assert rows[1]["found"] == {"seen": {"text": "a", "text_pair": "b"}}


@pytest.mark.parametrize(
    ("line", "columns", "message"),
    [
        (b"no JSON", PLAIN, "line 3 is not JSON"),
        (b"", PLAIN, "line 3 is not JSON"),
        (b'{"text": 1}', PLAIN, "line 3 is not a text, a pair"),
        (b'{"text": "a", "answer": 1}', PLAIN, "line 3 has a field answer already: name another with --answer_column"),
        (b'{"texts": "a"}', Columns("text", "answer"), "line 3 has no field text: --text_column names"),
        (b'"a"', Columns("text", "answer"), "line 3 is not an object, which --text_column is for"),
        ("好".encode("gbk"), PLAIN, r"is not UTF-8 \(line 3\)"),
    ],
)
def test_a_line_that_is_no_input_is_named(tmp_path, line, columns, message):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"text": "a"}\n' * 2 + line + b"\n")
    with pytest.raises(InputError, match=f"in.jsonl,? {message}") as refusal:
        JsonLines.scan(str(path), SEQ_CLS, columns, 2)
    assert "\n" not in str(refusal.value)


# ---------------------------------------------------------------- Parquet


def write_table(path, row_group_size=3, **columns):
    parquet.write_table(pa.table(columns), path, row_group_size=row_group_size)


@pytest.mark.parametrize("row_group_size", [1, 3, 7, 100])
@pytest.mark.parametrize("rows_per_part", [1, 2, 5, 11, 100])
def test_rows_come_back_as_they_were(tmp_path, rows_per_part, row_group_size):
    path = tmp_path / "in.parquet"
    texts = [f"第{number}句" for number in range(11)]
    when = pa.array(range(11), pa.timestamp("ms"))
    write_table(path, row_group_size, when=when, text=texts, text_pair=[None, "b"] * 5 + [None])
    scan, parts = rewrite(Parquet, path, SEQ_CLS, PLAIN, rows_per_part)
    assert scan.rows == 11 and len(scan.begins) == len(parts) == -(-11 // rows_per_part)
    table = pa.concat_tables([parquet.read_table(pa.BufferReader(part)) for part in parts])
    assert (
        table.column_names == ["when", "text", "text_pair", "answer"] and table.schema.field("answer").type == "string"
    )
    assert table.drop_columns("answer") == parquet.read_table(path)
    seen = [json.loads(answer)["seen"] for answer in table["answer"].to_pylist()]
    assert seen == [{"text": t, **({"text_pair": "b"} if i % 2 else {})} for i, t in enumerate(texts)]


def test_columns_are_the_fields_of_the_task_or_the_one_that_is_named(tmp_path):
    path = tmp_path / "in.parquet"
    choices = [["丙", "丁"], ["戊", "己", "庚"]]
    write_table(
        path, words=[["中", "国"], []], question=["谁", "何"], context=["甲", "乙"], choices=choices, answer=["x", "y"]
    )
    found = Columns(None, "found")
    _, (part,) = rewrite(Parquet, path, QA, found, 5)
    answers = parquet.read_table(pa.BufferReader(part))["found"].to_pylist()
    assert json.loads(answers[1]) == {"seen": {"question": "何", "context": "乙"}}
    _, (part,) = rewrite(Parquet, path, TASKS["multiple_choice"], found, 5)
    answers = parquet.read_table(pa.BufferReader(part))["found"].to_pylist()
    assert json.loads(answers[0])["seen"] == {"context": "甲", "question": "谁", "choices": ["丙", "丁"]}
    _, (part,) = rewrite(Parquet, path, TOKEN_CLS, found._replace(text="words"), 5)
    answers = parquet.read_table(pa.BufferReader(part))["found"].to_pylist()
    assert json.loads(answers[0]) == {"seen": {"tokens": ["中", "国"]}}
    with pytest.raises(InputError, match="has a column answer already: name another with --answer_column"):
        Parquet.scan(str(path), QA, PLAIN, 5)
    with pytest.raises(InputError, match="has no column text or text_pair, but words, question, .*: name one with"):
        Parquet.scan(str(path), SEQ_CLS, found, 5)
    with pytest.raises(InputError, match="has no column review, but words"):
        Parquet.scan(str(path), SEQ_CLS, found._replace(text="review"), 5)


def test_a_row_that_is_no_input_is_named(tmp_path):
    path = tmp_path / "in.parquet"
    write_table(path, text=["a"] * 2000 + [None])
    with pytest.raises(InputError, match="in.parquet, row 2001 is not a text, a pair"):
        Parquet.scan(str(path), SEQ_CLS, PLAIN, 5)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="in.parquet is not a Parquet file, or is damaged") as refusal:
        Parquet.scan(str(path), SEQ_CLS, PLAIN, 5)
    assert "\n" not in str(refusal.value)


# ---------------------------------------------------------------- folders


def test_a_folder_is_its_files_by_name_but_for_hidden_ones(tmp_path):
    for name in ("b.jsonl", "a/c.jsonl", "_parts/d.jsonl", "a/.e.jsonl", "_manifest.json", "f.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = find_files([str(tmp_path), f"file://{tmp_path}/b.jsonl"], JsonLines.endings)
    assert found == [f"{tmp_path}/a/c.jsonl", f"{tmp_path}/b.jsonl", f"{tmp_path}/b.jsonl"]
    with pytest.raises(InputError, match="holds no file that ends with .parquet"):
        find_files([str(tmp_path)], Parquet.endings)
    with pytest.raises(InputError, match="nothing is missing: give files or folders"):
        find_files([str(tmp_path / "nothing")], Parquet.endings)
    with pytest.raises(InputError, match="nowhere://a cannot be used"):
        find_files(["nowhere://a"], Parquet.endings)


def test_the_name_says_the_format():
    assert format_of(["a.jsonl", "b.json"]) is JsonLines and format_of(["a.parquet"]) is Parquet
    with pytest.raises(InputError, match="of jsonl and parquet: give those of one kind"):
        format_of(["a.jsonl", "b.parquet"])
    with pytest.raises(InputError, match="a.csv is of no known kind"):
        format_of(["a.csv"])


def test_what_is_written_is_there_as_a_whole_or_not(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "out"))
    store.make()
    store.write("_parts/a", b"first")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        store.write("_parts/a", b"second")
    assert store.read("_parts/a") == b"first" and store.sizes("_parts") == {"a": 5}
    (tmp_path / "out" / "_parts" / ".writing-1").write_text("of a run that was killed")
    store.remove_unfinished()
    assert store.sizes("_parts") == {"a": 5} and store.size("b") == -1
    assert store.is_in(str(tmp_path)) and store.is_in(str(tmp_path / "out")) and not store.is_in(f"{tmp_path}/ou")
