"""reproduce.py: its arguments, its grid, what its steps depend on, and the whole of it."""

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import reproduce, steps, subjects
from benchmarks.report import PUBLISHED_SPEED, Report
from benchmarks.reproduce import Grid, Reproduction
from benchmarks.steps import Runner
from benchmarks.subjects import Candidates
from tests.support.scripts import ROOT, run_here, run_script

SCRIPT = "benchmarks/reproduce.py"


def test_changed_files_of_ones_own_and_another_start_decide(tmp_path, monkeypatch):
    """By their content; a step that compresses keeps by itself what it can, so nothing is put aside for it."""
    mine, model = tmp_path / "mine", tmp_path / "ernie"
    for folder, name in ((mine, "train.json"), (model, "config.json")):
        folder.mkdir()
        (folder / name).write_text("before")
    argv = ["--datasets", "tnews", "--models", str(model), "--data_dir", str(mine), "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [SCRIPT, *argv, "--device", "cpu"])
    (subject,) = Reproduction(reproduce.parse_arguments(), Runner(tmp_path / "steps.json")).subjects()

    def deciding():
        step = subject.finetune()
        return steps.deciding({"command": step.command, **step.settings})

    before = deciding()
    for file, difference in ((mine / "train.json", "data"), (model / "config.json", "model")):
        file.write_text("after")
        assert steps.changes(before, deciding()).startswith(difference)
        file.write_text("before")
    assert deciding() == before and subject.compress(subject.folder, []).owns is None


class Pretend(Runner):
    """Leaves what the scripts leave, with a metric that depends on the flags."""

    def run(self, step):
        self.ran.append(step.name)
        value = {"2e-5": 0.6, "5e-5": 0.7}[step.command[step.command.index("--learning_rate") + 1]]
        if "fine-tune" in step.name:
            step.owns.mkdir(parents=True)
            (step.owns / "model_state.pdparams").touch()
            (step.owns / "results.json").write_text(json.dumps({"training": {"best": {"accuracy": value}}, "dev": {}}))
        else:
            folder = Path(step.command[step.command.index("--output_dir") + 1]) / "compress"
            folder.mkdir()
            row = {"model": "0.75/hist4/int8", "width": "0.75", "precision": "int8", "metrics": {"accuracy": 1 - value}}
            row.update(algorithm="hist", calibration_texts=4)
            better = {**row, "metrics": {"accuracy": 1.0}, "algorithm": "KL"}  # of an earlier call; not asked for
            (folder / "report.json").write_text(json.dumps({"metric": "accuracy", "models": [better, row]}))
        return True


def test_a_grid_keeps_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [
        SCRIPT, "--datasets", "tnews", "--models", "ernie-3.0-medium-zh", "--output_dir", str(tmp_path), "--grid",
        "--grid_learning_rates", "2e-5", "5e-5", "--grid_batch_sizes", "16", "--device", "cpu",
    ])  # fmt: skip
    reproduction = Reproduction(reproduce.parse_arguments(), Pretend(tmp_path / "steps.json"))
    (subject,) = reproduction.subjects()
    best = reproduction.finetune(subject)
    assert best.name == "TNEWS-lr5e-5-bs16" and (best / "model_state.pdparams").exists()
    assert [path.parent.name for path in tmp_path.rglob("model_state.pdparams")] == [best.name]
    assert reproduction.compress(subject, best).parent.name == "TNEWS-lr5e-5-bs16-pruned-lr2e-5-bs16"
    assert len(reproduction.runner.ran) == 4


def made(monkeypatch, tmp_path, *argv):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *argv, "--output_dir", str(tmp_path), "--device", "cpu"])
    return Reproduction(reproduce.parse_arguments(), Runner(tmp_path / "steps.json"))


def test_all_of_table_1_by_their_names(monkeypatch, tmp_path, capsys):
    reproduction = made(monkeypatch, tmp_path, "--datasets", "c3", "--models", "published")
    subjects_of_it = list(reproduction.subjects())
    names = [subject.source for subject in subjects_of_it]
    assert len(set(names)) == len(names) == 24 and {"hfl/rbt6", "ernie-3.0-tiny-pico-v2-zh"} < set(names)
    (gram,) = (subject for subject in subjects_of_it if subject.model == "ernie-gram-zh")
    reproduction.reproduce(gram)
    assert capsys.readouterr().out == (
        "left out: c3, ernie-gram-zh (PaddleNLP 2.8.1 has no ErnieGramForMultipleChoice)\n"
    )
    assert reproduction.runner.failed == [] and reproduction.report.models == {}


def test_models_of_table_1_are_trained_as_they_were(monkeypatch, tmp_path):
    argv = ["--datasets", "chid", "--models", "ernie-3.0-mini-zh", "--published_hyper_parameters"]
    (subject,) = made(monkeypatch, tmp_path, *argv, "--num_train_epochs", "1").subjects()
    flags = steps.parse_flags(subject.finetune().command)
    assert (flags["learning_rate"], flags["per_device_train_batch_size"], flags["max_seq_length"]) == (
        "3e-5",
        "24",
        "64",
    )
    assert flags["num_train_epochs"] == "1" and subject.finetune().command[0] == "run_multiple_choice.py"
    (subject,) = made(monkeypatch, tmp_path, *argv, "--grid").subjects()
    flags = steps.parse_flags(subject.finetune("lr1e-5-bs32", ("--learning_rate", "1e-5")).command)
    assert flags["learning_rate"] == "1e-5" and "per_device_train_batch_size" not in flags


@pytest.mark.parametrize(
    ("dataset", "points"), [("tnews", 4 * 3), ("cluewsc2020", 4 * 4), ("chid", 3 * 2), ("c3", 3 * 2)]
)
def test_the_grid_of_the_publication_depends_on_the_data_set(monkeypatch, tmp_path, dataset, points):
    reproduction = made(monkeypatch, tmp_path, "--datasets", dataset, "--grid", "--grid_max_seq_lengths", "64", "128")
    found = dict(reproduction.grid(dataset).points())
    assert len(found) == 2 * points
    assert found["lr1e-5-bs32-len128"][-2:] == ["--max_seq_length", "128"]


def test_the_points_of_a_grid():
    points = dict(Grid(["2e-5", "5e-5"], [16, 32], ["3"]).points())
    assert len(points) == 4
    assert points["lr2e-5-bs32-ep3"] == [
        "--learning_rate", "2e-5", "--per_device_train_batch_size", "32", "--num_train_epochs", "3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--datasets", "sample_reviews"], "sample_reviews is a sample set: give --samples"),
        (["--datasets", "tnews", "--samples"], "tnews is not a sample set"),
        (["--datasets", "news"], "unknown data set 'news'"),
        (["--task_name", "tnews"], "--task_name: give data sets with --datasets"),
        (["tnews"], "tnews: give data sets with --datasets"),
        (["--grid", "everything"], "invalid choice: 'everything'"),
        (["--output_dir", "/proc/x"], "/proc/x cannot be written to"),
        (["--config", "nowhere.yml"], "nowhere.yml is not a config of these scripts"),
        (["--data_dir", "mine"], "--data_dir holds the files of one data set: name it with --datasets"),
    ],
)
def test_what_is_wrong_is_one_line(flags, message):
    done = run_here(SCRIPT, *flags, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_hyper_parameters_are_those_of_config_yml():
    settings = subjects.hyper_parameters(ROOT / "config.yml", "csl")
    assert settings["max_seq_length"] == 256 and settings["weight_decay"] == 0.01


def test_compression_has_a_section_of_its_own():
    finetuned, compressed = (
        subjects.hyper_parameters(ROOT / "config.yml", "sample_reviews", compressing) for compressing in (False, True)
    )
    assert finetuned["learning_rate"] > compressed["learning_rate"] and compressed["token_dropout"] == 0
    assert finetuned["max_seq_length"] == compressed["max_seq_length"] and finetuned["token_dropout"] > 0


def test_the_best_model_is_one_of_those_that_were_asked_for():
    row = {"model": "a", "width": "0.75", "precision": "int8", "algorithm": "hist", "calibration_texts": 4}
    others = [{"width": "0.5"}, {"algorithm": "KL"}, {"calibration_texts": 8}, {"int8_embeddings": True}]
    others += [{"mixed_precision": 2}, {"depth": "0.5"}, {"source": "/another/model"}, {"precision": "fp32"}]
    others += [{"width": None}, {"width": None, "target_speedup": 4.0, "layers": [[0, 2, 64]]}]
    others += [{"width": None, "student": "nano"}, {"vocab_size": 5000}]
    report = {"models": [*({**row, **other, "model": "b"} for other in others), row]}  # the best first
    assert subjects.best_model(report, "pruned + INT8", Candidates(["3/4"], ["hist"], [4])) == row
    assert subjects.best_model({}, "pruned + INT8", Candidates(["3/4"], ["hist"], [4])) is None
    shallow = Candidates(["3/4"], ["hist"], [4], ["1", "1/2"])
    assert subjects.best_model(report, "pruned + INT8", shallow) == {**row, "model": "b", "depth": "0.5"}


def test_hyper_parameters_are_those_of_the_config_that_is_given(tmp_path, monkeypatch):
    """With a byte order mark, sections without a word, and from where the user is."""
    text = "DefaultArgs:\nSequenceClassification:\n  tnews: {learning_rate: 7.0}\nCompression:\n"
    (tmp_path / "mine.yml").write_text("\ufeff" + text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [
        SCRIPT, "--datasets", "tnews", "--models", "ernie-3.0-medium-zh", "--config", "mine.yml", "--device", "cpu",
        "--output_dir", "out",
    ])  # fmt: skip
    reproduction = Reproduction(reproduce.parse_arguments(), Runner(tmp_path / "steps.json"))
    (subject,) = reproduction.subjects()
    for step in (subject.finetune(), subject.compress(subject.folder, [])):
        assert step.settings["config"] == {"learning_rate": 7.0}
        assert step.command[step.command.index("--config") + 1] == str(tmp_path / "mine.yml")


def test_own_data_are_trained_on_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [
        SCRIPT, "--datasets", "tnews", "--models", "ernie-3.0-medium-zh", "--data_dir", str(tmp_path / "mine"),
        "--device", "cpu", "--output_dir", str(tmp_path), "--max_eval_samples", "60",
    ])  # fmt: skip
    reproduction = Reproduction(reproduce.parse_arguments(), Runner(tmp_path / "steps.json"))
    (subject,) = reproduction.subjects()
    compressed = subject.folder / "compress"
    compressed.mkdir(parents=True)
    row = {"model": "inference/infer", "width": None, "precision": "fp32", "metrics": {"accuracy": 1}}
    row.update(algorithm=None, calibration_texts=None)
    (compressed / "report.json").write_text(json.dumps({"metric": "accuracy", "models": [row]}))
    step = subject.infer(compressed, "FP32", "cpu", [], reproduction.infer_part)
    for command in (subject.finetune().command, subject.compress(subject.folder, []).command, step.command):
        assert command[command.index("--data_dir") + 1] == str(tmp_path / "mine")
    assert re.fullmatch(r"infer\.tnews-of-mine-[0-9a-f]{6}-first60\.paddle-cpu-fp32\.json", step.owns.name)


# ---------------------------------------------------------------- the whole of it


@pytest.fixture(scope="module")
def reproduced(small_ernie, tmp_path_factory):
    """(arguments, output folder, what was printed) of a run on a part of the reviews."""
    folder = tmp_path_factory.mktemp("reproduced")
    argv = [
        SCRIPT, "--samples", "--datasets", "sample_reviews", "--models", small_ernie, "--output_dir", folder,
        "--device", "cpu", "--algo_list", "hist", "--batch_size_list", 4, "--max_eval_samples", 60,
        "--max_train_samples", 64, "--num_train_epochs", 1, "--max_seq_length", 32, "--learning_rate", "1e-3",
    ]  # fmt: skip
    return argv, folder, run_script(*argv).stdout


def test_tables_hold_what_the_scripts_wrote(reproduced):
    _, folder, printed = reproduced
    subject = folder / "ernie" / "SAMPLE_REVIEWS"
    content = json.loads((folder / "tables.json").read_text())
    rows = {table["title"]: table["rows"] for table in content["tables"]}
    dev = json.loads((subject / "results.json").read_text())["dev"]["accuracy"]
    finetuned, compressed, cpu, gpu = rows.values()
    assert finetuned["ernie"]["measured"]["SAMPLE_REVIEWS"] == [100 * dev]
    report = json.loads((subject / "compress" / "report.json").read_text())
    for variant, model in (
        ("FP32", "inference/infer"),
        ("pruned + FP32", "0.75/float32"),
        ("pruned + INT8", "0.75/hist4/int8"),
        ("INT8", "hist4/int8"),
    ):
        row = next(row for row in report["models"] if row["model"] == model)
        assert compressed[variant]["measured"]["SAMPLE_REVIEWS"] == [100 * row["metrics"]["accuracy"]]
        precision = variant.split()[-1].lower()
        file = subject / "compress" / f"{model}.sample_reviews-first60.paddle-cpu-{precision}.json"
        speeds = json.loads(file.read_text())["speed"]["texts_per_second"]
        assert cpu[variant]["measured"]["SAMPLE_REVIEWS speed"][0] == speeds[PUBLISHED_SPEED]
    assert all(cell is None for row in gpu.values() for cell in row["measured"].values())
    text = (folder / "tables.md").read_text()
    assert text in printed and "Not run here: there is no GPU" in text and "--max_train_samples 64" in text


def test_a_later_call_knows_what_is_finished(reproduced):
    _, folder, _ = reproduced
    report = Report(folder, samples=True, use_gpu=False, num_threads=1)
    results = json.loads((folder / "ernie" / "SAMPLE_REVIEWS" / "results.json").read_text())
    assert report.finetuned_scores() == {"ernie": {"sample_reviews": (100 * results["dev"]["accuracy"],)}}
    assert set(report.speeds("ernie", "cpu")) == {"FP32", "INT8", "pruned + FP32", "pruned + INT8"}


def test_pictures_and_commands(reproduced):
    _, folder, printed = reproduced
    for name in ("compression.png", "training.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG") and str(folder / name) in printed
    commands = [line for line in printed.splitlines() if line.startswith("$ python ")]
    scripts = [command.split()[2] for command in commands]
    assert scripts == ["run_seq_cls.py", "compress_seq_cls.py", "infer.py", "infer.py", "infer.py", "infer.py"]
    assert "6 steps run, 0 finished before, 0 failed" in printed


def test_the_picture_of_speeds(tmp_path):
    row = {"model": "int8", "engine": "Paddle Inference, INT8, 2 threads", "length": 32}
    row.update({"texts_per_second": {"median": 10.0}, "ratio": {"median": 1.0}})
    content = {"processor": "a processor", "num_threads": 2, "batch_size": 32, "rows": [row, {**row, "length": 128}]}
    (tmp_path / "speed.json").write_text(json.dumps(content))
    run_script("benchmarks/plot.py", "speed", tmp_path / "speed.png", tmp_path / "speed.json")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_call_runs_nothing(reproduced):
    """Whatever the order of its flags, however its numbers are written, and with more to be seen."""
    argv, folder, _ = reproduced
    before = {path: path.stat().st_mtime_ns for path in (folder / "ernie").rglob("*") if path.is_file()}
    same = [word for word in argv if word not in ("--learning_rate", "1e-3")]
    same += ["--learning_rate=0.001", "--logging_steps", "1", "--config", "config.yml"]
    printed = run_here(*same).stdout
    assert "nothing to run: all 6 steps were finished before" in printed and "$ python" not in printed
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "ernie").rglob("*") if path.is_file()}


def test_a_failing_model_does_not_stop_the_others(reproduced):
    argv, folder, _ = reproduced
    both = [*argv[: argv.index("--models") + 1], ROOT / "samples" / "nowhere", *argv[argv.index("--models") + 1 :]]
    done = run_here(*both, check=False)
    assert done.returncode == 1 and "0 steps run, 6 finished before, 1 failed" in done.stdout
    failures = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert failures == ["failed: fine-tune sample_reviews, nowhere (exit status 2); what needs it is left out"]
    assert "Traceback" not in done.stderr and done.stderr.splitlines()[-1].startswith("error: 1 steps failed")
