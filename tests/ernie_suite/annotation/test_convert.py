"""Exports become a data set that the suite reads: split without leaks, nothing lost that is not counted and listed."""

import json
from collections import Counter
from pathlib import Path

from ernie_suite.annotation.convert import CHANGES_FILE, DROP, ConvertOptions, convert
from ernie_suite.annotation.forms import NO_QUESTION, NO_TEXT
from ernie_suite.annotation.records import ReadOptions
from ernie_suite.annotation.report import print_converted
from ernie_suite.annotation.spans import BLANK, NESTED, OUT_OF_TEXT, OVERLAPPING, REFUSE, TRIMMED, TWICE
from ernie_suite.annotation.splits import SPLITS, Shares
from ernie_suite.data import find_dataset, load_examples, load_labels
from ernie_suite.same_texts import comparable
from ernie_suite.tasks.token_cls import spans_of

import pytest

from ernie_inference.errors import InputError
from tests.support.scripts import run_here, run_script

EXPORTS = Path(__file__).with_name("exports")


def lines(*items) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def convert_items(folder, *items, **options):
    """What is converted of doccano's JSON lines."""
    (folder / "export.jsonl").write_text(lines(*items), encoding="utf-8")
    return convert([folder / "export.jsonl"], folder / "data", ConvertOptions(**options))


def listed(folder):
    path = folder / "data" / CHANGES_FILE
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def examples_of(folder, dataset, split="train"):
    return load_examples(dataset, split, str(folder / "data"))


def labelled(texts, names="ab"):
    return [{"text": text, "label": [names[i % len(names)]]} for i, text in enumerate(texts)]


# ---------------------------------------------------------------- the suite reads what is written


@pytest.mark.parametrize(
    ("name", "dataset", "labels"),
    [
        ("label_studio_choices.json", "tnews", ["好评", "差评"]),
        ("doccano_sequence_labeling.jsonl", "msra_ner",
         ["B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER", "O"]),
        ("doccano_reading.jsonl", "cmrc2018", []),
    ],
)  # fmt: skip
def test_the_loader_reads_all_that_was_annotated(tmp_path, name, dataset, labels):
    converted = convert([EXPORTS / name], tmp_path / "data", ConvertOptions())
    assert converted.dataset == dataset
    assert load_labels(find_dataset(dataset), str(tmp_path / "data")) == labels
    found = [example for split in SPLITS for example in examples_of(tmp_path, dataset, split)]
    assert len(found) == 10 == sum(converted.examples.values())
    if dataset == "msra_ner":
        entities = {"".join(e["tokens"][i:j]): label for e in found for label, i, j in spans_of(e["labels"])}
        assert entities["王小明"] == "PER" and entities["IBM公司"] == "ORG" and len(entities) == 21
    elif dataset == "cmrc2018":
        assert all(e["context"].startswith(e["answers"][0], e["answer_starts"][0]) for e in found)
    else:
        assert Counter(e["label"] for e in found) == {"好评": 5, "差评": 5}
        assert {e["id"] for e in found} == set(range(1, 11))  # the tool's own


def test_pairs_are_written_like_ocnli(tmp_path):
    rows = "".join(f"前提{i},假设{i},{'neutral' if i % 2 else 'entailment'}\n" for i in range(12))
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,label\n" + rows, encoding="utf-8")
    assert convert([tmp_path / "pairs.csv"], tmp_path / "data", ConvertOptions()).dataset == "ocnli"
    example = examples_of(tmp_path, "ocnli")[0]
    assert example["text"].startswith("前提") and example["text_pair"].startswith("假设")


def test_several_labels_of_one_text_make_lists_of_all(tmp_path):
    items = labelled("一二三四五六七八")
    items[3]["label"] = ["b", "a", "b"]
    assert convert_items(tmp_path, *items).dataset == "multi_label"
    written = [json.loads(line) for split in SPLITS
               for line in (tmp_path / "data" / f"{split}.json").read_text(encoding="utf-8").splitlines()]  # fmt: skip
    assert sorted(item["labels"] for item in written) == sorted([["b", "a"], *[["a"]] * 4, *[["b"]] * 3])
    assert all("label" not in item for item in written)


def test_questions_about_one_text_stay_together(tmp_path):
    items = [
        {"text": f"甲{text}住在乙地。", "question": f"第{n}问？", "label": [[0, 2, "A"]]}
        for text in "一二三四五六七八"
        for n in range(3)
    ]
    convert_items(tmp_path, *items)
    contexts = [{e["context"] for e in examples_of(tmp_path, "cmrc2018", split)} for split in SPLITS]
    assert sum(map(len, contexts)) == 8 == len(set.union(*contexts))
    content = json.loads((tmp_path / "data" / "train.json").read_text(encoding="utf-8"))
    assert all(len(entry["paragraphs"][0]["qas"]) == 3 for entry in content["data"])


# ---------------------------------------------------------------- splits


def test_no_text_is_in_two_splits(tmp_path):
    """Whatever its case, white space and punctuation; nor by way of the other text of a pair."""
    texts = [f"第{i % 40}条 Text{'！' * (i % 3)}" for i in range(200)]
    converted = convert_items(tmp_path, *labelled(texts), shares=Shares(0.25, 0.25))
    found = [{comparable(e["text"]) for e in examples_of(tmp_path, "tnews", split)} for split in SPLITS]
    assert sum(map(len, found)) == len(set.union(*found)) == 40 and [len(part) for part in found] == [20, 10, 10]
    assert converted.duplicates == 160 == len(listed(tmp_path))


def test_pairs_with_a_text_in_common_stay_together(tmp_path):
    """a-b, b-c, c-d are one group, however the lines lie."""
    chains = [[(f"{i}之{n}", f"{i}之{n + 1}") for n in range(4)] for i in range(12)]
    pairs = [chain[n] for n in (2, 0, 3, 1) for chain in chains]
    rows = "".join(f"{a},{b},{'xy'[i % 2]}\n" for i, (a, b) in enumerate(pairs))
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,label\n" + rows, encoding="utf-8")
    convert([tmp_path / "pairs.csv"], tmp_path / "data", ConvertOptions(shares=Shares(0.25, 0.25)))
    found = [
        {text for e in examples_of(tmp_path, "ocnli", split) for text in (e["text"], e["text_pair"])}
        for split in SPLITS
    ]
    assert [len(part) for part in found] == [30, 15, 15] and len(set.union(*found)) == 60


def split_of(folder):
    return {e["text"]: split for split in SPLITS for e in examples_of(folder, "tnews", split)}


def test_the_seed_decides_and_the_order_of_the_lines_does_not(tmp_path):
    items = labelled([f"第{i}条" for i in range(100)])
    folders = [tmp_path / name for name in ("one", "reversed", "other")]
    for folder in folders:
        folder.mkdir()
    convert_items(folders[0], *items)
    convert_items(folders[1], *items[::-1])
    convert_items(folders[2], *items, seed=1)
    one, turned, other = map(split_of, folders)
    assert one == turned and one != other
    assert Counter(one.values()) == Counter(other.values()) == {"train": 80, "dev": 10, "test": 10}


def test_every_class_has_its_share_of_every_split_and_train_has_all(tmp_path):
    names = ["often"] * 80 + ["seldom"] * 20 + ["once"]
    items = [{"text": f"第{i}条", "label": [name]} for i, name in enumerate(names)]
    classes = convert_items(tmp_path, *items, shares=Shares(0.1, 0.1)).classes
    assert classes["train"]["once"] == 1
    for split in ("dev", "test"):
        assert abs(classes[split]["often"] - 8) <= 1 and abs(classes[split]["seldom"] - 2) <= 1


def test_a_group_larger_than_its_split_should_be_is_trained_on(tmp_path):
    """90 of 190 pairs have one text in common, which is in train whatever the seed."""
    pairs = [("甲", f"乙{i}") for i in range(90)] + [(f"丙{i}", f"丁{i}") for i in range(100)]
    rows = "".join(f"{a},{b},{'xy'[i % 2]}\n" for i, (a, b) in enumerate(pairs))
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,label\n" + rows, encoding="utf-8")
    for seed in range(20):
        options = ConvertOptions(shares=Shares(0.3, 0.3), seed=seed)
        examples = convert([tmp_path / "pairs.csv"], tmp_path / "data", options, overwrite=True).examples
        assert examples == {"train": 130, "dev": 30, "test": 30}


def test_a_share_of_nothing_makes_no_file(tmp_path):
    convert_items(tmp_path, *labelled("一二三四"), shares=Shares(0.25, 0))
    assert not (tmp_path / "data" / "test.json").exists() and (tmp_path / "data" / "dev.json").exists()


# ---------------------------------------------------------------- nothing is lost unsaid

TEXT = "王小明 在北京大学。"
SPANS = [
    ([0, 4, "PER"], TRIMMED),
    ([3, 4, "PER"], BLANK),
    ([5, 9, "ORG"], None),
    ([5, 7, "LOC"], NESTED),
    ([8, 10, "ORG"], OVERLAPPING),
    ([5, 9, "ORG"], TWICE),
    ([5, 9, "LOC"], NESTED),
    ([9, 99, "LOC"], OUT_OF_TEXT),
    ([9, 9, "LOC"], OUT_OF_TEXT),
    ([-3, -1, "LOC"], OUT_OF_TEXT),
]


def test_each_span_that_is_not_taken_as_it_is_is_counted_and_listed(tmp_path):
    items = [{"text": TEXT, "label": [span for span, _ in SPANS]}, {"text": "北京", "label": [[0, 2, "LOC"]]},
             {"text": "上海", "label": [[0, 2, "LOC"]]}]  # fmt: skip
    converted = convert_items(tmp_path, *items)
    expected = Counter(what for _, what in SPANS if what)
    assert {what: count for what, (count, _) in converted.changes.counts.items()} == expected
    assert Counter(item["what"] for item in listed(tmp_path)) == expected
    assert all(item["place"].endswith("line 1") and item["span"] for item in listed(tmp_path))
    tags = next(e["labels"] for s in SPLITS for e in examples_of(tmp_path, "msra_ner", s) if len(e["tokens"]) == 10)
    assert spans_of(tags) == [("PER", 0, 3), ("ORG", 5, 9)]


def test_overlaps_can_be_refused(tmp_path):
    items = [{"text": "北京大学", "label": [[0, 4, "ORG"], [0, 2, "LOC"]]}]
    with pytest.raises(InputError, match=r"line 1: '北京' \(LOC\) and '北京大学' \(ORG\) share characters"):
        convert_items(tmp_path, *items, overlaps=REFUSE)
    assert not (tmp_path / "data").exists() or not any((tmp_path / "data").iterdir())


def test_every_text_is_in_a_split_or_said_to_be_elsewhere(tmp_path):
    """Without labels, empty, with an empty label, twice, with another label."""
    rest = [{"text": "无", "id": 7}, {"text": "空", "label": []}, {"text": " ", "label": ["a"]}]
    rest += [{"text": "白", "label": [" "]}, {"text": "一", "label": ["a"]}, {"text": "二", "label": ["a"]}]
    items = [*labelled("一二三四五六"), *rest]
    converted = convert_items(tmp_path, *items)
    unlabeled = [json.loads(line) for line in (tmp_path / "data" / "unlabeled.jsonl").read_text().splitlines()]
    assert unlabeled == [{"id": 7, "text": "无"}, {"text": "空"}, {"text": "白"}] and converted.unlabeled == 3
    assert (converted.duplicates, converted.contradictions) == (2, 1)
    assert sum(converted.examples.values()) + converted.unlabeled + 1 == len(items)
    kinds = Counter(item["what"] for item in listed(tmp_path))
    assert len(kinds) == 4 and sum(kinds.values()) == 4  # empty text, empty label, twice, otherwise


def test_what_another_task_would_read_is_counted(tmp_path):
    """Labels beside spans, a question beside labels, a second text of some."""
    items = [{"text": text, "cats": ["a"], "entities": [[0, 1, "A"]]} for text in "一二三四"]
    converted = convert_items(tmp_path, *items, task_name="token_cls")
    assert [count for count, _ in converted.changes.counts.values()] == [
        4
    ] and "labels left out" in converted.changes.lines()[0]
    items = [*labelled("一二三四"), {"text": "五", "label": ["a"], "question": "六？", "sentence2": "七"}]
    (tmp_path / "other").mkdir()
    said = convert_items(tmp_path / "other", *items).changes.lines()
    assert len(said) == 2 and said[0].startswith("question left out") and said[1].startswith("text_pair left out")


def test_an_empty_question_or_second_text_is_counted(tmp_path):
    items = [{"text": t, "question": "谁？", "label": [[0, 1, "A"]]} for t in "一二三四"]
    converted = convert_items(tmp_path, *items, {"text": "五", "question": " ", "label": [[0, 1, "A"]]})
    assert sum(converted.examples.values()) == 4 and converted.changes.counts[NO_QUESTION][0] == 1
    (tmp_path / "pairs.csv").write_text(
        "sentence1,sentence2,label\n" + "".join(f"{t}一,{t}二,{t}\n" for t in "甲乙丙丁") + "戊,,甲\n", encoding="utf-8"
    )
    converted = convert([tmp_path / "pairs.csv"], tmp_path / "pairs", ConvertOptions())
    assert sum(converted.examples.values()) == 4 and converted.changes.counts[NO_TEXT][0] == 1


def test_labels_that_labels_txt_cannot_hold_are_made_so_that_it_can(tmp_path):
    """Half of a surrogate pair, a byte order mark, control characters: the suite reads what is written."""
    names = ["\ud83d", "\ufeff好", "a\x07b"]
    items = [{"text": f"第{i}条", "label": [names[i % 3]]} for i in range(12)]
    (tmp_path / "export.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    convert([tmp_path / "export.jsonl"], tmp_path / "data", ConvertOptions())
    labels = load_labels(find_dataset("tnews"), str(tmp_path / "data"))
    assert labels == ["\\ud83d", "a b", "好"]
    assert {e["label"] for split in SPLITS for e in examples_of(tmp_path, "tnews", split)} == set(labels)


def test_duplicates_can_be_dropped(tmp_path):
    items = [*labelled("一二三四五六"), *labelled("一二三")[::-1]]
    converted = convert_items(tmp_path, *items, duplicates=DROP)
    assert sum(converted.examples.values()) == 6 and sum(map(len, converted.classes.values())) >= 2
    assert [item["example"]["sentence"] for item in listed(tmp_path)] == ["三", "二", "一"]


def test_texts_that_differ_in_a_symbol_are_two(tmp_path):
    """In one split, as they are almost the same; but none is dropped, and their answers do not contradict."""
    items = labelled(["涨3%", "涨 3％！", "跌3%", "好😀", "好😞", "C++", "C"], "aabbabab")
    converted = convert_items(tmp_path, *items, duplicates=DROP, shares=Shares(0.2, 0))
    assert sum(converted.examples.values()) == 6 and (converted.duplicates, converted.contradictions) == (1, 0)
    assert [item["example"]["sentence"] for item in listed(tmp_path)] == ["涨 3％！"]
    split = {e["text"]: split for split in ("train", "dev") for e in examples_of(tmp_path, "tnews", split)}
    assert split["好😀"] == split["好😞"] and split["C++"] == split["C"]


def test_what_the_columns_cannot_hold_becomes_a_space(tmp_path):
    items = [
        {"text": "一\t二\n\x02北京", "label": [[5, 7, "LOC"]]},
        *({"text": t, "label": [[0, 1, "LOC"]]} for t in "三四五"),
    ]
    converted = convert_items(tmp_path, *items)
    tokens = {"".join(e["tokens"]) for s in SPLITS for e in examples_of(tmp_path, "msra_ner", s)}
    assert "一 二  北京" in tokens and sum(count for count, _ in converted.changes.counts.values()) == 3


# ---------------------------------------------------------------- what cannot be done


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ([{"text": "一"}, {"text": "二"}], {}, "none of 2 texts .* annotated.*--label_column"),
        (labelled("一二"), {}, "2 different texts are too few for 3 splits"),
        (
            [{"text": "一", "question": f"{n}？", "label": [[0, 1, "A"]]} for n in range(9)],
            {},
            r"1 different texts are too few for 3 splits \(9 examples, but those with a text in common",
        ),
        (labelled("一二三四", "a"), {}, "all 4 texts have the label 'a'"),
        ([{"text": "一", "cats": ["a"], "entities": [[0, 1, "B"]]}], {}, "two tasks|several tasks"),
        (labelled("一二三四"), {"task_name": "token_cls"}, "labels of the whole text where spans are expected"),
        ([{"text": "一", "label": [[0, 1, "A"]]}] * 4, {"task_name": "seq_cls"}, "spans where labels"),
        (labelled("一二三四"), {"task_name": "qa"}, "there is no question"),
        (
            [{"text": "一", "label": [[0, 9, "A"]]}, {"text": "二", "label": ["x"]}],
            {},
            "labels of the whole text where",
        ),
        ([{"text": " ", "label": ["a"]}], {}, "no text .* can be used: texts left out, as they are empty: 1"),
    ],
)
def test_it_is_said_in_one_line_and_nothing_is_written(tmp_path, items, options, message):
    with pytest.raises(InputError, match=message) as caught:
        convert_items(tmp_path, *items, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists() or not any((tmp_path / "data").iterdir())


def test_a_data_set_is_not_replaced_unless_that_is_said(tmp_path):
    convert_items(tmp_path, *labelled("一二三四"), {"text": "无"})
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    export = EXPORTS / "doccano_sequence_labeling.jsonl"
    with pytest.raises(InputError, match="is there already: .*--overwrite_output_dir"):
        convert([export], tmp_path / "data", ConvertOptions())
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before
    convert([export], tmp_path / "data", ConvertOptions(), overwrite=True)
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {"train.tsv", "dev.tsv", "test.tsv", "labels.txt", "changes.jsonl", "counts.json"}


@pytest.mark.parametrize("name", ["train.json", "labels.txt", "unlabeled.jsonl", "changes.jsonl", "dev.tsv"])
def test_an_input_is_not_replaced_by_what_is_made_of_it(tmp_path, name):
    path = tmp_path / name
    path.write_text(lines(*labelled("一二三四")), encoding="utf-8")
    with pytest.raises(InputError, match=f"{name} would be replaced by what is made of it"):
        convert([path], tmp_path / "." / "", ConvertOptions(), overwrite=True)
    assert path.read_text(encoding="utf-8") == lines(*labelled("一二三四"))
    convert([path], tmp_path / "other", ConvertOptions())


def test_labels_that_look_alike_and_a_missing_dev_set_are_said(tmp_path, capsys):
    items = labelled("一二三四五六", ["Good", "good", "ｇｏｏｄ", "bad"])
    print_converted(convert_items(tmp_path, *items, shares=Shares(0, 0.2)), tmp_path)
    said = capsys.readouterr().err
    assert "alone: 'Good', 'good', 'ｇｏｏｄ'" in said and "bad'" not in said and "no dev set" in said


def test_several_files_are_one_data_set(tmp_path):
    files = [EXPORTS / "doccano_classification.jsonl", EXPORTS / "reviews_excel.csv"]
    converted = convert(files, tmp_path / "data", ConvertOptions())
    assert sum(converted.examples.values()) == 20 and converted.duplicates == 10
    with pytest.raises(InputError, match="missing.json is no file"):
        convert([*files, tmp_path / "missing.json"], tmp_path / "other", ConvertOptions())


def test_the_command_prints_counts_notes_and_what_comes_next(tmp_path):
    flags = ["--input_file", EXPORTS / "doccano_relations.jsonl", "--output_dir", tmp_path / "data"]
    done = run_script("dataset.py", "convert", *flags)
    assert ["texts", "8", "1", "1"] in [line.split() for line in done.stdout.splitlines()]
    assert done.stdout.splitlines()[-1].endswith(f"--task_name msra_ner --data_dir {tmp_path / 'data'}")
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert len(notes) == 5 and "relations are left out" in done.stderr and "changes.jsonl" in notes[-1]
    again = run_here("dataset.py", "convert", *flags, check=False)
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and again.stderr.startswith("error: ")
    shares = run_here("dataset.py", "convert", *flags, "--dev_share", "0.6", "--test_share", "0.5", check=False)
    assert shares.returncode == 2 and "leave nothing to train on" in shares.stderr


def test_a_column_that_was_named_is_used(tmp_path):
    rows = "".join(f"标题{i},正文{i},{'xy'[i % 2]}\n" for i in range(10))
    (tmp_path / "t.csv").write_text("标题,内容,种类\n" + rows, encoding="utf-8")
    options = ConvertOptions(ReadOptions(text_column="标题", label_column="种类"))
    convert([tmp_path / "t.csv"], tmp_path / "data", options)
    assert examples_of(tmp_path, "tnews")[0]["text"].startswith("标题")
