"""Commands that are run once: resuming, what decides their results, and failing ones."""

import pytest

from benchmarks import steps
from benchmarks.steps import Runner, Step
from ernie_inference.errors import InputError


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


def test_a_damaged_journal_is_named(tmp_path):
    (tmp_path / "steps.json").write_text('{"a step": {"comm')
    with pytest.raises(InputError, match=r"steps\.json is not what a run wrote: remove it"):
        Runner(tmp_path / "steps.json")


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


def test_a_failing_step_is_one_line(tmp_path, capfd):
    runner = Runner(tmp_path / "steps.json")
    assert not runner.run(Step("a step", ["-c", "import sys; sys.exit(3)"], lambda: True))
    assert not runner.run(Step("another", ["-c", ""], lambda: False))
    assert runner.failed == ["a step", "another"]
    assert capfd.readouterr().err.splitlines() == [
        "failed: a step (exit status 3); what needs it is left out",
        "failed: another (its results are not there); what needs it is left out",
    ]
