"""Training and evaluation on texts longer than one window: the dev figures are those of the exported model."""

from ernie_suite.runs import deciding_settings, what_changed

import pytest

from ernie_inference.inference_config import InferenceConfig
from ernie_inference.predictor import load_predictor
from tests.support.runs import trainer_in

pytestmark = pytest.mark.usefixtures("names_of_its_own")


def test_dev_figures_by_windows_are_those_of_the_exported_model(tmp_path):
    cut, trainer = (
        trainer_in(tmp_path / "m", max_seq_length=16, max_steps=8, long_texts=kind) for kind in (None, "windows")
    )
    assert what_changed(deciding_settings(cut), deciding_settings(trainer)) == "long_texts None -> windows"
    assert len(cut.train_dataset) == len(cut.train_dataset.examples) < len(trainer.train_dataset)
    trainer.finetune()
    metrics, results = trainer.evaluate(), trainer.predict_results(trainer.eval_dataset)
    assert len(trainer.eval_dataset) == sum(result["windows"] for result in results) > len(results)
    predictor = load_predictor(trainer.export(), num_threads=1)
    answers = predictor.predict([{"text": example["text"]} for example in trainer.eval_examples])
    for answer, result in zip(answers, results):
        assert answer == {**result, "confidence": pytest.approx(result["confidence"], abs=1e-5)}
    assert trainer.metric(trainer.eval_examples, answers)["accuracy"] == metrics["eval_accuracy"]
    assert InferenceConfig.load(tmp_path / "m" / "export").long_texts == "windows"
    # A model that was trained by cutting says nothing of it.
    cut.finetune()
    assert "long_texts" not in (tmp_path / "m" / "inference.json").read_text()
    assert set(cut.predict_results(cut.eval_dataset)[0]) == {"label", "confidence", "truncated"}
