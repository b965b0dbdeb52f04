"""Predictions for a test server."""

import json

from ernie_suite.data import find_dataset
from ernie_suite.export import write_predictions

HALF = "\ud83d"  # of an emoji, cut in two by who made the data; JSON can hold it, UTF-8 cannot


def test_half_an_emoji_does_not_lose_the_predictions(tmp_path):
    cases = {
        "tnews": ([{"id": HALF}, {"id": 1}], [{"label": "100"}, {"label": f"好{HALF}"}]),
        "msra_ner": ([{"tokens": ["好", HALF]}], [{"entities": [{"label": "PER", "pos": [1, 1]}]}]),
        "cmrc2018": ([{"id": f"q{HALF}"}, {"id": "r"}], [{"answer": f"北京{HALF}"}, {"answer": "上海"}]),
    }
    written = {}
    for name, (examples, answers) in cases.items():
        spec = find_dataset(name)
        write_predictions(tmp_path / spec.submission, spec.family, examples, answers)
        written[name] = (tmp_path / spec.submission).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in written["tnews"].splitlines()]
    assert lines == [{"id": HALF, "label": "100"}, {"id": 1, "label": f"好{HALF}"}]
    assert written["msra_ner"] == "好\x02\\ud83d\tO\x02B-PER\n"
    assert json.loads(written["cmrc2018"]) == {f"q{HALF}": f"北京{HALF}", "r": "上海"}
