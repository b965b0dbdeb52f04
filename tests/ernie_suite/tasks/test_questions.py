"""Questions made for contexts that have none."""

import re

from ernie_suite.tasks.questions import QuestionIndex, UnlabeledContexts, cut_passages, make_cloze

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.wordpiece import WordPiece

LABELLED = [{"question": text} for text in ("大桥有多长？", "这本书是谁写的？", "大桥是哪一年通车的？")]


@given(st.text("北京很大。！\n，", max_size=200), st.integers(1, 40))
def test_passages_are_the_whole_text_in_parts_of_whole_sentences(context, room):
    passages = list(cut_passages(context, room))
    joined = "".join(passages)
    assert context.startswith(joined) and not context[len(joined) :].strip()
    for passage in passages:
        assert 0 < len(passage) <= room
    for passage, following in zip(passages, passages[1:]):
        sentence = len(re.split("(?<=[。！\n])", following)[0])
        assert passage[-1] in "。！\n" or len(passage) + min(sentence, room) > room


@pytest.mark.parametrize(
    "passage, questions",
    [
        ("2018年通车，长55里。", ["哪一年通车，长55里？", "多少年通车，长55里？", "2018年通车，长多少里？"]),
        ("他写了《边城》一书。", ["他写了《什么》一书？"]),
        ("人们叫它“天路”，因为它很高！", ["人们叫它“什么”，因为它很高？"]),
        ("这台电脑装的是Windows系统。", ["这台电脑装的是什么系统？"]),
    ],
)
def test_a_cloze_asks_for_a_part_of_a_sentence(passage, questions):
    assert [make_cloze(passage, number) for number in range(len(questions) + 1)] == [*questions, questions[0]]


@pytest.mark.parametrize("passage", ["", "好。", "这里没有可以问的内容。", "第" * 80 + "2018年"])
def test_no_cloze_is_made_where_nothing_can_be_asked_for(passage):
    assert make_cloze(passage, 0) is None


def test_the_nearest_question_shares_the_most_with_the_text():
    index = QuestionIndex([example["question"] for example in LABELLED])
    assert index.nearest("那本书是谁写的，没有人知道。") == "这本书是谁写的？"
    assert index.nearest("大桥全长55公里。") == "大桥有多长？"
    assert index.nearest("没有共同之处") == "大桥有多长？"
    assert QuestionIndex(["？", "好？"]).nearest("好") == "？"


def test_passages_get_a_question_of_the_training_set_and_a_cloze_in_turn():
    task = QuestionAnswering(WordPiece({"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3}), [], max_seq_length=48)
    text = UnlabeledContexts(task, LABELLED)
    context = "大桥于2018年通车，全长55公里。" * 2
    examples = [text.complete(example) for example in text.examples(context, "")]
    assert [example["context"] for example in examples] == [context[:18], context[18:]]
    assert [example["question"] for example in examples] == ["大桥是哪一年通车的？", "大桥于多少年通车，全长55公里？"]
    assert all(len(task.windows(example)) == 1 for example in examples)
    given = {"question": "何时？", "context": context * 9}
    assert [text.complete(example) for example in text.examples(given, "")] == [given]
