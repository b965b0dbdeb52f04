"""Tables and CoNLL columns, as people's programs write them."""

import json

from ernie_suite.annotation.convert import ConvertOptions, find_form
from ernie_suite.annotation.formats import FORMATS
from ernie_suite.annotation.forms import PairClassification
from ernie_suite.annotation.records import Answer, Changes, ReadOptions, Source, Span
from ernie_suite.annotation.tables import HOLDS_ROWS

import pytest

from ernie_inference.errors import InputError
from tests.support.annotations import read, written


def test_quoted_cells_hold_anything(tmp_path):
    text = '\ufefftext,label\n"他说""好""，\n真的",一\n\n不错,\n'
    records = read(written(tmp_path, text, "t.csv"))
    assert [(record.text, record.labels) for record in records] == [('他说"好"，\n真的', ["一"]), ("不错", None)]
    assert records[1].place.endswith("line 5")


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_the_separator_is_that_of_the_first_line(tmp_path, separator):
    path = written(
        tmp_path, f"文本{separator}类别\n一,二;三\t四\n".replace("一,二;三\t四", f"文{separator}类"), "t.csv"
    )
    assert [(record.text, record.labels) for record in read(path)] == [("文", ["类"])]


def test_the_line_that_tells_excel_the_separator_is_no_line_of_names(tmp_path):
    for separator in ",;\t|":
        path = written(tmp_path, f"sep={separator}\ntext{separator}label\n一{separator}好\n", "t.csv")
        (record,) = FORMATS["table"].read(Source(path, ReadOptions(), Changes()))
        assert (record.text, record.labels) == ("一", ["好"]) and record.place.endswith("line 3")


def test_rows_that_a_quote_makes_one_text_are_counted(tmp_path):
    changes = Changes()
    table = 'text\tlabel\n"很好，买了\t好\n不错\t好\n真"\t坏\n一\t好\n'
    assert len(read(written(tmp_path, table, "t.tsv"), changes)) == 2
    assert changes.counts[HOLDS_ROWS][0] == 1


@pytest.mark.parametrize("names", ["text_a,text_b", "文本1,文本2", "句子1,句子2"])
def test_the_texts_of_a_pair_are_found_by_their_names(tmp_path, names):
    record = read(written(tmp_path, f"{names},label\n一,二,好\n", "t.csv"))[0]
    assert (record.text, record.text_pair) == ("一", "二")


def test_columns_are_named_and_cells_hold_several_labels(tmp_path):
    path = written(tmp_path, "标题,review,kind\nx,很好,手机#客服\n", "t.csv")
    options = {"text_column": "review", "label_column": "kind"}
    assert read(path, **options)[0].labels == ["手机#客服"]
    assert read(path, **options, label_separator="#")[0].labels == ["手机", "客服"]
    with pytest.raises(InputError, match="no 'mood' .--label_column.; it has 标题, review, kind"):
        read(path, text_column="review", label_column="mood")


def test_a_table_of_questions_of_pairs_and_of_spans(tmp_path):
    table = "question,context,answer,answer_start\n谁？,李华和李华,李华,3\n"
    record = read(written(tmp_path, table, "t.csv"))[0]
    assert (record.question, record.answers) == ("谁？", [Answer("李华", 3)])
    record = read(written(tmp_path, "sentence1,sentence2,label\n一,二,neutral\n", "p.csv"))[0]
    assert (record.text, record.text_pair, record.labels) == ("一", "二", ["neutral"])
    assert find_form([tmp_path / "p.csv"], ConvertOptions()) is PairClassification
    spans = [{"start": 0, "end": 2, "text": "北京", "labels": ["LOC"]}]
    cell = json.dumps(spans, ensure_ascii=False).replace('"', '""')
    assert read(written(tmp_path, f'text,label\n北京,"{cell}"\n', "s.csv"))[0].spans == [Span(0, 2, "LOC")]


@pytest.mark.parametrize(
    ("tags", "spans", "repaired"),
    [
        ("B-A I-A O", [(0, 2, "A")], 0),
        ("B-A B-A I-B", [(0, 1, "A"), (1, 2, "A"), (2, 3, "B")], 1),
        ("I-A I-A O", [(0, 2, "A")], 1),
        ("B-A M-A E-A", [(0, 3, "A")], 0),
        ("S-A B-A L-A", [(0, 1, "A"), (1, 3, "A")], 0),
        ("U-A W-A E-A", [(0, 1, "A"), (1, 2, "A"), (2, 3, "A")], 1),
        ("B-A E-A I-A", [(0, 2, "A"), (2, 3, "A")], 1),
        ("B_A-B I_A-B O", [(0, 2, "A-B")], 0),
    ],
)
def test_every_scheme_of_tags(tmp_path, tags, spans, repaired):
    changes = Changes()
    lines = "".join(f"字\t{tag}\n" for tag in tags.split())
    (record,) = read(written(tmp_path, lines, "a.conll"), changes)
    assert record.spans == spans and sum(count for count, _ in changes.counts.values()) == repaired


def test_columns_between_and_around_the_tokens(tmp_path):
    """Label Studio's columns, comments, a document's mark, a token that is a space, and Windows' line ends."""
    lines = "-DOCSTART- -X- O\r\n# id 1\r\nEU -X- _ B-ORG\r\n  O\r\n# O\r\n\r\n\r\n北京 -X- _ B-LOC"
    first, second = read(written(tmp_path, lines, "a.conll"))
    assert (first.tokens, first.spans) == (["EU", " ", "#"], [Span(0, 1, "ORG")])
    assert (second.tokens, second.spans) == (["北京"], [Span(0, 1, "LOC")])


@pytest.mark.parametrize("first", ["[ O", "{\tB-A", "\n[\tO"])
def test_columns_may_begin_with_a_bracket(tmp_path, first):
    (record,) = read(written(tmp_path, f"{first}\n北 B-LOC\n", "a.conll"))
    assert record.tokens[1:] == ["北"] and record.spans[-1] == Span(1, 2, "LOC")


def test_text_that_was_not_split_into_tokens_is_said(tmp_path):
    changes = Changes()
    (record,) = read(written(tmp_path, "标的车直行碰撞" * 6 + " -X- _ B-护栏\n", "a.conll"), changes)
    assert record.spans == [Span(0, 1, "护栏")] and "export JSON" in changes.lines()[0]
