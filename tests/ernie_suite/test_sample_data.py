import hashlib
import json

from ernie_suite.data import load_examples
from ernie_suite.sample_data import WRITERS, Entity, bio_tags, make_sample_data, parse_line, questions, split_texts

import pytest

from ernie_inference.tasks.token_cls import bio_spans, join_tokens

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


# What the README's figures were measured on: examples (as it lists them) and SHA-256 of the files.
WRITTEN = {
    "sample_reviews": {
        "train": (13_889, "0e6c68737137c9ee"),
        "dev": (1_736, "7bfd75ae91f286cd"),
        "test": (1_736, "20a76ff1ac21ae68"),
    },
    "sample_people_daily": {
        "train": (14_832, "e30d4125ad61bfc2"),
        "dev": (1_853, "ce8cd35e45d556ce"),
        "test": (1_853, "ec81e8633da1e7a0"),
    },
    "sample_reading": {
        "train": (7_681, "080e448a887351d6"),
        "dev": (952, "caa33b457a3eed18"),
        "test": (988, "58eac59e538c472e"),
    },
    "sample_choice": {
        "train": (7_681, "fe5034102c4249f8"),
        "dev": (952, "dab20b2e3070d782"),
        "test": (988, "7bd309fd0067933b"),
    },
    "sample_entity_types": {
        "train": (13_089, "d312fb86565a3ccd"),
        "dev": (1_639, "bf18b8c6b18e9c4f"),
        "test": (1_650, "cdf7dc808c23a676"),
    },
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_what_the_figures_were_measured_on(name, tmp_path):
    folder, counts = make_sample_data(name, tmp_path)
    digests = {
        split: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for split in SPLITS
        for path in folder.glob(f"{split}.*")
    }
    assert {split: (counts[split], digests[split]) for split in SPLITS} == WRITTEN[name]
    assert counts == {split: len(load_examples(name, split)) for split in SPLITS}


def test_an_interrupted_writing_is_done_again_and_a_finished_one_is_left_alone(tmp_path):
    folder, counts = make_sample_data("sample_reviews", tmp_path)
    assert (
        json.loads((folder / "counts.json").read_text())
        == counts
        == {split: len((folder / f"{split}.json").read_text(encoding="utf-8").splitlines()) for split in SPLITS}
    )
    dev = (folder / "dev.json").read_bytes()
    (folder / "dev.json").write_bytes(dev[:1000])
    assert (
        make_sample_data("sample_reviews", tmp_path) == (folder, counts)
        and (folder / "dev.json").read_bytes() == dev[:1000]
    )
    (folder / "counts.json").unlink()
    assert (
        make_sample_data("sample_reviews", tmp_path) == (folder, counts) and (folder / "dev.json").read_bytes() == dev
    )


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
    """In the file itself: load_examples would correct a position."""
    folder, _ = make_sample_data("sample_reading")
    for entry in json.loads((folder / "dev.json").read_text(encoding="utf-8"))["data"]:
        (paragraph,) = entry["paragraphs"]
        for question in paragraph["qas"]:
            (answer,) = question["answers"]
            text, start, context = answer["text"], answer["answer_start"], paragraph["context"]
            assert context[start : start + len(text)] == text
            assert context.count(text) == 1 and text not in question["question"]


def test_a_question_needs_another_candidate():
    text, entities = parse_line("记者/n  江/nr  泽民/nr  今天/t  在/p  这里/r  发表/v  了/u  重要/a  讲话/n  。/w")
    assert questions(text, entities) == []


def test_split_counts_texts_that_differ_in_spaces_as_one():
    splits = split_texts([f"第{i}句" for i in range(100)] + [f"第 {i} 句" for i in range(100)])
    assert sorted(i for split in splits.values() for i in split) == list(range(100))
