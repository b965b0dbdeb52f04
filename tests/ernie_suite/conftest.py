"""What the tests of the suite share."""

from ernie_suite.data import load_examples

import pytest
from paddle.utils import unique_name

from ernie_inference.wordpiece import WordPiece
from examples.make_small_ernie import build_vocab


@pytest.fixture(scope="module")
def tokenizer():
    texts = [example["text"] for example in load_examples("sample_reviews", "dev")]
    return WordPiece(build_vocab(texts))


@pytest.fixture
def names_of_its_own():
    """Paddle counts up the names of parameters within a process, and an optimizer's state goes by them."""
    with unique_name.guard():
        yield
