"""Examples as features: the windows that deployment makes, in little memory, and the way back to the examples."""

import gc
import tracemalloc

from ernie_suite.data import load_examples
from ernie_suite.features import Collator, Features
from ernie_suite.tasks.family import IGNORED_LABEL
from ernie_suite.tasks.multiple_choice import MULTIPLE_CHOICE
from ernie_suite.tasks.qa import QA
from ernie_suite.tasks.seq_cls import SEQ_CLS, accuracy
from ernie_suite.tasks.token_cls import TOKEN_CLS

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.wordpiece import WordPiece
from examples.make_small_ernie import build_vocab
from tests.support.models import LABELS

EXAMPLES = {
    "seq_cls": st.fixed_dictionaries(
        {"text": st.text(max_size=60), "text_pair": st.none() | st.text(max_size=60), "label": st.sampled_from("ab")}
    ),
    "token_cls": st.lists(st.sampled_from(["的", "一", " ", "ab1", "好的"]), max_size=80).map(
        lambda tokens: {"tokens": tokens, "labels": ["O"] * len(tokens)}
    ),
    "qa": st.builds(
        lambda question, context: {"question": question, "context": context, "answers": None, "answer_starts": None},
        st.text(max_size=20),
        st.sampled_from(["的一是" * 40, "", "好" * 30, "a b c"]),  # several questions have one text
    ),
    "multiple_choice": st.builds(
        lambda question, blanks, choices: {
            "question": question if blanks == 0 else None,
            "context": "的一#idiom#是" * blanks or "的一是" * 40,
            "choices": choices,
            "answers": [0] * max(1, blanks),
        },
        st.text(max_size=20),
        st.integers(0, 3),
        st.lists(st.sampled_from(["的", "一了", "", "好" * 30]), min_size=2, max_size=4),
    ),
}


@pytest.mark.parametrize("family", [SEQ_CLS, TOKEN_CLS, QA, MULTIPLE_CHOICE])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_features_are_the_windows_that_deployment_makes(family, data):
    tokenizer = WordPiece(build_vocab(["的一是不了人我在有他好ab1" * 3]))
    task = family.task_class(tokenizer, LABELS["token_cls"] if family is TOKEN_CLS else ["a", "b"], 32, 8)
    examples = data.draw(st.lists(EXAMPLES[task.name], max_size=6))
    windows = [(w.input_ids, w.token_type_ids) for example in examples for w in task.windows(example)]
    for by_length in (False, True):
        features = Features(family, task, examples, by_length)
        assert [len(feature["input_ids"]) for feature in features] == features.lengths.tolist()
        found = [(feature["input_ids"], feature["token_type_ids"]) for feature in features]
        if by_length and family.compares_choices:  # the longest question first, whose choices are of several lengths
            assert sorted(found) == sorted(windows) and features.lengths[:4].max(initial=0) == features.lengths.max(
                initial=0
            )
        else:
            assert found == (sorted(windows, key=lambda window: -len(window[0])) if by_length else windows)


class CountingTokenizer(WordPiece):
    """Counts the characters that it tokenizes."""

    count = 0

    def _encode(self, text, enough):
        self.count += min(len(text), enough)
        return super()._encode(text, enough)


def bytes_kept(make):
    """(what make() returns, bytes that are still held afterwards)."""
    gc.collect()
    tracemalloc.start()
    made = make()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return made, held


def test_memory_of_classification(tokenizer):
    """A text of 128 tokens is kept in less than 350 bytes; lists of ints would take ten times as much."""
    texts = [example["text"] for example in load_examples("sample_reviews", "dev")]
    texts = ["".join(texts[i : i + 12])[:140] for i in range(0, len(texts) - 12)]
    examples = [{"text": text, "text_pair": None, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    task = SequenceClassification(tokenizer, ["a", "b"], 128)
    Features(SEQ_CLS, task, examples)  # so that what the tokenizer remembers is there before
    features, held = bytes_kept(lambda: Features(SEQ_CLS, task, examples))
    assert features.lengths.mean() > 110
    assert held / len(examples) < 350


def test_questions_on_one_text_share_its_tokens(tokenizer):
    """A window of 384 tokens is kept in less than 300 bytes, and every text is tokenized once."""
    tokenizer = CountingTokenizer(tokenizer.vocab)
    sentences = ["".join(example["tokens"]) for example in load_examples("sample_people_daily", "dev")]
    contexts = ["".join(sentences[i : i + 20])[:900] for i in range(0, 400, 20)]
    questions = [{"question": f"第{i}？", "answers": ["的"], "answer_starts": [0]} for i in range(10)]
    examples = [{**question, "context": context} for context in contexts for question in questions]
    task = QuestionAnswering(tokenizer, [], 384, 128)
    Features(QA, task, examples)
    tokenizer.count = 0
    features, held = bytes_kept(lambda: Features(QA, task, examples))
    assert len(features) > 2 * len(examples)
    assert held / len(features) < 300
    assert tokenizer.count <= sum(map(len, contexts)) + 4 * len(examples)


def test_of_a_long_text_no_more_is_tokenized_than_fits(tokenizer):
    tokenizer = CountingTokenizer(tokenizer.vocab)
    task = SequenceClassification(tokenizer, ["a", "b"], 32)
    for text_pair in (None, "1中" * 100_000):
        example = {"text": "1中" * 100_000, "text_pair": text_pair}
        (window,) = task.windows(example)
        assert task.decode(example, [window], [(np.array([0.0, 1.0]),)])["truncated"]
    assert tokenizer.count < 500


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_results_come_in_the_order_of_the_examples(texts):
    tokenizer = WordPiece(build_vocab(["的一是不了人我在有他" * 3]))
    task = SequenceClassification(tokenizer, ["a", "b"], 16)
    examples = [{"text": text, "text_pair": None, "label": "ab"[len(text) % 2]} for text in texts]
    features = Features(SEQ_CLS, task, examples, by_length=True)
    logits = np.eye(2, dtype="float32")[[feature["labels"] for feature in features]]
    assert accuracy(examples, features.results((logits,))) == {"accuracy": 1.0}


def test_pairs_are_cut_at_the_longer_side(tokenizer):
    task = SequenceClassification(tokenizer, ["a", "b"], 16)
    (window,) = task.windows({"text": "的" * 40, "text_pair": "好" * 3})
    assert len(window.input_ids) == 16 and window.token_type_ids == [0] * 12 + [1] * 4
    (window,) = task.windows({"text": "的" * 3, "text_pair": "好" * 40})
    assert len(window.input_ids) == 16 and window.token_type_ids == [0] * 5 + [1] * 11


def test_collator_pads_with_what_counts_for_nothing():
    batch = Collator(pad_id=7)(
        [
            {"input_ids": [1, 2], "token_type_ids": [0, 0], "labels": [3, 3]},
            {"input_ids": [1], "token_type_ids": [0], "labels": [4]},
        ]
    )
    assert batch["input_ids"].tolist() == [[1, 2], [1, 7]] and batch["labels"].tolist() == [[3, 3], [4, IGNORED_LABEL]]
