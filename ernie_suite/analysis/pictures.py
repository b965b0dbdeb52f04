"""The pictures of a report, as addresses of images that hold them: SVG, whose texts the reader's own fonts draw."""

import base64
import io
import logging
import warnings
from collections import Counter
from typing import Any, Dict, List, Mapping, Set, Tuple

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
    all_counts = {(given, found): number for given, found, number in matrix["counts"] if number}
    support: Counter = Counter()
    for (given, _), number in all_counts.items():
        support[given] += number
    occurs = sorted({number for pair in all_counts for number in pair})
    shown = most_confused(all_counts) if len(occurs) > MOST_CLASSES else occurs
    counts = np.array([[all_counts.get((given, found), 0) for found in shown] for given in shown], dtype=np.int64)
    counts = counts.reshape(len(shown), len(shown))
    shares = counts / np.maximum([[support[given]] for given in shown] or 1, 1)
    names = [one_line(matrix["labels"][number], MOST_CHARACTERS) for number in shown]
    figure = _figure(1.8 + 0.42 * len(shown), 1.2 + 0.34 * len(shown))
    panel = figure.add_subplot()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, f"{counts[row, column]}", color=colour, ha="center", va="center", fontsize=8)
    ticks = range(len(shown))
    panel.set_xticks(ticks, names, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    panel.set_yticks(ticks, names, parse_math=False)
    panel.set_xlabel("模型的回答 predicted")
    panel.set_ylabel("标注 label")
    part = {"picture": _address(figure), "shown": len(shown), "classes": len(occurs)}
    if len(shown) < len(occurs):
        return part
    return {**part, "labels": [matrix["labels"][i] for i in shown], "rows": counts.tolist()}


def most_confused(counts: Mapping[Tuple[int, int], int]) -> List[int]:
    """The classes of the most frequent confusions (label, answer), MOST_CLASSES at most, in their own order."""
    wrong = [pair for pair in sorted(counts, key=lambda pair: (-counts[pair], pair)) if pair[0] != pair[1]]
    chosen: Set[int] = set()
    for pair in wrong:
        if len(chosen.union(pair)) > MOST_CLASSES:
            break
        chosen.update(pair)
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
