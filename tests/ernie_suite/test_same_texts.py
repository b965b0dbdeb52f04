"""Which texts are the same, and which examples hang together by them, whatever way they are tied."""

from ernie_suite.same_texts import digest, group_examples, groups_of, repeat_digest, tie_digest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

TEXTS = st.lists(st.lists(st.sampled_from("甲乙丙丁戊己庚辛壬癸子丑寅卯"), max_size=2), max_size=40)


def merged(examples):
    """The groups by the plainest way there is: two groups with a text in common become one."""
    groups = [({number}, set(texts)) for number, texts in enumerate(examples)]
    for text in set().union(*examples):
        with_it = [group for group in groups if text in group[1]]
        groups = [group for group in groups if text not in group[1]]
        groups.append(tuple(set().union(*parts) for parts in zip(*with_it)))
    return sorted(sorted(numbers) for numbers, _ in groups)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_examples_hang_together_by_whatever_texts_they_share(examples):
    groups = group_examples(examples)
    assert sorted(groups) == merged(examples)
    assert groups == sorted(groups)  # in the order of the examples


@settings(max_examples=50, deadline=None)
@given(TEXTS.filter(lambda examples: all(examples)), st.randoms())
def test_the_numbers_of_groups_do_not_depend_on_the_order_of_the_examples(examples, random):
    """So that a seed draws the same splits of a file whose lines were shuffled."""

    def grouped(order):
        texts = [(digest(text), place) for place, number in enumerate(order) for text in examples[number]]
        digests, owners = np.array(texts, dtype=np.uint64).reshape(-1, 2).T
        return dict(zip(order, groups_of(digests, owners.astype(np.int64), len(order)).tolist()))

    order = list(range(len(examples)))
    random.shuffle(order)
    assert grouped(order) == grouped(sorted(order))


@pytest.mark.parametrize(
    "text, other, is_repeat, is_tied",
    [
        ("好用！", "好用", True, True),
        ("Good  phone", "good phone.", True, True),
        ("涨了+5%", "涨了-5%", False, True),
        ("不错👍", "不错👎", False, True),
        ("五块", "六块", False, False),
        ("！", "？", False, False),
    ],
)
def test_what_tells_texts_apart(text, other, is_repeat, is_tied):
    assert (repeat_digest(text) == repeat_digest(other)) == is_repeat
    assert (tie_digest(text) == tie_digest(other)) == is_tied
    assert digest(text) != digest(other)
