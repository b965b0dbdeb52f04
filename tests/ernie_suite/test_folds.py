"""k-fold training: folds are disjoint, also by text, and complete; each is a run; one model comes of them all."""

import json
from collections import Counter

from ernie_suite.features import Features
from ernie_suite.folds import FoldedTrainer, mean_weights, split_into_folds
from ernie_suite.runs import resumable_checkpoints
from ernie_suite.same_texts import comparable
from ernie_suite.tasks.multi_label import MULTI_LABEL
from ernie_suite.tasks.seq_cls import SEQ_CLS

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig
from tests.support.runs import KillBefore, Killed, trainer_in
from tests.support.trainers import weights

pytestmark = pytest.mark.usefixtures("names_of_its_own")

EXAMPLES = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.sampled_from("一二三四五六七八九十甲乙丙丁") | st.sampled_from(["一。", " 二", "A", "a!"]),
            "text_pair": st.none() | st.sampled_from("一二金木水火土"),
            "label": st.sampled_from("xyz"),
        }
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(EXAMPLES, st.integers(2, 5), st.integers(0, 3))
def test_folds_are_disjoint_also_by_text_and_complete(examples, count, seed):
    try:
        folds = split_into_folds(examples, SEQ_CLS, count, seed)
    except InputError:
        return
    assert sorted(i for fold in folds for i in fold) == list(range(len(examples))) and all(map(len, folds))
    texts = [{comparable(text) for i in fold for text in SEQ_CLS.texts_of(examples[i])} for fold in folds]
    assert sum(map(len, texts)) == len(set().union(*texts))
    again = split_into_folds(examples, SEQ_CLS, count, seed)
    assert all((one == other).all() for one, other in zip(folds, again))


def test_folds_have_as_much_of_each_label():
    examples = [{"text": str(i), "text_pair": None, "label": "xxxyz"[i % 5]} for i in range(100)]
    folds = split_into_folds(examples, SEQ_CLS, 4, seed=0)
    assert [Counter(examples[i]["label"] for i in fold) for fold in folds] == [{"x": 15, "y": 5, "z": 5}] * 4
    assert any((folds[0] != other).any() for other in [split_into_folds(examples, SEQ_CLS, 4, seed=1)[0]])


def test_more_folds_than_texts_are_refused():
    examples = [{"text": text, "text_pair": None, "label": "x"} for text in ("好", "好！", "坏")]
    with pytest.raises(InputError, match="^--num_folds 3: the training set has 2 different texts: give fewer folds$"):
        split_into_folds(examples, SEQ_CLS, 3, seed=0)


def folded(folder, kill_in=None):
    """A FoldedTrainer of three folds, which is killed in one of them after step 13 of 16."""
    options = {"num_folds": 3, "max_steps": 16, "eval_steps": 2, "learning_rate": 1e-2}
    trainer = trainer_in(folder, kind=FoldedTrainer, **options)
    make = trainer._trainer_of

    def counted(member, held_out):
        of_fold = make(member, held_out)
        of_fold.add_callback(trainer.counter)
        if member.name == kill_in:
            of_fold.add_callback(KillBefore(13))
        return of_fold

    trainer._trainer_of = counted
    return trainer


def test_an_interrupted_fold_goes_on_and_the_model_is_the_mean_of_all(tmp_path, capsys):
    whole = folded(tmp_path / "whole")
    whole.finetune()
    assert whole.counter.steps == 3 * 16
    printed = capsys.readouterr().out
    with pytest.raises(Killed):
        folded(tmp_path / "killed", kill_in="fold-2").finetune()
    checkpoint = resumable_checkpoints(tmp_path / "killed" / "fold-2")[-1]
    resumed = folded(tmp_path / "killed")
    resumed.finetune()
    assert resumed.counter.steps == 16 - int(checkpoint.name.split("-")[1]) + 16  # the rest of fold 2, and fold 3
    members = [tmp_path / "killed" / f"fold-{number}" for number in (1, 2, 3)]
    ours, theirs, parts = weights(tmp_path / "killed"), weights(tmp_path / "whole"), list(map(weights, members))
    for name, value in ours.items():
        assert (value == theirs[name]).all()
        np.testing.assert_allclose(value, np.mean([part[name] for part in parts], axis=0), atol=1e-6)
    assert any(not np.allclose(parts[0][name], parts[1][name]) for name in ours)
    report = json.loads((tmp_path / "whole" / "results.json").read_text())["training"]
    examples = whole.train_dataset.examples
    sizes = list(map(len, split_into_folds(examples, SEQ_CLS, 3, whole.args.seed)))
    right = [round(scores["accuracy"] * size) for scores, size in zip(report["folds"], sizes)]
    assert report["out_of_fold"]["accuracy"] == pytest.approx(sum(right) / len(examples))
    assert all(f"{scores['accuracy']:.4f}" in printed for scores in [*report["folds"], report["mean_of_logits"]])
    assert_mean_of_logits(resumed, members)


def logits_of(trainer, dataset):
    trainer.model.eval()
    with paddle.no_grad():
        batches = [
            trainer.model(batch["input_ids"], batch["token_type_ids"]) for batch in trainer.get_eval_dataloader(dataset)
        ]
    return np.concatenate([logits.numpy() for logits in batches])


def assert_mean_of_logits(trainer, members):
    dataset = Features(trainer.family, trainer.task, trainer.eval_examples[:5], labelled=False)
    own, logits = logits_of(trainer, dataset), []
    (found,) = trainer.mean_logits(dataset)
    assert (logits_of(trainer, dataset) == own).all()  # its weights are what they were
    for member in members:
        trainer.model.set_state_dict(paddle.load(str(member / "model_state.pdparams")))
        logits.append(logits_of(trainer, dataset))
    np.testing.assert_allclose(found, np.mean(logits, axis=0), atol=1e-6)
    labels = [trainer.task.labels[i] for i in np.mean(logits, axis=0).argmax(axis=1)]
    assert [answer["label"] for answer in trainer.answer_test(dataset)] == labels


def test_what_cannot_be_is_said_before_anything_is_trained(tmp_path):
    trainer = folded(tmp_path / "m")
    with pytest.raises(InputError, match="fold-1 holds no model: train the folds first"):
        trainer.mean_logits(trainer.eval_dataset)
    trainer.origin["model_name_or_path"] = str(tmp_path / "m")
    with pytest.raises(InputError, match="--num_folds would replace the model that it starts from"):
        trainer.finetune()
    assert trainer.counter.steps == 0


def test_the_mean_of_weights_keeps_their_types(tmp_path):
    for number, value in enumerate((1.0, 2.0)):
        state = {"a": np.full([2], value, "float32"), "b": np.full([2], value, "float16")}
        paddle.save(
            {name: paddle.to_tensor(array) for name, array in state.items()}, str(tmp_path / f"{number}.pdparams")
        )
    mean = mean_weights(sorted(tmp_path.glob("*.pdparams")))
    assert {name: (value.dtype.name, value.tolist()) for name, value in mean.items()} == {
        "a": ("float32", [1.5, 1.5]),
        "b": ("float16", [1.5, 1.5]),
    }


def test_folds_are_weighed_as_one_training_is_and_thresholds_are_the_averaged_models(tmp_path):
    trainer = trainer_in(
        tmp_path / "model",
        family=MULTI_LABEL,
        dataset="sample_entity_types",
        kind=FoldedTrainer,
        num_folds=2,
        max_steps=4,
    )
    trainer.class_weights = np.ones((2, 3), dtype=np.float32)
    trainer.finetune()
    assert trainer._trainer_of(tmp_path / "fold", np.arange(3)).class_weights is trainer.class_weights
    found = InferenceConfig.load(tmp_path / "model").thresholds
    trainer.task.thresholds = None
    trainer.fit_answers()
    assert found == trainer.task.thresholds
