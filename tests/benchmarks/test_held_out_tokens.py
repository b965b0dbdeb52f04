"""How much of held-out texts a smaller vocabulary touches, counted by hand."""

import json

from ernie_suite.data import find_dataset

import pytest

from benchmarks.held_out_tokens import touched
from ernie_inference.wordpiece import WordPiece

TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"很好坏书店", "news", "new", *"news，", "##n", "##e", "##w", "##s"]


@pytest.fixture
def folder(tmp_path):
    texts = {"train": ["很好", "很好，new"], "dev": ["好店"], "test": ["好书", "news很坏", "很好，龘", "new"]}
    for split, lines in texts.items():
        items = [json.dumps({"sentence": text, "label": "100"}) for text in lines]
        (tmp_path / f"{split}.json").write_text("\n".join(items), encoding="utf-8")
    return tmp_path


def test_tokens_that_are_gone_are_counted(folder):
    """[CLS] and the pieces of each text are its tokens; 书, 坏 and news are gone, new is not, 龘 was never there."""
    row = touched(find_dataset("tnews"), str(folder), WordPiece({t: i for i, t in enumerate(TOKENS)}), None)
    assert row == {
        "data": "tnews",
        "examples": "3",
        "tokens that stay": f"{len(TOKENS) - 3}",
        "held-out examples": "4",
        "held-out tokens": "14",
        "become [UNK]": "14.29%",
        "are split": "7.14%",
        "examples touched": "50.0%",
    }


def test_without_a_test_set_the_dev_set_is_held_out(folder):
    (folder / "test.json").unlink()
    row = touched(find_dataset("tnews"), str(folder), WordPiece({t: i for i, t in enumerate(TOKENS)}), None)
    assert (row["examples"], row["held-out examples"], row["become [UNK]"]) == ("2", "1", "33.33%")
