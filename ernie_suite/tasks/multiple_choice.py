"""Multiple choice: its file formats, targets, loss, metric and submissions."""

import json
import re
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ernie_suite.analysis.choices import ChoiceAnalysis
from ernie_suite.reading import Example, SplitFile, id_field, json_lines, text_field
from ernie_suite.tasks.family import TaskFamily, UnlabeledText
from ernie_suite.tasks.metric import Metric
from ernie_suite.tasks.questions import QuestionIndex, cut_passages

import paddle
from paddlenlp import transformers

from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Encoded, Task
from ernie_inference.tasks.multiple_choice import FEWEST_CHOICES, MOST_BLANKS, MOST_CHOICES, MultipleChoice, blanks_of
from ernie_inference.text_files import read_text
from ernie_inference.text_output import to_json

NUMBERED_BLANK = re.compile("#idiom[0-9]+#")  # CLUE's, by which its answers are told apart
IDIOM_LENGTH = 4  # characters
EXCERPT = 15  # characters shown before and after a blank


# ---------------------------------------------------------------- files


def read_c3(file: SplitFile) -> Iterator[Example]:
    """C3: [[[sentence, ...], [{"question", "choice": [...], "answer"}, ...], id], ...], dialogues and other texts
    alike; the answer is one of the choices, and may be missing or "" in a test split."""
    documents = read_json_file(file.path)
    if not isinstance(documents, list):
        raise InputError(f"{file.path}: a list of documents is expected, as in C3")
    number = file.first_number
    for position, document in enumerate(documents, 1):
        place = f"{file.path}, document {position}"
        if not isinstance(document, list) or len(document) < 2 or not is_texts(document[0]):
            raise InputError(f"{place}: not a list of sentences, questions and id, as in C3")
        if not isinstance(document[1], list) or not all(isinstance(asked, dict) for asked in document[1]):
            raise InputError(f"{place}: its questions are no list of objects")
        for asked in document[1]:
            example = {
                "id": id_field(asked, number, place),
                "context": "\n".join(document[0]),
                "question": text_field(asked, "question", place),
                "choices": asked.get("choice"),
            }
            check_choices(example, "choice", place)
            yield {**example, "answers": right_choice(asked.get("answer"), example["choices"], file, place)}
            number += 1


def read_chid(file: SplitFile) -> Iterator[Example]:
    """CHID: {"content", "candidates"} a line, and the numbers of the right candidates, from 0 on.

    As FewCLUE has it, content is a text with one blank #idiom#, and "answer" the number. As CLUE has it, content is a
    list of texts with blanks #idiom000378#, one idiom for each, and the answers stand in another file beside this one
    ({"#idiom000378#": 3, ...} in train_answer.json), or under "answers" as {"candidate_id": [3, ...]}.
    """
    answers_file = file.path.with_name(f"{file.path.stem}_answer{file.path.suffix}")
    known = read_json_file(answers_file) if answers_file.exists() else {}
    if not isinstance(known, dict):
        raise InputError(f"{answers_file}: an object of blanks and numbers is expected, as in CLUE's CHID")
    for number, (place, item) in enumerate(json_lines(file.path)):
        content: Any = item.get("content")
        candidates: Any = item.get("candidates")
        example = {"id": id_field(item, number, place), "context": content, "question": None, "choices": candidates}
        if not isinstance(content, str) and not is_texts(content):
            raise InputError(f"{place}: 'content' is neither a text nor a list of texts")
        check_choices(example, "candidates", place)
        marks = [blank.mark for blank in blanks_of(content)]
        if not 1 <= len(marks) <= MOST_BLANKS:
            raise InputError(f"{place}: 'content' has {len(marks)} blanks #idiom#: give 1 to {MOST_BLANKS}")
        given = [known.get(mark) for mark in marks]
        if "answer" in item:
            given = [item["answer"]]
        elif item.get("answers") is not None:
            given = numbers_of(item["answers"], place)
        yield {**example, "answers": right_candidates(given, marks, len(candidates), file, place)}


def read_json_file(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def numbers_of(answers: Any, place: str) -> List:
    """What stands under candidate_id; nothing where there is none.

    Raises:
        InputError: it is no list.
    """
    numbers = answers.get("candidate_id", []) if isinstance(answers, dict) else None
    if not isinstance(numbers, list):
        raise InputError(f'{place}: "answers" is not {{"candidate_id": [number, ...]}}')
    return numbers


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def check_choices(example: Example, name: str, place: str) -> None:
    """Raises InputError for choices that are no list of texts, or too few or too many."""
    choices = example["choices"]
    if not is_texts(choices) or not FEWEST_CHOICES <= len(choices) <= MOST_CHOICES:
        raise InputError(f"{place}: {name!r} is not a list of {FEWEST_CHOICES} to {MOST_CHOICES} texts")


def right_choice(answer: Any, choices: List[str], file: SplitFile, place: str) -> Optional[List[int]]:
    """The number of the choice that is the answer, in a list; None where a test split gives none."""
    if answer in (None, ""):
        file.check_may_lack("answer", place)
        return None
    if answer not in choices:
        raise InputError(f"{place}: the answer {str(answer)[:50]!r} is none of its choices")
    return [choices.index(answer)]


def right_candidates(given: Any, marks: List[str], candidates: int, file: SplitFile, place: str) -> Optional[List[int]]:
    """The numbers of the right candidates, one a blank; None where a test split gives none."""
    answers = [answer for answer in given if answer not in (None, "", -1)]
    answers = [int(answer) if isinstance(answer, str) and answer.isdecimal() else answer for answer in answers]
    if not all(type(answer) is int for answer in answers):
        raise InputError(f"{place}: its answers are no numbers of candidates")
    if not answers or len(answers) < len(given):
        file.check_may_lack("answer", place)
        return None
    if len(answers) != len(marks):
        raise InputError(f"{place}: {len(marks)} blanks but {len(answers)} answers")
    wrong = next((answer for answer in answers if not 0 <= answer < candidates), None)
    if wrong is not None:
        raise InputError(f"{place}: the answer {wrong} is the number of none of its {candidates} candidates")
    return answers


class UnlabeledQuestions(UnlabeledText):
    """A context a line, or an object with context, and perhaps question and choices, or choices for the blanks in it.

    A context without choices is cut at the ends of sentences into passages that fit one window each. Each passage gets
    the question of the training set which shares the most with it, with that one's choices; or, where the training set
    has blanks instead of questions, a blank in its middle and the choices of one of its examples, in turn. Whether one
    of them is right does not matter: what is learnt is what the teacher makes of them.
    """

    def __init__(self, task: Task, labelled: List[Example]):
        super().__init__(task, labelled)
        self._choices = {example["question"]: example["choices"] for example in labelled}
        self._questions = [question for question in self._choices if question is not None]
        self._index: Optional[QuestionIndex] = None
        self._made = 0

    def examples(self, given: Union[str, Dict], place: str) -> Iterator[Example]:
        if isinstance(given, dict) and given.get("choices") is not None:
            if not self.task.is_example(given):
                raise InputError(f"{place} is not {self.task.forms}")
            yield self.task.input_of(given)
            return
        context = given if isinstance(given, str) else text_field(given, "context", place)
        for passage in cut_passages(context, self.task.max_seq_length // 2):
            yield {"context": passage, "question": None, "choices": None}

    def complete(self, example: Example) -> Example:
        if example["choices"] is not None:
            return example
        passage = example["context"]
        if self._questions:
            self._index = self._index or QuestionIndex(self._questions)
            question = self._index.nearest(passage)
            return {"context": passage, "question": question, "choices": self._choices[question]}
        self._made += 1
        choices = self.labelled[self._made % len(self.labelled)]["choices"]
        middle = max(0, (len(passage) - IDIOM_LENGTH) // 2)
        context = f"{passage[:middle]}#idiom#{passage[middle + IDIOM_LENGTH :]}"
        return {"context": context, "question": None, "choices": choices}


# ---------------------------------------------------------------- training


class AutoModelForMultipleChoice(transformers.AutoModelForMultipleChoice):
    """PaddleNLP's, for models that score each row of [batch, seq_len] by itself: their logits are [batch, 1]."""

    @classmethod
    def from_pretrained(cls, name, *args, **options):
        score_single_rows()
        return super().from_pretrained(name, *args, **{"num_choices": 1, **options})


def score_single_rows() -> None:
    """Let RobertaForMultipleChoice take [batch, seq_len], as ERNIE's, BERT's and ELECTRA's do with num_choices 1.

    PaddleNLP 2.8.1's reads the number of choices from the shape of its input, whatever its config says, so that it
    would take seq_len for it. Can go when it goes by config.num_choices.
    """

    def forward(self, input_ids, token_type_ids=None):  # by this name Paddle puts it back after an export
        pooled = self.roberta(input_ids, token_type_ids=token_type_ids)[1]
        return self.classifier(self.dropout(pooled))

    # As an attribute that is simply set, PaddleNLP would wrap it in a function of which Paddle can trace no program.
    type.__setattr__(transformers.RobertaForMultipleChoice, "forward", forward)


def choice_targets(task: Task, example: Example, encoded: Encoded) -> Sequence[int]:
    """Whether the choice is the right one: 1 or 0."""
    return [int(example["answers"][encoded.question] == encoded.choice)]


def choice_features(targets: Sequence[int], part: range, offset: int) -> Dict:
    return {"is_right": targets[0]}


def choice_cross_entropy(outputs, labels):
    """Cross entropy of each question's softmax over its own choices, however many those are; the mean over questions.

    Args:
        outputs: scores [batch, 1].
        labels: (is_right [batch], questions [batch]); rows with the same number are choices of one question. One whose
            right choice is in another batch counts for nothing.
    """
    is_right, questions = labels
    scores = (outputs[0] if isinstance(outputs, tuple) else outputs).astype("float32").reshape([-1])
    others = questions.unsqueeze(0) != questions.unsqueeze(1)
    compared = scores.unsqueeze(0) + others.astype("float32") * -1e9
    losses = paddle.logsumexp(compared, axis=1) - scores
    right = is_right.astype("float32")
    return (losses * right).sum() / right.sum().clip(min=1)


# ---------------------------------------------------------------- what comes out


def answers_of(result: Dict) -> List[Optional[int]]:
    """The numbers of the chosen ones, one for each question or blank."""
    return [found["choice"] for found in result.get("blanks", [result])]


def right_answers(example: Example, result: Dict) -> Tuple[int, int]:
    """How many questions or blanks of an example are answered right, and how many there are."""
    pairs = list(zip(example["answers"], answers_of(result)))
    return sum(wanted == found for wanted, found in pairs), len(pairs)


# Share of questions, or of blanks, whose answer is right.
choice_accuracy = Metric(right_answers, figures=lambda right, asked: {"accuracy": right / asked})


def write_choices(file: IO[str], examples: List[Example], results: List[Dict]) -> None:
    """As CLUE asks for it: for questions lines of id and label, for its numbered blanks one object of blank to number;
    and for blanks without a number, as FewCLUE asks for it, lines of id and answer."""
    if NUMBERED_BLANK.search("".join(blank["blank"] for result in results for blank in result.get("blanks", ()))):
        found = {blank["blank"]: blank["choice"] for result in results for blank in result["blanks"]}
        file.write(to_json(found).decode("utf-8"))
        return
    for example, result in zip(examples, results):
        numbers = answers_of(result)
        name, number = ("answer" if "blanks" in result else "label"), numbers[0] if len(numbers) == 1 else numbers
        file.write(to_json({"id": example["id"], name: number}).decode("utf-8") + "\n")


def shown_choice(example: Example, result: Dict) -> Tuple[str, str, str]:
    wanted = ", ".join(example["choices"][number] for number in example["answers"])
    found = ", ".join(each["answer"] or "nothing" for each in result.get("blanks", [result]))
    if example["question"] is not None:
        return f"{example['question']} | {example['context']}", found, wanted
    around = [(blank.before[-EXCERPT:], blank.behind[:EXCERPT]) for blank in blanks_of(example["context"])]
    return " | ".join(f"{before}____{behind}" for before, behind in around), found, wanted


MULTIPLE_CHOICE = TaskFamily(
    task_class=MultipleChoice,
    auto_model=AutoModelForMultipleChoice,
    config_section="MultipleChoice",
    default_dataset="c3",
    answer_field="answers",
    texts_of=lambda example: [example["context"]] if isinstance(example["context"], str) else example["context"],
    labels_of=lambda example: (),
    label_names=["is_right", "questions"],
    targets=choice_targets,
    features=choice_features,
    criterion=choice_cross_entropy,
    compares_choices=True,
    metric=choice_accuracy,
    best_metric="accuracy",
    write_submission=write_choices,
    shown=shown_choice,
    unlabeled=UnlabeledQuestions,
    analysis=ChoiceAnalysis,
)
