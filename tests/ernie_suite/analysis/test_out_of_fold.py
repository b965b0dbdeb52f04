"""Training examples answered by the models of k-fold training, each by the one that has not seen it."""

from ernie_suite.analysis.run import analyze
from ernie_suite.analysis.trained import outputs_of, outputs_out_of_fold
from ernie_suite.folds import FoldedTrainer, split_into_folds

import paddle
import pytest
from paddlenlp.trainer.trainer import PADDLE_WEIGHTS_NAME

from ernie_inference.engine_choice import without_scores
from ernie_inference.errors import InputError
from tests.support.runs import trainer_in

FOLDS = 3


def state_of(trainer):
    return {name: value.numpy() for name, value in trainer.model.state_dict().items()}


def test_each_training_example_is_answered_by_the_model_that_has_not_seen_it(tmp_path):
    trainer = trainer_in(tmp_path, kind=FoldedTrainer, num_folds=FOLDS)
    examples = trainer.train_dataset.examples
    with pytest.raises(InputError, match="fold-1 holds no model: train the folds first"):
        list(outputs_out_of_fold(trainer, examples, []))
    wanted = [{}] * len(examples)
    folds = split_into_folds(examples, trainer.family, FOLDS, trainer.args.seed)
    for number, fold in enumerate(folds, 1):
        folder = tmp_path / f"fold-{number}"
        folder.mkdir()
        for parameter in trainer.model.parameters():
            parameter.set_value(paddle.randn(parameter.shape) * 0.3)
        paddle.save(trainer.model.state_dict(), str(folder / PADDLE_WEIGHTS_NAME))
        some = [examples[i] for i in fold]
        for i, result in zip(fold, analyze(trainer.family, trainer.task, some, outputs_of(trainer, some)).results):
            wanted[i] = result
    before = state_of(trainer)
    order = []
    found = analyze(trainer.family, trainer.task, examples, outputs_out_of_fold(trainer, examples, order), order)
    assert sorted(order) == list(range(len(examples))) and order == [i for fold in folds for i in fold]
    assert without_scores(found.results) == without_scores(wanted)
    confidences = [[result["confidence"] for result in results] for results in (found.results, wanted)]
    assert confidences[0] == pytest.approx(confidences[1], abs=1e-5)
    after = state_of(trainer)
    assert all((before[name] == after[name]).all() for name in before)
