"""Tagging: its file format, targets, metric and submission."""

import sys
from bisect import bisect_right
from typing import IO, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ernie_suite.analysis.entities import EntityAnalysis
from ernie_suite.reading import Example, SplitFile
from ernie_suite.tasks.family import IGNORED_LABEL, TaskFamily, UnlabeledText, cross_entropy, symmetric_kl
from ernie_suite.tasks.metric import Metric, micro_f1

from paddlenlp.transformers import AutoModelForTokenClassification

from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Encoded, Task
from ernie_inference.tasks.token_cls import TokenClassification, bio_spans, join_tokens
from ernie_inference.text_files import read_lines


def read_columns(file: SplitFile) -> Iterator[Example]:
    """MSRA NER: tokens and tags, each joined by \\x02, with a tab between; tags may be missing in a test split."""
    for number, line in enumerate(read_lines(file.path), 1):
        place = f"{file.path}, line {number}"
        columns = line.rstrip("\n").split("\t")
        while len(columns) > 1 and not columns[-1].strip("\x02"):  # tabs, or the marks between tags that are not there
            columns.pop()
        if columns == [""]:
            continue
        if len(columns) > 2:
            raise InputError(f"{place}: {len(columns)} columns, but tokens and tags are two")
        # The same few thousand characters and tags over and over: each is kept once.
        tokens, *tags = (list(map(sys.intern, column.split("\x02"))) for column in columns)
        yield {"id": number - 1, "tokens": tokens, "labels": tags_field(tags, tokens, file, place)}


def tags_field(columns: List[List[str]], tokens: List[str], file: SplitFile, place: str) -> Optional[List[str]]:
    """The tags of the one column there is, one a token; None where a test split has none."""
    if not columns:
        file.check_may_lack("labels", place)
        return None
    (tags,) = columns
    if len(tags) != len(tokens):
        raise InputError(f"{place}: {len(tokens)} tokens but {len(tags)} tags")
    unknown = sorted(set(tags) - file.known_labels)
    if unknown:
        raise InputError(f"{place}: tag {unknown[0]!r} is not one of {', '.join(file.labels)}")
    return tags


class UnlabeledTokens(UnlabeledText):
    """A text a line, or an object with tokens or text."""

    def examples(self, given: Union[str, Dict], place: str) -> Iterator[Example]:
        example = {"text": given} if isinstance(given, str) else given
        if not self.task.is_example(example):
            raise InputError(f"{place} has neither a text under 'text' nor a list of texts under 'tokens': give one")
        yield self.task.input_of(example)


def check_bio(labels: List[str]) -> None:
    """Raises ValueError for labels that are not of the BIO scheme."""
    if "O" not in labels or any(tag[:2] not in ("B-", "I-", "O") for tag in labels):
        raise ValueError(f"BIO tags are expected (B-PER, I-PER, ..., O), found {', '.join(labels)}")


def tagging_targets(task: Task, example: Example, encoded: Encoded) -> Sequence[int]:
    """The label of every model token of the text, such that decoding reads the entities back.

    A model token is of the list token of the first character it covers. The first model token of an entity is its
    B-, also where the tokenizer drops what carries the B- (white space); the others are its I-. A type without I- in
    the labels has entities of one list token each: its other pieces are ignored, as decoding a list ignores them.
    """
    _, list_starts = join_tokens(example["tokens"])
    tags = example["labels"]
    number = {label: i for i, label in enumerate(task.labels)}
    entity_of = {token: (label, begin) for label, begin, end in spans_of(tags) for token in range(begin, end)}
    targets, previous = [], None
    for start in encoded.tokens.starts:
        token = bisect_right(list_starts, start) - 1
        entity = entity_of.get(token)
        if entity is None:
            targets.append(number[tags[token]])
        elif entity != previous:
            targets.append(number.get(f"B-{entity[0]}", number[tags[token]]))
        else:
            targets.append(number.get(f"I-{entity[0]}", IGNORED_LABEL))
        previous = entity
    return targets


def tagging_features(targets: Sequence[int], part: range, offset: int) -> Dict:
    return {"labels": [IGNORED_LABEL] * offset + list(targets[part.start : part.stop]) + [IGNORED_LABEL]}


def counted_entities(example: Example, result: Dict) -> Tuple[int, int, int]:
    """How many entities are right, found and wanted; one is right if its type and both its ends are (CoNLL 2003)."""
    gold = {(label, i, j - 1) for label, i, j in spans_of(example["labels"])}
    predicted = {(entity["label"], *entity["pos"]) for entity in result["entities"]}
    return len(gold & predicted), len(predicted), len(gold)


entity_f1 = Metric(counted_entities, micro_f1)


def write_tag_columns(file: IO[str], examples: List[Example], results: List[Dict]) -> None:
    """Tokens and tags in columns, as MSRA NER has them."""
    for example, result in zip(examples, results):
        file.write("\x02".join(example["tokens"]) + "\t" + "\x02".join(tags_of(example, result)) + "\n")


def tags_of(example: Example, result: Dict) -> List[str]:
    """One tag for every token that came in."""
    tags = ["O"] * len(example["tokens"])
    for entity in result["entities"]:
        first, last = entity["pos"]
        tags[first : last + 1] = [f"B-{entity['label']}"] + [f"I-{entity['label']}"] * (last - first)
    return tags


def shown_entities(example: Example, result: Dict) -> Tuple[str, str, str]:
    tokens = example["tokens"]
    found = [f"{entity['entity']} {entity['label']} {entity['pos']}" for entity in result["entities"]]
    wanted = [f"{join_tokens(tokens[i:j])[0]} {label} {[i, j - 1]}" for label, i, j in spans_of(example["labels"])]
    return join_tokens(tokens)[0], ", ".join(found), ", ".join(wanted)


def spans_of(tags: List[str]) -> List[Tuple[str, int, int]]:
    """Entities (label, first token, token after the last) of one tag a token."""
    return bio_spans([(tag, i, i + 1) for i, tag in enumerate(tags)])


TOKEN_CLS = TaskFamily(
    task_class=TokenClassification,
    auto_model=AutoModelForTokenClassification,
    config_section="TokenClassification",
    default_dataset="msra_ner",
    answer_field="labels",
    texts_of=lambda example: ["".join(example["tokens"])],
    labels_of=lambda example: example["labels"],
    classes_of=lambda example: [label for label, _, _ in spans_of(example["labels"])],
    check_labels=check_bio,
    ids="unused",
    label_names=["labels"],
    targets=tagging_targets,
    features=tagging_features,
    criterion=cross_entropy,
    divergence=symmetric_kl,
    metric=entity_f1,
    best_metric="f1",
    write_submission=write_tag_columns,
    shown=shown_entities,
    unlabeled=UnlabeledTokens,
    analysis=EntityAnalysis,
)
