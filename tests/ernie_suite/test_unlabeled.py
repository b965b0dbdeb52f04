"""Text without labels: its forms, what is refused, how it is drawn, and how it is mixed with the labelled text."""

import json
import math
import random
from collections import Counter

from ernie_suite.compression.distillation import training_on
from ernie_suite.compression.training import mixed_text
from ernie_suite.tasks import FAMILIES, QA, SEQ_CLS, TOKEN_CLS
from ernie_suite.unlabeled import MOST_PER_LABELLED, draw, read_unlabeled

import pytest

from ernie_inference.errors import InputError
from tests.support.trainers import tiny_trainer

TEXTS = ["房间很好", "早餐不错，服务也好", "太吵了，不会再来"]


@pytest.fixture(scope="module")
def trainers(tmp_path_factory):
    """The trainer of a family, made when first asked for."""
    folder, made = tmp_path_factory.mktemp("unlabeled"), {}

    def get(family):
        if family.name not in made:
            made[family.name] = tiny_trainer(folder / family.name, family, max_seq_length=64)
        return made[family.name]

    return get


@pytest.fixture
def read(trainers, tmp_path):
    """read(family, lines or bytes, file name) is what is read of a file that holds them."""

    def get(family, content, name="more.json"):
        path = tmp_path / name
        if not isinstance(content, bytes):
            lines = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in content]
            content = "".join(f"{line}\n" for line in lines).encode("utf-8")
        path.write_bytes(content)
        return read_unlabeled(trainers(family), path)

    return get


def sorted_examples(unlabeled):
    return sorted(unlabeled.examples, key=lambda example: json.dumps(example, sort_keys=True))


@pytest.mark.parametrize(
    "family, given, expected",
    [
        (SEQ_CLS, {"sentence": "好", "label": "a label that is none", "id": 3}, {"text": "好", "text_pair": None}),
        (SEQ_CLS, {"text": "好"}, {"text": "好", "text_pair": None}),
        (TOKEN_CLS, {"text": "北京很大"}, {"text": "北京很大"}),
        (TOKEN_CLS, {"tokens": ["北", "京"], "labels": None}, {"tokens": ["北", "京"]}),
        (QA, {"context": "北京很大。", "question": "哪里很大？"}, {"context": "北京很大。", "question": "哪里很大？"}),
    ],
)
def test_an_object_has_the_fields_of_the_task(read, family, given, expected):
    assert read(family, [given]).examples == [expected]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_text_file_has_a_text_a_line(read, family):
    """With a byte order mark, blank lines, and line ends of any kind."""
    content = b"\xef\xbb\xbf" + "\r\n\n \n".join(TEXTS).encode("utf-8")
    found = read(family, content, "more.txt")
    assert found.total == 3
    assert sorted(example.get("text") or example["context"] for example in found.examples) == sorted(TEXTS)


@pytest.fixture
def pairs(trainers):
    """The classification of pairs: the training set has some."""
    examples = trainers(SEQ_CLS).train_dataset.examples
    before = [example["text_pair"] for example in examples]
    for example in examples:
        example["text_pair"] = "第二句"
    yield
    for example, text_pair in zip(examples, before):
        example["text_pair"] = text_pair


@pytest.mark.parametrize(
    "given",
    [
        {"sentence1": "甲", "sentence2": "乙"},
        {"text": "甲", "text_pair": "乙"},
        {"keyword": ["甲"], "abst": "乙"},
    ],
)
def test_pairs_have_the_fields_of_a_data_set_of_pairs(read, pairs, given):
    assert read(SEQ_CLS, [given]).examples == [{"text": "甲", "text_pair": "乙"}]


def test_pairs_stand_in_a_line_with_a_tab_between(read, pairs):
    assert read(SEQ_CLS, ["甲\t乙"], "more.txt").examples == [{"text": "甲", "text_pair": "乙"}]
    with pytest.raises(InputError, match="more.txt, line 2: .* one tab"):
        read(SEQ_CLS, ["甲\t乙", "丙"], "more.txt")
    with pytest.raises(InputError, match="line 1: .*pairs of texts: give sentence1 and sentence2"):
        read(SEQ_CLS, [{"sentence": "甲"}])


@pytest.mark.parametrize(
    "family, content, name, said",
    [
        (SEQ_CLS, [], "more.txt", "more.txt holds no text"),
        (SEQ_CLS, ["", " "], "more.json", "more.json holds no text"),
        (SEQ_CLS, TEXTS, "more.tsv", r"more.tsv: call it .txt .* .json, .jsonl, .ndjson"),
        (SEQ_CLS, TEXTS, "more.json", "more.json, line 1: not JSON"),
        (SEQ_CLS, [{"sentence": "好"}, {"title": "好"}], "more.json", r"line 2: no text .*\(title\): give sen"),
        (SEQ_CLS, [{"sentence": 3}], "more.json", "line 1: 'sentence' is not a text"),
        (SEQ_CLS, [{"sentence1": "甲", "sentence2": "乙"}], "more.json", "line 1: .*single texts: give"),
        (TOKEN_CLS, [{"sentence": "好"}], "more.json", "line 1 has neither .*'text' nor .*'tokens'"),
        (TOKEN_CLS, [{"tokens": ["好", 1]}], "more.json", "line 1 has neither"),
        (QA, [{"question": "谁？"}], "more.json", "line 1: 'context' is missing"),
        (QA, [{"context": "好", "question": 1}], "more.json", "line 1: 'question' is not a text"),
        (SEQ_CLS, "好\n坏\n".encode() + "中文".encode("gbk") + b"\n", "more.txt", r"is not UTF-8 \(line 3\)"),
        (SEQ_CLS, "好".encode("utf-16"), "more.txt", "is UTF-16, not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(read, family, content, name, said):
    with pytest.raises(InputError, match=said) as caught:
        read(family, content, name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(trainers, tmp_path):
    with pytest.raises(InputError, match="none.txt does not exist"):
        read_unlabeled(trainers(SEQ_CLS), tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read"):
        (tmp_path / "folder.txt").mkdir()
        read_unlabeled(trainers(SEQ_CLS), tmp_path / "folder.txt")


def test_of_a_large_file_no_more_is_kept_than_the_training_reads(read):
    """Four steps of eight texts; which of them, the seed decides."""
    lines = [f"第{number}条" for number in range(500)]
    found = read(SEQ_CLS, lines, "more.txt")
    assert (found.total, len(found.examples)) == (500, 32)
    assert {example["text"] for example in found.examples} <= set(lines)
    assert read(SEQ_CLS, lines, "more.txt") == found
    assert [example["text"] for example in found.examples] != lines[:32]


def test_each_is_as_likely_to_be_drawn_as_any_other():
    drawn = Counter(item for seed in range(2000) for item in draw(iter(range(10)), 3, random.Random(seed))[1])
    assert sorted(drawn) == list(range(10))
    assert all(500 < count < 700 for count in drawn.values()), drawn
    assert draw(iter(range(2)), 3, random.Random(0)) == (2, [0, 1])


@pytest.mark.parametrize("count", [5, 300])
def test_an_epoch_has_all_that_is_labelled_and_a_share_that_is_not(trainers, read, monkeypatch, capsys, count):
    """24 labelled texts; unlabelled ones as many as there are, or as MOST_PER_LABELLED allows, others in each epoch."""
    trainer = trainers(SEQ_CLS)
    monkeypatch.setattr(trainer.args, "max_steps", 1000)
    share = min(count, MOST_PER_LABELLED * 24)
    mixed = mixed_text(trainer, read(SEQ_CLS, [f"第{number}条" for number in range(count)], "more.txt"))
    with training_on(trainer, mixed):
        sampler = trainer.get_train_dataloader().batch_sampler
    steps = math.ceil((24 + share) / 8)
    assert (len(mixed), len(sampler)) == (24 + share, steps)
    said = f"{count} examples without labels; an epoch reads 24 inputs with labels and {share} without in {steps} steps"
    assert f"more.txt: {said}; 1,000 steps in all" in capsys.readouterr().out
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append([index for batch in sampler for index in batch])
        assert sorted(set(epochs[-1]))[:24] == list(range(24)) and len(set(epochs[-1])) == len(mixed)
    assert epochs[0] != epochs[1]
    first, second = ({index for index in epoch if index >= 24} for epoch in epochs)
    assert first == second if count == 5 else not first & second, "the next epoch reads what follows"
    assert set(map(frozenset, (mixed[index] for index in epochs[0]))) == {frozenset(("input_ids", "token_type_ids"))}
    assert mixed.lengths.tolist() == [len(mixed[index]["input_ids"]) for index in range(len(mixed.lengths))]
