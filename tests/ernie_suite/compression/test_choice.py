"""What is chosen, and the interval of the change that is shown for it."""

import json

from ernie_suite.compression import report as compression_report
from ernie_suite.compression.choice import add_changes, change_intervals, find_wishes, front, shown_change
from ernie_suite.compression.config import CompressConfig, PTQConfig
from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.compression.halves import Halves, halves_of
from ernie_suite.compression.report import how_chosen, pack, print_report, summarize, unpack
from ernie_suite.tasks.seq_cls import accuracy
from ernie_suite.tasks.token_cls import entity_f1

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from tests.support.reports import ROWS, report_row
from tests.support.trainers import tiny_trainer

# ---------------------------------------------------------------- intervals


def right_or_wrong(is_right):
    """Outcomes of accuracy."""
    return np.stack([is_right, np.ones(len(is_right))], axis=1).astype(float)


COUNTS = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).map(
    lambda count: (count[0], count[0] + count[1], count[0] + count[2])
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=2, max_size=40), st.integers(0, 5))
def test_an_interval_holds_the_change_that_it_is_of(counts, seed):
    """Of a metric that is no mean over examples; each half by its own examples."""
    outcomes = {name: np.array([pair[i] for pair in counts], dtype=float) for i, name in enumerate(("fp32", "int8"))}
    numbers = np.arange(len(counts))
    halves = Halves(numbers[::2], numbers[1::2])
    rows = [{"model": name} for name in outcomes]
    add_changes(rows, outcomes, halves, entity_f1, "f1", seed)
    for half, of_half in halves._asdict().items():
        values = [entity_f1.of_outcomes(outcomes[name][of_half])["f1"] for name in outcomes]
        assert [row[half]["metric"] for row in rows] == values
        assert [row[half]["change"] for row in rows] == [0, values[1] - values[0]]
    assert rows[0]["held_out"]["interval"] == [0, 0], "a paired resample cannot change what it is compared with"
    low, high = rows[1]["held_out"]["interval"]
    assert -1 <= low <= rows[1]["held_out"]["change"] <= high <= 1


def test_an_interval_is_as_wide_as_the_paired_differences_make_it():
    """By the normal approximation, which fits 1,500 examples; unpaired, it would be several times as wide."""
    random = np.random.default_rng(1)
    original = random.random(1500) < 0.6
    changed = random.random(1500) < 0.04
    model = original ^ changed
    ((low, high),) = change_intervals([right_or_wrong(original), right_or_wrong(model)], accuracy, "accuracy", 3)[1:]
    differences = model.astype(float) - original
    expected = 2 * 1.96 * differences.std() / np.sqrt(1500)
    assert high - low == pytest.approx(expected, rel=0.1)
    unpaired = 2 * 1.96 * np.sqrt(original.var() / 1500 + model.var() / 1500)
    assert high - low < unpaired / 2


def test_a_planted_loss_is_found_and_intervals_cover_it_as_often_as_they_say(monkeypatch):
    """A loss of 3.2 points: over 200 dev sets, 95 % of the intervals hold it, to three standard deviations."""
    monkeypatch.setattr("ernie_suite.compression.choice.RESAMPLES", 500)
    random, covered, holds_zero = np.random.default_rng(5), 0, 0
    for seed in range(200):
        original = random.random(600) < 0.7
        model = np.where(random.random(600) < 0.08, ~original, original)
        true_change = 0.08 * (0.3 - 0.7)
        outcomes = [right_or_wrong(original), right_or_wrong(model)]
        low, high = change_intervals(outcomes, accuracy, "accuracy", seed)[1]
        covered += low <= true_change <= high
        holds_zero += low <= 0 <= high
    assert 0.90 < covered / 200 <= 0.99
    assert holds_zero < 60, "an effect of 2.8 standard errors should be found in four of five sets"


def test_the_same_seed_gives_the_same_interval_and_blocks_change_nothing(monkeypatch):
    random = np.random.default_rng(2)
    outcomes = [right_or_wrong(random.random(100) < share) for share in (0.6, 0.5)]
    first = change_intervals(outcomes, accuracy, "accuracy", 1)
    assert change_intervals(outcomes, accuracy, "accuracy", 1) == first
    assert change_intervals(outcomes, accuracy, "accuracy", 2) != first
    monkeypatch.setattr("ernie_suite.compression.choice.BLOCK", 1050)  # blocks of ten resamples
    assert change_intervals(outcomes, accuracy, "accuracy", 1) == first


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1)), min_size=1, max_size=20))
def test_outcomes_come_back_from_a_record_as_they_were(numbers):
    outcomes = np.array(numbers, dtype=float)
    assert np.array_equal(unpack(json.loads(json.dumps(pack(outcomes)))), outcomes)


# ---------------------------------------------------------------- choices


def named(rows=ROWS, **limits):
    (choice,) = summarize([dict(row) for row in rows], "accuracy", **limits)["chosen"]
    return choice["model"] or choice["nearest"], choice["model"] is not None


@pytest.mark.parametrize(
    ("max_loss", "model"),
    [(0, "exact"), (0.49, "exact"), (0.5, "half_small"), (1.5, "fast"), (100, "faster")],
)
def test_the_fastest_within_the_loss_is_chosen_on_the_choosing_half(max_loss, model):
    """Whatever it does on the held-out one; a tenth of the speed is no difference, then the smaller file counts."""
    assert named(max_loss=max_loss) == (f"{model}/int8", True)


@pytest.mark.parametrize(("min_speedup", "model"), [(1, "exact"), (2.5, "half_small"), (6, "fast"), (6.1, "faster")])
def test_the_most_accurate_at_that_speed_is_chosen(min_speedup, model):
    expected = "half/int8" if model == "half_small" else f"{model}/int8"
    rows = [row for row in ROWS if row["model"] != "half_small/int8"]
    assert named(rows, min_speedup=min_speedup) == (expected, True)


def test_where_no_model_is_within_the_nearest_is_said():
    rows = [ROWS[0], *ROWS[2:]]
    assert named(rows, max_loss=0.2) == ("half/int8", False)
    assert named(rows, min_speedup=10) == ("faster/int8", False)
    assert named(rows[:1], max_loss=0.2) == (None, False), "the original is no choice"


def test_without_halves_models_are_chosen_by_the_whole_dev_set():
    rows = [{key: value for key, value in row.items() if key not in ("choosing", "held_out")} for row in ROWS]
    assert named(rows, max_loss=0.2) == ("fast/int8", True)  # -0.1 in all
    (wish,) = find_wishes([{**row, "change": 0.0} for row in rows], "accuracy", 0.2, None)
    assert wish.needs == "loses at most 0.2 points on the dev set"


def test_each_target_that_models_were_made_for_gets_the_most_accurate_of_them():
    rows = [*ROWS, report_row("4a", -2, 0, 4.0, target_speedup=4), report_row("4b", -1, 0, 4.1, target_speedup=4)]
    rows.append(report_row("4b", -0.6, 0, 3.2, precision="fp32", target_speedup=4))  # what the INT8 model was made of
    rows.append(report_row("8", -4, 0, 7.9, target_speedup=8))
    rows.append(report_row("9", -5, 0, 9, precision="fp32", target_speedup=9))  # with --no_quantization
    chosen = summarize([dict(row) for row in rows], "accuracy", max_loss=0.5)["chosen"]
    assert [(choice["flag"], choice["limit"], choice["model"]) for choice in chosen] == [
        ("--max_loss", 0.5, "half_small/int8"),
        ("--target_speedup", 4, "4b/int8"),
        ("--target_speedup", 8, "8/int8"),
        ("--target_speedup", 9, "9/fp32"),
    ]


def test_where_engines_were_timed_the_speed_is_that_of_the_fastest(tmp_path, capsys):
    rows = [{**row, "engines": {"paddle": row["speedup"], "openvino": 10 - row["speedup"]}} for row in ROWS]
    report = summarize(rows, "accuracy", min_speedup=8.5)
    assert report["chosen"][0]["model"] == "faster/int8" and report["best_engine"]["engine"] == "paddle"
    report = summarize(rows, "accuracy", min_speedup=7.5)
    assert report["chosen"][0]["model"] == "exact/int8"
    print_report(report, tmp_path, "x")
    printed = capsys.readouterr().out
    assert f"infer.py --task_name x --model_path {tmp_path}/exact/int8 --precision int8 --engine openvino\n" in printed


POINTS = st.lists(st.tuples(st.integers(-5, 2), st.integers(1, 6)), min_size=1, max_size=12)


@given(POINTS)
def test_the_front_beats_all_others_and_none_of_it_beats_another(points):
    rows = [report_row(str(number), 0, change, speed) for number, (change, speed) in enumerate(points)]
    on_front = front(rows, {row["model"]: row["speedup"] for row in rows})

    def beats(one, other):
        pair = [(shown_change(row), row["speedup"]) for row in (one, other)]
        return pair[0] != pair[1] and all(a >= b for a, b in zip(*pair))

    assert on_front
    for each in rows:
        beaten_by = {other["model"] for other in rows if beats(other, each)}
        assert bool(beaten_by) == (each["model"] not in on_front) and (not beaten_by or beaten_by & set(on_front))


def test_what_is_printed_of_a_choice(tmp_path, capsys):
    report = summarize([dict(row) for row in ROWS], "accuracy", max_loss=0.5, min_speedup=20)
    report["dev_halves"] = {"choosing": 1475, "held_out": 1470, "calibration": "choosing"}
    print_report(report, tmp_path, "ocnli", "my data")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("dev set: models are chosen by 1,475 examples") and "other 1,470" in lines[0]
    header, original = lines[1].split(), lines[3]
    assert header == ["model", "accuracy", "change", "choosing", "held", "out", "MB", "texts/s", "ratio", "front"]
    assert "inference/fp32" in original and "+0.00" in original
    assert [line.split()[0] for line in lines[2:8] if line.endswith("*")] == [
        model["model"] for model in report["models"] if model["front"]
    ]
    line = next(number for number, line in enumerate(lines) if line.startswith("chosen:"))
    assert lines[line] == (
        f"chosen: {tmp_path}/half_small/int8, the fastest that loses at most 0.5 points on the choosing half: "
        "2.98x, change +0.20 [-0.80, +0.20] held out, -0.50 choosing"
    )
    command = f"python infer.py --task_name ocnli --data_dir 'my data' --model_path {tmp_path}/half_small/int8"
    assert lines[line + 1] == f"  {command} --precision int8"
    assert lines[line + 2].startswith("chosen: none, as no model is at least 20 times as fast; nearest: ")
    assert f"{tmp_path}/faster/int8, 9.00x" in lines[line + 2] and "infer.py" not in lines[line + 2]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_loss": -0.1}, "max_loss -0.1: give points of the metric from 0 on"),
        ({"max_loss": float("nan")}, "max_loss nan: give points"),
        ({"min_speedup": float("inf")}, "min_speedup inf: give how many times as fast"),
    ],
)
def test_a_limit_that_is_none_is_refused(limits, says):
    for kind in (CompressConfig, CompressionArguments):
        with pytest.raises(InputError, match=says) as caught:
            kind(**limits)
        assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- in a compression


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """(trainer, output folder, report) of two INT8 models."""
    folder = tmp_path_factory.mktemp("choice")
    trainer = tiny_trainer(folder / "state", examples=60)
    return trainer, folder / "out", compress(trainer, folder / "out")


def compress(trainer, output, **limits):
    config = CompressConfig(quantization_config=PTQConfig(algo_list=["hist"], batch_size_list=[2, 4]), **limits)
    return trainer.compress("x", str(output), pruning=False, compress_config=config)


def test_both_halves_of_a_report_are_what_the_models_answer_there(compressed):
    trainer, output, report = compressed
    halves = halves_of(trainer)
    assert report["dev_halves"] == {"choosing": 30, "held_out": 30, "calibration": "choosing"}
    exact = {}
    for row in report["models"]:
        predictor = load_predictor(output / row["model"], precision=row["precision"], num_threads=1)
        for half, numbers in halves._asdict().items():
            examples = [trainer.eval_examples[number] for number in numbers]
            exact[row["model"], half] = accuracy(examples, predictor.predict(examples))["accuracy"]
    for row in report["models"]:
        for half in halves._fields:
            value = exact[row["model"], half]
            assert row[half]["metric"] == pytest.approx(value)
            assert row[half]["change"] == pytest.approx(value - exact[report["original"], half])
        assert row["metrics"]["accuracy"] == pytest.approx((row["choosing"]["metric"] + row["held_out"]["metric"]) / 2)
        assert "outcomes" not in row
    scores = [row["choosing"]["metric"] for row in report["models"]]
    assert scores == sorted(scores, reverse=True), "the best on the choosing half comes first"


def test_other_limits_and_another_seed_measure_nothing_again(compressed, monkeypatch, capsys):
    """What was right is kept with each model, whatever half it is in."""
    trainer, output, report = compressed
    monkeypatch.setattr(compression_report, "load_predictor", None)
    config = CompressConfig(max_loss=100.0)
    again = trainer.compress("x", str(output), pruning=False, quantization=False, compress_config=config)
    assert {**again, "chosen": []} == report and again["chosen"][0]["model"] in {"hist2/int8", "hist4/int8"}
    assert f"chosen: {output / again['chosen'][0]['model']}, the fastest that loses" in capsys.readouterr().out
    monkeypatch.setattr(trainer.args, "seed", 8)
    other = trainer.compress("x", str(output), pruning=False, quantization=False)
    wholes = [{row["model"]: row["metrics"] for row in each["models"]} for each in (report, other)]
    halves = [{row["model"]: row["choosing"]["metric"] for row in each["models"]} for each in (report, other)]
    assert wholes[0] == wholes[1] and halves[0] != halves[1]


def test_a_tiny_dev_set_is_chosen_by_as_a_whole(tmp_path, capsys):
    trainer = tiny_trainer(tmp_path / "state", examples=12)
    report = compress(trainer, tmp_path / "out", max_loss=100.0)
    assert report["dev_halves"] == {"choosing": 12, "held_out": 0, "calibration": "choosing"}
    assert not any({"choosing", "held_out"} & set(row) for row in report["models"])
    printed = capsys.readouterr().out
    assert printed.count(how_chosen(report["dev_halves"])) == 1
    assert "no half is held out of 12 examples" in printed and "held out" not in printed.split("texts/s")[1]
    assert report["chosen"][0]["model"] and (tmp_path / "out" / "pareto.png").exists()


def test_a_metric_that_is_a_mere_function_is_known_of_the_whole_dev_set_alone(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=24)
    trainer.metric = lambda examples, results: {"accuracy": len(examples) / 100}
    report = compress(trainer, tmp_path / "out")
    assert all(row["metrics"] == {"accuracy": 0.24} and "held_out" not in row for row in report["models"])
