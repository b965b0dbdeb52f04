"""What a task does with a text: windows that lose and double nothing, answers at their exact place."""

import json

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ernie_inference.errors import InputError
from ernie_inference.files import write_json
from ernie_inference.inference_config import InferenceConfig, load_task
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.tasks.token_cls import TokenClassification, bio_spans, join_tokens, text_and_positions
from ernie_inference.text_output import to_json
from ernie_inference.wordpiece import WordPiece
from tests.support.models import ANY_TEXT, LABELS, make_vocab

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


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 90), st.integers(32, 64), STRIDES, st.integers(0, 2**32 - 1))
def test_the_score_of_an_answer_does_not_depend_on_the_windows(length, max_seq_length, stride, seed):
    """Each token has the same logits in whatever window it stands."""
    context = "".join(chr(0x4E00 + i) for i in range(length))
    of_token = np.random.default_rng(seed).normal(0, 3, (2, length))
    given_example = {"question": "谁？", "context": context}

    def answer(*sizes):
        task = QuestionAnswering(TOKENIZER, [], *sizes)
        windows = task.windows(given_example)
        outputs = []
        for window in windows:
            logits = np.full((2, len(window.input_ids)), -50.0)
            inside = slice(window.begin, window.begin + len(window.starts))
            logits[:, window.offset : window.offset + len(window.starts)] = of_token[:, inside]
            outputs.append(tuple(logits))
        return task.decode(given_example, windows, outputs)

    one, several = answer(128, 0), answer(max_seq_length, stride)
    assume(one["pos"] == several["pos"])  # a long answer need not be whole in a small window
    assert several["score"] == pytest.approx(one["score"], rel=1e-9) and several["score"] <= 1


def test_a_doubtful_token_counts_as_where_it_has_more_context():
    """The edge of the first window is sure of an answer that the second does not see there."""
    task = QuestionAnswering(TOKENIZER, [], 32, 14)
    given_example = {"question": "谁？", "context": "".join(chr(0x4E00 + i) for i in range(40))}
    windows = task.windows(given_example)
    outputs = [tuple(np.zeros((2, len(window.input_ids)))) for window in windows]
    edge, sure = windows[0].offset + len(windows[0].starts) - 1, windows[1].offset + 20
    outputs[0][0][edge] = outputs[0][1][edge] = 8.0
    outputs[1][0][sure] = outputs[1][1][sure] = 9.0
    result = task.decode(given_example, windows, outputs)
    assert windows[0].begin + len(windows[0].starts) - 1 > windows[1].begin, "the edge is in both windows"
    assert result["score"] == pytest.approx((np.exp(9) / (np.exp(9) + 39)) ** 2)
    outputs[0][0][edge] = outputs[0][1][edge] = 10.0  # now the answer is found at the edge itself
    assert task.decode(given_example, windows, outputs)["score"] == pytest.approx(
        (np.exp(10) / (np.exp(10) + np.exp(9) + 38)) ** 2
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task_class", [SequenceClassification, TokenClassification, QuestionAnswering])
def test_logits_that_are_no_numbers_are_an_error_and_no_answer(task_class, value):
    task = task_class(TOKENIZER, LABELS[task_class.name], 32)
    given_example = {"text": "好人", "question": "谁？", "context": "好人"}
    (window,) = task.windows(given_example)
    shapes = {
        "seq_cls": [(2,)],
        "token_cls": [(len(window.input_ids) + 3, 7)],
        "qa": [(len(window.input_ids) + 3,)] * 2,
    }
    outputs = tuple(np.zeros(shape, dtype=np.float32) for shape in shapes[task.name])
    first = window.offset if task.name != "seq_cls" else 0
    if task.name != "seq_cls":
        for output in outputs:  # what nobody reads: [CLS], the question and padding
            output[:first] = output[first + 2 :] = value
    task.decode(given_example, [window], [outputs])
    for output in outputs:
        output[first + 1] = value
        with pytest.raises(InputError, match="^the model computed NaN or infinite logits: .*fp16") as error:
            task.decode(given_example, [window], [outputs])
        assert "\n" not in str(error.value)
        output[first + 1] = 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_file_and_no_answer_holds_what_json_lacks(tmp_path, value):
    with pytest.raises(InputError, match="results.json is not written: a figure is NaN or infinite"):
        write_json(tmp_path / "results.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []
    for text in ("好", "\ud83d"):
        with pytest.raises(ValueError, match="JSON compliant"):
            to_json({"label": text, "confidence": value})


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
