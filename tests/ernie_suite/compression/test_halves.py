"""The two halves of a dev set: nothing of the held-out one gets into what makes models."""

from ernie_suite.compression.config import CompressConfig, PTQConfig
from ernie_suite.compression.halves import (
    FEWEST_EXAMPLES,
    count_calibration_texts,
    halves_of,
    on_choosing_half,
    split,
)
from ernie_suite.compression.int8_models import calibration_texts
from ernie_suite.compression.pipeline import importance_batches
from ernie_suite.features import Features
from ernie_suite.same_texts import comparable, group_examples
from ernie_suite.tasks import FAMILIES, QA, SEQ_CLS

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.errors import InputError
from tests.support.trainers import DATASETS, exported_parameters, sample_examples, tiny_trainer

TEXTS = st.lists(
    st.lists(
        st.sampled_from([f"{name}{mark}" for name in "甲乙丙丁戊己庚辛壬癸" for mark in ("", "。", " ")]), max_size=2
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(0, 3))
def test_no_text_is_in_both_halves_and_they_are_as_equal_as_that_allows(examples, seed):
    """Examples of few texts, one or two each, so that they hang together in long chains."""
    halves = split(examples, lambda example: example, seed)
    assert sorted([*halves.choosing, *halves.held_out]) == list(range(len(examples)))
    texts = [{comparable(text) for number in half for text in examples[number]} for half in halves]
    assert not texts[0] & texts[1]
    groups = group_examples(examples)
    largest = max(map(len, groups), default=0)
    if len(halves.held_out):
        assert abs(len(halves.choosing) - len(halves.held_out)) <= largest
        assert min(map(len, halves)) >= FEWEST_EXAMPLES // 2
    elif len(examples) >= FEWEST_EXAMPLES:
        assert largest > len(examples) - FEWEST_EXAMPLES // 2 or len(groups) < FEWEST_EXAMPLES
    again = split(examples, lambda example: example, seed)
    assert [half.tolist() for half in again] == [half.tolist() for half in halves]


@pytest.mark.parametrize("task", FAMILIES)
def test_real_dev_sets_come_in_equal_halves_that_another_seed_draws_otherwise(task):
    examples, texts_of = sample_examples(DATASETS[task], "dev"), FAMILIES[task].texts_of
    first, other = (split(examples, texts_of, seed) for seed in (1, 2))
    assert abs(len(first.choosing) - len(first.held_out)) <= 1
    assert first.choosing.tolist() != other.choosing.tolist()


def test_the_questions_about_a_context_stay_together():
    examples = sample_examples(DATASETS["qa"], "dev")
    choosing, held_out = ({examples[i]["context"] for i in half} for half in split(examples, QA.texts_of, 7))
    assert choosing and held_out and not choosing & held_out


def test_a_pair_stays_with_every_other_that_has_one_of_its_texts():
    pairs = [{"text": f"前提{i // 3}", "text_pair": f"假设{i}"} for i in range(60)]
    pairs[-1]["text_pair"] = "假设0！"  # the first pair's but for a mark
    groups = group_examples(map(SEQ_CLS.texts_of, pairs))
    assert sorted(map(len, groups)) == [3] * 18 + [6]
    halves = split(pairs, SEQ_CLS.texts_of, 1)
    assert (0 in halves.choosing) == (59 in halves.choosing)


@pytest.mark.parametrize("examples", [FEWEST_EXAMPLES - 1, FEWEST_EXAMPLES])
def test_a_tiny_dev_set_has_no_held_out_half(examples):
    halves = split([[f"{number}"] for number in range(examples)], lambda example: example, 1)
    sizes = (len(halves.choosing), len(halves.held_out))
    assert sizes == ((10, 10) if examples == FEWEST_EXAMPLES else (examples, 0))


def test_what_makes_models_reads_the_choosing_half_alone(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=40)
    choosing = {trainer.eval_examples[number]["id"] for number in halves_of(trainer).choosing}
    chooser = on_choosing_half(trainer)
    assert {example["id"] for example in chooser.eval_examples} == choosing and len(choosing) == 20
    assert chooser.model is trainer.model and len(trainer.eval_examples) == 40
    assert sum(len(batch["input_ids"]) for batch in importance_batches(chooser)) == 20
    allowed = {tuple(feature["input_ids"]) for feature in (chooser.eval_dataset[i] for i in range(20))}
    texts = {tuple(text["input_ids"]) for text in calibration_texts(chooser, 20)}
    assert texts == allowed and count_calibration_texts(trainer) == 20


def test_windows_of_the_choosing_half_are_counted(tmp_path):
    """A long context has several, each of which can be calibrated with."""
    trainer = tiny_trainer(tmp_path / "state", QA, examples=40)
    chooser = on_choosing_half(trainer)
    assert count_calibration_texts(trainer) == len(chooser.eval_dataset) > len(chooser.eval_examples)


def test_models_do_not_depend_on_the_held_out_half(tmp_path):
    """Neither on its labels, by which importance and the best state are measured, nor on its texts."""
    found = []
    for changed in (False, True):
        trainer = tiny_trainer(tmp_path / f"{changed}" / "state", max_steps=6, eval_steps=1)
        for number in halves_of(trainer).held_out if changed else ():
            example = trainer.eval_examples[number]
            example["label"] = next(label for label in trainer.task.labels if label != example["label"])
            example["text"] = example["text"][::-1]
        trainer.eval_dataset = Features(SEQ_CLS, trainer.task, trainer.eval_examples, by_length=True)
        output = tmp_path / f"{changed}" / "out"
        report = trainer.compress("x", str(output))
        found.append({row["model"]: exported_parameters(output / row["model"]) for row in report["models"]})
        by_model = {row["model"]: row for row in report["models"]}
        found.append({model: row["choosing"]["metric"] for model, row in by_model.items()})
        found.append({model: row["held_out"]["metric"] for model, row in by_model.items()})
    parameters, choosing, held_out, parameters_changed, choosing_changed, held_out_changed = found
    assert parameters == parameters_changed and choosing == choosing_changed
    assert held_out != held_out_changed


def test_more_calibration_texts_than_the_choosing_half_has_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=40)
    config = CompressConfig(quantization_config=PTQConfig(batch_size_list=[21]))
    with pytest.raises(InputError, match="asks for 21 calibration texts, the part of the dev set .* has 20") as caught:
        trainer.compress("x", str(tmp_path / "out"), pruning=False, compress_config=config)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
