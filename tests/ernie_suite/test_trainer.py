"""The trainer: what is no number is said, and nothing of it is kept; precisions, and steps."""

from pathlib import Path

from ernie_suite.features import Features

import paddle
import pytest

from ernie_inference.errors import InputError
from tests.support.runs import finetune, results, trainer_in

pytestmark = pytest.mark.usefixtures("names_of_its_own")


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
