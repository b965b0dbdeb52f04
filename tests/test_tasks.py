"""What a task does with a text: windows that lose and double nothing, answers at their exact place."""

import json

import numpy as np
import pytest
from engine_fixtures import ANY_TEXT, LABELS, make_vocab
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ernie_predictor import (
    InferenceConfig,
    InputError,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
    bio_spans,
    join_tokens,
    load_task,
    positions_in,
)
from wordpiece import WordPiece

TOKENIZER = WordPiece(make_vocab())
LENGTHS = st.integers(8, 64)
STRIDES = st.integers(0, 64)
# Characters that may stand between the parts of a text without belonging to any of them.
FILLERS = st.text(st.sampled_from("的了，。 \t\u3000a1é😀\u200b"), max_size=12)
NAMES = ["北京", "王小明", "IBM公司", "hello 2018", "上海大学", "é", "７１８厂", "李"]


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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=20))
def test_every_character_of_a_joined_list_leads_back_to_its_token(tokens):
    text, starts = join_tokens(tokens)
    to_input = positions_in({"tokens": tokens})
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


@settings(max_examples=300, deadline=None)
@given(FILLERS, st.sampled_from(NAMES), FILLERS, st.text("谁什么？的", max_size=80), st.integers(32, 64), STRIDES)
def test_the_answer_is_found_at_its_place_whatever_the_windows(before, name, after, question, max_seq_length, stride):
    context = before * 4 + "，" + name + "，" + after * 4
    start = len(before) * 4 + 1
    tokens = TOKENIZER.encode(context)
    first, last = tokens.starts.index(start), tokens.ends.index(start + len(name))
    task = QuestionAnswering(TOKENIZER, [], max_seq_length, stride)
    given_example = {"question": question, "context": context}
    windows = task.windows(given_example)
    outputs = []
    for window in windows:
        begin, end = (np.full(len(window.input_ids), -10.0, dtype=np.float32) for _ in range(2))
        for logits, token in ((begin, first), (end, last)):
            if 0 <= token - window.begin < len(window.starts):
                logits[window.offset + token - window.begin] = 10.0
        outputs.append((begin, end))
    whole = any(w.begin <= first and last < w.begin + len(w.starts) for w in windows)
    assume(whole)
    result = task.decode(given_example, windows, outputs)
    assert (result["answer"], result["pos"]) == (name, [start, start + len(name) - 1])
    assert 0 < result["score"] <= 1


def test_reading_never_answers_with_the_question():
    task = QuestionAnswering(TOKENIZER, [], 64)
    given_example = {"question": "谁？", "context": "李明。"}
    (window,) = task.windows(given_example)
    logits = np.zeros(len(window.input_ids), dtype=np.float32)
    logits[1] = 100.0  # in the question
    assert task.decode(given_example, [window], [(logits, logits)])["answer"] in "李明。"
    assert task.decode(
        {"question": "谁？", "context": ""}, task.windows({"question": "谁？", "context": ""}), [(logits, logits)]
    ) == {
        "answer": "",
        "score": 0.0,
        "pos": None,
    }


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT, st.none() | ANY_TEXT, st.integers(8, 40))
@example("一" * 100, "二" * 3, 16)
@example("一" * 3, "二" * 100, 16)
@example("", "", 8)
def test_a_pair_fits_and_only_the_longer_text_is_cut(text, text_pair, max_seq_length):
    task = SequenceClassification(TOKENIZER, LABELS["seq_cls"], max_seq_length)
    given_example = {"text": text, "text_pair": text_pair}
    (window,) = task.windows(given_example)
    assert len(window.input_ids) <= max_seq_length
    first, second = (len(TOKENIZER.encode(t or "").ids) for t in (text, text_pair))
    truncated = task.decode(given_example, [window], [(np.array([0.0, 1.0]),)])["truncated"]
    if text_pair is None:
        assert truncated == (first + 2 > max_seq_length)
        return
    kept = window.token_type_ids.count(1) - 1
    room = max_seq_length - 3
    assert truncated == (first + second > room or (not first and second + 1 > room))
    if not truncated or first and second <= room // 2:
        assert kept == second


def test_confidence_is_the_softmax():
    task = SequenceClassification(TOKENIZER, LABELS["seq_cls"], 16)
    result = task.decode({"text": "好"}, task.windows({"text": "好"}), [(np.array([1.0, 3.0], dtype=np.float32),)])
    assert result["label"] == "positive" and result["confidence"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_max_seq_length_must_leave_room():
    with pytest.raises(InputError, match="max_seq_length 7 leaves no room"):
        SequenceClassification(TOKENIZER, LABELS["seq_cls"], 7)
    with pytest.raises(InputError, match="give at least 32"):
        QuestionAnswering(TOKENIZER, [], 31)


def write_config(folder, content, vocab="[PAD]\n[CLS]\n[SEP]\n[UNK]\n好\n"):
    (folder / "inference.json").write_text(content, encoding="utf-8")
    (folder / "vocab.txt").write_text(vocab, encoding="utf-8")


def test_a_task_comes_back_from_its_files(tmp_path):
    config = InferenceConfig("token_cls", LABELS["token_cls"], max_seq_length=40, doc_stride=10, dataset="msra_ner")
    config.save(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n[UNK]\n好\n", encoding="utf-8")
    assert InferenceConfig.load(tmp_path) == config
    task = load_task(tmp_path)
    assert (task.name, task.labels, task.max_seq_length, task.doc_stride) == ("token_cls", config.labels, 40, 10)
    assert load_task(tmp_path, max_seq_length=20).max_seq_length == 20


@pytest.mark.parametrize(
    ("content", "vocab", "message"),
    [
        ("", None, "inference.json is not what export writes"),
        ("[1]", None, "inference.json is not what export writes"),
        ('{"no": 1}', None, "inference.json is not what export writes"),
        ('{"task": "poetry"}', None, "task is 'poetry', not one of seq_cls, token_cls, qa"),
        (json.dumps({"task": "qa"}), "hello\n", r"vocab.txt cannot be used .*no \[PAD\]"),
        (json.dumps({"task": "seq_cls", "labels": "ab"}), None, "labels"),
        (json.dumps({"task": "seq_cls", "labels": ["a", "b"], "max_seq_length": "many"}), None, "max_seq_length"),
        (json.dumps({"task": "seq_cls", "labels": []}), None, "labels holds 0 names"),
        (json.dumps({"task": ["seq_cls"]}), None, "task"),
        ("[" * 100_000, None, "not what export writes"),
    ],
)
def test_files_that_export_did_not_write_are_refused(tmp_path, content, vocab, message):
    write_config(tmp_path, content, *([vocab] if vocab else []))
    with pytest.raises(InputError, match=message) as refusal:
        load_task(tmp_path)
    assert "\n" not in str(refusal.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="inference.json is missing"):
        load_task(tmp_path)
    write_config(tmp_path, '{"task": "qa"}')
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(InputError, match="vocab.txt cannot be used"):
        load_task(tmp_path)
