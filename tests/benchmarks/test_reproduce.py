"""reproduce.py: the published figures, the arithmetic of the tables, resuming, failing steps, and the whole of it."""

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import published, reproduce, steps, subjects, tables
from benchmarks.report import PUBLISHED_SPEED
from benchmarks.reproduce import Grid, Reproduction
from benchmarks.steps import Runner, Step
from tests.support.scripts import ROOT, run_script

SCRIPT = "benchmarks/reproduce.py"

# ---------------------------------------------------------------- the published figures agree with each other


@pytest.mark.parametrize("table", [published.CLUE, published.COMPRESSION], ids=["clue", "compression"])
def test_published_averages_are_those_of_their_rows(table):
    for name, row in table.items():
        figures = [tables.main_figure(cell) for column, cell in row.items() if column != "AVG"]
        assert len(figures) == (10 if table is published.CLUE else 9)
        # ERNIE 3.0-Micro's is published as 64.21, the mean of its row is 64.24.
        assert sum(figures) / len(figures) == pytest.approx(row["AVG"][0], abs=0.0301), name


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_published_ratios_and_changes_are_those_of_their_figures(device):
    table = published.SPEED[device]
    for variant, row in table.items():
        for dataset in ("TNEWS", "MSRA_NER", "CMRC2018"):
            speed, ratio = row[f"{dataset} speed"]
            # CPU, FP32 to INT8 on MSRA_NER is 1.55, published as 1.6; the GPU's 1138.77 / 366.75 as 3.1.
            assert speed / table["FP32"][f"{dataset} speed"][0] == pytest.approx(ratio, abs=0.0501)
            accuracy, *change = row[dataset]
            if variant != "FP32":
                assert accuracy - table["FP32"][dataset][0] == pytest.approx(change[0], abs=0.0101)


def test_published_losses():
    """The losses that the published text names: 0.17 by pruning, 0.77 by INT8, 0.46 by both (0.43 in its table)."""
    average = {variant: row["AVG"][0] for variant, row in published.COMPRESSION.items()}
    assert average["pruned + FP32"] - average["FP32"] == pytest.approx(-0.17)
    assert average["INT8"] - average["FP32"] == pytest.approx(-0.77)
    assert average["pruned + INT8"] - average["FP32"] == pytest.approx(-0.43)
    assert published.PRUNED_INT8_LOSS_IN_THE_TEXT == 0.46


# ---------------------------------------------------------------- tables


def lines_of(table, row):
    return {line.kind: dict(zip(table.columns, line.texts(table.columns))) for line in table.rows[row]}


def test_the_difference_stands_under_the_measured_figure():
    measured = {"ernie-3.0-medium-zh": {"tnews": (58.0,), "cmrc2018": (65.0, 87.0), "msra_ner": (90.0, 91.0, 92.0)}}
    table = tables.clue_table(measured)
    lines = lines_of(table, "ernie-3.0-medium-zh")
    assert lines["published"]["TNEWS"] == "57.00" and lines["measured"]["TNEWS"] == "58.00"
    assert lines["difference"]["TNEWS"] == "+1.00" and lines["difference"]["CMRC2018"] == "-0.83/-0.30"
    assert lines["published"]["AVG of measured"] == "61.41"  # (57.00 + 65.83) / 2
    assert lines["measured"]["AVG of measured"] == "61.50" and lines["measured"]["AVG"] == "-"
    assert lines["published"]["MSRA_NER"] == "-" and lines["measured"]["MSRA_NER"] == "90.00/91.00/92.00"
    assert lines["measured"]["CHID"] == "-" and lines["difference"]["AFQMC"] == "-"
    nano = lines_of(table, "ernie-3.0-nano-zh")
    assert nano["published"]["AVG"] == "62.97" and set(nano["measured"].values()) == {"-"}


def test_an_average_is_measured_when_all_its_data_sets_are():
    whole = {name.lower(): cell for name, cell in published.COMPRESSION["INT8"].items() if name != "AVG"}
    lines = lines_of(tables.compression_table("ernie-3.0-medium-zh", {"INT8": whole}), "INT8")
    assert lines["measured"]["AVG"] == "74.10" and lines["difference"]["AVG"] in ("-0.00", "+0.00")
    assert lines["difference"]["MSRA_NER"] == "+0.00/+0.00/+0.00"


def test_what_compression_costs_on_the_sample_sets():
    measured = {
        "FP32": {"sample_reviews": (90.0,), "sample_reading": (40.0, 50.0)},
        "INT8": {"sample_reviews": (89.0,), "sample_reading": (39.0, 48.0)},
        "pruned + INT8": {"sample_reviews": (91.0,)},
    }
    table = tables.sample_compression_table("small ERNIE", measured)
    lines = lines_of(table, "INT8")
    assert lines["measured"]["AVG"] == "64.00" and lines["change, measured"]["AVG"] == "-1.00"
    assert lines["change, published"]["AVG"] == "-0.77" and lines["difference"]["AVG"] == "-0.23"
    assert lines["change, measured"]["SAMPLE_READING"] == "-1.00"
    partly = lines_of(table, "pruned + INT8")
    assert partly["measured"]["AVG"] == "-" and partly["change, measured"]["SAMPLE_REVIEWS"] == "+1.00"
    assert set(lines_of(table, "pruned + FP32")["measured"].values()) == {"-"}


def test_speed_against_the_published_machine_is_a_ratio():
    measured = {"FP32": {"tnews": (100.0, 57.0)}, "INT8": {"tnews": (250.0, 56.5)}}
    table = tables.speed_table("ernie-3.0-medium-zh", "cpu", measured, ["tnews", "msra_ner", "cmrc2018"], ["a note"])
    lines = lines_of(table, "INT8")
    assert (
        lines["published"]["TNEWS speed"] == "600.35 (1.90x)" and lines["measured"]["TNEWS speed"] == "250.00 (2.50x)"
    )
    assert lines["difference"]["TNEWS speed"] == "+0.60x" and lines["published"]["TNEWS"] == "56.57 (-0.88)"
    assert lines["measured"]["TNEWS"] == "56.50 (-0.50)" and lines["difference"]["TNEWS"] == "-0.07"
    assert lines["measured"]["CMRC2018 speed"] == "-" and table.markdown().endswith("- a note\n")


def test_a_sample_set_stands_beside_the_set_of_its_task():
    measured = {"FP32": {"sample_reviews": (100.0, 90.0)}, "INT8": {"sample_reviews": (150.0, 89.0)}}
    lines = lines_of(tables.speed_table("small ERNIE", "cpu", measured, ["sample_reviews"], []), "INT8")
    assert lines["published"] == {"SAMPLE_REVIEWS speed": "1.90x", "SAMPLE_REVIEWS": "-0.88"}
    assert lines["difference"] == {"SAMPLE_REVIEWS speed": "-0.40x", "SAMPLE_REVIEWS": "-0.12"}


def test_markdown_lines_have_equal_columns():
    text = tables.clue_table({}).markdown()
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "| ernie-3.0-base-zh " in text and "ernie-3.0-xbase-zh" not in text


# ---------------------------------------------------------------- steps


def writing(path, text="{}", name="a step", **more):
    """A step whose command writes a file."""
    command = ["-c", f"import pathlib; pathlib.Path({str(path)!r}).write_text({text!r})"]
    return Step(name, command, path.exists, owns=path, **more)


def test_a_finished_step_is_not_run_again(tmp_path, capfd):
    step = writing(tmp_path / "result")
    assert Runner(tmp_path / "steps.json").run(step)
    (tmp_path / "result").write_text("kept")
    again = Runner(tmp_path / "steps.json")
    assert again.run(step) and (tmp_path / "result").read_text() == "kept"
    assert again.found == ["a step"] and not again.ran
    assert capfd.readouterr().out.count("$ python -c") == 1


def test_an_interrupted_step_is_run_again_with_what_it_left(tmp_path):
    result, half = tmp_path / "out" / "result", tmp_path / "out" / "checkpoint"
    half.mkdir(parents=True)
    step = writing(result)
    runner = Runner(tmp_path / "steps.json")
    runner.started[step.name] = {"command": step.command}  # as a kill leaves it
    assert runner.run(step) and half.exists() and runner.ran == ["a step"]


def test_other_settings_start_anew_and_what_was_there_is_kept(tmp_path, capfd):
    for rate in (1, 2, 3):
        step = writing(tmp_path / "result", "the model", settings={"config": {"learning_rate": rate}})
        assert Runner(tmp_path / "steps.json").run(step)
        (tmp_path / "result").write_text(f"of rate {rate}")
    printed = capfd.readouterr().out
    assert "other settings than before (learning_rate 2.0 -> 3.0), from the start: a step; what was there" in printed
    assert f"is kept as {tmp_path / 'result.before-2'}" in printed
    assert [(tmp_path / f"result.before-{rate}").read_text() for rate in (1, 2)] == ["of rate 1", "of rate 2"]


def test_what_something_else_has_made_is_kept(tmp_path, capfd):
    (tmp_path / "result").write_text("mine")
    assert Runner(tmp_path / "steps.json").run(writing(tmp_path / "result", "the step's"))
    assert (tmp_path / "result.before-1").read_text() == "mine" and (tmp_path / "result").read_text() == "the step's"
    assert "made by something else, from the start: a step; what was there is kept" in capfd.readouterr().out


COMMAND = "run_seq_cls.py --task_name tnews --learning_rate 1e-3 --algo_list hist mse --width_mult_list 3/4 --fp16"
CONFIG = {"num_train_epochs": 3, "weight_decay": 0.01}


@pytest.mark.parametrize(
    "command",
    [
        "run_seq_cls.py --fp16 --width_mult_list 3/4 --algo_list hist mse --learning_rate 1e-3 --task_name tnews",
        "run_seq_cls.py --dataset=tnews --learning_rate=0.001 --algo_list hist mse --width_mult_list 0.75 --fp16 true",
        f"{COMMAND} --num_train_epochs 3.0 --weight_decay 1e-2",
        f"{COMMAND} --device cpu --report_to visualdl --logging_steps 1 --output_dir x --dataloader_num_workers 1",
        f"{COMMAND} --config config.yml --per_device_eval_batch_size 8 --disable_tqdm 1",
        f"run_seq_cls.py --learning_rate 5 {COMMAND[len('run_seq_cls.py ') :]}",
    ],
)
def test_trivial_differences_of_a_command_line(command):
    assert steps.deciding({"command": command.split(), "config": CONFIG}) == steps.deciding(
        {"command": COMMAND.split(), "config": CONFIG}
    )


@pytest.mark.parametrize(
    ("command", "config", "difference"),
    [
        (COMMAND.replace("1e-3", "2e-3"), {}, "learning_rate 0.001 -> 0.002"),
        (COMMAND.replace(" --fp16", ""), {}, "fp16 True -> None"),
        (COMMAND.replace("hist mse", "mse"), {}, "algo_list ['hist', 'mse'] -> mse"),
        (f"{COMMAND} --seed 7", {}, "seed None -> 7.0"),
        (COMMAND.replace("seq_cls", "qa"), {}, "script run_seq_cls.py -> run_qa.py"),
        (COMMAND, {"num_train_epochs": 4}, "num_train_epochs 3.0 -> 4.0"),
        (COMMAND, {"learning_rate": 4}, ""),  # a flag beats config.yml
    ],
)
def test_what_decides_a_result_is_named(command, config, difference):
    before = steps.deciding({"command": COMMAND.split(), "config": CONFIG})
    assert (
        steps.changes(before, steps.deciding({"command": command.split(), "config": {**CONFIG, **config}}))
        == difference
    )


def test_where_a_model_lies_does_not_decide_but_what_it_is():
    command = "compress_seq_cls.py --model_name_or_path {} --output_dir {}"
    here, there = ({"command": command.format(place, place).split(), "model": {"best": 1}} for place in "ab")
    assert steps.deciding(here) == steps.deciding(there)
    assert steps.changes(steps.deciding(here), steps.deciding({**here, "model": {"best": 2}})) == "another model"


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


def test_a_failing_step_is_one_line(tmp_path, capfd):
    runner = Runner(tmp_path / "steps.json")
    assert not runner.run(Step("a step", ["-c", "import sys; sys.exit(3)"], lambda: True))
    assert not runner.run(Step("another", ["-c", ""], lambda: False))
    assert runner.failed == ["a step", "another"]
    assert capfd.readouterr().err.splitlines() == [
        "failed: a step (exit status 3); what needs it is left out",
        "failed: another (its results are not there); what needs it is left out",
    ]


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
    done = run_script(SCRIPT, *flags, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_hyper_parameters_are_those_of_config_yml():
    settings = subjects.hyper_parameters(ROOT / "config.yml", "csl")
    assert settings["max_seq_length"] == 256 and settings["weight_decay"] == 0.01


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
    printed = run_script(*same).stdout
    assert "nothing to run: all 6 steps were finished before" in printed and "$ python" not in printed
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "ernie").rglob("*") if path.is_file()}


def test_a_failing_model_does_not_stop_the_others(reproduced):
    argv, folder, _ = reproduced
    both = [*argv[: argv.index("--models") + 1], ROOT / "samples" / "nowhere", *argv[argv.index("--models") + 1 :]]
    done = run_script(*both, check=False)
    assert done.returncode == 1 and "0 steps run, 6 finished before, 1 failed" in done.stdout
    failures = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert failures == ["failed: fine-tune sample_reviews, nowhere (exit status 2); what needs it is left out"]
    assert "Traceback" not in done.stderr and done.stderr.splitlines()[-1].startswith("error: 1 steps failed")
