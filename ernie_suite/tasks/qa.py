"""Reading comprehension: its file format, targets, metrics and submission."""

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import IO, Dict, Iterator, List, Optional, Sequence, Tuple

from ernie_suite.analysis.answers import AnswerAnalysis
from ernie_suite.reading import Example, SplitFile, id_field, text_field
from ernie_suite.tasks.family import IGNORED_LABEL, TaskFamily, cross_entropy, symmetric_kl
from ernie_suite.tasks.metric import Metric
from ernie_suite.tasks.questions import UnlabeledContexts

from paddlenlp.metrics.squad import normalize_answer
from paddlenlp.transformers import AutoModelForQuestionAnswering

from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Encoded, Task
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.text_files import read_text
from ernie_inference.text_output import to_json

EXCERPT = 15  # characters shown before and after an answer


def read_squad(file: SplitFile) -> Iterator[Example]:
    """CMRC 2018: {"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}."""
    text = read_text(file.path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file.path}: not JSON ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise InputError(f"{file.path}: an object with a list 'data' is expected, as in CMRC 2018")
    number = usable = 0
    try:
        for entry in content["data"]:
            for paragraph in entry["paragraphs"]:
                context = text_field(paragraph, "context", str(file.path))
                for qa in paragraph["qas"]:
                    question = _question(context, qa, number, file)
                    number += 1
                    if question is not None:
                        usable += file.split == "test" or question["answer_starts"][0] >= 0
                        yield question
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file.path}: not in the format of CMRC 2018 ({type(error).__name__}: {error})") from None
    if number and not usable:
        raise InputError(f"{file.path} holds no question that can be used: {file.summary()}")


WITHOUT_ANSWER = {  # what becomes of a question none of whose answers is in the context
    "train": "questions skipped, as none of their answers is in the context",
    "dev": "questions kept for the metric, though none of their answers is in the context",
}


def _question(context: str, qa: Dict, number: int, file: SplitFile) -> Optional[Example]:
    """One question with its reference answers, those that stand in the context first; None where it is skipped.

    The first answer is what is trained on. One that does not stand in the context has the position -1 and is there for
    the metric: the published dev set has such second and third answers. A test split whose answers do not stand in
    the context (CLUE's says FAKE_ANSWER_1) gives none.
    """
    place = f"{file.path}, question {qa.get('id')!r}"
    example = {"id": id_field(qa, number, place), "question": text_field(qa, "question", place), "context": context}
    if qa.get("is_impossible") is True and file.split != "test":
        file.remark("questions skipped, as they are marked is_impossible", place)
        return None
    answers = [_reference(context, answer, file, place) for answer in qa.get("answers") or ()]
    answers = [(text, start) for text, start in answers if text.strip()]
    answers.sort(key=lambda answer: answer[1] < 0)
    if not answers or (answers[0][1] < 0 and file.split == "test"):
        file.check_may_lack("answers", place)
        return {**example, "answers": None, "answer_starts": None}
    if answers[0][1] < 0:
        file.remark(WITHOUT_ANSWER[file.split], place)
        if file.split == "train":
            return None
    elif answers[-1][1] < 0:
        file.remark("questions with answers that are not in the context, kept for the metric alone", place)
    texts, starts = map(list, zip(*answers))
    return {**example, "answers": texts, "answer_starts": starts}


def _reference(context: str, answer: Dict, file: SplitFile, place: str) -> Tuple[str, int]:
    """The text of an answer and where it stands in the context, -1 for nowhere; a position that is off is corrected."""
    text = text_field(answer, "text", place)
    try:
        start = int(answer["answer_start"])
    except (KeyError, TypeError, ValueError, OverflowError):
        start = -1
    if start >= 0 and text and context.startswith(text, start):
        return text, start
    if text not in context:
        text = text.strip()
    found = nearest(context, text, start)
    if found >= 0:
        file.remark("answer positions corrected", place)
    return text, found


def nearest(context: str, text: str, position: int) -> int:
    """Where `text` stands in `context`, as near to `position` as it does (published sets are off by a few); or -1."""
    if not text:
        return -1
    places, start = [], context.find(text)
    while start >= 0:
        places.append(start)
        start = context.find(text, start + 1)
    return min(places, key=lambda place: abs(place - position), default=-1)


def reading_targets(task: Task, example: Example, encoded: Encoded) -> Sequence[int]:
    """The numbers of the answer's first and last token among those of the text.

    The answer is the first one given that stands in the text and has tokens: characters at its edges that the
    tokenizer drops (white space, a zero-width space) do not count. Without one: nothing.
    """
    tokens = encoded.tokens
    for answer, start in zip(example["answers"] or (), example["answer_starts"] or ()):
        if start is None or start < 0:
            continue
        first = bisect_right(tokens.ends, start)
        last = bisect_left(tokens.starts, start + len(answer)) - 1
        if first <= last:
            return [first, last]
    return []


def reading_features(targets: Sequence[int], part: range, offset: int) -> Dict:
    """The answer's place in this window; [CLS], which is 0, where it is not all in it; ignored without an answer."""
    if not targets:
        first, last = IGNORED_LABEL, IGNORED_LABEL
    elif is_within(targets, part):
        first, last = (offset + token - part.start for token in targets)
    else:
        first, last = 0, 0
    return {"start_positions": first, "end_positions": last}


def is_within(targets: Sequence[int], part: range) -> bool:
    first, last = targets
    return part.start <= first and last < part.stop


def reading_remark(targets: Sequence[int], parts: Sequence[range]) -> Optional[str]:
    if not targets:
        return "have no answer with a token in their text"
    if not any(is_within(targets, part) for part in parts):
        return "have an answer that no window holds as a whole: a larger --doc_stride or --max_seq_length helps"
    return None


def span_cross_entropy(outputs, labels):
    """Mean of the losses of the start and the end position; each logits [batch, seq_len]."""
    return sum(cross_entropy(logits, label) for logits, label in zip(outputs, labels)) / 2


def match_of_answer(example: Example, result: Dict) -> Tuple[float, float, int]:
    """SQuAD's exact match and F1, the best over an example's answers, from 0 to 1; F1 is of characters; and 1 example.

    Both as PaddleNLP's squad_evaluate(is_whitespace_splited=False) has them, which the published figures were made
    with, except that it takes what stands before the first space of an answer for the whole.
    """
    answers, found = [comparable(text) for text in example["answers"]], comparable(result["answer"])
    return float(found in answers), max(character_f1(answer, found) for answer in answers), 1


exact_match_f1 = Metric(
    match_of_answer, figures=lambda exact, f1, examples: {"exact_match": exact / examples, "f1": f1 / examples}
)


def comparable(text: str) -> str:
    """An answer in lower case without punctuation, English articles and needless white space.

    One of nothing else (the blood group A) stays as it is: an empty one would be equal to every other such.
    """
    return normalize_answer(text) or " ".join(text.lower().split())


def character_f1(wanted: str, found: str) -> float:
    """F1 of the characters of two answers, each as often as it occurs, in any order; white space counts for nothing."""
    if wanted == found:
        return 1.0
    counts = [Counter("".join(text.split())) for text in (wanted, found)]
    return 2 * sum((counts[0] & counts[1]).values()) / sum(sum(count.values()) for count in counts)


def write_answers(file: IO[str], examples: List[Example], results: List[Dict]) -> None:
    """One object of id to answer, as CMRC 2018 asks for."""
    answers = {example["id"]: result["answer"] for example, result in zip(examples, results)}
    file.write(to_json(answers).decode("utf-8"))


def shown_answer(example: Example, result: Dict) -> Tuple[str, str, str]:
    first, last = result["pos"] or (0, 0)  # None for an empty context
    begin = max(0, first - EXCERPT)
    excerpt = example["context"][begin : last + 1 + EXCERPT]
    return f"{example['question']} | {'...' * (begin > 0)}{excerpt}", result["answer"], example["answers"][0]


QA = TaskFamily(
    task_class=QuestionAnswering,
    auto_model=AutoModelForQuestionAnswering,
    config_section="QuestionAnswering",
    default_dataset="cmrc2018",
    answer_field="answers",
    texts_of=lambda example: [example["context"]],
    labels_of=lambda example: (),
    ids="unique",
    label_names=["start_positions", "end_positions"],
    targets=reading_targets,
    features=reading_features,
    remark=reading_remark,
    criterion=span_cross_entropy,
    divergence=symmetric_kl,
    metric=exact_match_f1,
    best_metric="exact_match",
    write_submission=write_answers,
    shown=shown_answer,
    unlabeled=UnlabeledContexts,
    analysis=AnswerAnalysis,
)
