"""Tagging: windows that lose and double nothing, entities at their exact place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.tasks.token_cls import TokenClassification, bio_spans, join_tokens, text_and_positions
from ernie_inference.wordpiece import WordPiece
from tests.support.models import ANY_TEXT, FILLERS, LABELS, NAMES, make_vocab

TOKENIZER = WordPiece(make_vocab())
LENGTHS = st.integers(8, 64)
STRIDES = st.integers(0, 64)


def certain_logits(rows, classes):
    """Logits [len(rows), classes] that leave no doubt."""
    logits = np.full((len(rows), classes), -10.0, dtype=np.float32)
    logits[np.arange(len(rows)), rows] = 10.0
    return logits


def tag_logits(task, windows, spans):
    """The logits of a model that knows the entities (label, start, end) of a text."""
    outside = task.labels.index("O")
    outputs = []
    for window in windows:
        rows = [outside] * len(window.input_ids)
        for i, start in enumerate(window.starts):
            for label, first, end in spans:
                if first <= start < end:
                    earlier = any(first <= other < start for other in window.starts[:i])
                    continues = earlier or (i == 0 and window.begin and start > first)
                    rows[window.offset + i] = task.labels.index(f"{'I' if continues else 'B'}-{label}")
        outputs.append((certain_logits(rows, len(task.labels)),))
    return outputs


@st.composite
def texts_with_entities(draw):
    """A text and its entities (label, start, end), which end where tokens end."""
    text, spans = draw(FILLERS), []
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=12)):
        text += draw(st.sampled_from("，的。"))
        spans.append((draw(st.sampled_from(["PER", "LOC", "ORG"])), len(text), len(text) + len(name)))
        text += name + draw(st.sampled_from("，的 。")) + draw(FILLERS)
    return text, spans


@settings(max_examples=400, deadline=None)
@given(texts_with_entities(), LENGTHS, STRIDES)
def test_every_entity_is_found_once_at_its_place_whatever_the_windows(case, max_seq_length, doc_stride):
    text, spans = case
    task = TokenClassification(TOKENIZER, LABELS["token_cls"], max_seq_length, doc_stride)
    given_example = {"text": text}
    windows = task.windows(given_example)
    entities = task.decode(given_example, windows, tag_logits(task, windows, spans))["entities"]
    assert [(e["label"], e["pos"][0], e["pos"][1] + 1) for e in entities] == spans
    assert [e["entity"] for e in entities] == [text[start:end] for _, start, end in spans]


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT, LENGTHS, STRIDES)
def test_windows_cover_every_token_in_order(text, max_seq_length, doc_stride):
    task = TokenClassification(TOKENIZER, LABELS["token_cls"], max_seq_length, doc_stride)
    tokens, windows = TOKENIZER.encode(text), task.windows({"text": text})
    covered = 0
    for window in windows:
        count = len(window.starts)
        assert len(window.input_ids) == len(window.token_type_ids) <= max_seq_length
        assert (
            window.input_ids[window.offset : window.offset + count] == tokens.ids[window.begin : window.begin + count]
        )
        assert window.begin <= covered <= window.begin + count
        covered = window.begin + count
    assert covered == len(tokens.ids)


def test_a_token_in_two_windows_is_read_where_it_has_more_context():
    task = TokenClassification(TOKENIZER, LABELS["token_cls"], max_seq_length=12, doc_stride=4)
    example_text = {"text": "一二三四五六七八九十百千万"}
    windows = task.windows(example_text)
    outside, person = task.labels.index("O"), task.labels.index("B-PER")
    # The first window is sure of a name at its last token, where it sees nothing to the right.
    rows = [[outside] * len(window.input_ids) for window in windows]
    rows[0][windows[0].offset + len(windows[0].starts) - 1] = person
    outputs = [(certain_logits(row, len(task.labels)),) for row in rows]
    assert task.decode(example_text, windows, outputs)["entities"] == []


def test_entities_with_their_confidence():
    """That of the least certain token; the others' certainty does not make up for it."""
    task = TokenClassification(TOKENIZER, LABELS["token_cls"], 32)
    tags = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "I-LOC", "B-ORG"]
    certain = [0.9, 0.6, 0.5, 0.8, 0.95, 0.7, 0.65]
    probabilities = np.full((len(tags), len(task.labels)), 0.0)
    for row, (tag, confidence) in enumerate(zip(tags, certain)):
        probabilities[row] = (1 - confidence) / (len(task.labels) - 1)
        probabilities[row, task.labels.index(tag)] = confidence
    given_example = {"text": "王明在上海市厂"}
    (window,) = windows = task.windows(given_example)
    logits = np.zeros((len(window.input_ids), len(task.labels)))
    logits[1 : 1 + len(tags)] = np.log(probabilities)

    def found(example=given_example, **options):
        return task.decode(example, windows, [(logits,)], task.answer_options(**options))["entities"]

    every = found(threshold=0)
    assert [(e["entity"], e["confidence"]) for e in every] == [
        ("王明", pytest.approx(0.6)), ("上海市", pytest.approx(0.7)), ("厂", pytest.approx(0.65)),
    ]  # fmt: skip
    assert found() == [{name: e[name] for name in ("entity", "label", "pos")} for e in every]
    assert found(top_k=9) == every and found(top_k=2) == every[1:] and found(top_k=1) == [every[1]]
    assert found(threshold=0.62) == every[1:] and found(threshold=0.66, top_k=2) == [every[1]]
    assert found(threshold=0.71) == []
    tokens = {"tokens": ["王明", "在", "上海市", "厂"]}  # the first piece of a list's token counts for all of it
    assert [e["confidence"] for e in found(tokens, threshold=0)] == pytest.approx([0.9, 0.8, 0.65])
    line = TokenClassification.describe({"entities": every[:1]})[1]
    assert line == "entity: 王明   label: PER   pos: [0, 1]   confidence: 0.6000"


def test_positions_of_a_token_list_are_numbers_of_tokens():
    task = TokenClassification(TOKENIZER, LABELS["token_cls"], 64)
    tokens = ["I", "love", "New", "York", "和", "北", "京", "2018", "年"]
    text, starts = join_tokens(tokens)
    assert text == "I love New York和北京2018年"
    begin = {token: start for token, start in zip(tokens, starts)}
    spans = [("LOC", begin["New"], begin["York"] + 4), ("LOC", begin["北"], begin["京"] + 1)]
    given_example = {"tokens": tokens}
    windows = task.windows(given_example)
    entities = task.decode(given_example, windows, tag_logits(task, windows, spans))["entities"]
    assert [(e["entity"], e["pos"]) for e in entities] == [("New York", [2, 3]), ("北京", [5, 6])]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["Владимир", "Путин"], "Владимир Путин"),
        (["Zoë", "Müller"], "Zoë Müller"),
        (["Αθήνα", "και"], "Αθήνα και"),
        (["محمد", "علي"], "محمد علي"),
        (["สวัสดี", "ครับ"], "สวัสดี ครับ"),
        (["서울", "시"], "서울 시"),
        (["٢٠", "١٨"], "٢٠ ١٨"),
        (["New\u200b", "York"], "New\u200b York"),
        (["New", "", "\u200b", "York"], "New\u200b York"),
        (["Zo", "\u0308e"], "Zo \u0308e"),
        (["\ud83d", "ab", "\ud83d", "cd"], "\ud83dab\ud83d cd"),
        (["IBM", "公司", "2018", "年", "，", "OK", "!"], "IBM公司2018年，OK!"),
        (["New ", "York"], "New York"),
        # One character a token, as MSRA NER has it, is one word in every script.
        (list("ABC2018"), "ABC2018"),
        (list("Путин"), "Путин"),
        (["A", "\u200b", "B"], "A\u200bB"),
    ],
)
def test_tokens_that_would_become_one_word_get_a_space_between_them(tokens, text):
    assert join_tokens(tokens)[0] == text


SCRIPTS = ["Путин", "Zoë", "ab", "२०१८", "서울", "ก็", "\u0301x", "x\u200b", "0\x00", "一\u0301", "，x", "Ø "]


@settings(max_examples=400, deadline=None)
@given(st.lists(ANY_TEXT | st.sampled_from(SCRIPTS), max_size=8))
def test_no_model_token_reaches_over_two_tokens_of_a_list(tokens):
    tokens = [token for token in tokens if len(token) != 1]
    text, _ = join_tokens(tokens)
    _, to_input = text_and_positions({"tokens": tokens})
    for lowercase in (True, False):
        tokenizer = WordPiece(TOKENIZER.vocab, lowercase)
        names = {number: name for name, number in tokenizer.vocab.items()}
        encoded, previous = tokenizer.encode(text), None
        for number, start, end in zip(*encoded):
            owner = to_input(start)
            assert owner == to_input(end - 1)
            assert owner == previous or not names[number].startswith("##"), "a word goes on in the next token"
            previous = owner


def test_one_token_of_a_list_is_in_one_entity():
    """Positions are numbers of tokens: two entities in one token could not be told apart."""
    task = TokenClassification(TOKENIZER, LABELS["token_cls"], 64)
    given_example = {"tokens": ["北京上海", "李明王", "小红"]}
    windows = task.windows(given_example)
    tags = ["B-LOC", "I-LOC", "B-LOC", "I-LOC", "B-PER", "I-PER", "B-PER", "I-PER", "O"]
    logits = certain_logits([6] + [task.labels.index(tag) for tag in tags] + [6], len(task.labels))
    assert task.decode(given_example, windows, [(logits,)])["entities"] == [
        {"entity": "北京上海", "label": "LOC", "pos": [0, 0]},
        {"entity": "李明王小红", "label": "PER", "pos": [1, 2]},
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=20))
def test_every_character_of_a_joined_list_leads_back_to_its_token(tokens):
    text, starts = join_tokens(tokens)
    _, to_input = text_and_positions({"tokens": tokens})
    for number, (token, start) in enumerate(zip(tokens, starts)):
        assert text[start : start + len(token)] == token
        assert [to_input(start + i) for i in range(len(token))] == [number] * len(token)


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("I-PER I-LOC O I-LOC", [("PER", 0, 1), ("LOC", 1, 2), ("LOC", 3, 4)]),
        ("O O", []),
        ("O B-ORG I-ORG", [("ORG", 1, 3)]),
    ],
)
def test_bio_tags_as_conlleval_reads_them(tags, spans):
    assert bio_spans([(tag, i, i + 1) for i, tag in enumerate(tags.split())]) == spans
