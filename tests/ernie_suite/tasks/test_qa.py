"""Reading: answers as positions in windows, exact match and F1."""

from ernie_suite.data import load_examples
from ernie_suite.features import Features
from ernie_suite.tasks.family import IGNORED_LABEL
from ernie_suite.tasks.qa import QA, exact_match_f1

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from paddlenlp.metrics.squad import normalize_answer, squad_evaluate

from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.wordpiece import WordPiece
from examples.make_small_ernie import build_vocab


def reading_labels(tokenizer, context, answers, starts, max_seq_length=64, stride=16):
    example = {"question": "谁", "context": context, "answers": answers, "answer_starts": starts}
    features = Features(QA, QuestionAnswering(tokenizer, [], max_seq_length, stride), [example])
    return features, [(feature["start_positions"], feature["end_positions"]) for feature in features]


@pytest.mark.parametrize(
    "answer", ["好人", " 好人", "\u3000好人\n", "\u200b好人\ufeff", "\u200b \t好人 \r\n", "好 人 "]
)
def test_characters_at_an_answers_edge_that_are_no_token_do_not_count(tokenizer, answer):
    features, places = reading_labels(tokenizer, f"他是{answer}。", [answer], [2])
    assert places == [(5, 6)] and not features.remarks  # [CLS] 谁 [SEP] 他 是 好 人


def test_an_answer_without_a_token_is_skipped_and_counted(tokenizer):
    features, places = reading_labels(tokenizer, "他是 \u3000。", [" \u3000"], [2])
    assert places == [(IGNORED_LABEL, IGNORED_LABEL)]
    assert features.remarks == {"have no answer with a token in their text": 1}


def test_training_takes_the_first_answer_that_stands_in_the_text(tokenizer):
    _, places = reading_labels(tokenizer, "他 好人。", ["坏人", " ", "好人"], [-1, 1, 2])
    assert places == [(4, 5)]


def test_an_answer_that_no_window_holds_is_counted(tokenizer):
    features, places = reading_labels(tokenizer, "的" * 100, ["的" * 61], [20])
    assert len(places) > 1 and set(places) == {(0, 0)}
    assert list(features.remarks.values()) == [1] and "no window holds" in next(iter(features.remarks))


@settings(max_examples=200, deadline=None)
@given(st.text("的一 \u200b是a1。", min_size=1, max_size=150), st.data())
def test_a_window_has_an_answer_if_it_has_all_its_tokens(context, data):
    tokenizer = WordPiece(build_vocab(["的一是a1。" * 3]))
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    task = QuestionAnswering(tokenizer, [], 40, 10)
    example = {"question": "是", "context": context, "answers": [context[start:end]], "answer_starts": [start]}
    covered = [
        i for i, (s, e) in enumerate(zip(*tokenizer.encode(context)[1:])) if s < end and e > start
    ]  # of the whole text
    for feature, window in zip(Features(QA, task, [example]), task.windows(example)):
        inside = [window.offset + i - window.begin for i in covered]
        whole = covered and window.begin <= covered[0] and covered[-1] < window.begin + len(window.starts)
        expected = (inside[0], inside[-1]) if whole else (0, 0) if covered else (IGNORED_LABEL, IGNORED_LABEL)
        assert (feature["start_positions"], feature["end_positions"]) == expected


def test_answers_survive_windows(tokenizer):
    examples = load_examples("sample_reading", "dev")[:200]
    task = QuestionAnswering(tokenizer, [], 96, 24)
    features = Features(QA, task, examples, by_length=True)
    assert len(features) > len(examples)
    starts, ends = (np.zeros((len(features), 96), dtype="float32") for _ in range(2))
    for row, feature in enumerate(features):
        for logits, key in ((starts, "start_positions"), (ends, "end_positions")):
            if feature[key]:
                logits[row, feature[key]] = 9
    scores = exact_match_f1(examples, features.results((starts, ends)))
    assert scores["exact_match"] > 0.97 and scores["f1"] > 0.97


def test_exact_match_and_f1():
    examples = [{"answers": ["北京市", "北京"], "answer_starts": [0, 0]}, {"answers": ["上海"], "answer_starts": [0]}]
    scores = exact_match_f1(examples, [{"answer": "北京"}, {"answer": "上"}])
    assert scores["exact_match"] == 0.5 and scores["f1"] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("wanted", "found", "exact", "f1"),
    [
        ("New York", "New Jersey", 0, 2 * 5 / (7 + 9)),
        ("3 月 5 日", "3 月 6 日", 0, 3 / 4),
        ("玛丽·居里", "玛丽居里。", 1, 1),  # punctuation counts for nothing
        ("Windows NT", "windows  nt", 1, 1),
        ("北京 大学", "北京大学", 0, 1),
        ("the Beatles", "Beatles", 1, 1),
        ("A", "the", 0, 0),  # nothing is left of either without articles
        ("A", "a", 1, 1),
        ("《》", "", 0, 0),
        ("北京", "", 0, 0),
    ],
)
def test_an_answer_counts_whole_also_behind_a_space(wanted, found, exact, f1):
    scores = exact_match_f1([{"answers": [wanted]}], [{"answer": found}])
    assert scores == {"exact_match": exact, "f1": pytest.approx(f1)}


PIECES = st.sampled_from(list("北京大学，。《》·“”-…【】年月0189abTheXé％") + ["the", "An", "2010"])

ANSWERS = st.lists(PIECES, min_size=1, max_size=12).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.lists(ANSWERS, min_size=1, max_size=3), ANSWERS), min_size=1, max_size=4))
def test_where_no_space_stands_the_figures_are_paddlenlp_s(pairs):
    """Those that were published, so that they can be compared."""
    answers = [text for wanted, found in pairs for text in [*wanted, found]]
    assume(all(len(normalize_answer(text).split()) == 1 for text in answers))
    gold = [
        {"id": i, "answers": {"text": wanted, "answer_start": [0] * len(wanted)}} for i, (wanted, _) in enumerate(pairs)
    ]
    published = squad_evaluate(gold, {i: found for i, (_, found) in enumerate(pairs)}, is_whitespace_splited=False)
    ours = exact_match_f1([{"answers": wanted} for wanted, _ in pairs], [{"answer": found} for _, found in pairs])
    assert ours["exact_match"] * 100 == pytest.approx(published["exact"])
    assert ours["f1"] * 100 == pytest.approx(published["f1"])
