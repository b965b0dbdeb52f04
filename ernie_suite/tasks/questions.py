"""Questions for texts that come without: for reading comprehension with a teacher that answers them."""

import re
from collections import defaultdict
from math import log
from typing import Dict, Iterator, List, Optional, Set, Tuple, Union

from ernie_suite.reading import Example, text_field
from ernie_suite.tasks.family import UnlabeledText

from ernie_inference.tasks.base import Task
from ernie_inference.tasks.qa import MAX_QUESTION_TOKENS

SENTENCE_END = re.compile("(?<=[。！？；!?\n])")
# What a cloze asks for, and how: a number with its unit, a title, a quotation, a Latin name.
BLANKS: Tuple[Tuple["re.Pattern[str]", str], ...] = (
    (re.compile(r"\d{4}(?=年)"), "哪一"),
    (re.compile(r"\d[\d,.]*"), "多少"),
    (re.compile("(?<=《)[^》]{2,20}(?=》)"), "什么"),
    (re.compile("(?<=“)[^”]{2,12}(?=”)"), "什么"),
    (re.compile("[A-Za-z][A-Za-z0-9 .-]{2,20}"), "什么"),
)
CLOZE_LENGTH = (6, 60)  # characters of a sentence that a cloze is made of


class UnlabeledContexts(UnlabeledText):
    """A context a line, or an object with context and perhaps question.

    A context without a question is cut at the ends of sentences into passages that fit one window each, and each
    passage gets one question: in turn that of the training set which shares the most with the passage, and a cloze,
    a sentence of the passage with a number, a title, a quotation or a Latin name asked for. Whether the passage answers
    it does not matter: what is learnt is where the teacher looks.
    """

    def __init__(self, task: Task, labelled: List[Example]):
        super().__init__(task, labelled)
        self.room = task.max_seq_length - min(MAX_QUESTION_TOKENS, task.max_seq_length // 2) - 3
        self._questions: Optional[QuestionIndex] = None
        self._made = 0

    def examples(self, given: Union[str, Dict], place: str) -> Iterator[Example]:
        context = given if isinstance(given, str) else text_field(given, "context", place)
        if isinstance(given, dict) and given.get("question") is not None:
            yield {"question": text_field(given, "question", place), "context": context}
        else:
            yield from ({"question": None, "context": passage} for passage in cut_passages(context, self.room))

    def complete(self, example: Example) -> Example:
        if example["question"] is not None:
            return example
        if self._questions is None:
            self._questions = QuestionIndex([labelled["question"] for labelled in self.labelled])
        self._made += 1
        question = make_cloze(example["context"], self._made // 2) if self._made % 2 == 0 else None
        return {**example, "question": question or self._questions.nearest(example["context"])}


def cut_passages(context: str, room: int) -> Iterator[str]:
    """A text in passages of at most `room` characters, of whole sentences as far as those are no longer."""
    passage = ""
    for sentence in SENTENCE_END.split(context):
        for start in range(0, len(sentence), room):
            piece = sentence[start : start + room]
            if len(passage) + len(piece) > room:
                yield passage
                passage = ""
            passage += piece
    if passage.strip():
        yield passage


def make_cloze(passage: str, number: int) -> Optional[str]:
    """The question that one sentence of a passage becomes with a part of it asked for; None where none has such a part.

    Args:
        number: which of the possible ones is made, counted round.
    """
    found = []
    for sentence in SENTENCE_END.split(passage):
        if not CLOZE_LENGTH[0] <= len(sentence.strip()) <= CLOZE_LENGTH[1]:
            continue
        for pattern, asked in BLANKS:
            for match in pattern.finditer(sentence):
                question = sentence[: match.start()] + asked + sentence[match.end() :]
                found.append(question.strip().rstrip("。！？；!?，,") + "？")
    return found[number % len(found)] if found else None


class QuestionIndex:
    """Questions by the pairs of neighbouring characters in them."""

    def __init__(self, questions: List[str]):
        self.questions = list(dict.fromkeys(questions))
        self._holding: Dict[str, List[int]] = defaultdict(list)
        for number, question in enumerate(self.questions):
            for pair in sorted(character_pairs(question)):
                self._holding[pair].append(number)
        # A pair that every other question holds says little of what one asks about.
        self._weight = {pair: log(1 + len(self.questions) / len(held)) for pair, held in self._holding.items()}
        self._whole = [sum(self._weight[pair] for pair in character_pairs(text)) for text in self.questions]

    def nearest(self, text: str) -> str:
        """The question of whose pairs, each by its weight, the text holds the largest share; the first of equals."""
        shared: Dict[int, float] = defaultdict(float)
        for pair in sorted(character_pairs(text)):
            for number in self._holding.get(pair, ()):
                shared[number] += self._weight[pair]
        best = max(shared, key=lambda number: (shared[number] / self._whole[number], -number), default=0)
        return self.questions[best]


def character_pairs(text: str) -> Set[str]:
    return {text[i : i + 2] for i in range(len(text) - 1)}
