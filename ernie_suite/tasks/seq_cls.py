"""Classification: its file formats, targets, metric and submission."""

import json
import sys
from typing import IO, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ernie_suite.analysis.labels import LabelAnalysis
from ernie_suite.reading import NO_LABEL, Example, Reader, SplitFile, id_field, json_lines, text_field
from ernie_suite.tasks.class_weights import balanced
from ernie_suite.tasks.family import TaskFamily, UnlabeledText, cross_entropy, symmetric_kl
from ernie_suite.tasks.metric import Metric

from paddlenlp.transformers import AutoModelForSequenceClassification

from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Encoded, Task
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.text_output import to_json


def label_field(item: Dict, file: SplitFile, place: str) -> Optional[str]:
    """The label, or None where a test split gives none. All examples of a label share one string.

    Raises:
        InputError: it is none of the labels, or missing where it is needed.
    """
    value = item.get("label")
    label = sys.intern(label_text(value))
    if value is not None and label in file.known_labels:
        return label
    if value is None or label in NO_LABEL:
        file.check_may_lack("label", place)
        return None
    raise InputError(f"{place}: label {label!r} is not one of {file.shown_labels()}")


def label_text(value: object) -> str:
    """A label as it stands in labels.txt, of a value of JSON."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def classification_reader(to_texts: Callable[[Dict, str], Tuple[str, Optional[str]]]) -> Reader:
    """A reader of JSON lines whose texts `to_texts(item, place)` picks."""

    def read(file: SplitFile) -> Iterator[Example]:
        undecided = file.skipped_label if file.split != "test" else None
        for number, (place, item) in enumerate(json_lines(file.path)):
            if undecided is not None and item.get("label") == undecided and undecided not in file.known_labels:
                file.remark(f"skipped, as the annotators did not agree (label {undecided!r})", place)
                continue
            text, text_pair = to_texts(item, place)
            label = label_field(item, file, place)
            yield {"id": id_field(item, number, place), "text": text, "text_pair": text_pair, "label": label}

    return read


def sentence(item: Dict, place: str) -> Tuple[str, None]:
    return text_field(item, "sentence", place), None


def sentence_pair(item: Dict, place: str) -> Tuple[str, str]:
    return text_field(item, "sentence1", place), text_field(item, "sentence2", place)


def keywords_and_abstract(item: Dict, place: str) -> Tuple[str, str]:
    """CSL: are these the keywords of this abstract?"""
    keywords = item.get("keyword")
    if not isinstance(keywords, list) or not all(isinstance(word, str) for word in keywords):
        raise InputError(f"{place}: 'keyword' is not a list of texts")
    return " ".join(keywords), text_field(item, "abst", place)


def marked_pronoun(item: Dict, place: str) -> Tuple[str, None]:
    """CLUEWSC2020: does the pronoun mean the noun? The noun is set in _underscores_, the pronoun in [brackets]."""
    text, target = text_field(item, "text", place), item.get("target")
    if not isinstance(target, dict):
        raise InputError(f"{place}: 'target' is missing or not an object")
    spans = []
    for number, opening, closing in ((1, "_", "_"), (2, "[", "]")):
        word, start = text_field(target, f"span{number}_text", place), target.get(f"span{number}_index")
        if not isinstance(start, int) or text[start : start + len(word)] != word:
            raise InputError(f"{place}: span{number}_text {word!r} does not stand at span{number}_index {start!r}")
        spans.append((start, opening, word, closing))
    for start, opening, word, closing in sorted(spans, reverse=True):  # from the end: earlier positions stay valid
        text = text[:start] + opening + word + closing + text[start + len(word) :]
    return text, None


def plain_text(item: Dict, place: str) -> Tuple[str, None]:
    return text_field(item, "text", place), None


def plain_pair(item: Dict, place: str) -> Tuple[str, str]:
    return text_field(item, "text", place), text_field(item, "text_pair", place)


# The fields of an unlabelled object and how its texts are picked; the first entry counts whose fields are all there.
UNLABELED_FIELDS: Dict[Tuple[str, ...], Callable[[Dict, str], Tuple[str, Optional[str]]]] = {
    ("sentence1", "sentence2"): sentence_pair,
    ("keyword", "abst"): keywords_and_abstract,
    ("text", "target"): marked_pronoun,
    ("text", "text_pair"): plain_pair,
    ("sentence",): sentence,
    ("text",): plain_text,
}


class UnlabeledSentences(UnlabeledText):
    """A text a line, or a pair with a tab between; or an object with the fields of a data set or of an input."""

    def examples(self, given: Union[str, Dict], place: str) -> Iterator[Example]:
        are_pairs = self.labelled[0]["text_pair"] is not None
        if isinstance(given, str):
            texts = given.split("\t") if are_pairs else [given]
            if are_pairs and len(texts) != 2:
                raise InputError(f"{place}: the training set has pairs of texts: give two with one tab between them")
            yield {"text": texts[0], "text_pair": texts[1] if are_pairs else None}
            return
        pick = next((pick for fields, pick in UNLABELED_FIELDS.items() if set(fields) <= set(given)), None)
        if pick is None:
            forms = "; ".join(" and ".join(fields) for fields in UNLABELED_FIELDS)
            raise InputError(f"{place}: no text is found under its fields ({', '.join(given)}): give {forms}")
        text, text_pair = pick(given, place)
        if (text_pair is not None) != are_pairs:
            wanted = "pairs of texts: give sentence1 and sentence2" if are_pairs else "single texts: give sentence"
            raise InputError(f"{place}: the training set has {wanted}")
        yield {"text": text, "text_pair": text_pair}


def classification_targets(task: Task, example: Example, encoded: Encoded) -> Sequence[int]:
    return [task.labels.index(example["label"])]


def classification_features(targets: Sequence[int], part: range, offset: int) -> Dict:
    return {"labels": targets[0]}


# Share of examples whose label is right.
accuracy = Metric(
    outcome=lambda example, result: (example["label"] == result["label"], 1),
    figures=lambda right, examples: {"accuracy": right / examples},
)


def write_label_lines(file: IO[str], examples: List[Example], results: List[Dict]) -> None:
    """JSON lines of id and label, as CLUE asks for."""
    for example, result in zip(examples, results):
        file.write(to_json({"id": example["id"], "label": result["label"]}).decode("utf-8") + "\n")


def shown_label(example: Example, result: Dict) -> Tuple[str, str, str]:
    return one_or_two_texts(example), result["label"], example["label"]


def one_or_two_texts(example: Example) -> str:
    return example["text"] if example["text_pair"] is None else f"{example['text']} | {example['text_pair']}"


SEQ_CLS = TaskFamily(
    task_class=SequenceClassification,
    auto_model=AutoModelForSequenceClassification,
    config_section="SequenceClassification",
    answer_field="label",
    texts_of=lambda example: filter(None, (example["text"], example["text_pair"])),
    labels_of=lambda example: [example["label"]],
    label_names=["labels"],
    targets=classification_targets,
    features=classification_features,
    criterion=cross_entropy,
    class_weights=lambda counts, examples: balanced(counts),
    divergence=symmetric_kl,
    metric=accuracy,
    best_metric="accuracy",
    write_submission=write_label_lines,
    shown=shown_label,
    unlabeled=UnlabeledSentences,
    analysis=LabelAnalysis,
)
