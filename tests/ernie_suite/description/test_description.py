"""A data set is described as it is: each number is one that can be counted by hand."""

import json
import re

from ernie_suite.data import find_dataset
from ernie_suite.description import picture as picture_module
from ernie_suite.description.picture import bar_names, draw_description
from ernie_suite.description.report import as_json, findings
from ernie_suite.description.statistics import LENGTHS, describe, suggest_length
from ernie_suite.sample_data import make_sample_data

import pytest
from matplotlib.image import imread

from ernie_inference.errors import InputError
from ernie_inference.wordpiece import WordPiece
from tests.support.models import LABELS
from tests.support.scripts import run_here, run_script

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"一二三四五六七八九十"]
WORDPIECE = WordPiece({token: number for number, token in enumerate(WORDS)})


def write_set(folder, splits, labels=("a", "b", "c")):
    """A data set like TNEWS of (text, label)."""
    for name, examples in splits.items():
        lines = [json.dumps({"sentence": text, "label": label}, ensure_ascii=False) for text, label in examples]
        (folder / f"{name}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    return str(folder)


SPLITS = {
    "train": [("一二三", "a"), ("一二三", "a"), ("四五", "a"), ("四 五", "b"), ("六", "b"), ("六", "a")],
    "dev": [("一二三！", "a"), ("七", "b"), ("六", "b")],
    "test": [("七", "c"), ("x火火", None)],
}


@pytest.fixture
def described(tmp_path):
    return describe(find_dataset("tnews"), write_set(tmp_path, SPLITS), WORDPIECE)


def test_classes_by_split(described):
    assert {name: dict(counts.classes) for name, counts in described.splits.items()} == {
        "train": {"a": 4, "b": 2}, "dev": {"a": 1, "b": 2}, "test": {"c": 1}
    }  # fmt: skip
    assert described.unseen == ["c"]
    assert (described.splits["test"].examples, described.splits["test"].answered) == (2, 1)


def test_lengths_are_those_of_the_model_inputs(described):
    """With [CLS] and [SEP]; what the vocabulary lacks is a token too."""
    assert list(described.splits["train"].lengths) == [5, 5, 4, 4, 3, 3]
    assert list(described.splits["test"].lengths) == [3, 5]
    assert described.splits["train"].percentiles()[100] == 5 and described.splits["train"].percentiles()[50] == 4
    assert described.splits["train"].share_longer(4) == pytest.approx(2 / 6)


def test_doubles_leaks_and_contradictions(described):
    """Texts are doubles also where case, space and punctuation differ; contradictions are of equal texts."""
    assert described.duplicates == {"train": 3, "dev": 0, "test": 0}
    shared = {pair: examples for pair, (examples, _) in described.shared.items()}
    assert shared == {("train", "dev"): 2, ("train", "test"): 0, ("dev", "test"): 1}
    assert described.contradictions == 2  # the second 六 in train, and 七 in test; 六 in dev is as it was first
    shown = described.shown
    assert [(item["split"], item["example"]) for item in shown["contradictions"]] == [("train", 6), ("test", 1)]
    assert [item["text"] for item in shown["dev in train"]] == ["一二三！", "六"]


def test_texts_that_differ_in_a_symbol_are_no_doubles(tmp_path):
    signs = {"train": [("+五 %", "a"), ("-五 %", "b"), ("六😀", "a"), ("六😡", "b")], "dev": [("＋五", "a")]}
    described = describe(find_dataset("tnews"), write_set(tmp_path, signs), WORDPIECE)
    assert described.duplicates == {"train": 0, "dev": 0} and described.contradictions == 0
    assert {pair: examples for pair, (examples, _) in described.shared.items()} == {("train", "dev"): 0}


def test_characters_that_the_vocabulary_lacks(described):
    assert described.unknown == {"火": 2, "！": 1, "x": 1}
    assert "characters that the vocabulary lacks: 3" in findings(described)[-1]


@pytest.mark.parametrize(
    ("lengths", "suggested"),
    [([10] * 100, 16), ([10] * 99 + [500], 16), ([10] * 98 + [500, 500], 512), ([60] * 200, 64), ([9999] * 9, 512)],
)
def test_the_suggestion_is_enough_for_99_of_100(lengths, suggested):
    assert suggest_length(lengths) == suggested and suggested in LENGTHS


@pytest.mark.parametrize(
    ("task", "dataset", "is_cut"),
    [("seq_cls", "sample_reviews", True), ("token_cls", "sample_people_daily", False), ("qa", "sample_reading", False)],
)
def test_every_task_family_is_described(tmp_path, tiny, task, dataset, is_cut):
    """By its object alone; what becomes of longer texts is seen at the longest one."""
    source, folder = make_sample_data(dataset)[0], tmp_path / "data"
    folder.mkdir()
    spec = find_dataset(dataset)
    for name in ("train", "dev"):
        content = (source / f"{name}{spec.suffix}").read_text(encoding="utf-8")
        if task == "qa":
            content = json.dumps({"data": json.loads(content)["data"][:50]})
        else:
            content = "".join(content.splitlines(keepends=True)[:50]).replace("的", "的" * 99)
        (folder / f"{name}{spec.suffix}").write_text(content, encoding="utf-8")
    if task != "qa":
        (folder / "labels.txt").write_text("\n".join(LABELS[task]) + "\n", encoding="utf-8")
    description = describe(spec, str(folder), tiny.tokenizer)
    assert list(description.splits) == ["train", "dev"] and description.unit == "tokens"
    classes = {"seq_cls": {"negative", "positive"}, "token_cls": {"PER", "LOC", "ORG"}, "qa": set()}[task]
    assert set(description.splits["train"].classes) == classes
    if description.splits["train"].percentiles()[100] > description.suggested:
        assert description.is_cut is is_cut
    assert json.loads(json.dumps(as_json(description, str(folder))))["task"] == task
    assert draw_description(description, tmp_path / "out") == tmp_path / "out" / "description.png"
    assert imread(tmp_path / "out" / "description.png").std() > 0.05


def test_without_a_vocabulary_lengths_are_characters(tmp_path):
    description = describe(find_dataset("tnews"), write_set(tmp_path, SPLITS), None)
    assert description.unit == "characters" and description.unknown is None
    assert list(description.splits["test"].lengths) == [3, 5]


def test_bars_are_numbered_where_no_font_has_the_characters(monkeypatch, capsys):
    assert bar_names(["好评", "b"], has_chinese=True) == ["好评", "b"] and bar_names(["é"], False) == ["é"]
    assert bar_names(["好评", "b"], has_chinese=False) == ["1", "2"]
    assert "classes are numbered" in capsys.readouterr().err
    monkeypatch.setattr(picture_module, "CHINESE_FONTS", ("Nowhere", "DejaVu Serif"))
    assert picture_module.chinese_font() == "DejaVu Serif"


def test_any_label_can_be_drawn(tmp_path):
    """Also one that would be a formula, and a wrong one."""
    labels = ["$\\foo{$", "$a_$", "x\x07"]
    data = write_set(tmp_path, {"train": [("一", label) for label in labels]}, labels)
    description = describe(find_dataset("tnews"), data, None)
    assert draw_description(description, tmp_path / "out") == tmp_path / "out" / "description.png"


def test_the_command_writes_table_json_and_picture(tmp_path):
    data = write_set(tmp_path, SPLITS)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    flags = ["describe", "--task_name", "tnews", "--data_dir", data]
    done = run_script("dataset.py", *flags, "--vocab_file", tmp_path / "vocab.txt")
    assert ["a", "4", "1", "0"] in [line.split() for line in done.stdout.splitlines()]
    assert "* --max_seq_length 16 is the least for 99 % of the texts" in done.stdout
    assert (
        "dev texts that stand in train too: 2" in done.stdout and "labels without a text in train: 1 (c)" in done.stdout
    )
    content = json.loads((tmp_path / "description.json").read_text(encoding="utf-8"))
    assert content["suggested_max_seq_length"] == 16 and content["splits"]["train"]["classes"] == {
        "a": 4,
        "b": 2,
        "c": 0,
    }
    assert (tmp_path / "description.png").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data_dir", "EMPTY/typo"], "typo is no folder"),
        (["--data_dir", "EMPTY"], "has none of train.json, dev.json, test.json"),
        (["--data_dir", "DATA", "--vocab_file", "DATA/missing.txt"], "missing.txt cannot be used as the vocabulary"),
        (["--data_dir", "DATA", "--model_name_or_path", "./missing"], "the model folder ./missing does not exist"),
        (["--data_dir", "DATA", "--task_name", "nothing"], "unknown data set"),
        ([], "arguments are required: --task_name"),
    ],
)
def test_what_cannot_be_described_is_said_in_one_line(tmp_path, flags, message):
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": str(tmp_path / "empty"), "DATA": write_set(tmp_path, SPLITS)}
    flags = [flag.replace("EMPTY", places["EMPTY"]).replace("DATA", places["DATA"]) for flag in flags]
    task = [] if "--task_name" in flags or not flags else ["--task_name", "tnews"]
    done = run_here("dataset.py", "describe", *task, *flags, check=False)
    assert done.returncode == 2 and done.stderr.count("error: ") == 1, done.stderr
    assert re.search(message, done.stderr) and not list((tmp_path / "empty").iterdir())


def test_a_bad_line_stops_the_description(tmp_path):
    data = write_set(tmp_path, {"train": [("一", "a"), ("二", "z")]})
    with pytest.raises(InputError, match="train.json, line 2: label 'z' is not one of"):
        describe(find_dataset("tnews"), data, None)
