import json

import pytest

from data import load_examples
from ernie_predictor import bio_spans, join_tokens
from make_sample_data import WRITERS, Entity, bio_tags, make, parse_line, questions, split_texts

SPLITS = ("train", "dev", "test")


def key(text: str) -> str:
    return "".join(text.split())


def texts(name: str, split: str) -> set:
    examples = load_examples(name, split)
    if name == "sample_people_daily":
        return {key(join_tokens(example["tokens"])[0]) for example in examples}
    return {key(example.get("text") or example["context"]) for example in examples}


@pytest.mark.parametrize("name", WRITERS)
def test_no_text_is_in_two_splits(name):
    train, dev, test = (texts(name, split) for split in SPLITS)
    assert not train & dev and not train & test and not dev & test
    assert len(train) > 4 * len(dev) > 4 * 200 and len(test) > 200


def test_reading_and_tagging_share_their_splits():
    for split in SPLITS:
        assert texts("sample_reading", split) <= texts("sample_people_daily", split)


@pytest.mark.parametrize("name", WRITERS)
def test_written_twice_is_the_same(name, tmp_path):
    folder, counts = make(name, tmp_path)
    again, _ = make(name)
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    assert counts == {split: len(load_examples(name, split)) for split in SPLITS}


def test_surname_and_given_name_are_one_person():
    text, entities = parse_line(
        "总书记/n  江/nr  泽民/nr  会见/v  克林顿/nr  、/w  贾/nr  永/nr  黄/nr  秋生/nr  在/p  北京/ns"
    )
    assert [(text[e.start : e.end], e.label) for e in entities] == [
        ("江泽民", "PER"), ("克林顿", "PER"), ("贾永", "PER"), ("黄秋生", "PER"), ("北京", "LOC"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "people"),
    [
        ("陈/nr  方/nr  安生/nr  说/v", ["陈方安生"]),
        ("诸葛/nr  仓麟/nr", ["诸葛仓麟"]),
        ("万万/nr  恩佐/nr", ["万万", "恩佐"]),
    ],
)
def test_names_of_other_forms(line, people):
    text, entities = parse_line(line)
    assert [text[e.start : e.end] for e in entities] == people


def test_bracketed_compound_is_one_organisation():
    text, entities = parse_line(
        "[中央/n  人民/n  广播/vn  电台/n]nt  在/p  [香港/ns  特别/a  行政区/n]ns  的/u  记者/n"
    )
    assert text == "中央人民广播电台在香港特别行政区的记者"
    assert entities == [Entity("ORG", 0, 8), Entity("LOC", 9, 16)]


def test_tags_read_back_as_the_entities():
    text, entities = parse_line("江/nr  泽民/nr  李/nr  鹏/nr  在/p  中国/ns  北京/ns  新华社/nt")
    tags = [(tag, i, i + 1) for i, tag in enumerate(bio_tags(len(text), entities))]
    assert bio_spans(tags) == [tuple(entity) for entity in entities]


def test_answers_stand_once_in_their_context_and_not_in_the_question():
    for example in load_examples("sample_reading", "dev"):
        (answer,), (start,) = example["answers"], example["answer_starts"]
        assert example["context"][start : start + len(answer)] == answer
        assert example["context"].count(answer) == 1
        assert answer not in example["question"]


def test_a_question_needs_another_candidate():
    text, entities = parse_line("记者/n  江/nr  泽民/nr  今天/t  在/p  这里/r  发表/v  了/u  重要/a  讲话/n  。/w")
    assert questions(text, entities) == []


def test_split_counts_texts_that_differ_in_spaces_as_one():
    splits = split_texts([f"第{i}句" for i in range(100)] + [f"第 {i} 句" for i in range(100)])
    assert sorted(i for split in splits.values() for i in split) == list(range(100))


def test_counts_are_recorded():
    folder, counts = make("sample_reviews")
    assert json.loads((folder / "counts.json").read_text()) == counts
