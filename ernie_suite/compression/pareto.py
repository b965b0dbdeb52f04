"""The picture of a report: what every model gains in speed and what it costs, with the front of those worth having."""

from pathlib import Path, PurePosixPath
from typing import Any, Dict, List, Optional

from ernie_suite.compression.choice import CONFIDENCE, shown_change, speeds_of

from ernie_inference.console import note
from ernie_inference.files import publish

PICTURE = "pareto.png"
# Okabe and Ito's colours, which colour-blind readers tell apart; (smaller than the fine-tuned model, INT8) to name,
# colour and marker.
FORMS = {
    (False, False): ("FP32", "#000000", "s"),
    (True, False): ("smaller", "#0072B2", "o"),
    (False, True): ("INT8", "#D55E00", "^"),
    (True, True): ("smaller + INT8", "#009E73", "D"),
}
LABEL_HEIGHT = 10  # points from one label to the next
LABEL_SIZE, AXIS_SIZE = 7.5, 10
PLACE = (0.1, 0.1, 0.88, 0.79)  # of the axes in their part of the figure: with that fixed, it is drawn once

Row = Dict[str, Any]


def draw_report(report: Dict, folder: Path) -> Optional[Path]:
    """Write the picture of a report beside it; returns the file, None where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure  # here, as what needs no picture need not wait for it
    except ImportError:
        note(f"no {PICTURE} is drawn: the package matplotlib is not installed")
        return None
    figure = Figure(figsize=(9, 5.5))
    draw(report, report_axes(figure))
    with publish(folder) as temporary:
        figure.savefig(temporary / PICTURE, dpi=120)
    return folder / PICTURE


def report_axes(figure, number: int = 0, columns: int = 1, rows: int = 1):
    """The axes of the report of a number in a figure for several, from left to right and then down."""
    row, column = divmod(number, columns)
    left, bottom, width, height = PLACE
    return figure.add_axes(
        ((column + left) / columns, (rows - 1 - row + bottom) / rows, width / columns, height / rows)
    )


def draw(report: Dict, panel) -> None:
    """Speed against the change of the metric with its interval, and the Pareto front, into the axes of a figure."""
    rows, metric, speeds = report["models"], report["metric"].replace("_", " "), speeds_of(report["models"])
    is_held_out = "held_out" in rows[0]
    for form, (name, colour, marker) in FORMS.items():
        here = [row for row in rows if form_of(row) == form]
        x, y = [speeds[row["model"]] for row in here], [100 * shown_change(row) for row in here]
        if here:
            panel.scatter(x, y, s=36, color=colour, marker=marker, label=name, zorder=3)
        for row in here if is_held_out else ():
            ends = [100 * end for end in row["held_out"]["interval"]]
            alpha = 0.8 if row["front"] else 0.3
            panel.plot([speeds[row["model"]]] * 2, ends, color=colour, linewidth=1, alpha=alpha, zorder=2)
    best = sorted((row for row in rows if row["front"]), key=lambda row: speeds[row["model"]])
    points = [(speeds[row["model"]], 100 * shown_change(row)) for row in best]
    panel.plot(*zip(*points), drawstyle="steps-pre", color="#555555", linewidth=1.2, label="Pareto front", zorder=1)
    chosen = [row for row in rows if row["model"] in [choice["model"] for choice in report["chosen"]]]
    if chosen:
        x, y = [speeds[row["model"]] for row in chosen], [100 * shown_change(row) for row in chosen]
        panel.scatter(x, y, s=150, facecolors="none", edgecolors="#CC79A7", linewidths=1.8, label="chosen", zorder=4)
    panel.axhline(0, color="#999999", linewidth=0.8, linestyle="--", zorder=0)
    engines = ", by the fastest engine of each" if all(row.get("engines") for row in rows) else ""
    panel.set_xlabel(f"speed, as a multiple of FP32 on Paddle{engines}", fontsize=AXIS_SIZE)
    if is_held_out:
        where = f"{report['dev_halves']['held_out']:,} held-out dev examples, {100 * CONFIDENCE:.0f} % interval"
    else:
        where = "the dev set, of which no half is held out"
    panel.set_ylabel(f"change of {metric} in points\non {where}", fontsize=AXIS_SIZE)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#dddddd")
    panel.set_axisbelow(True)
    panel.margins(x=0.2, y=0.1)
    panel.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(FORMS) + 2)
    labelled = [row for row in rows if row["front"] or row["precision"] == "fp32" or row in chosen]
    places = [(speeds[row["model"]], 100 * shown_change(row)) for row in labelled]
    panel.autoscale_view()  # by which labels are placed, and which else waits until the figure is drawn
    label_points(panel, places, [name_of(row, report["original"]) for row in labelled])


def form_of(row: Row):
    """The key of FORMS for a model: one pruned to a width or to a speed, and a student, are smaller."""
    return any(row.get(key) for key in ("width", "layers", "student")), row["precision"] == "int8"


def name_of(row: Row, original: str) -> str:
    """A model's folder: "0.75/hist16"."""
    return "FP32" if row["model"] == original else str(PurePosixPath(row["model"]).parent)


def label_points(panel, points: List, texts: List[str]) -> None:
    """A text right of each point, and moved up as far as it takes for texts not to lie on each other.

    Args:
        points: (x, y) in the units of the axes, whose size is final.
    """
    points_per_pixel = 72 / panel.figure.dpi
    placed: List[List[float]] = []
    for point, text in sorted(zip(points, texts), key=lambda pair: pair[0][1]):
        x, y = (value * points_per_pixel for value in panel.transData.transform(point))
        width = 5.0 * len(text)
        height = y
        for left, right, other in sorted(placed, key=lambda place: place[2]):
            if left < x + width and x < right and abs(height - other) < LABEL_HEIGHT:
                height = other + LABEL_HEIGHT
        placed.append([x, x + width, height])
        line = {"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
        panel.annotate(
            text,
            point,
            xytext=(10, height - y),
            textcoords="offset points",
            fontsize=LABEL_SIZE,
            va="center",
            arrowprops=line if height > y else None,
            in_layout=False,  # the panels keep their size
        )
