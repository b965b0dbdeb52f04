"""The pictures of a report, as addresses of images that hold them: SVG, whose texts the reader's own fonts draw."""

import base64
import io
import logging
import warnings
from typing import Any, Dict, List

import numpy as np

from ernie_inference.text_output import one_line

MOST_CLASSES = 20  # of a picture of a confusion matrix
MOST_CHARACTERS = 16  # of a label in it
# Wherever the page is read, one of these has Chinese characters.
FONTS = [
    *("Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei"),
    *("DejaVu Sans", "sans-serif"),
]
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"  # Okabe and Ito's, which colour-blind readers tell apart


def draw_confusion(matrix: Dict[str, Any]) -> Dict[str, Any]:
    """The confusion matrix: {"picture", "shown", "classes"}, how many classes it shows and how many there are, and, if
    it shows all, "labels" and "rows" of counts too. Of many classes the picture has those that are confused the most.
    """
    size = len(matrix["labels"])
    counts = np.zeros((size, size), dtype=np.int64)
    for given, found, number in matrix["counts"]:
        counts[given, found] = number
    occurs = counts.sum(axis=0) + counts.sum(axis=1) > 0
    shown = most_confused(counts) if occurs.sum() > MOST_CLASSES else np.flatnonzero(occurs).tolist()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [one_line(matrix["labels"][number], MOST_CHARACTERS) for number in shown]
    figure = _figure(1.8 + 0.42 * len(shown), 1.2 + 0.34 * len(shown))
    panel = figure.add_subplot()
    panel.imshow(shares[np.ix_(shown, shown)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, given in enumerate(shown):
        for column, found in enumerate(shown):
            if counts[given, found]:
                colour = "white" if shares[given, found] > 0.5 else "black"
                panel.text(column, row, f"{counts[given, found]}", color=colour, ha="center", va="center", fontsize=8)
    ticks = range(len(shown))
    panel.set_xticks(ticks, names, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    panel.set_yticks(ticks, names, parse_math=False)
    panel.set_xlabel("模型的回答 predicted")
    panel.set_ylabel("标注 label")
    part = {"picture": _address(figure), "shown": len(shown), "classes": int(occurs.sum())}
    if len(shown) < occurs.sum():
        return part
    return {**part, "labels": [matrix["labels"][i] for i in shown], "rows": counts[np.ix_(shown, shown)].tolist()}


def most_confused(counts: np.ndarray) -> List[int]:
    """The classes of the most frequent confusions [label, answer], MOST_CLASSES at most, in their own order."""
    wrong = counts - np.diag(counts.diagonal())
    chosen: Dict[int, None] = {}
    for pair in np.argsort(-wrong, axis=None, kind="stable"):
        both = [number for number in map(int, divmod(int(pair), len(counts))) if number not in chosen]
        if len(chosen) + len(both) > MOST_CLASSES or not wrong.flat[pair]:
            break
        chosen.update(dict.fromkeys(both))
    return sorted(chosen)


def draw_reliability(bins: List[Dict[str, float]]) -> str:
    """The share of right answers in each bin of confidence, against the confidence; below, how many there are."""
    figure = _figure(4.6, 4.4)
    panel, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]})
    middles = [(each["from"] + each["to"]) / 2 for each in bins]
    width = [0.92 * (each["to"] - each["from"]) for each in bins]
    panel.bar(middles, [each["right"] for each in bins], width, color=BLUE, alpha=0.75)
    panel.plot([each["confidence"] for each in bins], [each["right"] for each in bins], "o", color=ORANGE, markersize=4)
    panel.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
    panel.set_ylim(0, 1)
    panel.set_ylabel("正确率 right")
    below.bar(middles, [each["answers"] for each in bins], width, color=GREY)
    below.set_xlim(0, 1)
    below.set_ylabel("数量 count")
    below.set_xlabel("置信度 confidence")
    for each in (panel, below):
        each.spines[["top", "right"]].set_visible(False)
    return _address(figure)


def _figure(width: float, height: float):
    from matplotlib.figure import Figure  # here, as what needs no picture need not wait for it

    return Figure(figsize=(width, height), layout="tight")


def _address(figure) -> str:
    """data:image/svg+xml;base64,...; a browser runs no script of such an image."""
    import matplotlib

    file = io.BytesIO()
    log, level = logging.getLogger("matplotlib.font_manager"), logging.ERROR
    before, log_level = log.level, level
    log.setLevel(log_level)  # most of the fonts are not on this machine, and need not be
    try:
        with warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ernie"}):
            warnings.simplefilter("ignore")  # this machine's fonts may lack the characters
            for text in figure.findobj(matplotlib.text.Text):
                text.set_fontfamily(FONTS)
            figure.savefig(file, format="svg", metadata={"Date": None})
    finally:
        log.setLevel(before)
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode("ascii")
