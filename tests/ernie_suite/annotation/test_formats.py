"""The formats of annotation tools, each as its tool writes it, are read into the same records."""

import json
from pathlib import Path

from ernie_suite.annotation.convert import ConvertOptions, find_form
from ernie_suite.annotation.formats import FORMATS, find_format
from ernie_suite.annotation.forms import Classification, Reading, Tagging
from ernie_suite.annotation.offsets import CODE_POINTS, ELSEWHERE, NOWHERE, UNSURE, UTF16
from ernie_suite.annotation.records import Changes, Span

import pytest

from ernie_inference.errors import InputError
from tests.support.annotations import read, read_one, written

EXPORTS = Path(__file__).with_name("exports")


# ---------------------------------------------------------------- the ten lines of each tool

SAME = {
    "doccano_sequence_labeling.jsonl": "doccano",
    "doccano_relations.jsonl": "doccano",
    "label_studio_labels.json": "label_studio",
    "label_studio_labels_min.json": "label_studio_min",
    "columns_bio.conll": "conll",
    "columns_bioes.conll": "conll",
    "columns_bmes.conll": "conll",
    "doccano_classification.jsonl": "doccano",
    "label_studio_choices.json": "label_studio",
    "label_studio_choices_min.json": "label_studio_min",
    "reviews_excel.csv": "table",
    "reviews_excel.tsv": "table",
    "doccano_reading.jsonl": "doccano",
    "doccano_reading_2019.jsonl": "doccano",
}


def test_there_are_ten_lines_of_each_format():
    assert {path.name for path in EXPORTS.iterdir()} == set(SAME)
    assert set(SAME.values()) == set(FORMATS)
    for name in SAME:
        assert len(read(EXPORTS / name)) == 10


@pytest.mark.parametrize("name", SAME)
def test_a_format_is_known_by_how_a_file_begins(name):
    assert find_format(EXPORTS / name).name == SAME[name]


TASKS = {
    Tagging: [name for name in SAME if "sequence" in name or "labels" in name or "relat" in name or "columns" in name],
    Classification: [name for name in SAME if "classification" in name or "choices" in name or "excel" in name],
    Reading: [name for name in SAME if "reading" in name],
}


@pytest.mark.parametrize("form", TASKS, ids=lambda form: form.task_name)
def test_all_tools_say_the_same_of_the_same_texts(form):
    """And what is read is what a person reads there: the text of each span, of each answer."""
    said = []
    for name in TASKS[form]:
        assert find_form([EXPORTS / name], ConvertOptions()) is form
        records = [form(Changes()).example(record) for record in read(EXPORTS / name)]
        said.append([_without_id(example) for example in records])
    assert len(said) >= 2 and all(other == said[0] for other in said)


def _without_id(example):
    return {name: value for name, value in example.items() if name != "id"}


def test_the_spans_are_those_that_were_marked():
    found = [
        (record.text[span.start : span.end], span.label)
        for record in read(EXPORTS / "label_studio_labels.json")
        for span in record.spans
    ]
    assert found[:5] == [("王小明", "PER"), ("北京", "LOC"), ("上海", "LOC"), ("李华", "PER"), ("清华大学", "ORG")]
    assert ("IBM公司", "ORG") in found and ("南京", "LOC") in found


# ---------------------------------------------------------------- doccano, version by version

SPANS = [Span(0, 2, "ORG"), Span(3, 5, "MISC")]


@pytest.mark.parametrize(
    "fields",
    [
        {"label": [[0, 2, "ORG"], [3, 5, "MISC"]]},
        {"labels": [[0, 2, "ORG"], [3, 5, "MISC"]], "username": "admin", "doc_id": 5},
        {"entities": [[0, 2, "ORG"], [3, 5, "MISC"]]},
        {"entities": [{"id": n, "start_offset": s.start, "end_offset": s.end, "label": s.label}
                      for n, s in enumerate(SPANS)], "relations": [], "Comments": []},
        {"annotations": [{"start_offset": s.start, "end_offset": s.end, "label": s.label, "user": 1} for s in SPANS],
         "meta": {"source": "x"}},
        {"label": [{"start": 0, "end": 2, "label": "ORG"}, {"start": 3, "end": 5, "labels": ["MISC"]}]},
    ],
)  # fmt: skip
def test_spans_of_doccano_in_all_their_forms(tmp_path, fields):
    assert read_one(tmp_path, {"id": 1, "text": "EU的羊肉", **fields}).spans == SPANS
    assert read_one(tmp_path, {"id": 1, "data": "EU的羊肉", **fields}).text == "EU的羊肉"


@pytest.mark.parametrize(
    "fields",
    [
        {"label": ["体育", "新闻"]},
        {"labels": ["体育", "新闻"]},
        {"cats": ["体育", "新闻"]},
        {"annotations": [{"label": 1, "label_name": "体育", "user": 1}, {"label": 2, "label_name": "新闻", "user": 1}]},
    ],
)
def test_labels_of_doccano_in_all_their_forms(tmp_path, fields):
    assert read_one(tmp_path, {"text": "决赛", **fields}).labels == ["体育", "新闻"]


def test_labels_that_are_numbers_of_the_tool_are_said(tmp_path):
    changes = Changes()
    record = read_one(tmp_path, {"text": "决赛", "annotations": [{"label": 7, "user": 1}]}, changes)
    assert record.labels == ["7"] and "numbers" in changes.lines()[0]


@pytest.mark.parametrize(
    ("fields", "answers"),
    [
        ({"annotations": [{"response": "北京", "start_offset": 3, "user": 1}]}, [("北京", 3)]),
        ({"annotations": [{"response": "_SKIPPED_BY_USER", "start_offset": 0}]}, None),
        ({"label": ["北京"]}, [("北京", 3)]),
        ({"label": [[3, 5, "ANSWER"]]}, [("北京", 3)]),
        ({"meta": {"question": "哪里？"}, "label": [[3, 5, "A"], [0, 1, "A"]]}, [("他", 0), ("北京", 3)]),
        ({"label": ["南京"]}, None),
        ({"label": []}, None),
    ],
)
def test_answers_to_questions(tmp_path, fields, answers):
    """Marked, typed, or of doccano's questions of 2019; None where no answer stands in the text."""
    item = {"text": "他住在北京。", **({} if "meta" in fields else {"question": "哪里？"}), **fields}
    example = Reading(Changes()).example(read_one(tmp_path, item))
    found = example and [(answer["text"], answer["answer_start"]) for answer in example["answers"]]
    assert (found and sorted(found)) == (answers and sorted(answers))


# ---------------------------------------------------------------- Label Studio


def task(text, *results, **more):
    return {"id": 1, "data": {"text": text}, "annotations": [{"id": 1, "result": list(results), **more}]}


def label(start, end, text, name="LOC", **more):
    value = {"start": start, "end": end, "text": text, "labels": [name]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value, **more}


def choice(*names, from_name="topic"):
    return {"from_name": from_name, "to_name": "text", "type": "choices", "value": {"choices": list(names)}}


@pytest.mark.parametrize(
    ("text", "start", "end", "own", "taken", "remark"),
    [
        ("💩在北京", 2, 4, "北京", (2, 4), None),
        ("💩在北京", 3, 5, "北京", (2, 4), "utf16"),
        ("第一行\n第二行", 0, 7, "第一行\\n第二行", (0, 7), None),
        ("第一行\r\n北京", 4, 6, "北京", (5, 7), ELSEWHERE),
        ("他在北京", 2, 4, "上海", None, NOWHERE),
        ("他在北京", 2, 4, None, (2, 4), None),
    ],
)
def test_spans_stand_where_their_own_text_does(tmp_path, text, start, end, own, taken, remark):
    changes = Changes()
    record = read_one(tmp_path, [task(text, label(start, end, own))], changes)
    assert [span[:2] for span in record.spans] == ([taken] if taken else [])
    assert [remark in what for what in changes.counts] == [True] if remark else not changes.counts


def test_what_positions_of_doccano_count_can_be_said(tmp_path):
    item = {"text": "💩在北京", "label": [[3, 5, "LOC"]]}
    assert read_one(tmp_path, item, offsets="utf16").spans == [Span(2, 4, "LOC")]
    assert read_one(tmp_path, item, offsets="code_points").spans == [Span(3, 5, "LOC")]  # left out later
    assert read_one(tmp_path, {"text": "💩", "label": [[2, 9, "A"]]}, offsets="utf16").spans == [Span(1, 8, "A")]


@pytest.mark.parametrize(
    ("text", "given", "taken", "unit"),
    [
        ("在北京💩", (1, 3), (1, 3), None),
        ("💩在北京", (3, 5), (2, 4), UTF16),
        ("💩在北京人", (2, 4), (1, 3), UTF16),
        ("💩在北京", (1, 3), (1, 3), CODE_POINTS),  # 1 would be half of the first character
        ("在💩", (1, 3), (1, 2), UTF16),
        ("💩在", (0, 9), (0, 8), UTF16),  # neither can be
    ],
)
def test_positions_of_doccano_count_as_its_editor_does_as_far_as_that_can_be(tmp_path, text, given, taken, unit):
    """What could be otherwise is counted, to be looked at."""
    changes = Changes()
    record = read_one(tmp_path, {"text": text, "label": [[*given, "A"]]}, changes)
    assert record.spans == [Span(*taken, "A")] and list(changes.counts) == ([UNSURE[unit]] if unit else [])


def test_positions_of_other_formats_count_characters(tmp_path):
    changes = Changes()
    record = read_one(tmp_path, [task("💩在北京人", label(2, 4, None))], changes)
    assert record.spans == [Span(2, 4, "LOC")] and list(changes.counts) == [UNSURE[CODE_POINTS]]


def test_what_was_imported_with_a_text_is_not_its_annotation(tmp_path):
    item = {"text": "文", "annotations": [{"label": 1, "label_name": "一", "user": 1}], "meta": {"label": "旧"}}
    assert read_one(tmp_path, item).labels == ["一"]
    assert read_one(tmp_path, item, label_column="label").labels == ["旧"]
    assert read_one(tmp_path, {"text": "文", "meta": {"label": "旧"}}).labels == ["旧"]


def test_a_span_without_a_label_is_counted(tmp_path):
    changes = Changes()
    spans = [{"start_offset": 0, "end_offset": 1, "label": name} for name in ("", None, "A")]
    assert read_one(tmp_path, {"text": "文", "label": spans}, changes).spans == [Span(0, 1, "A")]
    assert changes.counts["spans left out, as they have no label"][0] == 2


def test_one_annotation_of_a_task_counts(tmp_path):
    """The ground truth, else the first that was not skipped; the others are counted, with what they say."""
    skipped = {"id": 5, "was_cancelled": True, "result": []}
    others = [{"id": 6, "result": [choice("一")]}, {"id": 7, "ground_truth": True, "result": [choice("二")]}]
    changes = Changes()
    item = {"id": 1, "data": {"text": "文"}, "annotations": [skipped, *others]}
    assert read_one(tmp_path, [item], changes).labels == ["二"]
    assert [count for count, _ in changes.counts.values()] == [1, 1]
    item["annotations"] = [skipped, others[0]]
    assert read_one(tmp_path, [item]).labels == ["一"]
    item["annotations"] = [skipped]
    assert read_one(tmp_path, [item]).labels is None


def test_what_is_no_label_or_choice_is_left_out_and_counted(tmp_path):
    changes = Changes()
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    record = read_one(
        tmp_path, [task("文", choice("一"), relation, {"type": "rating", "value": {"rating": 3}})], changes
    )
    assert record.labels == ["一"] and len(changes.counts) == 2


def test_of_several_controls_one_is_named(tmp_path):
    item = [task("文", choice("一"), choice("好", from_name="mood"))]
    with pytest.raises(InputError, match="several controls, mood .*--from_name"):
        read_one(tmp_path, item)
    changes = Changes()
    assert read_one(tmp_path, item, changes, from_name="mood").labels == ["好"] and len(changes.counts) == 1


@pytest.mark.parametrize(("given", "labels"), [("好评", ["好评"]), (None, []), (["好", "评"], ["好", "评"])])
def test_choices_in_a_list_or_by_themselves(tmp_path, given, labels):
    result = {"from_name": "topic", "type": "choices", "value": {"choices": given}}
    assert read_one(tmp_path, [task("文", result)]).labels == labels


def test_choices_of_a_region_are_labels_of_its_span(tmp_path):
    result = label(1, 3, "北京")
    result["value"]["choices"] = result["value"].pop("labels")
    record = read_one(tmp_path, [task("在北京", {**result, "type": "choices"})])
    assert (record.labels, record.spans) == ([], [Span(1, 3, "LOC")])


def test_json_min_in_its_forms(tmp_path):
    """One choice is a text, several are an object; the control is what stands between the id and the annotator."""
    tail = {"annotator": 1, "annotation_id": 3, "created_at": "", "lead_time": 1.0}
    one = {"review": "很好", "id": 7, "topic": "手机", **tail}
    several = {"review": "很差", "id": 8, "topic": {"choices": ["手机", "客服"]}, **tail}
    again = {"review": "很差", "id": 8, "topic": "物流", **{**tail, "annotation_id": 4}}
    changes = Changes()
    records = read(written(tmp_path, [one, several, again]), changes)
    assert [(record.text, record.labels) for record in records] == [("很好", ["手机"]), ("很差", ["手机", "客服"])]
    assert len(changes.counts) == 1
    with pytest.raises(InputError, match="which of topic, mood holds the results"):
        read_one(tmp_path, [{"text": "文", "id": 1, "topic": "一", "mood": "好", **tail}])
    assert read_one(
        tmp_path, [{"text": "文", "id": 1, "topic": "一", "mood": "好", **tail}], from_name="mood"
    ).labels == ["好"]


def test_tasks_a_line_as_cloud_storage_has_them(tmp_path):
    lines = "\n".join(json.dumps(task("文", choice(name)), ensure_ascii=False) for name in "一二")
    assert [record.labels for record in read(written(tmp_path, lines))] == [["一"], ["二"]]


# ---------------------------------------------------------------- bad files

BAD = {
    "not JSON": ('{"text": "一", "label": ["a"]}\n{"text": \n', "line 2.*not JSON"),
    "a list in JSON lines": ('{"text": "一", "label": ["a"]}\n[1]\n', "line 2.*object is expected, found list"),
    "an array that is cut": ('[{"text": "一", "label": ["a"]},\n{"text": "二', r"item 2 \(line 2\).*not JSON"),
    "no comma": ('[{"text": "一", "label": ["a"]} {"text": "二"}]', "line 1: not JSON: ',' is expected, found '{'"),
    "more than the array": ('[{"text": "一", "label": ["a"]}]\n{}', "line 2: something stands behind the end"),
    "numbers": ("[1]", r"item 1 \(line 1\).*found int"),
    "an empty array": ("[]", "holds no items"),
    "nothing": (" \n", "is empty"),
    "no text": ('{"label": ["a"], "title": "x"}', "no text is found; it has label, title: .*--text_column"),
    "a text that is none": ('{"text": 5, "label": ["a"]}', "'text' is not a text"),
    "a label that is none": ('{"text": "一", "label": [1.5]}', r"1\.5 is no label and no span"),
    "a position that is none": ('{"text": "一", "label": [["0", 1, "A"]]}', "'0' is no position"),
    "ids of annotations": ('[{"id": 1, "data": {"text": "一"}, "annotations": [5]}]', "no list of objects"),
    "no list of results": (
        '[{"data": {"text": "一"}, "annotations": [{"result": 5}]}]',
        "'result' .* is 5, and a list",
    ),
    "choices that are none": (
        '[{"data": {"text": "一"}, "annotations": [{"result": [{"type": "choices", "value": {"choices": {}}}]}]}]',
        "{} is no label",
    ),
    "columns of UTF-16": ("text,label\n一\0,a\n", "NUL.*is it UTF-16"),
    "a quote that is open": ('text,label\n一,a\n"二,b\n三,c\n', "line 3: not a row.*quote not closed"),
    "too many cells": ("text,label\n一,二,a\n", "line 2: 3 cells, but 2 names"),
    "a name twice": ("text,text\n一,a\n", "line 1: two columns have one name"),
    "a line without a tag": ("字 O\n字 O\n字\n", "line 3: '字' is no tag"),
    "a data set already": ("北\x02京\tB-LOC\x02I-LOC\n", "MSRA NER's columns, which the scripts read"),
    "like nothing": ("一行文字\n", "like none of the formats: .*--format: .*conll"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_said_with_its_place(tmp_path, name):
    content, message = BAD[name]
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["text,label\n一,a\n二,b\n", '[{"text": "一",\n"label": "二"}]'])
@pytest.mark.parametrize(
    ("encoding", "message"), [("gbk", r"is not UTF-8 .line [23]\)"), ("utf-16", "UTF-16, not UTF-8")]
)
def test_other_encodings_are_named(tmp_path, content, encoding, message):
    path = tmp_path / "export"
    path.write_bytes(content.replace("一", "a").encode(encoding))
    with pytest.raises(InputError, match=message):
        read(path)


def test_a_workbook_and_an_archive_are_named(tmp_path):
    path = tmp_path / "export.xlsx"
    path.write_bytes(b"PK\x03\x04\x14\x00\x06\x00")
    with pytest.raises(InputError, match="unpack it, or save it as CSV in UTF-8"):
        read(path)
