"""Pruning: importance, narrower shapes, and the training that goes on after a kill to the same result."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ernie_suite.compression.config import CompressConfig, DynabertConfig, parse_share
from ernie_suite.compression.distillation import _take_step, batches_of_steps, train_students
from ernie_suite.compression.importance import compute_importance
from ernie_suite.compression.pipeline import export, importance_batches
from ernie_suite.compression.subnetworks import make_grid, narrow_model
from ernie_suite.compression.supernet import SubNetworkStudents, Supernet, soft_cross_entropy
from ernie_suite.compression.work import WorkFolder

import numpy as np
import paddle
import pytest

from ernie_inference.errors import InputError
from tests.support.scripts import ROOT
from tests.support.trainers import HEADS, HIDDEN, LAYERS, NEURONS, exported_parameters, tiny_trainer

HALF, THREE_QUARTERS, FULL = make_grid([1 / 2, 3 / 4, 1], [1], LAYERS * [(HEADS, NEURONS)])


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return tiny_trainer(tmp_path_factory.mktemp("pruning"), dropout=0.0)


@pytest.fixture(scope="module")
def importance(trainer):
    return compute_importance(trainer, trainer.get_eval_dataloader(trainer.eval_dataset))


def first_batch(trainer):
    return next(iter(trainer.get_eval_dataloader(trainer.eval_dataset)))


@pytest.fixture
def batch(trainer):
    return first_batch(trainer)


def logits_of(model, batch):
    model.eval()
    return model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"]).numpy()


@pytest.mark.parametrize("given, value", [(0.75, 0.75), ("3/4", 0.75), ("0.5", 0.5), (1, 1.0)])
def test_widths_are_numbers_or_fractions(given, value):
    assert parse_share(given, "width") == value


@pytest.mark.parametrize("wrong", [0, 1.5, -0.5, "0/4", "5/4", "x", "1/0", float("nan"), None])
def test_a_width_outside_0_to_1_is_refused(wrong):
    with pytest.raises(InputError, match="width"):
        DynabertConfig(width_mult_list=[wrong])


@pytest.mark.parametrize("layers_heads, width, kept", [(12, 3 / 4, 9), (12, 2 / 3, 8), (12, 0.667, 8), (16, 3 / 4, 12)])
def test_widths_keep_whole_heads(layers_heads, width, kept):
    (found,) = make_grid([width], [1], 2 * [(layers_heads, 3072)])
    assert found.layers == tuple((index, kept, 3072 * kept // layers_heads) for index in range(2))


@pytest.mark.parametrize("width, nearest", [(0.7, "8/12 or 9/12"), (0.01, "give 1/12"), (0.99, "11/12 or 12/12")])
def test_a_width_between_two_heads_names_the_nearest(width, nearest):
    with pytest.raises(InputError, match=nearest):
        make_grid([width], [1], [(12, 3072)])


def test_importance_of_heads_is_the_gradient_of_their_masks(trainer, importance):
    """Against a finite difference: a head's mask is a factor on what the output projection reads of it."""
    batches = list(trainer.get_eval_dataloader(trainer.eval_dataset))

    def losses(layer, head, factor):
        projection = trainer.model.base_model.encoder.layers[layer].self_attn.out_proj.weight
        before = projection.clone()
        rows = slice(head * HIDDEN // HEADS, (head + 1) * HIDDEN // HEADS)
        changed = before.numpy()
        changed[rows] *= factor
        projection.set_value(changed)
        found = [float(trainer.compute_loss(trainer.model, dict(batch))) for batch in batches]
        projection.set_value(before)
        return np.array(found)

    trainer.model.eval()
    for layer in range(LAYERS):
        for head in range(HEADS):
            expected = np.abs((losses(layer, head, 1.01) - losses(layer, head, 0.99)) / 0.02).sum()
            assert importance[0][layer, head] == pytest.approx(expected, rel=0.05, abs=2e-4)


def test_importance_does_not_depend_on_what_came_before(tmp_path):
    """On dropout that was on, and on the gradients of a run before."""
    trainer = tiny_trainer(tmp_path, dropout=0.3)
    loader = trainer.get_eval_dataloader(trainer.eval_dataset)
    first = compute_importance(trainer, loader)
    trainer.model.train()
    second = compute_importance(trainer, loader)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    half = compute_importance(trainer, list(loader)[:1])
    assert not any(np.allclose(a, b) for a, b in zip(first, half)), "it does not depend on the batches either"


def test_importance_is_of_batches_of_the_training_size(tmp_path):
    """Then --per_device_eval_batch_size changes nothing."""
    trainer = tiny_trainer(tmp_path, per_device_eval_batch_size=5, per_device_train_batch_size=10)
    assert [len(batch["input_ids"]) for batch in importance_batches(trainer)] == [10, 10, 4]


def test_reordering_changes_nothing_at_full_width(trainer, importance, batch):
    net = Supernet(trainer.model, importance)
    narrow = narrow_model(trainer.model, FULL, net.weights())
    assert np.allclose(logits_of(narrow, batch), logits_of(trainer.model, batch), atol=1e-5)
    assert not np.allclose(
        net.weights()["ernie.encoder.layers.0.linear1.weight"], trainer.model.ernie.encoder.layers[0].linear1.weight
    )


def test_a_narrow_model_is_the_supernet_at_that_width(trainer, importance, batch):
    net = Supernet(trainer.model, importance)
    net.model.eval()
    with net.running(HALF) as model:
        inside = logits_of(model, batch)
    narrow = narrow_model(trainer.model, HALF, net.weights())
    assert np.allclose(logits_of(narrow, batch), inside, atol=1e-5)


def test_parameters_are_what_the_width_says(trainer, importance):
    narrow = narrow_model(trainer.model, HALF, Supernet(trainer.model, importance).weights())
    inner = HALF.layers[0].heads * HIDDEN // HEADS
    gone_heads = (HIDDEN - inner) * (4 * HIDDEN + 3)
    gone_neurons = (NEURONS - HALF.layers[0].neurons) * (2 * HIDDEN + 1)
    count = [sum(p.size for p in model.parameters()) for model in (trainer.model, narrow)]
    assert count[0] - count[1] == LAYERS * (gone_heads + gone_neurons)


def test_the_most_important_neurons_are_kept(trainer, importance):
    heads, neurons = importance
    net = Supernet(trainer.model, importance)
    kept = net.weights()["ernie.encoder.layers.1.linear1.bias"].numpy()[: HALF.layers[0].neurons]
    original = trainer.model.ernie.encoder.layers[1].linear1
    order = np.argsort(-neurons[1])[: HALF.layers[0].neurons]
    weights = net.weights()["ernie.encoder.layers.1.linear1.weight"].numpy()[:, : HALF.layers[0].neurons]
    assert np.array_equal(np.sort(weights, axis=None), np.sort(original.weight.numpy()[:, order], axis=None))
    assert np.array_equal(kept, original.bias.numpy()[order])


def test_distillation_at_full_width_starts_at_the_teacher(trainer, importance, batch):
    net = Supernet(trainer.model, importance)
    net.model.eval()
    logits = trainer.model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    entropy = soft_cross_entropy(logits, logits, batch["input_ids"] != 0)
    half, full = map(float, SubNetworkStudents(trainer.model, net, [HALF, FULL]).losses(batch))
    assert full == pytest.approx(float(entropy), abs=1e-5)
    assert half > float(entropy)


def test_soft_cross_entropy_leaves_padding_out():
    teacher, logits = paddle.randn([2, 3, 4]), paddle.randn([2, 3, 4])
    mask = paddle.to_tensor([[True, True, False], [True, False, False]])
    changed = logits.numpy()
    changed[0, 2] += 5
    assert float(soft_cross_entropy(logits, teacher, mask)) == float(
        soft_cross_entropy(paddle.to_tensor(changed), teacher, mask)
    )


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


@pytest.fixture
def students_of(tmp_path):
    """(trainer, sub-networks of its model), without dropout."""

    def get(*subnetworks, **arguments):
        subnetworks = subnetworks or [HALF]
        trainer = tiny_trainer(tmp_path, **{"dropout": 0.0, **arguments})
        net = Supernet(trainer.model, compute_importance(trainer, [first_batch(trainer)]))
        return trainer, SubNetworkStudents(trainer.model, net, subnetworks)

    return get


def train(trainer, students):
    """{name: best state}."""
    folder = Path(trainer.args.output_dir)
    return train_students(trainer, students, WorkFolder(str(folder), folder, {}))


def test_a_step_follows_the_mean_of_its_batches_gradients(students_of):
    def change(numbers):
        trainer, students = students_of()
        net = students.net
        batches = list(trainer.get_eval_dataloader(trainer.eval_dataset))
        before = net.weights()["classifier.weight"].numpy()
        trainer.lr_scheduler = paddle.optimizer.lr.StepDecay(0.1, 100)
        trainer.optimizer = paddle.optimizer.SGD(trainer.lr_scheduler, net.model.parameters())
        loss = _take_step(trainer, students, [batches[number] for number in numbers], 0)
        return net.weights()["classifier.weight"].numpy() - before, loss

    (first, first_loss), (second, second_loss), (both, loss) = change([0]), change([1]), change([0, 1])
    assert not np.allclose(first, second, rtol=0.05)
    assert both == pytest.approx((first + second) / 2, rel=1e-3, abs=1e-7)
    assert loss == pytest.approx((first_loss + second_loss) / 2)


def test_epochs_are_counted_in_steps_of_several_batches(students_of):
    """As in fine-tuning: 24 texts are three batches of 8, of which two make a step, and the third makes none."""
    flags = {"gradient_accumulation_steps": 2, "max_steps": -1, "num_train_epochs": 3, "eval_steps": 100}
    assert train(*students_of(**flags))["0.5"].step == 3


def test_tokens_are_dropped_as_in_fine_tuning(students_of):
    trainer, students = students_of(HALF, FULL, token_dropout=0.5)
    vocab, seen = trainer.task.tokenizer.vocab, []
    for model in (students.teacher, students.model):
        model.register_forward_pre_hook(
            lambda _, __, inputs: seen.append(inputs["input_ids"].numpy()), with_kwargs=True
        )
    train(trainer, students)
    tokens = np.concatenate([ids[ids > vocab["[SEP]"]] for ids in seen])
    assert 0.4 < (tokens == vocab["[MASK]"]).mean() < 0.6
    assert np.array_equal(seen[0], seen[1]), "the widths of a step learn from the same tokens"
    assert all((ids[:, 0] == vocab["[CLS]"]).all() for ids in seen)


@pytest.mark.parametrize("patience, evaluations, best_step", [(2, 5, 3), (1, 2, 1), (None, 6, 6)])
def test_early_stopping_ends_after_evaluations_without_a_better_one(supernet, patience, evaluations, best_step):
    trainer, students = students_of(max_steps=6, eval_steps=1, early_stopping_patience=patience)
    scores = [0.5, 0.4, 0.6, 0.6, 0.1, 0.9]
    left = iter(scores)
    trainer.metric = lambda examples, results: {"accuracy": next(left)}
    assert train(trainer, students)["0.5"].step == best_step
    assert len(scores) - len(list(left)) == evaluations


def test_a_loss_that_is_no_number_is_said(students_of):
    trainer, students = students_of()
    students.model.classifier.weight.set_value(students.model.classifier.weight * float("inf"))
    with pytest.raises(InputError, match="the loss of pruning is nan after 0 steps: give a smaller --learning_rate"):
        train(trainer, students)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_refused(tmp_path, precision):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    setattr(trainer.args, precision, True)  # which a machine with a GPU takes
    with pytest.raises(InputError, match=f"leave out --{precision}"):
        trainer.compress("x", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


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
    assert again.stdout.count("pruning goes on from step") == 1
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
    shutil.rmtree(Path(supernet()[0].args.output_dir))
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
    train_widths(trainer, net, [HALF], CountingFolder(str(folder), folder, {}))
    assert CountingFolder.steps == [4, 8, 12, 16, 20, 24, 28, 31]
