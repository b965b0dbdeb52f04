"""What an output folder was begun from, and which parts are complete; a worker alone. No Ray is needed."""

import json
import os
import sys

import pytest

from ernie_inference.engine_choice import load_with
from ernie_inference.errors import InputError
from ernie_ray import command, job
from ernie_ray.rows import JsonLines
from ernie_ray.store import Store, stat_of
from ernie_ray.worker import AnswerParts, ScanFiles
from tests.support.models import corpus

COLUMNS = [None, "answer"]
MADE_FROM = {"model": "1", "precision": "fp32", "input": [["x", 7]]}
FILES = [job.InputFile("a", "x", 5, [0, 20, 40], 50, 1), job.InputFile("b", "y", 2, [0], 20, 1)]


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path / "out"))
    made.make()
    return made


def test_parts_hold_each_row_once_and_in_order():
    pieces = job.pieces_of(FILES, 2, MADE_FROM)
    assert [(piece.name, piece.file, piece.first_row, piece.rows, piece.begin) for piece in pieces] == [
        ("part-000000", "a", 0, 2, 0),
        ("part-000001", "a", 2, 2, 20),
        ("part-000002", "a", 4, 1, 40),
        ("part-000003", "b", 0, 2, 0),
    ]


def complete(store, piece, content=b"{}\n"):
    store.write(piece.name + ".jsonl", content)
    store.write(job.record_name(piece.name), job.record_of(piece, content))


def test_a_part_is_complete_when_its_record_says_what_it_would_be_made_from(store):
    pieces = job.pieces_of(FILES, 2, MADE_FROM)
    for piece in pieces[:3]:
        complete(store, piece)
    done, missing = job.split_done(store, pieces, ".jsonl")
    assert (done, missing) == (pieces[:3], pieces[3:])
    store.write("part-000000.jsonl", b"{}\n{}\n")  # changed by somebody
    (store.local_path / "part-000001.jsonl").unlink()
    store.write(job.record_name("part-000002"), b'{"rows"')
    assert job.split_done(store, pieces, ".jsonl") == ([], pieces)
    complete(store, pieces[0])
    others = job.pieces_of(FILES, 2, {**MADE_FROM, "model": "2"})
    assert job.split_done(store, others, ".jsonl") == ([], others)


def test_the_folder_of_another_run_is_refused(store):
    assert job.begun_from(store) is None
    job.begin(store, MADE_FROM, FILES)
    before = job.begun_from(store)
    job.check_same(store, before, MADE_FROM)
    with pytest.raises(InputError, match="out was begun with another model, input: name another --output_dir"):
        job.check_same(store, before, {**MADE_FROM, "model": "2", "input": []})
    store.write(job.MANIFEST, b"{")
    with pytest.raises(InputError, match="_manifest.json is damaged"):
        job.begun_from(store)
    (store.local_path / job.MANIFEST).rename(store.local_path / "mine.json")
    with pytest.raises(InputError, match="holds mine.json and no _manifest.json: name a new or an empty folder"):
        job.begun_from(store)


def test_one_run_at_a_time(store):
    with job.locked(store), pytest.raises(InputError, match="another run is writing"), job.locked(store):
        pass
    with job.locked(store):
        pass


# ---------------------------------------------------------------- a worker


def call(worker, *items):
    results = [json.loads(text) for text in worker({"item": [json.dumps(item) for item in items]})["item"]]
    return [result.get("result", result.get("error")) for result in results]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in corpus()[:50]), encoding="utf-8")
    return str(path)


def pieces_in(source):
    (found,) = call(ScanFiles("jsonl", "seq_cls", COLUMNS, 20), source)
    return job.pieces_of([job.InputFile(*found)], 20, MADE_FROM)


def make_worker(tiny, store, options=None, **changes):
    model = {"engine": "paddle", "model_path": str(tiny["seq_cls"]), "num_threads": 1}
    expected = {**load_with(**model).depends_on(), **changes}
    return AnswerParts(expected, store.path, "jsonl", COLUMNS, model, 8, options or {})


def test_a_worker_makes_parts_with_the_answers_of_its_model(tiny, store, source):
    pieces = pieces_in(source)
    worker = make_worker(tiny, store)
    made = call(worker, *pieces)
    assert [name for name, _, _ in made] == ["part-000000", "part-000001", "part-000002"]
    assert [rows for _, rows, _ in made] == [20, 20, 10]
    rows = [json.loads(line) for name, _, _ in made for line in store.read(f"{name}.jsonl").splitlines()]
    assert [row["text"] for row in rows] == corpus()[:50]
    expected = load_with("paddle", tiny["seq_cls"], num_threads=1).predict(corpus()[:50], 8)
    assert [row["answer"]["label"] for row in rows] == [answer["label"] for answer in expected]
    assert job.split_done(store, pieces, JsonLines.endings[0]) == (pieces, [])
    before = store.sizes()
    assert call(worker, pieces[1]) == made[1:2] and store.sizes() == before  # made again, a part replaces itself


def test_a_worker_answers_as_the_options_say(tiny, store, source):
    options, pieces = {"top_k": 2, "threshold": 1}, pieces_in(source)[:1]
    call(make_worker(tiny, store, options), *pieces)
    answers = [json.loads(line)["answer"] for line in store.read("part-000000.jsonl").splitlines()]
    assert all(answer["label"] is None and len(answer["scores"]) == 2 for answer in answers) and len(answers) == 20


def test_an_input_that_changes_is_not_answered(tiny, store, source):
    pieces = pieces_in(source)
    os.utime(source, ns=(1, stat_of(source).mtime_ns + 1))
    (problem,) = call(make_worker(tiny, store), pieces[0])
    assert "in.jsonl changed while it was answered" in problem and store.sizes() == {}


def test_a_worker_with_another_model_says_so(tiny, store, source):
    (problem,) = call(make_worker(tiny, store, model="0", labels=[]), pieces_in(source)[0])
    assert problem.startswith("the model here has another model, labels than where the run was started")
    worker = AnswerParts({}, store.path, "jsonl", COLUMNS, {"engine": "paddle", "model_path": "/nowhere/m"}, 8, {})
    (problem,) = call(worker, pieces_in(source)[0])
    assert problem.startswith("the model cannot be loaded here (") and "\n" not in problem


def test_a_file_that_cannot_be_read_is_a_line(tmp_path):
    (problem,) = call(ScanFiles("jsonl", "seq_cls", COLUMNS, 20), str(tmp_path / "away.jsonl"))
    assert "No such file" in problem and "away.jsonl" in problem


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("missing", ["ray", "pyarrow"])
def test_what_is_not_installed_is_named(monkeypatch, missing):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    monkeypatch.setattr(sys, "argv", ["bulk.py", "--model_path", "m", "--input_path", "a", "--output_dir", "b"])
    with pytest.raises(InputError, match=f"{missing} is not installed: pip install -r requirements/ray.txt"):
        command.main("")
