"""Where the figures of a model go."""

import re

from ernie_suite.figures import figures_file


def test_names_of_reports():
    engine = ("paddle", "cpu", "fp32")
    assert str(figures_file("a/infer", "tnews", engine)) == "a/infer.tnews.paddle-cpu-fp32.json"
    others = {"split": "test", "max_samples": 100, "max_seq_length": 64, "data_dir": "a/mine", "long_texts": "windows"}
    names = {figures_file("a/infer", "tnews", engine, **{key: value}).name for key, value in others.items()}
    names.add(figures_file("a/infer", "tnews", engine, **others).name)
    names.add(figures_file("a/infer", "tnews", engine, data_dir="b/mine").name)
    assert len(names) == 7 and "infer.tnews-test.paddle-cpu-fp32.json" in names
    whole = r"infer\.tnews-of-mine-[0-9a-f]{6}-test-first100-64tokens-windows\.paddle-cpu-fp32\.json"
    assert sum(bool(re.fullmatch(whole, name)) for name in names) == 1
