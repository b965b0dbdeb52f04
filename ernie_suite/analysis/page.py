"""A report as one HTML page that needs nothing else: no script, no file, no network.

Texts and labels come from outside: the template escapes all that it shows, and the page forbids scripts and whatever is
loaded from elsewhere (Content-Security-Policy).
"""

from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple

from ernie_suite.analysis.pictures import draw_confusion, draw_reliability

from ernie_inference.text_output import one_line

TEMPLATE = Path(__file__).with_name("page.html")


class Section(NamedTuple):
    """A part of a report on the page.

    Attributes:
        form: the macro of page.html that shows it.
        title, note: in Chinese and in English.
        prepare: makes of the part what the macro takes.
    """

    form: str
    title: Dict[str, str]
    note: Dict[str, str]
    prepare: Callable[[Any], Any] = lambda part: part


def _section(form: str, zh: str, en: str, note_zh: str, note_en: str, prepare=lambda part: part) -> Section:
    return Section(form, {"zh": zh, "en": en}, {"zh": note_zh, "en": note_en}, prepare)


def _with_picture(part: Dict[str, Any]) -> Dict[str, Any]:
    return {**part, "picture": draw_reliability(part["bins"])}


# Parts of a report, in the order of the page; a family fills some of them.
SECTIONS: Dict[str, Section] = {
    "classes": _section(
        "table",
        "各类别",
        "Per class",
        "先是平均值；各类别中 F1 低的在前。",
        "The means come first; of the classes those with the lowest F1.",
    ),
    "questions": _section(
        "table",
        "各类问题",
        "Per kind of question",
        "按问题所问分组；先是全部，其后 F1 低的在前。",
        "By what is asked for: all of them, then those with the lowest F1.",
    ),
    "kinds": _section(
        "table",
        "错误的种类",
        "Kinds of errors",
        "每个片段只计一次：类型错、边界错、漏标、多标等。",
        "Every span counts once: wrong type, wrong boundary, missed, invented and so on.",
    ),
    "confused": _section(
        "table",
        "最常混淆的类别",
        "Most confused pairs",
        "占比：占该标注类别全部样本的比例。",
        "The share is that of all examples with this label.",
    ),
    "confusion": _section(
        "matrix",
        "混淆矩阵",
        "Confusion matrix",
        "行是标注，列是模型的回答；颜色为占该行的比例，数字为数量。",
        "Rows are labels, columns answers; the colour is the share of the row, the number a count.",
        draw_confusion,
    ),
    "mistakes": _section(
        "texts",
        "最严重的错误",
        "Worst mistakes",
        "模型最有把握、却与标注不同的回答。",
        "Answers that differ from the label and that the model is surest of.",
        lambda part: {"labels": part},
    ),
    "suspects": _section(
        "texts",
        "可疑的标注",
        "Suspect labels",
        "模型的概率与标注相矛盾（置信学习），最可疑的在前。模型也会错：请逐条核对。",
        "Labels that the model's probabilities contradict (confident learning), the most suspect first. "
        "The model may be wrong: look at each.",
    ),
    "calibration": _section(
        "calibration",
        "置信度校准",
        "Calibration of confidence",
        "柱为该置信度区间内回答的正确率，虚线为理想情况。",
        "Bars are the share of right answers at a confidence; the dashed line is the ideal.",
        _with_picture,
    ),
}

# Columns and figures by their names in the JSON, for people.
WORDS = {
    "label": "标注 label",
    "predicted": "回答 predicted",
    "suggested": "建议 suggested",
    "precision": "精确率 precision",
    "recall": "召回率 recall",
    "f1": "F1",
    "exact_match": "完全匹配 exact match",
    "accuracy": "准确率 accuracy",
    "support": "样本数 support",
    "found": "回答数 found",
    "count": "数量 count",
    "share": "占比 share",
    "confidence": "置信度 confidence",
    "right": "正确 right",
    "type": "类型错 type",
    "boundary": "边界错 boundary",
    "type and boundary": "类型与边界错 both",
    "missed": "漏标 missed",
    "invented": "多标 invented",
    "too long": "过长 too long",
    "too short": "过短 too short",
    "shifted": "错位 shifted",
    "elsewhere": "别处 elsewhere",
    "not in the text": "原文中无 not in the text",
    "macro": "宏平均 macro",
    "weighted": "加权平均 weighted",
    "micro": "微平均 micro",
    "all": "全部 all",
}
HIDDEN = ("is_mean",)  # fields of rows that are no columns


def render_page(report: Dict[str, Any]) -> str:
    """The page of a report that run.py made."""
    from jinja2 import Environment, StrictUndefined  # here, as what needs no page need not wait for it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(figure=figure, word=word, columns=columns, marked=marked)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    sections = [
        (name, section, section.prepare(report[name])) for name, section in SECTIONS.items() if report.get(name)
    ]
    return template.render(report=report, sections=sections)


def word(name: str) -> str:
    return WORDS.get(name, name)


def figure(value: Any) -> str:
    """A cell of a table."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return one_line(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def columns(rows: List[Dict[str, Any]]) -> List[str]:
    return [name for name in rows[0] if name not in HIDDEN]


def marked(row: Dict[str, Any]) -> List[str]:
    """A text in three: before what is marked in it, that, and what comes after; the last two are empty without."""
    begin, end = row.get("mark") or (len(row["text"]),) * 2
    return [row["text"][:begin], row["text"][begin:end], row["text"][end:]]
