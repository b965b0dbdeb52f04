"""Tagging: labels on model tokens from which decoding reads the entities back, and F1 of entities."""

from ernie_suite.data import load_examples
from ernie_suite.features import Features
from ernie_suite.tasks.family import IGNORED_LABEL
from ernie_suite.tasks.token_cls import TOKEN_CLS, entity_f1

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ernie_inference.tasks.token_cls import TokenClassification, bio_spans

LABELS = ["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"]


def perfect_outputs(features):
    """Outputs of a model that knows every label, as evaluation_loop returns them (padded to the longest)."""
    longest = max(features.lengths)
    logits = np.full((len(features), longest, len(LABELS)), -100.0, dtype="float32")
    for row, feature in enumerate(features):
        for i, label in enumerate(feature["labels"]):
            logits[row, i] = 0
            logits[row, i, label if label != IGNORED_LABEL else 0] = 9
    return (logits,)


def result_of(tokenizer, example, max_seq_length=48, stride=8):
    task = TokenClassification(tokenizer, LABELS, max_seq_length, stride)
    features = Features(TOKEN_CLS, task, [example])
    return features.results(perfect_outputs(features))


@pytest.mark.parametrize(
    "tokens",
    [
        list("在China工作"),  # a Latin word, a letter a token, that the tokenizer joins and splits again
        list("于1998年１２月在北京"),
        list("张 三在\u3000北 京"),  # white space that the tokenizer drops
        ["New", "York", "与", "Los", "Angeles"],
        list("乒乓球😀龘龖"),
        list("ABC"),
    ],
)
def test_tags_survive_the_tokenizer(tokenizer, tokens):
    for first in range(len(tokens)):
        for last in range(first, len(tokens)):
            if tokens[first].isspace() or tokens[last].isspace():
                continue
            tags = ["O"] * len(tokens)
            tags[first : last + 1] = ["B-LOC"] + ["I-LOC"] * (last - first)
            (result,) = result_of(tokenizer, {"tokens": tokens, "labels": tags})
            if is_cut_by_words(tokens, first, last):
                continue  # a model token lies half inside: no tag can say that
            assert [(e["label"], e["pos"]) for e in result["entities"]] == [("LOC", [first, last])]


def is_cut_by_words(tokens, first, last):
    """Whether an end of the entity is inside a run that can become a single unknown token."""
    return are_one_word(*tokens[max(first - 1, 0) : first + 1]) or are_one_word(*tokens[last : last + 2])


def are_one_word(before, after=""):
    if not before.isalnum() or not after.isalnum() or max(len(before), len(after)) > 1:
        return False
    return not any("\u4e00" <= char <= "\u9fff" for char in before + after)


def test_perfect_logits_give_perfect_f1_on_the_corpus(tokenizer):
    """Features, windows, merging and decoding lose nothing but the ends inside a token."""
    examples = load_examples("sample_people_daily", "dev")[:300]
    features = Features(TOKEN_CLS, TokenClassification(tokenizer, LABELS, 40, 8), examples, by_length=True)
    assert len(features) > 2 * len(examples)
    assert entity_f1(examples, features.results(perfect_outputs(features)))["f1"] > 0.999


def entities_in_text(tokenizer, chars, tags):
    """What a model that knows every tag finds in a text, given as a text; and the text."""
    task, text = TokenClassification(tokenizer, LABELS, 64, 16), "".join(chars)
    features = Features(TOKEN_CLS, task, [{"tokens": chars, "labels": tags}])
    (logits,) = perfect_outputs(features)
    found = task.decode({"text": text}, task.windows({"text": text}), [(row,) for row in logits])["entities"]
    for entity in found:
        first, last = entity["pos"]
        assert text[first : last + 1] == entity["entity"]
    return text, [(entity["label"], *entity["pos"]) for entity in found]


def gold_of(tags):
    return [(label, i, j - 1) for label, i, j in bio_spans([(tag, i, i + 1) for i, tag in enumerate(tags)])]


def is_clean(chars, tags):
    """Whether no end of an entity is inside a run that can become a single token."""
    return not any(is_cut_by_words(chars, first, last) for _, first, last in gold_of(tags))


def test_positions_in_every_dev_sentence(tokenizer):
    sentences = 0
    for example in load_examples("sample_people_daily", "dev"):
        chars, tags = example["tokens"], example["labels"]
        if is_clean(chars, tags):
            assert entities_in_text(tokenizer, chars, tags)[1] == gold_of(tags)
            sentences += 1
    assert sentences > 1800


NOISE = [" ", "  ", "\u3000", "ABC", " iPhone12 ", "2024", "３.５", "😀", "👩‍👩‍👧", "\u200b", "é"]

SENTENCES = [e for e in load_examples("sample_people_daily", "dev") if any(tag != "O" for tag in e["labels"])]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SENTENCES),
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(NOISE)), min_size=1, max_size=8),
)
def test_positions_with_anything_put_in_anywhere(tokenizer, sentence, noise):
    """Between the characters of an entity too, of which it then is a part."""
    chars, tags = list(sentence["tokens"]), list(sentence["labels"])
    for place, piece in noise:
        place %= len(chars) + 1
        inside = 0 < place < len(tags) and tags[place].startswith("I-")
        chars[place:place] = piece
        tags[place:place] = [tags[place] if inside else "O"] * len(piece)
    assume(is_clean(chars, tags))
    text, found = entities_in_text(tokenizer, chars, tags)
    assert found == gold_of(tags) and text == "".join(chars)


def labels_of(tokenizer, tokens, tags, labels=LABELS, max_seq_length=48):
    """What training sees: the label of each model token of a token list, for each window."""
    task = TokenClassification(tokenizer, labels, max_seq_length, 4)
    windows = Features(TOKEN_CLS, task, [{"tokens": tokens, "labels": tags}])
    return [
        [labels[label] if label != IGNORED_LABEL else None for label in window["labels"][1:-1]] for window in windows
    ]


@pytest.mark.parametrize(
    ("tokens", "tags", "seen"),
    [
        ([*"张三", " ", *"李四"], "B-PER I-PER B-PER I-PER I-PER", "B-PER I-PER B-PER I-PER"),
        ([*"张三", "\u200b", "\u3000", "李"], "B-PER I-PER B-PER I-PER I-PER", "B-PER I-PER B-PER"),
        ([*"张三", " ", *"李四"], "B-PER I-PER O I-PER I-PER", "B-PER I-PER B-PER I-PER"),  # IOB1 begins with I-
        ([" ", *"李四"], "B-PER I-PER I-PER", "B-PER I-PER"),
        ([*"张三", " ", *"四"], "B-PER I-PER I-PER I-PER", "B-PER I-PER I-PER"),
        (["北京", "上海"], "B-LOC B-LOC", "B-LOC I-LOC B-LOC I-LOC"),
        ([*"的张三"], "O I-PER I-PER", "O B-PER I-PER"),
    ],
)
def test_the_first_token_of_an_entity_begins_it(tokenizer, tokens, tags, seen):
    assert labels_of(tokenizer, tokens, tags.split()) == [seen.split()]


def test_an_entity_that_an_earlier_window_begins_goes_on(tokenizer):
    tags = ["B-PER"] + ["I-PER"] * 19
    first, *others = labels_of(tokenizer, ["的"] * 20, tags, max_seq_length=12)
    assert first == tags[:10] and others and all(set(labels) == {"I-PER"} for labels in others)


@pytest.mark.parametrize("tokens", [["花", "3.5%", "去", "北京"], ["3.5%", "3.5%", "北京", "上海"]])
def test_a_type_without_i_has_one_entity_a_list_token(tokenizer, tokens):
    """Its first piece is learnt, the others are ignored, whatever the model says of them."""
    labels = ["B-NUM", "B-LOC", "O"]
    tags = ["O" if len(token) == 1 else "B-NUM" if "%" in token else "B-LOC" for token in tokens]
    (seen,) = labels_of(tokenizer, tokens, tags, labels)
    pieces = {"3.5%": 4, "北京": 2, "上海": 2}
    assert seen == [part for token, tag in zip(tokens, tags) for part in [tag] + [None] * (pieces.get(token, 1) - 1)]
    task, given_example = TokenClassification(tokenizer, labels, 48), {"tokens": tokens}
    gold = [
        {"entity": t, "label": tag[2:], "pos": [i, i]} for i, (t, tag) in enumerate(zip(tokens, tags)) if tag != "O"
    ]
    for of_the_others in labels:
        answers = ["O", *(label or of_the_others for label in seen), "O"]
        logits = np.eye(3, dtype="float32")[[labels.index(answer) for answer in answers]]
        assert task.decode(given_example, task.windows(given_example), [(logits,)])["entities"] == gold


def test_entity_f1_counts_type_and_both_ends():
    example = {"tokens": list("江泽民在北京"), "labels": ["B-PER", "I-PER", "I-PER", "O", "B-LOC", "I-LOC"]}
    entities = [{"label": "PER", "pos": [0, 2]}, {"label": "LOC", "pos": [4, 4]}]
    assert entity_f1([example], [{"entities": entities}]) == {"f1": 0.5, "precision": 0.5, "recall": 0.5}
