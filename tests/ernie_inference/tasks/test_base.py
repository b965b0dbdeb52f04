"""What the task families have in common: no answer of what is no number, and room for text."""

import numpy as np
import pytest

from ernie_inference.errors import InputError
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.tasks.token_cls import TokenClassification
from ernie_inference.wordpiece import WordPiece
from tests.support.models import LABELS, make_vocab

TOKENIZER = WordPiece(make_vocab())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task_class", [SequenceClassification, TokenClassification, QuestionAnswering])
def test_logits_that_are_no_numbers_are_an_error_and_no_answer(task_class, value):
    task = task_class(TOKENIZER, LABELS[task_class.name], 32)
    given_example = {"text": "好人", "question": "谁？", "context": "好人"}
    (window,) = task.windows(given_example)
    shapes = {
        "seq_cls": [(2,)],
        "token_cls": [(len(window.input_ids) + 3, 7)],
        "qa": [(len(window.input_ids) + 3,)] * 2,
    }
    outputs = tuple(np.zeros(shape, dtype=np.float32) for shape in shapes[task.name])
    first = window.offset if task.name != "seq_cls" else 0
    if task.name != "seq_cls":
        for output in outputs:  # what nobody reads: [CLS], the question and padding
            output[:first] = output[first + 2 :] = value
    task.decode(given_example, [window], [outputs])
    for output in outputs:
        output[first + 1] = value
        with pytest.raises(InputError, match="^the model computed NaN or infinite logits: .*fp16") as error:
            task.decode(given_example, [window], [outputs])
        assert "\n" not in str(error.value)
        output[first + 1] = 0


def test_max_seq_length_must_leave_room():
    with pytest.raises(InputError, match="max_seq_length 7 leaves no room"):
        SequenceClassification(TOKENIZER, LABELS["seq_cls"], 7)
    with pytest.raises(InputError, match="give at least 32"):
        QuestionAnswering(TOKENIZER, [], 31)
