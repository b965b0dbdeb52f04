"""A description as a picture: classes by split, and how long the texts are."""

from pathlib import Path
from typing import List, Optional

from ernie_suite.description.report import class_order
from ernie_suite.description.statistics import Description

import numpy as np

from ernie_inference.console import note
from ernie_inference.files import publish
from ernie_inference.text_output import one_line

PICTURE = "description.png"
# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = {"train": "#0072B2", "dev": "#D55E00", "test": "#009E73"}
MOST_CLASSES = 30  # that have a bar
MOST_CHARACTERS = 24  # of their names
# Fonts with Chinese characters, as systems come with them; the first that is installed is taken.
CHINESE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "SimSun",
    "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Heiti TC", "STHeiti", "Songti SC", "Arial Unicode MS",
    "AR PL UMing CN", "AR PL UKai CN",
)  # fmt: skip


def draw_description(description: Description, folder: Path) -> Optional[Path]:
    """Write the picture into a folder; returns the file, None where matplotlib is missing."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        note(f"no {PICTURE} is drawn: the package matplotlib is not installed")
        return None
    font = chinese_font()
    classes = class_order(description)
    with matplotlib.rc_context({"font.sans-serif": [*([font] if font else []), "DejaVu Sans"]}):
        heights = [0.6 + 0.3 * min(len(classes), MOST_CLASSES), 3] if classes else [3]  # inches
        figure = Figure(figsize=(9, sum(heights) + 0.5), layout="constrained")
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
        if classes:
            draw_classes(description, classes, panels[0][0], font is not None)
        draw_lengths(description, panels[-1][0])
        with publish(folder) as temporary:
            figure.savefig(temporary / PICTURE, dpi=120)
    return folder / PICTURE


def chinese_font() -> Optional[str]:
    """The name of an installed font that has Chinese characters; None where none is known to."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in CHINESE_FONTS if name in installed), None)


def draw_classes(description: Description, classes: List[str], panel, has_chinese: bool) -> None:
    """A bar for each split and class, as a share of the split, the most frequent above."""
    shown = classes[:MOST_CLASSES]
    names = bar_names(shown, has_chinese)
    splits = description.splits
    for number, (split, counts) in enumerate(splits.items()):
        places = np.arange(len(shown)) + (number - (len(splits) - 1) / 2) * 0.8 / len(splits)
        total = max(sum(counts.classes.values()), 1)
        shares = [100 * counts.classes[label] / total for label in shown]
        panel.barh(places, shares, height=0.8 / len(splits), color=COLOURS[split], label=split)
    panel.set_yticks(np.arange(len(shown)), names, fontsize=8, parse_math=False)
    panel.set_ylim(len(shown) - 0.4, -0.6)
    rest = f" ({len(shown)} of {len(classes)} classes)" if len(classes) > len(shown) else ""
    panel.set_xlabel(f"share of the split in %{rest}", fontsize=9)
    _plain(panel)


def bar_names(labels: List[str], has_chinese: bool) -> List[str]:
    """What stands beside the bars: numbers where the labels could not be read in the picture, with a note."""
    if has_chinese or all(ord(char) < 0x2E80 for label in labels for char in label):
        return [one_line(label, MOST_CHARACTERS) for label in labels]
    note(
        "no font with Chinese characters is installed (Noto Sans CJK, say): in the picture classes are numbered in the "
        "order of the table"
    )
    return [str(number) for number in range(1, len(labels) + 1)]


def draw_lengths(description: Description, panel) -> None:
    """For each length the share of the texts that are as long or shorter, and the suggestion."""
    longest = 0
    for split, counts in description.splits.items():
        lengths = np.sort(np.array(counts.lengths))
        longest = max(longest, int(np.percentile(lengths, 99.9)))
        shares = 100 * np.arange(1, len(lengths) + 1) / len(lengths)
        step = max(1, len(lengths) // 2000)  # points that nobody could tell apart
        panel.plot([0, *lengths[step - 1 :: step]], [0, *shares[step - 1 :: step]], color=COLOURS[split], label=split)
    suggested = description.suggested
    panel.axvline(suggested, color="#555555", linestyle="--", linewidth=1)
    panel.annotate(f"max_seq_length {suggested}", (suggested, 4), xytext=(4, 0), textcoords="offset points", fontsize=8)
    panel.set_xlim(0, max(longest, suggested) * 1.15)
    panel.set_ylim(0, 101)
    panel.set_xlabel(f"{description.unit} of the model input", fontsize=9)
    panel.set_ylabel("texts as long or shorter, %", fontsize=9)
    _plain(panel)


def _plain(panel) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#dddddd")
    panel.set_axisbelow(True)
    panel.legend(frameon=False, fontsize=8, loc="lower right")
