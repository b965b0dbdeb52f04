"""Multiple choice: what the model reads of a question and of a blank, and how its scores become answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.errors import InputError
from ernie_inference.tasks.multiple_choice import MultipleChoice
from ernie_inference.wordpiece import WordPiece
from tests.support.models import ANY_TEXT, make_vocab

TOKENIZER = WordPiece(make_vocab())
NAMES = {number: token for token, number in TOKENIZER.vocab.items()}


def task_of(max_seq_length=64):
    return MultipleChoice(TOKENIZER, [], max_seq_length)


def read(window):
    """A window as text, tokens with [ ] around special ones."""
    return "".join(NAMES[number] for number in window.input_ids)


def score(*rows):
    """Outputs for windows with these scores."""
    return [(np.array([value], dtype=np.float32),) for value in rows]


def test_each_choice_is_read_with_the_question_and_the_text():
    example = {"context": "大桥很长。", "question": "大桥怎么样？", "choices": ["很长", "短", ""]}
    windows = task_of().windows(example)
    assert list(map(read, windows)) == [
        "[CLS]大桥怎么样？[SEP]很长[SEP]大桥很长。[SEP]",
        "[CLS]大桥怎么样？[SEP]短[SEP]大桥很长。[SEP]",
        "[CLS]大桥怎么样？[SEP][UNK][SEP]大桥很长。[SEP]",
    ]
    first = windows[0]
    assert first.token_type_ids == [0] * 11 + [1] * 6 and not first.truncated


def test_an_idiom_is_read_with_the_text_around_its_blank():
    example = {"context": "他很高，#idiom1#。她#idiom22#。", "choices": ["出人头地", "小"]}
    windows = task_of().windows(example)
    assert list(map(read, windows)) == [
        "[CLS]出人头地[SEP]他很高，[MASK]。她[MASK][MASK][MASK][MASK]。[SEP]",
        "[CLS]小[SEP]他很高，[MASK]。她[MASK][MASK][MASK][MASK]。[SEP]",
        "[CLS]出人头地[SEP]他很高，[MASK][MASK][MASK][MASK]。她[MASK]。[SEP]",
        "[CLS]小[SEP]他很高，[MASK][MASK][MASK][MASK]。她[MASK]。[SEP]",
    ]


@pytest.mark.parametrize("before, behind", [(100, 100), (3, 100), (100, 2), (0, 0)])
def test_as_much_is_read_before_a_blank_as_behind_it(before, behind):
    example = {"context": "前" * before + "#idiom#" + "后" * behind, "choices": ["出人头地", "小"]}
    (first, _) = task_of(33).windows(example)
    text = read(first).split("[SEP]")[1]
    assert (text.count("前"), text.count("后")) == {
        (100, 100): (12, 13), (3, 100): (3, 22), (100, 2): (23, 2), (0, 0): (0, 0),
    }[before, behind]  # fmt: skip
    assert len(first.input_ids) == (33 if before + behind else 8) and first.truncated is bool(before + behind)


@settings(max_examples=60, deadline=None)
@given(ANY_TEXT, st.none() | ANY_TEXT, st.lists(ANY_TEXT, min_size=2, max_size=5), st.sampled_from([32, 48]))
def test_no_window_is_too_long_and_every_choice_sees_the_same_text(context, question, choices, length):
    context = context if question is not None else f"{context}#idiom#{context}"
    windows = task_of(length).windows({"context": context, "question": question, "choices": choices})
    assert len(windows) == len(choices) and all(len(window.input_ids) <= length for window in windows)
    assert len({tuple(window.input_ids[window.offset :]) for window in windows}) == 1
    assert all(len(window.input_ids) == len(window.token_type_ids) for window in windows)


def test_what_does_not_fit_is_said():
    task = task_of(32)
    for long in ({"context": "长" * 40}, {"question": "长" * 40}, {"choices": ["长" * 40, "短"]}):
        example = {"context": "好", "question": "好", "choices": ["好", "坏"], **long}
        assert task.decode(example, task.windows(example), score(1, 0))["truncated"] is True
    short = {"context": "好", "question": "好" * 20, "choices": ["好", "坏"]}  # more than half, as there is room
    assert task.decode(short, task.windows(short), score(1, 0))["truncated"] is False


def test_the_likeliest_choice_is_the_answer():
    task, example = task_of(), {"context": "文", "question": "问", "choices": ["甲", "乙", "丙"]}
    windows = task.windows(example)
    answer = task.decode(example, windows, score(0, np.log(3), np.log(2)))
    assert answer.pop("confidence") == pytest.approx(1 / 2)
    assert answer == {"answer": "乙", "choice": 1, "truncated": False}
    more = task.decode(example, windows, score(0, np.log(3), np.log(2)), AnswerOptions(top_k=2, threshold=0.6))
    assert (more["answer"], more["choice"]) == (None, None)
    assert [(each["answer"], each["choice"]) for each in more["scores"]] == [("乙", 1), ("丙", 2)]
    assert [each["confidence"] for each in more["scores"]] == pytest.approx([1 / 2, 1 / 3])


def test_each_idiom_fills_one_blank():
    """The first blank's likeliest idiom is the second's too, and there the loss would be larger."""
    task = task_of()
    example = {"context": ["一#idiom7#", "二#idiom8#三"], "choices": ["甲", "乙", "丙"]}
    windows = task.windows(example)
    answer = task.decode(example, windows, score(np.log(5), np.log(4), 0, np.log(8), 0, 0))
    assert [(each["blank"], each["answer"], each["choice"]) for each in answer["blanks"]] == [
        ("#idiom7#", "乙", 1), ("#idiom8#", "甲", 0),
    ]  # fmt: skip
    assert [each["confidence"] for each in answer["blanks"]] == pytest.approx([0.4, 0.8])


def test_more_blanks_than_choices_are_filled_each_by_itself():
    task, example = task_of(), {"context": "#idiom#" * 3, "choices": ["甲", "乙"]}
    answer = task.decode(example, task.windows(example), score(1, 0, 1, 0, 0, 1))
    assert [each["choice"] for each in answer["blanks"]] == [0, 0, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_an_error_and_no_answer(value):
    task, example = task_of(), {"context": "文", "question": "问", "choices": ["甲", "乙"]}
    with pytest.raises(InputError, match="^the model computed NaN or infinite logits: .*fp16"):
        task.decode(example, task.windows(example), score(1, value))


def test_answers_as_lines_for_people():
    found = {"answer": "乙", "choice": 1, "confidence": 0.5, "scores": [{"answer": "乙", "confidence": 0.5}]}
    assert MultipleChoice.describe({**found, "truncated": True}) == [
        "multiple choice result:",
        "answer: 乙   confidence: 0.5000   (the text was truncated)",
        "    乙   0.5000",
    ]
    blank = {"blank": "#idiom#", "answer": None, "choice": None, "confidence": 0.25}
    assert MultipleChoice.describe({"blanks": [blank], "truncated": False})[1:] == [
        "blank: #idiom#   answer: none   confidence: 0.2500"
    ]


def test_a_text_is_tokenized_once_however_many_blanks_and_choices_it_has(monkeypatch):
    asked = []
    encode = WordPiece.encode
    monkeypatch.setattr(
        WordPiece, "encode", lambda self, text, most=None: asked.append(text) or encode(self, text, most)
    )
    context = ["前后左右#idiom1#" * 20, "没有空格"]
    windows = task_of().windows_iter({"context": context, "choices": ["大", "小"]})
    first, second = next(windows), next(windows)
    assert read(first).startswith("[CLS]大[SEP]前后左右[MASK]前后左右[MASK][MASK][MASK][MASK]前")
    assert read(second).startswith("[CLS]小[SEP]")
    assert len(list(windows)) == 38 and sum(map(len, asked)) == 20 * 4 + 2


def test_windows_are_made_when_they_are_asked_for(monkeypatch):
    made = []
    window = MultipleChoice._window
    monkeypatch.setattr(MultipleChoice, "_window", lambda self, *args: made.append(args) or window(self, *args))
    question = {"context": "文", "question": "？", "choices": ["大"] * 64}
    cloze = {"context": "#idiom#" * 64, "choices": ["大"] * 64}
    for example in (question, cloze):
        made.clear()
        windows = task_of().windows_iter(example)
        assert [next(windows) for _ in range(3)] and len(made) == 3


@pytest.mark.parametrize(
    "choices, said",
    [
        ([], "it has 0 choices"),
        (["大"], "it has 1 choice"),
        (["大"] * 1000, "it has 1000 choices"),
        (["大", 7], "a choice is no text but of the type int"),
        ([["大"], ["小"]], "a choice is no text but of the type list"),
        (["大", None], "a choice is no text but of the type NoneType"),
    ],
)
def test_what_is_wrong_with_the_choices_is_said(choices, said):
    for given_input in ({"context": "文", "question": "？", "choices": choices}, ("文", "？", choices)):
        with pytest.raises(InputError, match=rf"\({said}\)$"):
            MultipleChoice.as_example(given_input, "input 1")
