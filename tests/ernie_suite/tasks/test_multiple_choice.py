"""C3 and CHID: their files as they are published, what is learnt of them, the loss, and the files of answers."""

import io
import json

from ernie_suite.data import find_dataset, load_answered_examples, load_examples
from ernie_suite.features import Features
from ernie_suite.sampler import LengthGroupedSampler, WholeQuestions
from ernie_suite.tasks.multiple_choice import (
    MULTIPLE_CHOICE,
    UnlabeledQuestions,
    choice_accuracy,
    choice_cross_entropy,
    write_choices,
)

import datasets
import numpy as np
import paddle
import pytest

from ernie_inference.errors import InputError
from ernie_inference.tasks.multiple_choice import MultipleChoice
from ernie_inference.wordpiece import WordPiece
from tests.support.models import make_vocab

DIALOGUE = [
    ["男：今天的会几点开始？", "女：三点，不过小李说要晚一点。"],
    [
        {"question": "会几点开始？", "choice": ["两点", "三点", "四点"], "answer": "三点"},
        {"question": "谁要晚来？", "choice": ["小李", "女的", "男的", "没有人"], "answer": "小李"},
    ],
    "7-1",
]
TEXT = [["种花要耐心。\n浇水不能太多。"], [{"question": "花要多浇水。", "choice": ["对", "错"], "answer": "错"}], "3-2"]
FEWCLUE = [
    {"id": 4, "candidates": ["一马当先", "马到成功", "走马观花"], "content": "祝你#idiom#！", "answer": 1},
    {"id": 9, "candidates": ["一马当先", "马到成功", "走马观花"], "content": "他只是#idiom#地看。", "answer": 2},
]
GROUP = {
    "content": ["祝你#idiom000010#！我们下次见。", "他#idiom000011#，只是#idiom000012#。"],
    "candidates": ["一马当先", "马到成功", "走马观花", "老马识途"],
}
ANSWERS = {"#idiom000010#": 1, "#idiom000011#": 0, "#idiom000012#": 2}


def write(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def write_lines(path, items):
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")


def test_c3_is_its_dialogues_and_its_texts(tmp_path):
    write(tmp_path / "c3-d-dev.json", [DIALOGUE])
    write(tmp_path / "c3-m-dev.json", [TEXT])
    examples = load_examples("clue c3", "dev", str(tmp_path))
    assert [(each["id"], each["question"], each["answers"]) for each in examples] == [
        (0, "会几点开始？", [1]), (1, "谁要晚来？", [0]), (2, "花要多浇水。", [1]),
    ]  # fmt: skip
    assert examples[0]["context"] == "\n".join(DIALOGUE[0]) and len(examples[1]["choices"]) == 4


@pytest.mark.parametrize("names", [["d-train", "m-train"], ["train"]])
def test_c3_under_its_other_names(tmp_path, names):
    for name in names:
        write(tmp_path / f"{name}.json", [DIALOGUE])
    assert len(load_examples("c3", "train", str(tmp_path))) == 2 * len(names)


def test_a_test_split_of_c3_has_ids_and_may_lack_answers(tmp_path):
    asked = [{"id": 40 + i, "question": "？", "choice": ["甲", "乙"]} for i in range(2)]
    write(tmp_path / "test.json", [[["文"], asked, "1-1"]])
    assert [(e["id"], e["answers"]) for e in load_examples("c3", "test", str(tmp_path))] == [(40, None), (41, None)]
    write(tmp_path / "dev.json", [[["文"], asked, "1-1"]])
    with pytest.raises(InputError, match="dev.json, document 1 has no answer, which the dev split needs"):
        load_examples("c3", "dev", str(tmp_path))


def test_chid_as_fewclue_has_it(tmp_path):
    write_lines(tmp_path / "dev.json", FEWCLUE)
    examples = load_answered_examples(find_dataset("chid"), "dev", str(tmp_path))
    assert [(each["id"], each["answers"]) for each in examples] == [(4, [1]), (9, [2])]
    assert examples[0]["context"] == "祝你#idiom#！" and examples[0]["question"] is None


def test_chid_as_clue_has_it(tmp_path):
    """Groups with a file of answers beside them, or as the hub has them."""
    write_lines(tmp_path / "train.json", [GROUP])
    write(tmp_path / "train_answer.json", ANSWERS)
    of_the_hub = {**GROUP, "idx": 0, "answers": {"text": [], "candidate_id": [1, 0, 2]}}
    write_lines(tmp_path / "dev.json", [of_the_hub])
    write_lines(tmp_path / "test.json", [GROUP, {**of_the_hub, "idx": 1, "answers": {"candidate_id": []}}])
    for split in ("train", "dev"):
        (example,) = load_examples("chid", split, str(tmp_path))
        assert example["answers"] == [1, 0, 2] and example["context"] == GROUP["content"]
    assert [example["answers"] for example in load_examples("chid", "test", str(tmp_path))] == [None, None]


def test_chid_is_had_from_the_hub(tmp_path, monkeypatch):
    asked = []

    def load(*names, split):
        asked.append((*names, split))
        rows = [{**GROUP, "idx": 0, "answers": {"text": ["马到成功"] * 3, "candidate_id": [1, 0, 2]}}]
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("paddlenlp.utils.env.DATA_HOME", str(tmp_path))
    for _ in range(2):
        assert load_examples("chid", "dev")[0]["answers"] == [1, 0, 2]
    assert asked == [("clue", "chid", "validation")]  # once: then it is there


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("c3", {}, "a list of documents is expected"),
        ("c3", [[["文"]]], "document 1: not a list of sentences, questions and id"),
        ("c3", [["文", [], "1"]], "document 1: not a list of sentences"),
        ("c3", [[["文"], [1], "1"]], "its questions are no list of objects"),
        (
            "c3",
            [[["文"], [{"question": "？", "choice": ["甲"], "answer": "甲"}], "1"]],
            "'choice' is not a list of 2 to",
        ),
        (
            "c3",
            [[["文"], [{"question": "？", "choice": ["甲", "乙"], "answer": "丙"}], "1"]],
            "'丙' is none of its choices",
        ),
        ("c3", [], "holds no examples"),
        ("chid", {"content": "无", "candidates": ["甲", "乙"], "answer": 0}, "line 1: 'content' has 0 blanks"),
        ("chid", {"content": 1, "candidates": ["甲", "乙"]}, "line 1: 'content' is neither a text nor a list"),
        ("chid", {"content": "#idiom#", "candidates": "甲乙"}, "line 1: 'candidates' is not a list of 2 to 64 texts"),
        ("chid", {"content": "#idiom#", "candidates": ["甲", "乙"], "answer": 2}, "the answer 2 is the number of none"),
        ("chid", {"content": "#idiom#", "candidates": ["甲", "乙"], "answer": "x"}, "its answers are no numbers"),
        ("chid", {"content": "#idiom#", "candidates": ["甲", "乙"]}, "line 1 has no answer, which the dev split needs"),
        ("chid", {"content": "#idiom#" * 2, "candidates": ["甲", "乙"], "answer": 1}, "2 blanks but 1 answers"),
        *(
            ("chid", {"content": "#idiom#", "candidates": ["甲", "乙"], "answer": answer}, "its answers are no numbers")
            for answer in (0.5, 1.0, 1e999, True, [1], {"1": 1})
        ),
        *(
            (
                "chid",
                {"content": ["#idiom#"], "candidates": ["甲", "乙"], "answers": answers},
                '"answers" is not {"cand',
            )
            for answers in ([1], "1", 1, {"candidate_id": "1"}, {"candidate_id": None})
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_with_its_place(tmp_path, name, content, message):
    write(tmp_path / "dev.json", content)
    with pytest.raises(InputError, match=message) as refusal:
        load_examples(name, "dev", str(tmp_path))
    assert str(refusal.value).startswith(str(tmp_path / "dev.json")) and "\n" not in str(refusal.value)


def test_half_of_c3_is_not_c3(tmp_path):
    write(tmp_path / "c3-d-dev.json", [DIALOGUE])
    with pytest.raises(InputError, match="c3-m-dev.json is missing: c3 needs c3-d-train.json and c3-m-train.json or"):
        load_examples("c3", "dev", str(tmp_path))


# ---------------------------------------------------------------- what is learnt


@pytest.fixture
def features(tmp_path):
    """Of three questions, with three, four and two choices."""
    write(tmp_path / "dev.json", [DIALOGUE, TEXT])
    return Features(MULTIPLE_CHOICE, task(), load_examples("c3", "dev", str(tmp_path)))


def task(max_seq_length=64):
    return MultipleChoice(WordPiece(make_vocab()), [], max_seq_length)


def test_every_choice_is_a_feature_and_no_other_is(features):
    assert [feature["is_right"] for feature in features] == [0, 1, 0, 1, 0, 0, 0, 0, 1]
    assert [feature["questions"] for feature in features] == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert len(features.units) == 3


def test_a_batch_has_whole_questions(features):
    sampler = LengthGroupedSampler(features, 2, seed=3, num_replicas=1, rank=0)
    for _ in range(3):
        batches = list(sampler)
        assert sorted(i for batch in batches for i in batch) == list(range(9)) and len(batches) == len(sampler) == 2
        for batch in batches:
            found = [features[i]["questions"] for i in batch]
            assert all(found.count(question) == [3, 4, 2][question] for question in found)
    assert list(map(list, WholeQuestions(features, 7))) == [[0, 1, 2, 3, 4, 5, 6], [7, 8]]
    assert list(map(list, WholeQuestions(features, 1))) == [[0, 1, 2], [3, 4, 5, 6], [7, 8]]


def test_two_processes_share_the_questions_of_a_step(features):
    parts = [list(LengthGroupedSampler(features, 1, seed=3, num_replicas=2, rank=rank)) for rank in (0, 1)]
    together = {i for batches in parts for batch in batches for i in batch}
    assert together == set(range(9)) and len(parts[0]) == len(parts[1])


@pytest.mark.parametrize("by_length", [False, True])
def test_answers_come_back_to_their_examples(tmp_path, by_length):
    write_lines(tmp_path / "dev.json", [GROUP, {**GROUP, "content": ["#idiom000013#" + "好" * 90]}])
    write(tmp_path / "dev_answer.json", {**ANSWERS, "#idiom000013#": 3})
    examples = load_examples("chid", "dev", str(tmp_path))
    features = Features(MULTIPLE_CHOICE, task(), examples, by_length)
    assert features.lengths.tolist() == [len(feature["input_ids"]) for feature in features]
    right = np.array([[feature["is_right"]] for feature in features], dtype=np.float32)
    assert choice_accuracy(examples, features.results((right,))) == {"accuracy": 1.0}
    assert choice_accuracy(examples, features.results((np.roll(right, 1),)))["accuracy"] < 1
    assert len(features.units) == 4  # one of them alone in its example
    questions = [feature["questions"] for feature in features]
    assert questions == sorted(questions)


def test_the_loss_compares_the_choices_of_a_question_alone():
    """As the cross entropy of each question by itself; one whose right choice is elsewhere counts for nothing."""
    scores = np.array([[1.0], [2.0], [0.5], [-1.0], [0.0], [3.0]], dtype=np.float32)
    is_right, questions = [0, 1, 0, 1, 0, 0], [5, 5, 5, 8, 8, 9]
    loss = choice_cross_entropy(paddle.to_tensor(scores), (paddle.to_tensor(is_right), paddle.to_tensor(questions)))
    alone = [
        float(paddle.nn.functional.cross_entropy(paddle.to_tensor(scores[part].T), paddle.to_tensor([right])))
        for part, right in ((slice(0, 3), 1), (slice(3, 5), 0))
    ]
    assert float(loss) == pytest.approx(np.mean(alone), rel=1e-5)
    others = (paddle.to_tensor([0, 0]), paddle.to_tensor([1, 1]))
    assert float(choice_cross_entropy(paddle.to_tensor(scores[:2]), others)) == 0


def test_the_share_of_right_answers_is_of_all_blanks():
    example = {"answers": [1, 0, 2]}
    result = {"blanks": [{"choice": 1}, {"choice": 2}, {"choice": 0}]}
    assert choice_accuracy([example, {"answers": [3]}], [result, {"choice": 3}]) == {"accuracy": 2 / 4}


# ---------------------------------------------------------------- what is sent to the test server


def written(examples, results):
    file = io.StringIO()
    write_choices(file, examples, results)
    return file.getvalue()


def test_the_files_of_answers_are_clues_and_fewclues():
    assert (
        written([{"id": 0}, {"id": 1}], [{"choice": 2}, {"choice": 0}])
        == '{"id": 0, "label": 2}\n{"id": 1, "label": 0}\n'
    )
    group = {"blanks": [{"blank": "#idiom000010#", "choice": 3}, {"blank": "#idiom000011#", "choice": 0}]}
    last = {"blanks": [{"blank": "#idiom000012#", "choice": 1}]}
    assert json.loads(written([{"id": 0}, {"id": 1}], [group, last])) == {
        "#idiom000010#": 3, "#idiom000011#": 0, "#idiom000012#": 1,
    }  # fmt: skip
    alone = {"blanks": [{"blank": "#idiom#", "choice": 3}]}
    assert written([{"id": 9}], [alone]) == '{"id": 9, "answer": 3}\n'


# ---------------------------------------------------------------- text without answers


def test_a_text_without_choices_gets_those_of_the_nearest_question():
    labelled = [
        {"question": "大桥有多长？", "choices": ["很长", "不长"]},
        {"question": "花是什么颜色？", "choices": ["红", "白", "黄"]},
    ]
    form = UnlabeledQuestions(task(), labelled)
    (example,) = form.examples("院子里的花是红的。", "line 1")
    completed = form.complete(example)
    assert completed == {"context": "院子里的花是红的。", **labelled[1]} and MultipleChoice.is_example(completed)
    given = {"context": "文", "question": "问", "choices": ["甲", "乙"], "answer": "甲"}
    (example,) = form.examples(given, "line 2")
    assert form.complete(example) == {"context": "文", "question": "问", "choices": ["甲", "乙"]}
    with pytest.raises(InputError, match="^line 3 is not a triple"):
        list(form.examples({"context": "文", "choices": ["甲", "乙"]}, "line 3"))


def test_a_text_without_choices_gets_a_blank_where_the_training_set_has_blanks():
    form = UnlabeledQuestions(task(), [{"question": None, "choices": ["一马当先", "马到成功"]}])
    (example,) = form.examples("他们在比赛里一马当先了。", "line 1")
    completed = form.complete(example)
    assert completed["context"] == "他们在比#idiom#当先了。" and MultipleChoice.is_example(completed)
