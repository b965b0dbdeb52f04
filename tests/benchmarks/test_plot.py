"""The picture of several reports."""

from ernie_suite.compression.report import summarize

import pytest

from benchmarks.plot import Source, draw_compression
from tests.support.reports import ROWS

HALVES = {"choosing": 1475, "held_out": 1470, "calibration": "choosing"}


@pytest.mark.parametrize("count", [1, 3])
def test_each_report_has_its_axes_beside_the_others(count):
    report = {**summarize([dict(row) for row in ROWS], "accuracy"), "dev_halves": HALVES, "task_name": "tnews"}
    figure = draw_compression([Source(f"model {number}", report) for number in range(count)])
    assert [panel.get_title() for panel in figure.axes] == [f"tnews, model {number}" for number in range(count)]
    boxes = [panel.get_position() for panel in figure.axes]
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    if count > 1:
        assert boxes[0].x1 < boxes[1].x0 and boxes[2].y1 < boxes[0].y0, "from left to right and then down"
