"""Batches of like length, of whole steps, each example in one of them."""

from ernie_suite.data import load_examples
from ernie_suite.features import Features
from ernie_suite.sampler import LengthGroupedSampler
from ernie_suite.tasks.seq_cls import SEQ_CLS

import numpy as np
import pytest

from ernie_inference.tasks.seq_cls import SequenceClassification
from tests.support.runs import trainer_in

pytestmark = pytest.mark.usefixtures("names_of_its_own")


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_every_example_is_in_one_batch_an_epoch(tokenizer, replicas):
    examples = load_examples("sample_reviews", "dev")[:500]
    features = Features(SEQ_CLS, SequenceClassification(tokenizer, ["negative", "positive"], 64), examples)
    per_rank = [list(LengthGroupedSampler(features, 16, 1, replicas, rank)) for rank in range(replicas)]
    assert len({len(batches) for batches in per_rank}) == 1 == len({tuple(map(len, b)) for b in per_rank})
    assert {i for batches in per_rank for batch in batches for i in batch} == set(range(500))
    again = LengthGroupedSampler(features, 16, 1, replicas, 0)
    assert list(again) == per_rank[0] and list(again) != per_rank[0]  # the next epoch has another order
    padding = [max(map(again.lengths.__getitem__, b)) - again.lengths[i] for b in per_rank[0] for i in b]
    assert np.mean(padding) < 5


@pytest.mark.parametrize("accumulated", [1, 2, 3, 8])
def test_an_epoch_is_of_whole_steps(tmp_path, accumulated):
    features = trainer_in(tmp_path, examples=50).train_dataset
    sampler = LengthGroupedSampler(features, 8, 1, 1, 0, accumulated=accumulated)
    batches = list(sampler)
    assert len(batches) == len(sampler) == {1: 7, 2: 6, 3: 6, 8: 7}[accumulated]
