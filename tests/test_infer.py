"""infer.py: the metrics of the data set, the speed by both methods, and what is written."""

import json
import re
import shutil
from pathlib import Path

import pytest

import infer
from ernie_inference.errors import InputError
from tests.support.models import LABELS, MAX_SEQ_LENGTH, TASK_NAMES
from tests.support.scripts import SAMPLES, run_here, run_script

FIGURES = {
    "seq_cls": ["accuracy"],
    "token_cls": ["f1", "precision", "recall"],
    "qa": ["exact_match", "f1"],
    "multiple_choice": ["accuracy"],
}


@pytest.fixture
def model(tiny, tmp_path):
    """A copy of a tiny model, beside which results can be written."""

    def copy(task):
        folder = tmp_path / task
        shutil.copytree(tiny[task].parent, folder)
        return folder / "model"

    return copy


@pytest.mark.parametrize("task", TASK_NAMES)
def test_metrics_and_speed(model, task):
    prefix = model(task)
    done = run_here(
        "infer.py", "--dataset", SAMPLES[task], "--model_path", prefix, "--max_samples", 200, "--perf", "--show", 2,
        "--top_k", 2, "--threshold", 0,
    )  # fmt: skip
    written = json.loads((prefix.parent / f"model.{SAMPLES[task]}-first200.paddle-cpu-fp32.json").read_text())
    assert list(written["metrics"]) == FIGURES[task] and written["examples"] == 200
    for name, value in written["metrics"].items():
        assert 0 <= value <= 1 and f"{name} " in done.stdout and f"{value:.4f}" in done.stdout
    speed = written["speed"]
    assert len(speed["texts_per_second"]) == 3 and all(value > 0 for value in speed["texts_per_second"].values())
    assert speed["different_answers"] == 0
    single = speed["single_texts"]
    assert single["texts"] == 200 and 0 < single["p50_milliseconds"] <= single["p99_milliseconds"]
    latencies = f"p50 {single['p50_milliseconds']:.2f} ms   p99 {single['p99_milliseconds']:.2f} ms"
    assert any(line == f"{'text to answer, one at a time':<38}   {latencies}" for line in done.stdout.splitlines())
    shown = done.stdout.count("(right)") + done.stdout.count("(wrong, it is ")
    assert shown == 2 and done.stdout.startswith("Paddle Inference, oneDNN, FP32, ")
    likeliest = [line for line in done.stdout.splitlines() if re.match(LIKELIEST[task], line)]
    assert len(likeliest) == 4 if task != "token_cls" else len(likeliest) <= 4


# A line of --show with --top_k.
LIKELIEST = {
    "seq_cls": r" {8}(positive|negative)   [01]\.\d{4}$",
    "token_cls": r" {4}entity: .*   pos: \[\d+, \d+\]   confidence: [01]\.\d{4}$",
    "qa": r" {8}.*   [01]\.\d{4}   \[\d+, \d+\]$",
    "multiple_choice": r" {8}\S.*   [01]\.\d{4}$",
}


def test_the_options_of_answers_are_for_those_that_are_shown(monkeypatch):
    command = ["infer.py", "--task_name", "tnews", "--model_path", "nowhere", "--threshold", "0.5"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(InputError, match="^--top_k and --threshold are for the answers that --show prints: add it"):
        infer.parse_arguments()
    monkeypatch.setattr("sys.argv", [*command[:-1], "1.5", "--show", "1"])
    with pytest.raises(InputError, match="^threshold is 1.5: give a number from 0 to 1$"):
        infer.parse_arguments()
    flags = ["--task_name", "c3", "--model_path", "nowhere", "--show", "1"]
    refused = {
        "top_k 65": "top_k is 65: multiple_choice gives at most 64",
        "long_texts cut": "long_texts is cut: that is",
    }
    for flag, said in refused.items():
        monkeypatch.setattr("sys.argv", ["infer.py", *flags, *f"--{flag}".split()])
        with pytest.raises(InputError, match=f"^{said}"):
            infer.parse_arguments()


def test_single_texts_are_drawn_evenly_and_timed_the_second_time(monkeypatch):
    """The first time an example takes a minute, then as many milliseconds as its number."""

    class Slow:
        now, seen = 0.0, set()

        def predict(self, examples):
            (number,) = examples
            Slow.now += number / 1000 if number in self.seen else 60
            self.seen.add(number)

    monkeypatch.setattr(infer.time, "perf_counter", lambda: Slow.now)
    figures = infer.time_single_texts(Slow(), list(range(1, 1001)))
    assert figures["texts"] == len(Slow.seen) == 200 and {1, 1000} < Slow.seen
    assert figures["p50_milliseconds"] == pytest.approx(500, abs=3)
    assert figures["p99_milliseconds"] == pytest.approx(990, abs=3)
    assert infer.time_single_texts(Slow(), [7])["p99_milliseconds"] == pytest.approx(7)


@pytest.mark.parametrize("most", [1, 3, 4, 10, 20])
def test_texts_to_be_shown_are_drawn_evenly_with_their_own_results(most):
    pairs = [(number, -number) for number in range(10)]
    shown = infer.Shown(len(pairs), most)
    assert list(shown.among(pairs)) == pairs
    assert shown.pairs == pairs[:: max(1, 10 // most)][:most]


def test_what_is_done_with_answers_is_not_timed(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(infer.time, "perf_counter", lambda: clock[0])

    def answers():
        for number in range(3):
            clock[0] += 2
            yield number

    timed = infer.Timed(answers())
    for _ in timed:
        clock[0] += 50
    assert timed.seconds == 6


@pytest.mark.parametrize("task", TASK_NAMES)
def test_the_metric_is_the_trainers(finetuned, tmp_path, task):
    """To four digits, by Paddle Inference, by ONNX Runtime and by OpenVINO."""
    trained = finetuned(task)
    shutil.copytree(trained / "export", tmp_path / "export")
    dev = json.loads((trained / "results.json").read_text())["dev"]
    for engine, flags in (
        ("paddle", ["--batch_size", 2]),  # so few that the texts are read in many groups
        ("onnxruntime", ["--use_onnxruntime"]),
        ("openvino", ["--use_openvino"]),
    ):
        run_here(
            "infer.py", "--task_name", SAMPLES[task], "--model_path", tmp_path / "export", "--max_samples", 300, *flags
        )
        written = json.loads(
            (tmp_path / "export" / f"model.{SAMPLES[task]}-first300.{engine}-cpu-fp32.json").read_text()
        )
        for name in FIGURES[task]:
            assert written["metrics"][name] == pytest.approx(dev[name], abs=5e-5)


def test_what_is_asked_on_other_data_does_not_overwrite_the_dev_sets(model, tmp_path):
    prefix = model("seq_cls")
    for split in ("dev", "test"):
        lines = [{"sentence": f"{split}, 很好, {number}", "label": "positive"} for number in range(5)]
        (tmp_path / f"{split}.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    written = {}
    for flags in ([], ["--split", "test"], ["--max_samples", 3], ["--max_seq_length", 20]):
        done = run_here(
            "infer.py", "--task_name", SAMPLES["seq_cls"], "--model_path", prefix, "--data_dir", tmp_path, *flags
        )
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("wrote ")]
        written[line.split()[1]] = [*map(str, flags)]
    assert len(written) == 4
    for path, flags in written.items():
        report = json.loads(Path(path).read_text())
        assert report["split"] == ("test" if "test" in flags else "dev") and report["data_dir"] == str(tmp_path)
        assert report["examples"] == (3 if "--max_samples" in flags else 5)
        assert report["max_seq_length"] == (20 if "20" in flags else MAX_SEQ_LENGTH)


def test_a_quantized_model_on_the_fastest_engine(tiny, tmp_path):
    """It says which one it took, and the figures have that one's name."""
    shutil.copytree(tiny.int8("seq_cls").parent, tmp_path / "int8")
    done = run_script(
        "infer.py", "--task_name", SAMPLES["seq_cls"], "--model_path", tmp_path / "int8", "--precision", "int8",
        "--engine", "auto", "--max_samples", 100,
    )  # fmt: skip
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("note: --engine auto: ")]
    for engine in ("paddle", "onnxruntime", "openvino"):
        assert f" {engine} " in line
    (figures,) = (tmp_path / "int8").glob("int8.sample_reviews-first100.*-cpu-int8.json")
    engine = json.loads(figures.read_text())["engine"]
    assert done.stdout.startswith(engine) and "INT8 (" in engine
    name = figures.name.split(".")[2].partition("-")[0]
    assert engine.startswith({"paddle": "Paddle", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[name])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task_name", "sample_reading"], "is a seq_cls model, not qa"),
        (["--task_name", "nonsense"], "unknown data set 'nonsense'"),
        (["--task_name", "sample_reviews", "--precision", "int8"], "is not quantized"),
        (["--task_name", "sample_reviews", "--precision", "fp8"], "invalid choice: 'fp8'"),
        (["--task_name", "sample_reviews", "--model_path", "nowhere/model"], "holds no .pdmodel file"),
        (["--task_name", "sample_reviews", "--use_openvino", "--use_onnxruntime"], "give one of them"),
        (["--task_name", "sample_reviews", "--use_openvino", "--device", "gpu"], "runs on processors only"),
    ],
)
def test_what_is_wrong_is_one_line(model, flags, message):
    done = run_here("infer.py", "--model_path", model("seq_cls"), *flags, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]


def test_labels_of_another_data_set_are_refused(model):
    prefix = model("seq_cls")
    config = json.loads((prefix.parent / "inference.json").read_text())
    assert config["labels"] == LABELS["seq_cls"]
    (prefix.parent / "inference.json").write_text(json.dumps({**config, "labels": ["100", "101"]}))
    done = run_here("infer.py", "--task_name", "sample_reviews", "--model_path", prefix, check=False)
    assert done.returncode == 2 and "does not know the label 'negative' of sample_reviews" in done.stderr
