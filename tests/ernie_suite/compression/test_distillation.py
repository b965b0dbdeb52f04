"""The training of students: its steps, its best states, several processes, and going on after a kill."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from ernie_suite.compression.config import CompressConfig, DynabertConfig
from ernie_suite.compression.distillation import _take_step, batches_of_steps, train_students
from ernie_suite.compression.importance import compute_importance
from ernie_suite.compression.pipeline import export
from ernie_suite.compression.subnetworks import make_grid, narrow_model
from ernie_suite.compression.supernet import SubNetworkStudents, Supernet
from ernie_suite.compression.work import WorkFolder

import numpy as np
import paddle
import pytest

from ernie_inference.errors import InputError
from tests.support.scripts import ROOT, run_script
from tests.support.trainers import DEFAULTS, HEADS, LAYERS, NEURONS, exported_parameters, tiny_trainer

HALF, THREE_QUARTERS, FULL = make_grid([1 / 2, 3 / 4, 1], [1], LAYERS * [(HEADS, NEURONS)])


@pytest.mark.parametrize("accumulation, steps_of_epoch, batches_of_step", [(1, 3, 1), (2, 1, 2), (5, 1, 3)])
def test_batches_depend_on_seed_and_step_alone(tmp_path, accumulation, steps_of_epoch, batches_of_step):
    """Also where a step has several of the three batches of an epoch, or would have more."""

    def ids(step, seed=7):
        trainer = tiny_trainer(tmp_path, seed=seed, gradient_accumulation_steps=accumulation)
        steps = batches_of_steps(trainer.get_train_dataloader(), accumulation, step, 8)
        return [[batch["input_ids"].numpy().tolist() for batch in batches] for batches in steps]

    whole = ids(0)
    assert [len(batches) for batches in whole] == 8 * [batches_of_step]
    assert ids(5) == whole[5:] and ids(8) == []
    assert whole[:steps_of_epoch] != whole[steps_of_epoch : 2 * steps_of_epoch], "each epoch has an order of its own"
    assert ids(0, seed=8) != whole


def test_every_epoch_has_all_texts(trainer):
    epochs = list(batches_of_steps(trainer.get_train_dataloader(), 1, 0, 6))
    expected = sorted(tuple(trainer.train_dataset[i]["input_ids"]) for i in range(24))
    for epoch in (epochs[:3], epochs[3:]):
        rows = [row[row != 0].tolist() for (batch,) in epoch for row in batch["input_ids"].numpy()]
        assert sorted(map(tuple, rows)) == expected


def students_for(trainer, *subnetworks):
    importance = compute_importance(trainer, dev_batches(trainer)[:1])
    return SubNetworkStudents(trainer.model, Supernet(trainer.model, importance), subnetworks)


def dev_batches(trainer):
    return list(paddle.io.DataLoader(trainer.eval_dataset, batch_size=8, collate_fn=trainer.data_collator))


@pytest.fixture
def students_of(tmp_path):
    """(trainer, sub-networks of its model), without dropout."""

    def get(*subnetworks, **arguments):
        subnetworks = subnetworks or [HALF]
        trainer = tiny_trainer(tmp_path, **{"dropout": 0.0, **arguments})
        return trainer, students_for(trainer, *subnetworks)

    return get


def train(trainer, students):
    """{name: best state}."""
    folder = Path(trainer.args.output_dir)
    return train_students(trainer, students, WorkFolder(str(folder), folder, {}))


def test_a_step_follows_the_mean_of_its_batches_gradients(students_of):
    def change(numbers):
        trainer, students = students_of()
        net = students.net
        batches = dev_batches(trainer)
        before = net.weights()["classifier.weight"].numpy()
        trainer.lr_scheduler = paddle.optimizer.lr.StepDecay(0.1, 100)
        trainer.optimizer = paddle.optimizer.SGD(trainer.lr_scheduler, net.model.parameters())
        loss = _take_step(trainer, students, [batches[number] for number in numbers], 0)
        return net.weights()["classifier.weight"].numpy() - before, loss

    (first, first_loss), (second, second_loss), (both, loss) = change([0]), change([1]), change([0, 1])
    assert not np.allclose(first, second, rtol=0.05)
    assert both == pytest.approx((first + second) / 2, rel=1e-3, abs=1e-7)
    assert loss == pytest.approx((first_loss + second_loss) / 2)


def one_step(trainer, students, numbers):
    """One step of plain gradient descent on some dev batches; returns the model's weights."""
    trainer.lr_scheduler = paddle.optimizer.lr.StepDecay(0.1, 100)
    trainer.optimizer = paddle.optimizer.SGD(trainer.lr_scheduler, students.model.parameters())
    batches = dev_batches(trainer)
    _take_step(trainer, students, [batches[number] for number in numbers], 0)
    return {name: value.numpy() for name, value in students.net.weights().items()}


TWO_PROCESSES = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np, paddle
from ernie_suite.compression.config import CompressConfig, DynabertConfig
from tests.ernie_suite.compression.test_distillation import HALF, one_step, students_for
from tests.support.trainers import tiny_trainer
folder = sys.argv[1]
trainer = tiny_trainer(folder + "/state", dropout=0.0)
rank = trainer.args.process_index
np.savez(folder + "/step" + str(rank), **one_step(trainer, students_for(trainer, HALF), [rank]))
config = CompressConfig(DynabertConfig([0.5], [0.5], drop_layers="importance"))
report = trainer.compress("x", folder + "/out", quantization=False, compress_config=config)
assert bool(report) == (rank == 0)
"""


def test_two_processes_average_their_gradients_and_leave_one_result(tmp_path, students_of):
    (tmp_path / "program.py").write_text(TWO_PROCESSES)
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", tmp_path / "log"]
    done = run_script(*launch, tmp_path / "program.py", tmp_path)
    alone = one_step(*students_of(HALF), [0, 1])
    for rank in (0, 1):
        found = np.load(tmp_path / f"step{rank}.npz")
        for name, value in alone.items():
            assert np.allclose(found[name], value, atol=1e-5), name
    assert done.stdout.count("report: ") == 1
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["models"]
    assert {row["model"] for row in rows} == {"inference/infer", "0.5x0.5/float32"}


def test_losses_are_computed_in_the_precision_of_the_trainer(students_of, monkeypatch):
    """Which on processors is float32 always, so that what is seen is where the trainer's context holds."""
    trainer, students = students_of(HALF, FULL)
    inside = [False]

    @contextmanager
    def autocast():
        inside[0] = True
        yield
        inside[0] = False

    seen = []
    for model in (students.teacher, students.model):
        model.register_forward_post_hook(lambda *_: seen.append(inside[0]))
    monkeypatch.setattr(trainer, "autocast_smart_context_manager", autocast)
    one_step(trainer, students, [0, 1])
    assert seen == 2 * 3 * [True] and not inside[0]


class Scaler:
    """As paddle.amp.GradScaler, which does nothing on processors."""

    def __init__(self, parameters):
        self.parameters = parameters
        self.updates = 0

    def scale(self, loss):
        return loss * 1024

    def step(self, optimizer):
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.set_value(parameter.grad / 1024)
        optimizer.step()

    def update(self):
        self.updates += 1


def test_scaled_losses_make_the_same_step(students_of, monkeypatch):
    expected = one_step(*students_of(), [0, 1])
    trainer, students = students_of()
    monkeypatch.setattr(trainer, "do_grad_scaling", True)
    monkeypatch.setattr(trainer, "scaler", Scaler(students.model.parameters()), raising=False)
    found = one_step(trainer, students, [0, 1])
    assert trainer.scaler.updates == 1
    assert all(np.allclose(found[name], value, atol=1e-6) for name, value in expected.items())


def test_epochs_are_counted_in_steps_of_several_batches(students_of):
    """As in fine-tuning: 24 texts are three batches of 8, of which two make a step, and the third makes none."""
    flags = {"gradient_accumulation_steps": 2, "max_steps": -1, "num_train_epochs": 3, "eval_steps": 100}
    assert train(*students_of(**flags))["0.5"].step == 3


def test_tokens_are_dropped_as_in_fine_tuning(students_of):
    trainer, students = students_of(HALF, FULL, token_dropout=0.5)
    vocab, seen = trainer.task.tokenizer.vocab, []
    losses = students.losses
    students.losses = lambda batch: seen.append(batch["input_ids"].numpy()) or losses(batch)
    train(trainer, students)
    assert len(seen) == DEFAULTS["max_steps"], "the teacher and all students of a step read the same tokens"
    tokens = np.concatenate([ids[ids > vocab["[SEP]"]] for ids in seen])
    assert 0.4 < (tokens == vocab["[MASK]"]).mean() < 0.6
    assert all((ids[:, 0] == vocab["[CLS]"]).all() for ids in seen)


@pytest.mark.parametrize("patience, evaluations, best_step", [(2, 5, 3), (1, 2, 1), (None, 6, 6)])
def test_early_stopping_ends_after_evaluations_without_a_better_one(students_of, patience, evaluations, best_step):
    trainer, students = students_of(max_steps=6, eval_steps=1, early_stopping_patience=patience)
    scores = [0.5, 0.4, 0.6, 0.6, 0.1, 0.9]
    left = iter(scores)
    trainer.metric = lambda examples, results: {"accuracy": next(left)}
    assert train(trainer, students)["0.5"].step == best_step
    assert len(scores) - len(list(left)) == evaluations


def test_a_loss_that_is_no_number_is_said(students_of):
    trainer, students = students_of()
    students.model.classifier.weight.set_value(students.model.classifier.weight * float("inf"))
    wanted = "the loss of the distillation is nan after 0 steps: give a smaller --learning_rate"
    with pytest.raises(InputError, match=wanted):
        train(trainer, students)


def test_fewer_texts_than_a_whole_batch_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=4, dataloader_drop_last=True)
    with pytest.raises(InputError, match="4 training inputs fill no batch of 8"):
        trainer.compress("x", str(tmp_path / "out"))


LONGER = {"max_steps": 12, "eval_steps": 2}
TWO_WIDTHS = CompressConfig(DynabertConfig([0.5, 0.75]))
PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from tests.support.trainers import tiny_trainer
from ernie_suite.compression.config import CompressConfig, DynabertConfig
config = CompressConfig(DynabertConfig({TWO_WIDTHS.prune_config.width_mult_list}))
for folder in sys.argv[1:]:
    trainer = tiny_trainer(folder + "/state", **{LONGER})
    trainer.metric = lambda examples, results: {{"accuracy": time.time()}}  # the last state is the best
    trainer.compress("x", folder, quantization=False, compress_config=config)
"""


def test_a_killed_run_goes_on_to_the_same_result(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # several threads add up in any order
    command = [sys.executable, "-c", PROGRAM, str(killed)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    output_dir = killed / "state"  # the trainer's

    def states():
        return list(output_dir.glob("compress_state-*/training-*.pdparams"))

    while not states() and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert states() and not (killed / "0.5").exists(), "it ended before it was killed"
    shutil.rmtree(killed / "inference")  # as one does who starts anew

    again = subprocess.run([*command, str(whole)], env=environment, capture_output=True, text=True, check=True)
    assert again.stdout.count("distillation goes on from step") == 1
    for model in ("0.5/float32", "0.75/float32", "inference/infer"):
        assert exported_parameters(killed / model) == exported_parameters(whole / model), model
    assert not list(output_dir.glob("compress_state-*"))


def test_a_training_that_ends_before_its_first_evaluation_is_evaluated_and_exported(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", max_steps=1, eval_steps=100)
    report = trainer.compress("x", str(tmp_path / "out"), quantization=False, compress_config=CompressConfig())
    assert [row["model"] for row in report["models"] if row["width"]] == ["0.75/float32"]
    untrained = narrow_model(trainer.model, THREE_QUARTERS, trainer.model.state_dict())
    export(trainer, untrained, tmp_path / "untrained" / "model")
    assert exported_parameters(tmp_path / "out/0.75/float32") != exported_parameters(tmp_path / "untrained/model")


@pytest.mark.parametrize("flags", [{"num_train_epochs": 0}, {"num_train_epochs": 0.1, "max_steps": -1}])
def test_no_training_step_is_refused(tmp_path, flags):
    with pytest.raises(InputError, match="num_train_epochs"):
        tiny_trainer(tmp_path / "state", **flags).compress("x", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_going_on_does_not_depend_on_the_names_that_paddle_counts_up(students_of):
    """In a process that has made other models before, the same parameters have other names."""

    def trained(names, scores):  # rising, so that the last state is the best; StopIteration ends it
        left = iter(scores)
        with paddle.utils.unique_name.guard(names):
            trainer, students = students_of(max_steps=3, eval_steps=1)
        trainer.metric = lambda examples, results: {"accuracy": next(left)}
        with paddle.utils.unique_name.guard("compression_"):
            return train(trainer, students)["0.5"].weights["classifier.weight"].numpy()

    whole = trained("whole_", [0.1, 0.2, 0.3])
    shutil.rmtree(Path(students_of()[0].args.output_dir))
    with pytest.raises(StopIteration):
        trained("before_", [0.1, 0.2])
    assert np.array_equal(trained("after_", [0.3]), whole)


def test_the_number_of_states_that_are_written_is_bounded(students_of):
    class CountingFolder(WorkFolder):
        steps = []

        def save(self, state):
            self.steps.append(state["step"])
            super().save(state)

    trainer, students = students_of(max_steps=31, eval_steps=1)
    folder = Path(trainer.args.output_dir)
    train_students(trainer, students, CountingFolder(str(folder), folder, {}))
    assert CountingFolder.steps == [4, 8, 12, 16, 20, 24, 28, 31]
