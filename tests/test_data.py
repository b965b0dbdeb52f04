"""Every CLUE set's own format, on small files, and what is said of a broken one."""

import json

import pytest

from data import DATASETS, find_dataset, load_examples, load_labels
from ernie_predictor import InputError

QUESTION = {"id": "Q1", "question": "谁在北京？", "answers": [{"text": "李鹏", "answer_start": 2}]}


def write_lines(folder, name, *items):
    lines = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
    (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def write_squad(folder, qa, context="总理李鹏在北京。"):
    content = {"data": [{"title": "", "paragraphs": [{"context": context, "qas": [qa]}]}]}
    (folder / "train.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


PRONOUN = {"span1_index": 0, "span1_text": "马克", "span2_index": 4, "span2_text": "他"}


@pytest.mark.parametrize(
    ("name", "line", "text", "text_pair", "label"),
    [
        (
            "afqmc",
            {"sentence1": "花呗怎么还", "sentence2": "怎么还花呗", "label": "1"},
            "花呗怎么还",
            "怎么还花呗",
            "1",
        ),
        ("tnews", {"label": "102", "label_desc": "news_x", "sentence": "新闻", "keywords": ""}, "新闻", None, "102"),
        ("iflytek", {"label": "118", "label_des": "其他", "sentence": "一个应用"}, "一个应用", None, "118"),
        ("ocnli", {"sentence1": "甲", "sentence2": "乙", "label": "neutral", "label0": "x"}, "甲", "乙", "neutral"),
        ("cmnli", {"sentence1": "甲", "sentence2": "乙", "label": "entailment"}, "甲", "乙", "entailment"),
        ("csl", {"id": 7, "abst": "本文研究。", "keyword": ["水", "电"], "label": "0"}, "水 电", "本文研究。", "0"),
        ("cluewsc2020", {"target": PRONOUN, "label": "true", "text": "马克告诉他"}, "_马克_告诉[他]", None, "true"),
    ],
)
def test_each_classification_set(tmp_path, name, line, text, text_pair, label):
    write_lines(tmp_path, "train.json", line)
    (example,) = load_examples(f"clue {name}", "train", str(tmp_path))
    assert (example["text"], example["text_pair"], example["label"]) == (text, text_pair, label)
    assert example["label"] in load_labels(find_dataset(name))


def test_pronoun_before_its_noun(tmp_path):
    target = {"span1_index": 4, "span1_text": "小明", "span2_index": 0, "span2_text": "他"}
    write_lines(tmp_path, "train.json", {"target": target, "label": "false", "text": "他说是的小明"})
    assert load_examples("cluewsc2020", "train", str(tmp_path))[0]["text"] == "[他]说是的_小明_"


def test_label_counts():
    assert {name: len(DATASETS[name].labels) for name in ("tnews", "iflytek", "msra_ner")} == {
        "tnews": 15,
        "iflytek": 119,
        "msra_ner": 7,
    }


@pytest.mark.parametrize("name", ["ocnli", "cmnli"])
def test_examples_without_agreement_are_skipped(tmp_path, name):
    lines = [{"sentence1": "甲", "sentence2": "乙", "label": label} for label in ("-", "neutral")]
    write_lines(tmp_path, "dev.json", *lines)
    assert [example["label"] for example in load_examples(name, "dev", str(tmp_path))] == ["neutral"]


def test_tagging_columns(tmp_path):
    (tmp_path / "train.tsv").write_text("中\x02国\x02 \x02人\tB-LOC\x02I-LOC\x02O\x02O\n", encoding="utf-8")
    (example,) = load_examples("msra_ner", "train", str(tmp_path))
    assert example["tokens"] == ["中", "国", " ", "人"] and example["labels"] == ["B-LOC", "I-LOC", "O", "O"]


def test_reading_repairs_a_position_that_is_off(tmp_path):
    write_squad(tmp_path, {**QUESTION, "answers": [{"text": "李鹏", "answer_start": 3}]})
    assert load_examples("cmrc2018", "train", str(tmp_path))[0]["answer_starts"] == [2]


def test_own_labels(tmp_path):
    write_lines(tmp_path, "train.json", {"sentence": "好", "label": "好评"})
    (tmp_path / "labels.txt").write_text("好评\n差评\n", encoding="utf-8")
    assert load_examples("tnews", "train", str(tmp_path))[0]["label"] == "好评"


def test_own_labels_come_before_those_of_a_copied_data_set(tmp_path):
    write_lines(tmp_path, "labels.json", {"label": "positive"}, {"label": "negative"})
    assert load_labels(find_dataset("sample_reviews"), str(tmp_path)) == ["positive", "negative"]
    (tmp_path / "labels.txt").write_text("好评\n差评\n", encoding="utf-8")
    assert load_labels(find_dataset("sample_reviews"), str(tmp_path)) == ["好评", "差评"]


def test_test_split_needs_no_labels(tmp_path):
    write_lines(tmp_path, "test.json", {"id": 3, "sentence": "好"})
    assert load_examples("tnews", "test", str(tmp_path)) == [{"id": 3, "text": "好", "text_pair": None, "label": None}]


GOOD = {"sentence": "好", "label": "100"}


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("tnews", "train.json", [GOOD, "{bad"], "train.json, line 2: not JSON"),
        ("tnews", "train.json", [GOOD, "[1]"], "line 2: a JSON object is expected, found list"),
        ("tnews", "train.json", [GOOD, {"label": "100"}], "line 2: 'sentence' is missing"),
        ("tnews", "train.json", [{"sentence": 5, "label": "100"}], "line 1: 'sentence' is not a text"),
        ("tnews", "train.json", [GOOD, {"sentence": "好", "label": "105"}], "line 2: label '105' is not one of 100"),
        ("tnews", "train.json", [{"sentence": "好"}], "has no label"),
        ("tnews", "train.json", [], "holds no examples"),
        (
            "csl",
            "train.json",
            [{"abst": "文", "keyword": "水", "label": "0"}],
            "line 1: 'keyword' is not a list of texts",
        ),
        ("cluewsc2020", "train.json", [{"text": "他", "label": "true"}], "line 1: 'target' is missing"),
        (
            "cluewsc2020",
            "train.json",
            [{"text": "马克他", "label": "true", "target": PRONOUN}],
            "does not stand at span2",
        ),
        ("msra_ner", "train.tsv", ["中\x02国\tO"], "line 1: 2 tokens but 1 tags"),
        ("msra_ner", "train.tsv", ["中\tO", "国\tB-CITY"], "line 2: tag 'B-CITY' is not one of"),
        ("msra_ner", "train.tsv", ["中\tO\tO"], "line 1: 3 columns"),
        ("msra_ner", "train.tsv", ["中"], "has no labels"),
        ("cmrc2018", "train.json", ["{"], "not JSON"),
        ("cmrc2018", "train.json", ['{"data": [{"paragraphs": [{"qas": [{}]}]}]}'], "not in the format of CMRC 2018"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, name, file, content, said):
    write_lines(tmp_path, file, *content)
    with pytest.raises(InputError) as error:
        load_examples(name, "train", str(tmp_path))
    assert said in str(error.value) and file in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("answer", ["江泽民", ""])
def test_an_answer_that_is_not_in_its_context(tmp_path, answer):
    write_squad(tmp_path, {**QUESTION, "answers": [{"text": answer, "answer_start": 0}]})
    with pytest.raises(InputError, match=f"question 'Q1': the answer '{answer}' is not in its context"):
        load_examples("cmrc2018", "train", str(tmp_path))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="train.json is missing"):
        load_examples("tnews", "train", str(tmp_path))


def test_unknown_data_set():
    with pytest.raises(InputError, match="unknown data set 'tnewz': choose one of afqmc"):
        load_examples("tnewz", "train")


@pytest.mark.parametrize("labels", ["好评\n", "好评\n好评\n"])
def test_own_labels_must_be_two_and_different(tmp_path, labels):
    (tmp_path / "labels.txt").write_text(labels, encoding="utf-8")
    with pytest.raises(InputError, match="at least two different labels"):
        load_labels(find_dataset("tnews"), str(tmp_path))


def test_a_label_may_hold_a_space(tmp_path):
    (tmp_path / "labels.txt").write_text("很 好\n\n很 坏\n", encoding="utf-8")
    assert load_labels(find_dataset("tnews"), str(tmp_path)) == ["很 好", "很 坏"]


@pytest.mark.parametrize("labels", ["B-PER\nM-PER\nE-PER\nO\n", "B-PER\nI-PER\n"])
def test_tags_of_another_scheme_are_refused(tmp_path, labels):
    (tmp_path / "labels.txt").write_text(labels, encoding="utf-8")
    with pytest.raises(InputError, match="labels.txt: BIO tags are expected"):
        load_labels(find_dataset("msra_ner"), str(tmp_path))


def test_labels_in_another_encoding(tmp_path):
    (tmp_path / "labels.txt").write_bytes("好评\n差评\n".encode("gbk"))
    with pytest.raises(InputError, match="labels.txt cannot be read"):
        load_labels(find_dataset("tnews"), str(tmp_path))


@pytest.mark.parametrize("name", ["clue tnews", "msra_ner", "cmrc2018"])
def test_without_a_network(name, tmp_path, monkeypatch):
    """The real download code against a proxy that refuses; a data set downloaded before is not looked at."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    from paddlenlp.datasets import clue, cmrc2018, msra_ner

    for module in (clue, cmrc2018, msra_ner):
        monkeypatch.setattr(module, "DATA_HOME", str(tmp_path))
    with pytest.raises(InputError) as error:
        load_examples(name, "train")
    message = str(error.value)
    assert find_dataset(name).name in message and "paddlenlp.datasets" in message and "--data_dir" in message
    assert "\n" not in message
