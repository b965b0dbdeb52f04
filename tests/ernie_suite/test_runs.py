"""A run and its folder: going on, being done, diverging, and what it writes on the way."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from ernie_suite.arguments import FinetuneArguments
from ernie_suite.data import find_dataset
from ernie_suite.export import write_predictions
from ernie_suite.features import Features
from ernie_suite.runs import (
    deciding_settings,
    default_eval_steps,
    is_resumable_step,
    resumable_checkpoints,
    update_results,
    what_changed,
)
from ernie_suite.sampler import LengthGroupedSampler
from ernie_suite.scripts import check_processes

import numpy as np
import paddle
import pytest
from paddle.utils import unique_name
from paddlenlp.trainer import TrainerCallback
from paddlenlp.transformers import ErnieTokenizer

from ernie_inference.errors import InputError
from tests.support.trainers import tiny_trainer


class Killed(Exception):
    pass


class KillBefore(TrainerCallback):
    """Ends a training before its step number `step` + 1, as a kill does: nothing is tidied up."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


class CountSteps(TrainerCallback):
    def __init__(self):
        self.steps = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1


@pytest.fixture(autouse=True)
def names_of_its_own():
    """Paddle counts up the names of parameters within a process, and an optimizer's state goes by them."""
    with unique_name.guard():
        yield


def trainer_in(folder, kill_before=None, **arguments):
    """A tiny trainer as a process of its own makes it."""
    unique_name.switch()
    trainer = tiny_trainer(folder, **{"max_steps": 40, "save_total_limit": 1, **arguments})
    folder.mkdir(exist_ok=True, parents=True)
    vocab = folder.with_name(f"{folder.name}-vocab.txt")
    ids = trainer.task.tokenizer.vocab
    vocab.write_text("".join(f"{token}\n" for token in sorted(ids, key=ids.get)), encoding="utf-8")
    trainer.tokenizer = ErnieTokenizer(str(vocab))
    trainer.counter = CountSteps()
    trainer.add_callback(trainer.counter)
    if kill_before is not None:
        trainer.add_callback(KillBefore(kill_before))
    return trainer


def finetune(folder, **arguments):
    trainer = trainer_in(folder, **arguments)
    trainer.finetune()
    return trainer


def killed(folder, kill_before, **arguments):
    with pytest.raises(Killed):
        finetune(folder, kill_before=kill_before, **arguments)


def results(folder):
    return json.loads((folder / "results.json").read_text())["training"]


def weights(folder):
    return {key: value.numpy() for key, value in paddle.load(str(folder / "model_state.pdparams")).items()}


def learnt(report, after=0):
    """What a training computed after a step, without how long it took."""
    keys = ("step", "loss", "learning_rate", "eval_loss", "eval_accuracy")
    return [{key: entry.get(key) for key in keys} for entry in report["history"] if entry["step"] > after]


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("arguments", [{}, {"gradient_accumulation_steps": 2}])
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


def test_a_run_writes_weights_when_they_are_the_best_and_ten_states_to_go_on_from(tmp_path):
    def written():
        return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])

    trainer = trainer_in(tmp_path, max_steps=200, eval_steps=None, learning_rate=1e-2)
    before = written()
    trainer.finetune()
    of_run = written() - before
    scores = [entry["eval_accuracy"] for entry in results(tmp_path)["history"] if "eval_accuracy" in entry]
    gains = sum(score > max(scores[:i], default=-1) for i, score in enumerate(scores))
    size = (tmp_path / "model_state.pdparams").stat().st_size
    assert len(scores) == 40 and gains > 1
    assert of_run < 1.3 * size * (gains + 10 * 3 + 1)  # weights alone; weights and Adam's two moments; the result


# ---------------------------------------------------------------- predictions


HALF = "\ud83d"  # of an emoji, cut in two by who made the data; JSON can hold it, UTF-8 cannot


def test_half_an_emoji_does_not_lose_the_predictions(tmp_path):
    cases = {
        "tnews": ([{"id": HALF}, {"id": 1}], [{"label": "100"}, {"label": f"好{HALF}"}]),
        "msra_ner": ([{"tokens": ["好", HALF]}], [{"entities": [{"label": "PER", "pos": [1, 1]}]}]),
        "cmrc2018": ([{"id": f"q{HALF}"}, {"id": "r"}], [{"answer": f"北京{HALF}"}, {"answer": "上海"}]),
    }
    written = {}
    for name, (examples, answers) in cases.items():
        spec = find_dataset(name)
        write_predictions(tmp_path / spec.submission, spec.family, examples, answers)
        written[name] = (tmp_path / spec.submission).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in written["tnews"].splitlines()]
    assert lines == [{"id": HALF, "label": "100"}, {"id": 1, "label": f"好{HALF}"}]
    assert written["msra_ner"] == "好\x02\\ud83d\tO\x02B-PER\n"
    assert json.loads(written["cmrc2018"]) == {f"q{HALF}": f"北京{HALF}", "r": "上海"}


# ---------------------------------------------------------------- what is no number


def test_a_training_that_diverges_says_so_and_keeps_what_was_there(tmp_path):
    finetune(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("[!s]*") if path.is_file()}
    with pytest.raises(
        InputError, match=r"loss is nan at step \d+, with --learning_rate 1e\+30.*lower --learning_rate"
    ):
        finetune(tmp_path, learning_rate=1e30, eval_steps=20, lr_scheduler_type="constant")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("[!s]*") if path.is_file()} == before


def test_a_training_whose_last_step_diverges_has_no_result(tmp_path):
    """The loss is still a number, the weights are not: the evaluation tells."""
    with pytest.raises(InputError, match="logits are not finite at step 1"):
        finetune(tmp_path, learning_rate=1e30, max_steps=1, eval_steps=1)
    assert not (tmp_path / "results.json").exists() and not (tmp_path / "model_state.pdparams").exists()


def test_a_model_with_broken_weights_is_not_evaluated(tmp_path):
    trainer = trainer_in(tmp_path)
    parameter = trainer.model.classifier.weight
    parameter.set_value(paddle.full_like(parameter, float("nan")))
    with pytest.raises(InputError, match="weights are broken"):
        trainer.evaluate_dev()
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_logits_in_half_precision_are_read_as_the_numbers_they_are(tmp_path, dtype):
    trainer = finetune(tmp_path, learning_rate=1e-2)
    unlabelled = Features(trainer.family, trainer.task, trainer.train_dataset.examples, labelled=False)
    expected = trainer.predict_results(unlabelled)
    trainer.model.register_forward_post_hook(lambda layer, inputs, logits: logits.astype(dtype))
    found = trainer.predict_results(unlabelled)
    assert len({answer["label"] for answer in expected}) == 2
    assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
    for ours, theirs in zip(found, expected):
        assert ours["confidence"] == pytest.approx(theirs["confidence"], abs=0.01)


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dataloader_drop_last": True, "per_device_train_batch_size": 64}, "24 training inputs fill no batch of 64"),
        ({"num_train_epochs": 0.01, "max_steps": -1}, "--num_train_epochs 0.01 of 3 steps is no step"),
    ],
)
def test_a_training_without_a_step_is_refused_before_anything_is_written(tmp_path, arguments, said):
    with pytest.raises(InputError, match=said):
        finetune(tmp_path / "m", **arguments)
    assert not list((tmp_path / "m").iterdir())


def test_fewer_examples_than_processes_are_refused():
    check_processes({"train": [{}] * 2, "dev": [{}] * 2}, 2)
    with pytest.raises(InputError, match="3 processes for 2 dev examples"):
        check_processes({"train": [{}] * 9, "dev": [{}] * 2}, 3)


@pytest.mark.parametrize("accumulated", [1, 2, 3, 8])
def test_an_epoch_is_of_whole_steps(tmp_path, accumulated):
    features = trainer_in(tmp_path, examples=50).train_dataset
    sampler = LengthGroupedSampler(features, 8, 1, 1, 0, accumulated=accumulated)
    batches = list(sampler)
    assert len(batches) == len(sampler) == {1: 7, 2: 6, 3: 6, 8: 7}[accumulated]
