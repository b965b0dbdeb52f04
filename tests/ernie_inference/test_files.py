"""What is written is JSON, whatever a model computed."""

import pytest

from ernie_inference.errors import InputError
from ernie_inference.files import write_json
from ernie_inference.text_output import to_json


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_file_and_no_answer_holds_what_json_lacks(tmp_path, value):
    with pytest.raises(InputError, match="results.json is not written: a figure is NaN or infinite"):
        write_json(tmp_path / "results.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []
    for text in ("好", "\ud83d"):
        with pytest.raises(ValueError, match="JSON compliant"):
            to_json({"label": text, "confidence": value})
