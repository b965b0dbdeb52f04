"""Every CLUE set's own format, on small files, and what is said of a broken one."""

import json
import tracemalloc

from ernie_suite.command_line import read_config
from ernie_suite.data import DATASETS, find_dataset, load_examples, load_labels
from ernie_suite.tasks.multiple_choice import MULTIPLE_CHOICE

import pytest
from paddlenlp.datasets import clue, cmrc2018, msra_ner
from paddlenlp.datasets.dataset import import_main_class

from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig

QUESTION = {"id": "Q1", "question": "谁在北京？", "answers": [{"text": "李鹏", "answer_start": 2}]}


def write_lines(folder, name, *items):
    lines = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
    (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def write_squad(folder, *questions, context="总理李鹏在北京。", split="train"):
    content = {"data": [{"title": "", "paragraphs": [{"context": context, "qas": questions}]}]}
    (folder / f"{split}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def answered(number, *answers):
    """A question with the answers (text, position)."""
    texts = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"Q{number}", "question": "谁在北京？", "answers": texts}


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


@pytest.mark.parametrize("name", [s.name for s in DATASETS.values() if s.builder and s.family is not MULTIPLE_CHOICE])
def test_labels_stand_in_the_order_of_the_published_models(name):
    """PaddleNLP's own: OCNLI's and CMNLI's are the same labels in different orders."""
    module, subset = find_dataset(name).builder
    builder = import_main_class(module)(name=subset)
    assert load_labels(find_dataset(name)) == (builder.get_labels() or [])


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
@pytest.mark.parametrize("split", ["train", "dev"])
def test_examples_without_agreement_are_skipped_and_counted(tmp_path, capsys, name, split):
    lines = [{"sentence1": "甲", "sentence2": "乙", "label": label} for label in ("neutral", "-", "-")]
    write_lines(tmp_path, f"{split}.json", *lines)
    assert [example["label"] for example in load_examples(name, split, str(tmp_path))] == ["neutral"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ") and line.endswith("did not agree (label '-'): 2 (first: line 2)")


@pytest.mark.parametrize("name", ["ocnli", "cmnli", "tnews", "cluewsc2020"])
@pytest.mark.parametrize("label", [None, "", -1, "-1", "-"])
def test_a_test_split_may_say_in_any_way_that_it_gives_no_label(tmp_path, capsys, name, label):
    """Every line is predicted: the server counts them."""
    texts = {"sentence": "甲", "sentence1": "甲", "sentence2": "乙", "text": "马克告诉他", "target": PRONOUN}
    write_lines(tmp_path, "test.json", {**texts, "label": label}, {**texts, "label": label}, texts)
    assert [example["label"] for example in load_examples(name, "test", str(tmp_path))] == [None] * 3
    assert not capsys.readouterr().err


@pytest.mark.parametrize("label", [None, "", -1, "-1", "-"])
def test_training_needs_every_label(tmp_path, label):
    write_lines(tmp_path, "train.json", GOOD, {"sentence": "好", "label": label})
    with pytest.raises(InputError, match="train.json, line 2 has no label, which the train split needs"):
        load_examples("tnews", "train", str(tmp_path))


def test_what_stands_for_no_label_elsewhere_can_be_a_label(tmp_path):
    (tmp_path / "labels.txt").write_text("-1\n-\ntrue\n", encoding="utf-8")
    pairs = [{"sentence1": "甲", "sentence2": "乙", "label": label} for label in (-1, "-", True)]
    write_lines(tmp_path, "train.json", *pairs)
    assert [example["label"] for example in load_examples("ocnli", "train", str(tmp_path))] == ["-1", "-", "true"]


def test_tagging_columns(tmp_path):
    (tmp_path / "train.tsv").write_text("中\x02国\x02 \x02人\tB-LOC\x02I-LOC\x02O\x02O\n", encoding="utf-8")
    (example,) = load_examples("msra_ner", "train", str(tmp_path))
    assert example["tokens"] == ["中", "国", " ", "人"] and example["labels"] == ["B-LOC", "I-LOC", "O", "O"]


@pytest.mark.parametrize("end", ["", "\t", "\t\t", "\t\x02"])
def test_a_tagging_test_split_without_tags(tmp_path, end):
    write_lines(tmp_path, "test.tsv", "中\x02国" + end)
    (example,) = load_examples("msra_ner", "test", str(tmp_path))
    assert example["tokens"] == ["中", "国"] and example["labels"] is None
    (tmp_path / "test.tsv").rename(tmp_path / "train.tsv")
    with pytest.raises(InputError, match="line 1 has no labels, which the train split needs"):
        load_examples("msra_ner", "train", str(tmp_path))


def test_a_tab_after_the_tags_is_no_column(tmp_path):
    write_lines(tmp_path, "train.tsv", "中\x02国\tB-LOC\x02I-LOC\t")
    assert load_examples("msra_ner", "train", str(tmp_path))[0]["labels"] == ["B-LOC", "I-LOC"]


@pytest.mark.parametrize("start", [3, "3", 3.0, None, -1])
def test_reading_repairs_a_position_that_is_off(tmp_path, capsys, start):
    write_squad(tmp_path, answered(1, ("李鹏", start)), context="李鹏：总理李鹏在北京。")
    (example,) = load_examples("cmrc2018", "train", str(tmp_path))
    assert example["answer_starts"] == [0 if start in (None, -1) else 5]
    assert capsys.readouterr().err.endswith("answer positions corrected: 1 (first: question 'Q1')\n")


def test_references_that_are_not_in_the_context_are_kept_for_the_metric_alone(tmp_path, capsys):
    """As the published dev set has them, and the first of a set of one's own may be such a one too."""
    questions = (
        answered(1, ("李鹏", 2), ("李鹏总理", -1), ("李鹏", 2)),
        answered(2, ("国务院总理李鹏", -1), ("李鹏", 2)),
        answered(3, ("李鹏", 2)),
    )
    for split in ("train", "dev"):
        write_squad(tmp_path, *questions, split=split)
        first, second, _ = load_examples("cmrc2018", split, str(tmp_path))
        assert first["answers"] == ["李鹏", "李鹏", "李鹏总理"] and first["answer_starts"] == [2, 2, -1]
        assert second["answers"] == ["李鹏", "国务院总理李鹏"] and second["answer_starts"] == [2, -1]
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith("kept for the metric alone: 2 (first: question 'Q1')")


def test_a_question_that_cannot_be_trained_on(tmp_path, capsys):
    """Training skips it; the metric counts it, as the published one does."""
    questions = answered(1, ("江泽民", 0)), answered(2, ("李鹏", 2))
    for split, ids in (("train", ["Q2"]), ("dev", ["Q1", "Q2"])):
        write_squad(tmp_path, *questions, split=split)
        assert [example["id"] for example in load_examples("cmrc2018", split, str(tmp_path))] == ids
        assert "none of their answers is in the context: 1 (first: question 'Q1')" in capsys.readouterr().err


def test_a_reading_test_split_without_answers(tmp_path, capsys):
    """CLUE's has fake ones; all are predicted."""
    fake = answered(1, ("FAKE_ANSWER_1", -1), ("FAKE_ANSWER_2", -1))
    others = [{**fake, "id": f"Q{number}", "answers": answers} for number, answers in ((2, []), (3, None))]
    unanswerable = {**others[0], "id": "Q4", "is_impossible": True}
    without = {"id": "Q5", "question": "谁在北京？"}
    write_squad(tmp_path, fake, *others, unanswerable, without, split="test")
    examples = load_examples("cmrc2018", "test", str(tmp_path))
    assert [example["answers"] for example in examples] == [None] * 5 and not capsys.readouterr().err
    for split in ("train", "dev"):
        write_squad(tmp_path, fake, split=split)
        with pytest.raises(InputError, match="holds no question that can be used: .*'Q1'"):
            load_examples("cmrc2018", split, str(tmp_path))
        write_squad(tmp_path, without, split=split)
        with pytest.raises(InputError, match=f"question 'Q5' has no answers, which the {split} split needs"):
            load_examples("cmrc2018", split, str(tmp_path))


def test_questions_marked_as_impossible_are_skipped_and_counted(tmp_path, capsys):
    write_squad(tmp_path, {**answered(1), "is_impossible": True}, {**answered(2, ("李鹏", 2)), "is_impossible": False})
    assert [example["id"] for example in load_examples("cmrc2018", "train", str(tmp_path))] == ["Q2"]
    assert "marked is_impossible: 1 (first: question 'Q1')" in capsys.readouterr().err


def test_two_questions_of_one_id_would_share_one_prediction(tmp_path):
    write_squad(tmp_path, {**answered(1), "id": 7}, {**answered(1), "id": "7"}, split="test")
    with pytest.raises(InputError, match="two questions have the id '7'"):
        load_examples("cmrc2018", "test", str(tmp_path))


def test_ids_of_every_kind(tmp_path, capsys):
    lines = [{"id": 3}, {"id": "x"}, {}, {"id": None}, {"idx": 9}]
    write_lines(tmp_path, "test.json", *({**line, "sentence": "好"} for line in lines))
    assert [example["id"] for example in load_examples("tnews", "test", str(tmp_path))] == [3, "x", 2, 3, 9]
    assert "with the id of an earlier one: 1 (first: id '3')" in capsys.readouterr().err
    write_lines(tmp_path, "test.json", {"id": [3], "sentence": "好"})
    with pytest.raises(InputError, match="line 1: 'id' is neither a text nor a number"):
        load_examples("tnews", "test", str(tmp_path))


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
        (
            "tnews",
            "train.json",
            [GOOD, {"sentence": "好", "label": "105"}],
            "line 2: label '105' is not one of '100', '101'",
        ),
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
        ("cmrc2018", "train.json", ['{"data": [{"paragraphs": [{"qas": [{}]}]}]}'], "'context' is missing"),
        ("cmrc2018", "train.json", ['{"data": [{"paragraphs": 5}]}'], "not in the format of CMRC 2018"),
        ("cmrc2018", "train.json", ["[" * 100_000], "not JSON"),
        ("tnews", "train.json", [GOOD, "[" * 100_000], "line 2: not JSON"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, name, file, content, said):
    write_lines(tmp_path, file, *content)
    with pytest.raises(InputError) as error:
        load_examples(name, "train", str(tmp_path))
    assert said in str(error.value) and file in str(error.value) and "\n" not in str(error.value)


def test_an_answer_without_text_is_none(tmp_path):
    write_squad(tmp_path, answered(1, ("", 0), (" ", 0)))
    with pytest.raises(InputError, match="question 'Q1' has no answers, which the train split needs"):
        load_examples("cmrc2018", "train", str(tmp_path))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="train.json is missing"):
        load_examples("tnews", "train", str(tmp_path))
    with pytest.raises(InputError, match=r"train\.json cannot be read \(Not a directory\)"):
        load_examples("tnews", "train", __file__)


def test_unknown_data_set():
    with pytest.raises(InputError, match="unknown data set 'tnewz': choose one of afqmc"):
        load_examples("tnewz", "train")


@pytest.mark.parametrize(
    ("labels", "message"), [("好评\n", "at least two different"), ("好评\n差评\n好评\n", "'好评' is there twice")]
)
def test_own_labels_must_be_two_and_different(tmp_path, labels, message):
    (tmp_path / "labels.txt").write_text(labels, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_labels(find_dataset("tnews"), str(tmp_path))


def test_labels_of_clues_json_are_what_its_lines_say(tmp_path):
    (tmp_path / "labels.json").write_text('{"label": true}\n{"label": false}\n', encoding="utf-8")
    assert load_labels(find_dataset("cluewsc2020"), str(tmp_path)) == ["true", "false"]
    (tmp_path / "labels.json").write_text('{"label": 1}\n{"labels": 2}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 2 has no label"):
        load_labels(find_dataset("tnews"), str(tmp_path))


def test_a_label_may_hold_a_space(tmp_path):
    (tmp_path / "labels.txt").write_text("很 好\n\n很 坏\n", encoding="utf-8")
    assert load_labels(find_dataset("tnews"), str(tmp_path)) == ["很 好", "很 坏"]


@pytest.mark.parametrize("labels", ["B-PER\nM-PER\nE-PER\nO\n", "B-PER\nI-PER\n"])
def test_tags_of_another_scheme_are_refused(tmp_path, labels):
    (tmp_path / "labels.txt").write_text(labels, encoding="utf-8")
    with pytest.raises(InputError, match="labels.txt: BIO tags are expected"):
        load_labels(find_dataset("msra_ner"), str(tmp_path))


READERS = {  # a file, its lines, and what is read from it
    "train.json": (['{"sentence": "好", "label": "甲"}', '{"sentence": "坏", "label": "乙"}'], "tnews"),
    "train.tsv": (["中\x02国\tB-LOC\x02I-LOC", "人\tO"], "msra_ner"),
    "squad.json": (['{"data": [{"paragraphs": [{"context": "李鹏在北京。",', '"qas": [{"id": "1", "question": "谁",',
                    '"answers": [{"text": "李鹏", "answer_start": 0}]}]}]}]}'], "cmrc2018"),
    "labels.txt": (["甲", "乙"], None),
    "labels.json": (['{"label": "甲"}', '{"label": "乙"}'], None),
    "config.yml": (["DefaultArgs: {seed: 7}", "SequenceClassification: {tnews: {weight_decay: 0.5}}"], None),
    "inference.json": (['{"task": "seq_cls",', '"labels": ["甲", "乙"]}'], None),
}  # fmt: skip


def read_any(folder, name):
    """What the reader of a kind of file makes of it, written to the folder."""
    dataset = READERS[name][1]
    if dataset == "tnews":
        (folder / "labels.txt").write_text("甲\n乙\n", encoding="utf-8")
    if dataset == "cmrc2018":
        (folder / name).rename(folder / "train.json")
    if dataset:
        return load_examples(dataset, "train", str(folder))
    if name == "config.yml":
        return read_config(folder / name, ["SequenceClassification"], "tnews")
    return InferenceConfig.load(folder) if name == "inference.json" else load_labels(find_dataset("tnews"), str(folder))


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_as_people_s_editors_write_them(tmp_path, name, end, mark):
    lines = READERS[name][0]
    plain, edited = tmp_path / "plain", tmp_path / "edited"
    for folder, text in ((plain, "\n".join(lines)), (edited, mark + end.join([*lines, ""]))):
        folder.mkdir()
        (folder / name).write_bytes(text.encode("utf-8"))
    assert read_any(edited, name) == read_any(plain, name)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("encoding", "said"), [("utf-16", "is UTF-16, not UTF-8: save it as UTF-8"), ("gbk", "GBK")])
def test_files_in_another_encoding_are_named(tmp_path, name, encoding, said):
    (tmp_path / name).write_bytes("\n".join(READERS[name][0] + ["# 中文"]).encode(encoding))
    with pytest.raises(InputError, match=said) as error:
        read_any(tmp_path, name)
    message = str(error.value)
    assert message.startswith(str(tmp_path)) and message.count(str(tmp_path)) == 1 and "\n" not in message


def test_loading_takes_little_more_memory_than_the_examples(tmp_path):
    """No second copy of the file, and one string for every label, tag and token however often it stands there."""
    texts = [f"第{i}条新闻，" * 12 for i in range(5000)]
    write_lines(tmp_path, "train.json", *({"id": i, "sentence": text, "label": 100} for i, text in enumerate(texts)))
    write_lines(tmp_path, "train.tsv", *("\x02".join("中国人" * 20) + "\t" + "\x02".join(["B-LOC"] * 60),) * 2000)
    for name, most in (("tnews", 5000 * 700), ("msra_ner", 2000 * 1800)):
        tracemalloc.start()
        examples = load_examples(name, "train", str(tmp_path))
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < most and peak < kept + 400_000
    assert len({id(tag) for example in examples for tag in example["labels"]}) == 1


@pytest.mark.parametrize("name", ["clue tnews", "msra_ner", "cmrc2018"])
def test_without_a_network(name, tmp_path, monkeypatch):
    """The real download code against a proxy that refuses; a data set downloaded before is not looked at."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for module in (clue, cmrc2018, msra_ner):
        monkeypatch.setattr(module, "DATA_HOME", str(tmp_path))
    with pytest.raises(InputError) as error:
        load_examples(name, "train")
    message = str(error.value)
    assert find_dataset(name).name in message and "paddlenlp.datasets" in message and "--data_dir" in message
    assert "\n" not in message
