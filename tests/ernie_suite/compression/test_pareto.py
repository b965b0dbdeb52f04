"""The picture of a report shows each model where it is, the front, and what was chosen."""

import builtins

from ernie_suite.compression.pareto import LABEL_SIZE, PICTURE, draw, draw_report, form_of
from ernie_suite.compression.report import summarize

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread

from tests.support.reports import ROWS, report_row

HALVES = {"choosing": 1475, "held_out": 1470, "calibration": "choosing"}


def report_of(rows, **limits):
    return {**summarize([dict(row) for row in rows], "accuracy", **limits), "dev_halves": HALVES}


@pytest.fixture
def panel():
    return Figure(figsize=(9, 5.5)).add_axes((0.1, 0.1, 0.88, 0.83))


def test_points_intervals_front_and_choice_are_where_the_report_has_them(panel):
    rows = [*ROWS, report_row("pruned", 0.1, -0.1, 1.3, precision="fp32")]
    rows[-1]["width"] = "0.75"
    draw(report_of(rows, max_loss=0.5), panel)
    points = {tuple(point) for artist in panel.collections[:3] for point in artist.get_offsets().round(6).tolist()}
    assert points == {(each["speedup"], round(100 * each["held_out"]["change"], 6)) for each in rows}
    labels = [artist.get_label() for artist in panel.collections]
    assert labels == ["FP32", "smaller", "INT8", "chosen"]
    assert panel.collections[-1].get_offsets().round(6).tolist() == [[2.98, 0.2]]
    (line,) = [line for line in panel.lines if line.get_label() == "Pareto front"]
    assert np.round(line.get_xydata(), 6).tolist() == [[6.0, 1.0], [9.0, -1.0]]
    intervals = {
        tuple(np.round(line.get_xydata(), 6).ravel()) for line in panel.lines if len(set(line.get_xdata())) == 1
    }
    for each in rows:
        ends = np.round([100 * end for end in each["held_out"]["interval"]], 6)
        assert (each["speedup"], ends[0], each["speedup"], ends[1]) in intervals
    named = {text.get_text() for text in panel.texts}
    assert named == {"FP32", "fast", "faster", "half_small", "pruned"}, "the front, what is FP32 and the choice"
    assert "1,470 held-out dev examples, 95 % interval" in panel.get_ylabel()


@pytest.mark.parametrize("kind", [{"width": "0.75"}, {"layers": [[2, 3, 384]]}, {"student": "nano"}, {}], ids=str)
def test_pruned_to_a_width_or_a_speed_and_a_student_are_smaller(kind):
    for precision in ("fp32", "int8"):
        assert form_of({"precision": precision, "width": None, **kind}) == (bool(kind), precision == "int8")


def test_labels_do_not_lie_on_each_other(panel):
    """Eight models at one place, all of them on the front."""
    draw(report_of([ROWS[0], *(report_row(f"model_{number}", 0, 1, 3.0) for number in range(8))]), panel)
    heights = [label.xyann[1] for label in panel.texts if label.get_text() != "FP32"]  # in points, above the place
    assert len(heights) == 8 and np.diff(sorted(heights)).min() > LABEL_SIZE


def test_without_a_held_out_half_there_is_no_interval(panel):
    rows = [{key: value for key, value in each.items() if key not in ("choosing", "held_out")} for each in ROWS]
    draw(report_of(rows), panel)
    assert [line.get_label() for line in panel.lines if not line.get_label().startswith("_")] == ["Pareto front"]
    assert len(panel.lines) == 2 and "no half is held out" in panel.get_ylabel()


def test_the_picture_is_a_file_beside_the_report_and_one_model_is_enough(tmp_path):
    for rows in (ROWS[:1], ROWS):
        assert draw_report(report_of(rows), tmp_path) == tmp_path / PICTURE
        pixels = imread(tmp_path / PICTURE)
        assert pixels.shape[:2] == (660, 1080)
        ink = np.abs(pixels - np.array(to_rgba("#D55E00"))).max(axis=2) < 0.02
        assert ink.any() == (len(rows) > 1), "the colour of INT8 models"
    assert [path.name for path in tmp_path.iterdir()] == [PICTURE]


def test_without_matplotlib_there_is_a_note_and_no_picture(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert draw_report(report_of(ROWS), tmp_path) is None
    assert "no pareto.png is drawn: the package matplotlib is not installed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
