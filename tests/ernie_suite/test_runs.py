"""A run and its folder: going on, being done, and what decides its result."""

import copy
import json
import shutil
from dataclasses import dataclass

from ernie_suite.arguments import FinetuneArguments
from ernie_suite.features import Features
from ernie_suite.runs import (
    deciding_settings,
    default_eval_steps,
    is_resumable_step,
    resumable_checkpoints,
    update_results,
    what_changed,
)

import numpy as np
import paddle
import pytest

from ernie_inference.errors import InputError
from tests.support.runs import Killed, finetune, results, trainer_in
from tests.support.trainers import weights

pytestmark = pytest.mark.usefixtures("names_of_its_own")


def killed(folder, kill_before, **arguments):
    with pytest.raises(Killed):
        finetune(folder, kill_before=kill_before, **arguments)


def learnt(report, after=0):
    """What a training computed after a step, without how long it took."""
    keys = ("step", "loss", "learning_rate", "eval_loss", "eval_accuracy")
    return [{key: entry.get(key) for key in keys} for entry in report["history"] if entry["step"] > after]


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("arguments", [{}, {"gradient_accumulation_steps": 2, "rdrop_alpha": 1.0, "fgm_epsilon": 0.5}])
def test_a_resumed_run_computes_after_the_kill_what_an_undisturbed_one_does(tmp_path, arguments):
    options = {"eval_steps": 2, "token_dropout": 0.2, "logging_steps": 1, "learning_rate": 1e-2, **arguments}
    killed(tmp_path / "killed", 23, **options)
    (checkpoint,) = resumable_checkpoints(tmp_path / "killed")
    assert checkpoint.name == "checkpoint-20"
    resumed = finetune(tmp_path / "killed", **options)
    assert resumed.counter.steps == 20  # and not from the beginning
    finetune(tmp_path / "whole", **options)
    found, expected = results(tmp_path / "killed"), results(tmp_path / "whole")
    assert len(learnt(expected, after=23)) >= 17
    assert learnt(found) == learnt(expected)  # to the last digit: the same dropout, batches and learning rates
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-12) and found["best"] == expected["best"]
    ours, theirs = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all((ours[key] == theirs[key]).all() for key in theirs)
    assert not list((tmp_path / "killed").glob("checkpoint-*"))


def test_early_stopping_counts_on_after_a_kill(tmp_path):
    options = {"eval_steps": 1, "early_stopping_patience": 10, "learning_rate": 1e-12}
    killed(tmp_path / "killed", 9, **options)
    finetune(tmp_path / "killed", **options)
    finetune(tmp_path / "whole", **options)
    assert results(tmp_path / "killed")["steps"] == results(tmp_path / "whole")["steps"] == 11


def test_seconds_are_those_of_both_parts(tmp_path):
    killed(tmp_path, 9)
    (checkpoint,) = resumable_checkpoints(tmp_path)
    progress = json.loads((checkpoint / "progress.json").read_text())
    assert 0 < progress["seconds"] < 100
    (checkpoint / "progress.json").write_text(json.dumps({**progress, "seconds": 1000.0}))
    finetune(tmp_path)
    assert results(tmp_path)["seconds"] > 1000


def test_a_kill_after_the_last_step_costs_no_step(tmp_path):
    """The model cannot take its place: a folder stands there."""
    (tmp_path / "killed" / "model_state.pdparams").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written to"):
        finetune(tmp_path / "killed")
    assert list((tmp_path / "killed").glob("checkpoint-*"))
    (tmp_path / "killed" / "model_state.pdparams").rmdir()
    assert finetune(tmp_path / "killed").counter.steps == 0
    finetune(tmp_path / "whole")
    found, expected = results(tmp_path / "killed"), results(tmp_path / "whole")
    assert learnt(found) == learnt(expected) and found["loss"] == expected["loss"] > 0
    assert all((weights(tmp_path / "killed")[key] == value).all() for key, value in weights(tmp_path / "whole").items())


def test_what_a_kill_left_half_written_is_not_used_and_goes(tmp_path):
    killed(tmp_path, 15)
    half = tmp_path / "checkpoint-999"
    shutil.copytree(resumable_checkpoints(tmp_path)[-1], half)
    (half / "complete").unlink()
    (tmp_path / ".writing-abc").mkdir()
    assert finetune(tmp_path).state.global_step == 40
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith((".writing", "checkpoint"))]


# ---------------------------------------------------------------- what decides a result


HARMLESS = {
    "per_device_eval_batch_size": 3, "report_to": ["visualdl"], "dataloader_num_workers": 2, "logging_steps": 7,
    "no_cuda": True, "disable_tqdm": False, "run_name": "x", "save_total_limit": 3, "do_predict": True,
    "skip_memory_metrics": False, "logging_first_step": True,
}  # fmt: skip
DECIDING = {
    "learning_rate": 2e-3, "num_train_epochs": 9.0, "max_steps": 41, "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2, "seed": 8, "weight_decay": 0.1, "warmup_ratio": 0.2, "warmup_steps": 3,
    "lr_scheduler_type": "cosine", "adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-6, "max_grad_norm": 2.0,
    "token_dropout": 0.1, "early_stopping_patience": 3, "eval_steps": 4, "dataloader_drop_last": True, "bf16": True,
    "rdrop_alpha": 1.0, "fgm_epsilon": 0.5, "num_folds": 3,
}  # fmt: skip


def test_harmless_flags_do_not_stand_in_the_way(tmp_path):
    options = {"max_steps": 16, "eval_steps": 8}
    killed(tmp_path, 12, **options)
    assert finetune(tmp_path, **options, **HARMLESS).counter.steps == 8


def test_what_changes_weights_or_the_choice_among_them_decides(tmp_path):
    trainer = trainer_in(tmp_path)
    before = deciding_settings(trainer)
    for name, value in DECIDING.items():
        assert getattr(trainer.args, name) != value
        trainer.args = replaced(trainer.args, **{name: value})
        assert what_changed(before, deciding_settings(trainer)).startswith(f"{name} ")
        trainer.args = replaced(trainer.args, **{name: before[name]})
    trainer.args = replaced(trainer.args, **HARMLESS)
    assert what_changed(before, deciding_settings(trainer)) == ""
    trainer.task.max_seq_length = 48
    assert what_changed(before, deciding_settings(trainer)) == "max_seq_length 64 -> 48"


def replaced(args, **changes):
    args = copy.copy(args)
    for name, value in changes.items():
        setattr(args, name, value)
    return args


def test_an_argument_that_nobody_has_looked_at_decides(tmp_path):
    @dataclass
    class NewerArguments(FinetuneArguments):
        sharpness: float = 1.0

    trainer = trainer_in(tmp_path / "m")
    settings = []
    for sharpness in (1.0, 2.0):
        trainer.args = NewerArguments(output_dir=str(tmp_path / "m"), device="cpu", sharpness=sharpness)
        settings.append(deciding_settings(trainer))
    assert what_changed(*settings) == "sharpness 1.0 -> 2.0"


@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize("change", ["order", "text", "label"])
def test_other_data_of_the_same_count_are_other_data(tmp_path, split, change):
    killed(tmp_path, 12)
    trainer = trainer_in(tmp_path)
    examples = [
        dict(example) for example in getattr(trainer, {"train": "train_dataset", "dev": "eval_dataset"}[split]).examples
    ]
    if change == "order":
        examples.reverse()
    elif change == "text":
        examples[0]["text"] += "。"
    else:
        examples[0]["label"] = {"positive": "negative", "negative": "positive"}[examples[0]["label"]]
    features = Features(trainer.family, trainer.task, examples)
    setattr(trainer, {"train": "train_dataset", "dev": "eval_dataset"}[split], features)
    with pytest.raises(InputError, match=f"interrupted run with other settings .other {split}_examples"):
        trainer.finetune()


def test_another_number_of_processes_does_not_go_on(tmp_path):
    killed(tmp_path, 12)
    settings = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "world_size": 2}))
    with pytest.raises(InputError, match="world_size 2 -> 1"):
        finetune(tmp_path)


def test_the_model_it_starts_from_counts_by_its_content(tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    (start / "model_state.pdparams").write_bytes(b"weights")
    (start / "vocab.txt").write_text("[PAD]\n")
    trainer = trainer_in(tmp_path / "m")
    trainer.origin = {"model_name_or_path": str(start)}
    before = deciding_settings(trainer)
    trainer.origin = {"model_name_or_path": str(shutil.copytree(start, tmp_path / "copy"))}
    (tmp_path / "copy" / "results.json").write_text("{}")  # not what a model is loaded from
    assert deciding_settings(trainer) == before
    (tmp_path / "copy" / "model_state.pdparams").write_bytes(b"wEights")
    assert what_changed(before, deciding_settings(trainer)) == "other model"
    trainer.origin = {"model_name_or_path": "ernie-3.0-medium-zh"}
    assert deciding_settings(trainer)["model"] == "ernie-3.0-medium-zh"


# ---------------------------------------------------------------- being done


def test_a_finished_training_is_not_repeated_unless_asked_for(tmp_path, capsys):
    first = finetune(tmp_path)
    again = trainer_in(tmp_path)
    for parameter in again.model.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    again.origin = first.origin
    report = results(tmp_path)
    again.model.set_state_dict(trainer_in(tmp_path).model.state_dict())
    again.finetune()
    assert again.counter.steps == 0 and "--overwrite_output_dir would train it anew" in capsys.readouterr().out
    assert results(tmp_path) == report
    for name, value in again.model.state_dict().items():  # what is evaluated and exported next is the trained one
        np.testing.assert_array_equal(value.numpy(), weights(tmp_path)[name])
    assert finetune(tmp_path, overwrite_output_dir=True).counter.steps == 40
    assert finetune(tmp_path, seed=8).counter.steps == 40


def test_a_folder_whose_model_is_another_by_now_is_trained_in(tmp_path):
    finetune(tmp_path)
    other = weights(tmp_path)
    paddle.save(
        {key: paddle.to_tensor(value * 2) for key, value in other.items()}, str(tmp_path / "model_state.pdparams")
    )
    assert finetune(tmp_path).counter.steps == 40


def test_a_model_trained_in_its_own_folder_is_trained_once_by_one_command(tmp_path):
    def in_place(**arguments):
        trainer = trainer_in(tmp_path, **arguments)
        trainer.origin = {"model_name_or_path": str(tmp_path)}
        return trainer

    finetune(tmp_path)  # of the same settings, but not from its own model
    trainer = in_place(kill_before=12)
    with pytest.raises(Killed):
        trainer.finetune()
    for steps in (40 - 10 * 1 - 2, 0):  # goes on; then it is done
        trainer = in_place()
        trainer.finetune()
        assert (trainer.counter.steps < 40) and (trainer.counter.steps == 0) == (steps == 0)
    trainer = in_place(seed=9)
    trainer.finetune()
    assert trainer.counter.steps == 40


def test_a_results_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "results.json").write_text("[1, 2")
    with pytest.raises(InputError, match="results.json is not what a run wrote"):
        update_results(tmp_path, trainer_in(tmp_path / "m").inference_config, None, {})


# ---------------------------------------------------------------- what a run costs


def test_evaluations_and_states_of_a_run_are_bounded():
    """CLUEWSC2020 by config.yml: 1,244 examples in batches of 16, 50 epochs."""
    assert default_eval_steps(78, 3900) == 98 and 3900 / 98 < 40
    assert default_eval_steps(1668, 3 * 1668) == 417  # TNEWS: four times an epoch, as ever
    assert default_eval_steps(1, 3) == 1
    for eval_steps, total in ((98, 3900), (417, 5004), (1, 40), (7, 90), (5, 3), (1, 100_000)):
        evaluated = [*range(eval_steps, total, eval_steps), total]
        assert sum(is_resumable_step(step, eval_steps, total) for step in evaluated) <= 10
