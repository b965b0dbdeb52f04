"""Multiple choice: which of several answers is right for a question about a text, and which idiom fills a blank in it.

The model reads each choice with the question and the text as one window and gives it one score; the choices of a
question are compared here. So a question may have any number of choices, whatever the model was trained with.
"""

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.assignment import best_assignment
from ernie_inference.tasks.base import Encoded, Task, Window, finite, log_softmax
from ernie_inference.tasks.schemas import FLAG, NUMBER, SHARE, TEXT, array, nullable, one_of, record
from ernie_inference.wordpiece import Tokens

BLANK = re.compile("#idiom[0-9]*#")  # as CHID marks one
BLANK_TOKENS = ("[unused1]", "[MASK]", "[UNK]")  # the first that the vocabulary has stands for the blank that is asked
OTHER_BLANK = ("[MASK]",) * 4  # an idiom has four characters
# So one input is 4,096 windows at most, however short it is.
FEWEST_CHOICES, MOST_CHOICES, MOST_BLANKS = 2, 64, 64
CLOZE_TEXT = {"type": "string", "pattern": "^[^#]*#idiom[0-9]*#[^#]*$"}  # others may have several blanks, or none


Sides = Tuple[List[int], List[int]]  # the tokens before and behind a blank


class Blank(NamedTuple):
    """A blank in a cloze: its mark, the text before and behind it."""

    mark: str
    before: str
    behind: str


class MultipleChoice(Task):
    """Choose an answer. Example: {"context": str, "question": str, "choices": [str, ...]}, as C3 has it; or a cloze,
    {"context": str or [str, ...], "choices": [str, ...]}, as CHID has it.

    In the context of a cloze stand one blank or more, each marked #idiom# or #idiom000378#. Its choices are for all of
    them, and each fills one blank at most, where there are no more blanks than choices.
    """

    name = "multiple_choice"
    fields = ("context", "question", "choices")
    forms = (
        'a triple (context, question, choices), or {"context": ..., "question": ..., "choices": [...]}, or without '
        f"question for the blanks #idiom# of the context; {FEWEST_CHOICES} to {MOST_CHOICES} choices, at most "
        f"{MOST_BLANKS} blanks"
    )
    input_schema = one_of(
        record({"context": TEXT, "question": TEXT, "choices": array(TEXT, FEWEST_CHOICES, MOST_CHOICES)}),
        record(
            {
                "context": one_of(CLOZE_TEXT, array(CLOZE_TEXT, 1, MOST_BLANKS)),
                "choices": array(TEXT, FEWEST_CHOICES, MOST_CHOICES),
            },
            {"question": {"type": "string", "nullable": True, "enum": [None]}},
        ),
    )
    sample_inputs = [
        {
            "context": "女：你好，我想买一张明天去上海的火车票。男：上午的已经卖完了，下午三点的可以吗？女：可以。",
            "question": "女的什么时候走？",
            "choices": ["今天下午", "明天上午", "明天下午"],
        },
        {
            "context": "图书馆每天八点开门，晚上九点关门，周末提前两个小时关门。",
            "question": "周六的晚上八点可以去图书馆看书。",
            "choices": ["正确", "错误"],
        },
    ]
    has_labels = False
    most_answers = MOST_CHOICES
    min_seq_length = 32

    @classmethod
    def example_of(cls, given: Any) -> Dict:
        is_triple = isinstance(given, (list, tuple)) and len(given) == len(cls.fields)
        return dict(zip(cls.fields, given)) if is_triple else {}

    @classmethod
    def is_example(cls, example: Dict) -> bool:
        context, choices = example.get("context"), example.get("choices")
        if not isinstance(choices, (list, tuple)) or not FEWEST_CHOICES <= len(choices) <= MOST_CHOICES:
            return False
        if not all(isinstance(choice, str) for choice in choices):
            return False
        if example.get("question") is not None:
            return isinstance(context, str) and isinstance(example["question"], str)
        passages = [context] if isinstance(context, str) else context
        if not isinstance(passages, (list, tuple)) or not all(isinstance(passage, str) for passage in passages):
            return False
        return 1 <= sum(len(BLANK.findall(passage)) for passage in passages) <= MOST_BLANKS

    @classmethod
    def hint(cls, given: Any) -> str:
        if isinstance(given, str):
            return " (a single question is given in a list)"
        choices = (given if isinstance(given, dict) else cls.example_of(given)).get("choices")
        if not isinstance(choices, (list, tuple)):
            return ""
        if not FEWEST_CHOICES <= len(choices) <= MOST_CHOICES:
            return f" (it has {len(choices)} choice{'' if len(choices) == 1 else 's'})"
        wrong = next((choice for choice in choices if not isinstance(choice, str)), "")
        return "" if isinstance(wrong, str) else f" (a choice is no text but of the type {type(wrong).__name__})"

    @classmethod
    def describe(cls, answer: Dict) -> List[str]:
        truncated = "   (the text was truncated)" if answer["truncated"] else ""
        lines = []
        for found in answer.get("blanks", [answer]):
            name = f"blank: {found['blank']}   " if "blank" in found else ""
            chosen = "none" if found["answer"] is None else found["answer"]
            lines.append(f"{name}answer: {chosen}   confidence: {found['confidence']:.4f}{truncated}")
            lines += [f"    {each['answer']}   {each['confidence']:.4f}" for each in found.get("scores", [])]
        return ["multiple choice result:", *lines]

    def encodings(self, example: Dict, options: AnswerOptions = PLAIN) -> Iterator[Encoded]:
        choices = [self.tokenizer.encode(choice, self.max_seq_length).ids for choice in example["choices"]]
        if example.get("question") is not None:
            yield from self._of_question(example["context"], example["question"], choices)
            return
        for number, sides in enumerate(self._sides_of_blanks(example["context"])):
            yield from self._of_blank(number, sides, choices)

    def _of_question(self, context: str, question: str, choices: List[List[int]]) -> List[Encoded]:
        """[CLS] question [SEP] choice [SEP] context [SEP] for each choice.

        Question and choice get half of the window, or more where the context is short; what is too long is cut, and
        the context so that all choices stand beside the same part of it.
        """
        room = self.max_seq_length - 4
        asked = self.tokenizer.encode(question, room + 1).ids
        text = self.tokenizer.encode(context, most=room + 1)
        most = max(room // 2, room - len(text.ids))
        longest = max(map(len, choices))
        of_choice = min(longest, max(most - len(asked), most // 2))
        of_question = most - of_choice
        left = room - min(len(asked), of_question) - of_choice
        truncated = len(text.ids) > left or len(asked) > of_question or longest > of_choice
        text = Tokens(*(numbers[:left] for numbers in text))
        sep, unk = self.tokenizer.sep_id, self.tokenizer.unk_id
        return [
            Encoded(
                self._head([*asked[:of_question], sep, *(choice[:of_choice] or [unk])]), text, truncated, choice=number
            )
            for number, choice in enumerate(choices)
        ]

    def _of_blank(self, number: int, sides: Sides, choices: List[List[int]]) -> List[Encoded]:
        """[CLS] choice [SEP] text [SEP] for each choice, with as much of the text around the blank as has room."""
        room = self.max_seq_length - 3
        of_choice = min(max(map(len, choices)), room // 2)
        text, cut = self._around(sides, room - of_choice)
        truncated = cut or max(map(len, choices)) > of_choice
        return [
            Encoded(
                self._head(choice[:of_choice] or [self.tokenizer.unk_id]), text, truncated, question=number, choice=i
            )
            for i, choice in enumerate(choices)
        ]

    def _around(self, sides: Sides, room: int) -> Tuple[Tokens, bool]:
        """The blank with as many tokens before it as behind it, or more on a side where the other one has fewer; and
        whether some are left out."""
        before, behind = sides
        room -= 1
        of_behind = min(len(behind), max(room - room // 2, room - len(before)))
        of_before = min(len(before), room - of_behind)
        vocab = self.tokenizer.vocab
        ids = [
            *before[len(before) - of_before :],
            next(vocab[token] for token in BLANK_TOKENS if token in vocab),
            *behind[:of_behind],
        ]
        # Nothing asks where in the text these stand.
        return Tokens(ids, [0] * len(ids), [0] * len(ids)), of_before + of_behind < len(before) + len(behind)

    def _sides_of_blanks(self, context: Union[str, Sequence[str]]) -> Iterator[Sides]:
        """The tokens before and behind each blank of a text, or of each of several texts, up to a window of them; each
        other blank there is OTHER_BLANK. A text is tokenized once, however many blanks it has."""
        vocab, most = self.tokenizer.vocab, self.max_seq_length
        other = [vocab.get(token, self.tokenizer.unk_id) for token in OTHER_BLANK]
        for passage in passages_of(context):
            first, *others = BLANK.split(passage)
            if not others:
                continue
            ids = list(self.tokenizer.encode(first).ids)
            begins = []
            for part in others:
                begins.append(len(ids))
                ids += [*other, *self.tokenizer.encode(part).ids]
            for begin in begins:
                end = begin + len(other)
                yield ids[max(0, begin - most) : begin], ids[end : end + most]

    def answer_schema(self) -> Dict[str, Any]:
        scores = array(record({"answer": TEXT, "choice": NUMBER, "confidence": SHARE}))
        found = {"answer": nullable(TEXT), "choice": nullable(NUMBER), "confidence": SHARE}
        of_blank = record({"blank": TEXT, **found}, {"scores": scores})
        return one_of(
            record({**found, "truncated": FLAG}, {"scores": scores}),
            record({"blanks": array(of_blank), "truncated": FLAG}),
        )

    def choices(self, window: Window, outputs: Tuple[np.ndarray, ...]) -> List[int]:
        """A window by itself decides nothing: its score, in steps of 2."""
        return [round(float(finite(outputs[0])[0]) / 2)]

    def decode(
        self,
        example: Dict,
        windows: List[Window],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions = PLAIN,
    ) -> Dict:
        """outputs: one (score [1],) a window, those of a question's or blank's choices one after another.

        Returns for a question {"answer", "choice" from 0 on, "confidence" 0 to 1, "truncated"}: the choice with the
        highest score, and its share in the softmax over the question's choices. For a cloze {"blanks": [{"blank",
        "answer", "choice", "confidence"}], "truncated"}, the blanks in their order: no choice fills two of them, and
        the sum of the logarithms of their confidence is the highest that there is so.

        With top_k there is "scores" too, the likeliest choices by themselves: [{"answer", "choice", "confidence"}], the
        first one the best. Below the threshold, answer and choice are None.
        """
        choices = example["choices"]
        scores = finite(np.array([score for (score,) in outputs], dtype=np.float64)).reshape(-1, len(choices))
        shares = log_softmax(scores / self.temperature)
        picks = best_assignment(shares) if len(shares) <= len(choices) else shares.argmax(axis=1).tolist()
        found = [_choice(choices, *pair, options) for pair in zip(np.exp(shares), picks)]
        truncated = any(window.truncated for window in windows)
        if example.get("question") is not None:
            return {**found[0], "truncated": truncated}
        marks = [blank.mark for blank in blanks_of(example["context"])]
        return {"blanks": [{"blank": mark, **each} for mark, each in zip(marks, found)], "truncated": truncated}


def _choice(choices: Sequence[str], shares: np.ndarray, pick: int, options: AnswerOptions) -> Dict:
    """What is said of one question or blank."""
    confidence = float(shares[pick])
    is_none = options.drops(confidence)
    found: Dict[str, Any] = {
        "answer": None if is_none else choices[pick],
        "choice": None if is_none else int(pick),
        "confidence": confidence,
    }
    if options.top_k is not None:
        order = np.argsort(-shares, kind="stable")[: options.top_k].tolist()
        found["scores"] = [{"answer": choices[i], "choice": i, "confidence": float(shares[i])} for i in order]
    return found


def passages_of(context: Union[str, Sequence[str]]) -> Sequence[str]:
    """The texts of a cloze, which has one or several."""
    return [context] if isinstance(context, str) else context


def blanks_of(context: Union[str, Sequence[str]]) -> List[Blank]:
    """The blanks of a cloze's text, or of each of its texts, in their order."""
    return [
        Blank(mark.group(), passage[: mark.start()], passage[mark.end() :])
        for passage in passages_of(context)
        for mark in BLANK.finditer(passage)
    ]
