"""The page: whole, without scripts whatever the texts hold, and with the reader's fonts for Chinese."""

import base64
import re
import tracemalloc
from html.parser import HTMLParser

from ernie_suite.analysis.calibration import Calibration
from ernie_suite.analysis.counts import class_rows, confused_pairs, confusion
from ernie_suite.analysis.page import SECTIONS, render_page
from ernie_suite.analysis.pictures import MOST_CLASSES, draw_confusion
from ernie_suite.analysis.run import header, write_report

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

HOSTILE = [
    "<script>alert(1)</script>", "</textarea><img src=x onerror=alert(1)>", "{{ 7 * 7 }}{% raw %}", "$\\frac{x$",
    "'\" onmouseover=alert(1) x='", "javascript:alert(1)", "\ud83d\u202e半", "]]><svg onload=alert(1)>", "&lt;b&gt;",
]  # fmt: skip


class Reader(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.names, self.attributes, self.text = set(), [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def report_of(labels, classes=3, texts=("好",)):
    """A report with every part, about labels and texts of any kind."""
    random = np.random.default_rng(0)
    counts = {(i, (i + step) % classes): int(random.integers(1, 20)) for i in range(classes) for step in range(3)}
    matrix, numbers = confusion(labels, counts), np.arange(1, classes + 1)
    calibration = Calibration()
    for number in range(200):
        sure = float(random.random())
        calibration.add(f"{number}", random.random() < sure / 2, sure, lambda sure=sure: lambda t: sure ** (1 / t))
    rows = [
        {"example": i + 1, "id": text, "text": text, "question": text, "kind": text, "label": text,
         "predicted": text, "confidence": 0.9, "label_confidence": 0.1, **({"mark": [1, 3]} if i % 2 else {})}
        for i, text in enumerate(texts)
    ]  # fmt: skip
    suspects = [{**row, "suggested": row["predicted"], "margin": -0.8} for row in rows]
    return {
        **header("tnews", "train", 300, {"accuracy": 0.5}, model=texts[0], engine=texts[0], data_dir=texts[0]),
        "classes": class_rows(labels, numbers, numbers + 1, numbers + 2),
        "questions": [{"label": texts[0], "f1": 0.5, "support": 3}],
        "kinds": [{"label": texts[0], "right": 4}],
        "confused": confused_pairs(matrix),
        "confusion": matrix,
        "mistakes": rows,
        "suspects": {"estimated": 9, "share": 0.03, "labels": suspects},
        "calibration": calibration.report(),
    }


def test_nothing_that_texts_and_labels_hold_becomes_a_part_of_the_page(tmp_path):
    report = report_of(HOSTILE, classes=len(HOSTILE), texts=HOSTILE)
    assert set(SECTIONS) <= set(report)
    page = write_report(report, tmp_path / "dev").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev.html", "dev.json"]
    reader = Reader(page)
    assert not {"script", "iframe", "object", "embed", "link", "form", "base", "svg", "textarea"} & reader.names
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    sources = [value for name, value in reader.attributes if name in ("src", "href")]
    assert all(value.startswith(("data:image/svg+xml;base64,", "#")) for value in sources)
    for text in HOSTILE[:2]:
        assert text in reader.text  # as text
    assert "{{ 7 * 7 }}" in reader.text and "49" not in re.findall(r"label \s*<span[^>]*>([^<]*)", page)
    pictures = [value for value in sources if value.startswith("data:")]
    assert len(pictures) == 2
    for picture in pictures:
        drawing = base64.b64decode(picture.partition("base64,")[2]).decode("utf-8")
        assert "<script" not in drawing and "onload=alert" not in re.sub(r">[^<]*<", "><", drawing)
    policy = next(value for name, value in reader.attributes if name == "content" and value and "default-src" in value)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_labels_in_pictures_are_text_in_the_readers_fonts():
    labels = ["社区服务", "$体育$", "二手车"]
    picture = draw_confusion(confusion(labels, {(0, 0): 3, (0, 1): 2, (1, 1): 1, (2, 2): 4}))
    drawing = base64.b64decode(picture["picture"].partition("base64,")[2]).decode("utf-8")
    assert all(f">{label}<" in drawing for label in labels) and "Microsoft YaHei" in drawing
    assert picture["rows"] == [[3, 2, 0], [0, 1, 0], [0, 0, 4]] and picture["labels"] == labels


def test_of_many_classes_those_that_are_confused_are_drawn():
    labels = [f"c{number}" for number in range(119)]
    counts = {(number, number): 10 for number in range(119)}
    counts.update({(number, number + 50): 60 - number for number in range(60)})
    picture = draw_confusion(confusion(labels, counts))
    assert (picture["shown"], picture["classes"]) == (MOST_CLASSES, 119) and "rows" not in picture
    drawing = base64.b64decode(picture["picture"].partition("base64,")[2]).decode("utf-8")
    shown = set(re.findall(r">(c\d+)<", drawing))
    assert shown == {f"c{number}" for i in range(MOST_CLASSES // 2) for number in (i, i + 50)}


def test_ten_thousand_classes_take_no_matrix_of_all_of_them():
    classes = 10_000
    counts = {(number, number // 2): 1 + number % 3 for number in range(classes)}
    tracemalloc.start()
    picture = draw_confusion(confusion([f"c{number}" for number in range(classes)], counts))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (picture["shown"], picture["classes"]) == (MOST_CLASSES, classes) and most < 100e6


def test_a_page_says_where_its_figures_flatter():
    report = report_of(["a", "b", "c"])
    assert "trained on these examples" in render_page(report)
    assert "trained on these examples" not in render_page({**report, "remark": {"zh": "", "en": ""}})


@pytest.mark.parametrize("seed", range(3))
def test_figures_of_classes_are_scikit_learns(seed):
    random = np.random.default_rng(seed)
    given, found = random.integers(5, size=200), np.minimum(random.integers(6, size=200), random.integers(6, size=200))
    labels = [str(number) for number in range(6)]
    right, answered, wanted = (np.bincount(some, minlength=6) for some in (given[given == found], found, given))
    rows = {row["label"]: row for row in class_rows(labels, right, answered, wanted)}
    occurs = sorted(set(given) | set(found))
    for average, names in ((None, occurs), ("macro", ["macro"]), ("weighted", ["weighted"]), ("micro", ["micro"])):
        figures = precision_recall_fscore_support(given, found, average=average, zero_division=0)
        for i, name in enumerate(names):
            row = rows[str(name)]
            for value, column in zip(figures, ("precision", "recall", "f1")):
                assert row[column] == pytest.approx(value[i] if average is None else value)
