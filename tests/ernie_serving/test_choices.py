"""Requests to a model for multiple choice: what they may hold, and what reading them costs."""

import json
from dataclasses import replace

import pytest

from ernie_inference.tasks.multiple_choice import MultipleChoice
from ernie_inference.wordpiece import WordPiece
from ernie_serving.protocol import TEXTS, Code, Limits, Refusal, fields_of_http, fields_of_rpc, read_request
from ernie_serving.serving_library import pb2
from tests.support.models import make_vocab

TASK = MultipleChoice(WordPiece(make_vocab()), [], 64)
LIMITS = Limits(texts=64, chars=10_000, request_chars=200_000, windows=256)
CLOZE = {"context": ["祝你#idiom#！"], "choices": ["马到成功", "走马观花"]}


def accepted(texts, limits=LIMITS):
    return read_request(TASK, {TEXTS: texts}, limits, float("inf"))


@pytest.mark.parametrize("text", [CLOZE, ["几点了。", "？", ["一点", "两点"]]])
@pytest.mark.parametrize("count", [1, 64, 1000])
def test_a_request_may_be_full_of_choices(text, count):
    """The lists in them are not taken for more than a request of so many texts has."""
    body = json.dumps({TEXTS: [text] * count})
    assert fields_of_http(body.encode(), count) == {TEXTS: [text] * count}
    request = pb2.Request(key=[TEXTS], value=[json.dumps([text] * count)])
    assert fields_of_rpc(request, count) == {TEXTS: [text] * count}
    found = accepted([text] * count, replace(LIMITS, texts=count, windows=2 * count))
    assert sum(map(len, found.windows)) == 2 * count


@pytest.mark.parametrize(
    "text, windows",
    [
        ({"context": "#idiom#" * 64, "choices": ["大"] * 64}, 4096),
        ({"context": ["#idiom1#"] * 9, "choices": ["大"] * 64}, 576),
        ({"context": "文", "question": "？", "choices": ["大"] * 64}, 64),
    ],
)
def test_no_more_windows_are_made_than_a_request_may_have(monkeypatch, text, windows):
    made = []
    window = MultipleChoice._window
    monkeypatch.setattr(MultipleChoice, "_window", lambda self, *args: made.append(1) or window(self, *args))
    count = LIMITS.windows // windows
    assert len(accepted([text] * count).windows if count else []) == count
    made.clear()
    with pytest.raises(Refusal, match=f"text {count + 1} brings the request to at least 257 windows") as refusal:
        accepted([text] * (count + 1))
    assert refusal.value.code == Code.TOO_LARGE and len(made) == LIMITS.windows + 1
