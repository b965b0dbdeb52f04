"""The soak test: its clients against a real service, what it counts as wrong, and its memory curve."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.plot import Source, draw_memory
from benchmarks.serving_process import wait_until
from benchmarks.serving_soak import MemoryCurve, Reloads, problems_of, read_models, rows_of
from benchmarks.soak_clients import LONGEST, SHORTEST, Crowd, ServedModel, crowd_of, mixed_inputs
from ernie_inference.console import print_table
from ernie_inference.errors import InputError
from ernie_inference.model_files import find_model
from ernie_inference.predictor import load_predictor
from ernie_serving.loading import digest_of_model


@pytest.mark.parametrize("task", ["seq_cls", "token_cls", "qa"])
def test_inputs_are_of_all_lengths(task):
    inputs = mixed_inputs(task, 300)
    lengths = [len(each["context"] if task == "qa" else each) for each in inputs]
    assert min(lengths) >= SHORTEST and max(lengths) <= LONGEST
    assert sum(length < 16 for length in lengths) > 60 and sum(length > 64 for length in lengths) > 60
    assert inputs == mixed_inputs(task, 300)


@pytest.fixture(scope="module")
def model(serving_dir) -> ServedModel:
    """The model of the shared service, with its right answers."""
    folder = serving_dir("seq_cls")
    model = ServedModel("seq_cls", "seq_cls", folder, [str(folder)], mixed_inputs("seq_cls", 60))
    model.learn(load_predictor(folder, num_threads=1), digest_of_model(folder))
    return model


def test_every_answer_is_compared(services, model):
    service = services("seq_cls")
    crowd = crowd_of([model], service.endpoint, service.http, rpc_clients=3, http_clients=2, most_texts=3)
    tally, seconds = crowd.saturate(1.5)
    counts = tally.counts
    assert counts["answered"] == counts["sent"] > 10 and counts["texts"] > counts["answered"]
    assert (counts["wrong"], counts["lost"], counts["refused"], tally.problems) == (0, 0, 0, [])
    assert len(tally.seconds) == counts["answered"] and seconds >= 1.5
    half, _ = crowd.at_rate(20.0, 1.0)
    assert half.counts["answered"] == half.counts["sent"] == 20

    other = {"negative": "positive", "positive": "negative"}
    wrong = ServedModel(model.name, model.task, model.folder, model.versions, model.inputs)
    wrong._digests = model._digests
    wrong._expected = [[{**answer, "label": other[answer["label"]]} for answer in model._expected[0]]]
    tally, _ = crowd_of([wrong], service.endpoint, service.http, 1, 1, most_texts=3).saturate(0.5)
    assert tally.counts["wrong"] == tally.counts["texts"] > 0 and "seq_cls: " in tally.problems[0]


def test_what_is_lost_has_a_reason(model):
    tally, _ = crowd_of([model], "127.0.0.1:1", "127.0.0.1:1", 1, 1, most_texts=1, timeout=5).saturate(0.3)
    assert tally.counts["lost"] == tally.counts["sent"] > 0
    assert any("over HTTP" in each for each in tally.problems) and any("127.0.0.1:1" in each for each in tally.problems)


def test_during_a_reload_both_versions_are_right_and_after_it_only_the_new_one(model, tiny, tmp_path):
    one, two = ([{"label": label}] for label in ("negative", "positive"))
    versions = [str(model.folder), str(tiny["seq_cls"])]
    both = ServedModel("a", "seq_cls", tmp_path / "served", versions, model.inputs[:1])
    both._expected = [one, two]
    assert both.wrong([0], one, frozenset({0})) == 0 and both.wrong([0], two, frozenset({0})) == 1
    seen = []

    def reload(name):
        seen.append((name, (both.folder / "model.pdiparams").read_bytes(), both.current))
        if len(seen) == 2:
            raise InputError("not today")
        return "2-abc"

    with Reloads(SimpleNamespace(reload=reload), [both], times=2, seconds=0.3) as reloads:
        wait_until(lambda: len(reloads.log) == 2, 60)
    weights = [Path(f"{find_model(version)}.pdiparams").read_bytes() for version in versions]
    assert seen == [("a", weights[1], {0, 1}), ("a", weights[0], {0, 1})]
    assert [entry.get("version") for entry in reloads.log] == ["2-abc", None]
    assert reloads.log[1]["problem"] == "not today" and both.current == {0, 1}


def test_an_answer_has_to_be_of_the_version_that_it_names(model, tmp_path):
    one, two = ([{"label": label}] for label in ("negative", "positive"))
    both = ServedModel("a", "seq_cls", tmp_path, ["one", "two"], model.inputs[:1])
    both._expected, both._digests, both.current = [one, two], ["0a0a0a", "0b0b0b"], frozenset({0, 1})
    assert both.named("1-0a0a0a", both.current) == {0} and both.named("2-0b0b0b", both.current) == {1}
    assert both.named("2-0b0b0b", frozenset({0})) == frozenset()
    fates = [
        Crowd([both], [lambda model, texts, version=version: (two, version)], 1).saturate(0.05)[0].counts
        for version in ("1-0a0a0a", "2-0b0b0b", None)
    ]
    assert [counts["wrong"] == counts["texts"] for counts in fates] == [True, False, False]
    assert [counts["wrong"] == 0 for counts in fates] == [False, True, True]


def test_reloads_that_come_late_are_made_all_the_same(model, tmp_path):
    served = ServedModel("a", "seq_cls", tmp_path / "served", [str(model.folder)], model.inputs[:1])
    calls = []

    def reload(name):
        calls.append(name)
        time.sleep(0.2)  # longer than the pauses between the times at which they are due
        return "1-abc"

    with Reloads(SimpleNamespace(reload=reload), [served], times=4, seconds=0.25) as reloads:
        wait_until(lambda: len(reloads.log) == 4, 60)
    assert calls == ["a"] * 4 and reloads.asked == 4
    with Reloads(SimpleNamespace(reload=reload), [served], times=4, seconds=40) as reloads:
        time.sleep(0.1)
    assert (reloads.asked, reloads.log) == (4, [])


def test_memory_levels_and_the_curve(tmp_path):
    curve = MemoryCurve(SimpleNamespace())
    for second in range(0, 3601, 5):
        level = 1000.0 + min(second, 500) + (7 if second > 3500 else 0)
        curve.samples.append({"seconds": float(second), "mb": {"supervisor": 40.0, "worker 7": level}})
    levels = curve.levels()
    assert (levels["settled_after_seconds"], levels["settled_mb"], levels["end_mb"]) == (600.0, 1540.0, 1547.0)
    assert levels["change_mb"] == 7.0 and levels["highest_mb"] == 1547.0
    load = {"sent": 9, "answered": 8, "refused": 1, "lost": 0, "wrong": 0, "seconds": 3600.0, "problems": []}
    load = {**load, "requests_per_second": 2.5, "texts_per_second": 5.0, "p50_ms": 10.0, "p99_ms": 20.0}
    reload = {"model": "a", "seconds": 900.0, "took_seconds": 1.0}
    figures = {
        "full_load": load,
        "half_load": load,
        "memory": {**levels, "samples": curve.samples},
        "reloads": [reload],
        "reloads_asked": 1,
    }
    draw_memory([Source("service", figures)]).savefig(tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    rows = {row["what"]: row["measured"] for row in rows_of(figures)}
    assert rows["memory"] == "1540 MB after 10.0 min, 1547 MB at the end: +7 MB, 1.005"
    assert rows["reloads"] == "1 of 1, of which 0 failed" and problems_of(figures) == []
    print_table(rows_of(figures))
    lost = {**load, "lost": 1, "problems": ["a request was lost"]}
    failed = {**figures, "full_load": lost, "reloads": [{**reload, "problem": "no model there"}]}
    assert problems_of(failed) == ["no model there", "a request was lost"]
    assert problems_of({**figures, "reloads_asked": 3}) == [
        "2 of 3 reloads were not made in the time: give more --minutes"
    ]


def test_models_of_one_name_are_refused(serving_dir, tmp_path):
    folder = serving_dir("seq_cls")
    args = SimpleNamespace(models=[str(folder)] * 2, engine="paddle", precision="fp32", num_threads=1, batch_size=4)
    args.texts = 3
    with pytest.raises(InputError, match="two models are called seq_cls"):
        read_models(args, tmp_path)
