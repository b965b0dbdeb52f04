"""One loader for every data set of the suite: the CLUE classification sets, msra_ner, cmrc2018, and the samples.

    load_examples("tnews", "train")                    downloaded by paddlenlp.datasets
    load_examples("tnews", "train", data_dir="mine")   mine/train.json, in TNEWS's own format
    load_examples("sample_reviews", "train")           written from an installed package, needs no network

An example is what the tasks of deploy/python/ernie_predictor.py take, with its answer:
classification {"id", "text", "text_pair", "label"}, tagging {"id", "tokens", "labels"},
reading {"id", "question", "context", "answers", "answer_starts"}; the answer (label, labels, answers) is
None where a test split gives none. Every file is checked as it is read; what is wrong is said with file
and line, and what was skipped or repaired is counted and said in one line a file.
"""

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple, Union

import deploy_path  # noqa: F401
from ernie_predictor import InputError
from files import note
from make_sample_data import make as make_sample_data
from text_files import read_lines, read_text

Example = Dict
Reader = Callable[["SplitFile"], Iterator[Example]]


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: its task family, how its files are read, and where PaddleNLP has it."""

    name: str
    task: str
    read: Reader
    suffix: str
    labels: Tuple[str, ...] = ()
    builder: Optional[Tuple[str, Optional[str]]] = None  # module and name in paddlenlp.datasets; None: a sample set
    splits: Tuple[Tuple[str, str], ...] = (("train", "train"), ("dev", "dev"), ("test", "test"))  # ours, PaddleNLP's
    skipped_label: Optional[str] = None  # examples that the annotators could not agree on
    submission: str = ""  # the file name CLUE asks for


@dataclass
class SplitFile:
    """The file of one split while it is read, and what its reader has to say of it."""

    path: Path
    split: str  # train, dev or test
    spec: DatasetSpec
    labels: List[str]
    remarks: Dict[str, Tuple[int, str]] = field(default_factory=dict)  # what was done: how often, where first

    def __post_init__(self):
        self.known_labels = frozenset(self.labels)

    def remark(self, what: str, place: str) -> None:
        """Count something that was skipped or repaired."""
        count, first = self.remarks.get(what, (0, place))
        self.remarks[what] = (count + 1, first)

    def summary(self) -> str:
        """The remarks in one line; empty where there are none."""
        found = [(what, count, first[len(f"{self.path}, ") :]) for what, (count, first) in self.remarks.items()]
        return "; ".join(f"{what}: {count:,} (first: {first})" for what, count, first in found)

    def no_answer(self, what: str, place: str) -> None:
        """None, as the answer of an example that has none.

        Raises:
            InputError: the split is not one that may be without.
        """
        if self.split != "test":
            raise InputError(f"{place} has no {what}, which the {self.split} split needs")


# ---------------------------------------------------------------- file formats


NO_LABEL = ("", "-1", "-")  # what test sets write where a label would be, beside null and no field at all


def json_lines(path: Path) -> Iterator[Tuple[str, Dict]]:
    """(place, object) for each line; place is what an error message names."""
    for number, line in enumerate(read_lines(path), 1):
        if line.isspace():
            continue
        place = f"{path}, line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error})") from None
        if not isinstance(item, dict):
            raise InputError(f"{place}: a JSON object is expected, found {type(item).__name__}")
        yield place, item


def text_field(item: Dict, key: str, place: str) -> str:
    """The text under a key.

    Raises:
        InputError: it is missing or no text.
    """
    value = item.get(key)
    if not isinstance(value, str):
        raise InputError(f"{place}: {key!r} is {'missing' if key not in item else 'not a text'}")
    return value


def label_field(item: Dict, file: SplitFile, place: str) -> Optional[str]:
    """The label, or None where a test split gives none. All examples of a label share one string.

    Raises:
        InputError: it is none of the labels, or missing where it is needed.
    """
    value = item.get("label")
    label = sys.intern(json.dumps(value) if isinstance(value, bool) else str(value))
    if value is not None and label in file.known_labels:
        return label
    if value is None or label in NO_LABEL:
        return file.no_answer("label", place)
    listed = ", ".join(map(repr, file.labels[:20])) + (", ..." if len(file.labels) > 20 else "")
    raise InputError(f"{place}: label {label!r} is not one of {listed}")


def id_field(item: Dict, number: int, place: str) -> Union[str, int, float]:
    """The id (FewCLUE's CLUEWSC calls it idx), or the example's number where it has none.

    Raises:
        InputError: it is neither a text nor a number.
    """
    value = item.get("id", item.get("idx"))
    if value is None:
        return number
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not (is_number or isinstance(value, str)):
        raise InputError(f"{place}: 'id' is neither a text nor a number")
    return value


def classification_reader(to_texts: Callable[[Dict, str], Tuple[str, Optional[str]]]) -> Reader:
    """A reader of JSON lines whose texts `to_texts(item, place)` picks."""

    def read(file: SplitFile) -> Iterator[Example]:
        undecided = file.spec.skipped_label if file.split != "test" else None
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
        return file.no_answer("labels", place)
    (tags,) = columns
    if len(tags) != len(tokens):
        raise InputError(f"{place}: {len(tokens)} tokens but {len(tags)} tags")
    unknown = sorted(set(tags) - file.known_labels)
    if unknown:
        raise InputError(f"{place}: tag {unknown[0]!r} is not one of {', '.join(file.labels)}")
    return tags


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
        file.no_answer("answers", place)
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
        start = int(answer.get("answer_start"))
    except (TypeError, ValueError, OverflowError):
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


# ---------------------------------------------------------------- the data sets

NER_LABELS = ("B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O")
TNEWS_LABELS = tuple(str(n) for n in range(100, 117) if n not in (105, 111))


def _clue(name: str, to_texts, labels, submission: str = "", skipped_label: Optional[str] = None) -> DatasetSpec:
    reader = classification_reader(to_texts)
    return DatasetSpec(
        name,
        "seq_cls",
        reader,
        ".json",
        tuple(labels),
        builder=("clue", name),
        skipped_label=skipped_label,
        submission=submission or f"{name}_predict.json",
    )


NLI_LABELS = ("contradiction", "entailment", "neutral")
DATASETS = {
    spec.name: spec
    for spec in (
        _clue("afqmc", sentence_pair, ("0", "1")),
        _clue("tnews", sentence, TNEWS_LABELS, "tnews11_predict.json"),
        _clue("iflytek", sentence, [str(n) for n in range(119)]),
        _clue("ocnli", sentence_pair, ("entailment", "contradiction", "neutral"), "ocnli_50k_predict.json", "-"),
        _clue("cmnli", sentence_pair, NLI_LABELS, skipped_label="-"),
        _clue("cluewsc2020", marked_pronoun, ("true", "false"), "cluewsc11_predict.json"),
        _clue("csl", keywords_and_abstract, ("0", "1")),
        DatasetSpec(
            "msra_ner",
            "token_cls",
            read_columns,
            ".tsv",
            NER_LABELS,
            builder=("msra_ner", None),
            splits=(("train", "train"), ("dev", "test"), ("test", "test")),
            submission="msra_ner_predict.tsv",
        ),
        DatasetSpec(
            "cmrc2018",
            "qa",
            read_squad,
            ".json",
            builder=("cmrc2018", None),
            splits=(("train", "train"), ("dev", "dev"), ("test", "trial")),
            submission="cmrc2018_predict.json",
        ),
        DatasetSpec(
            "sample_reviews",
            "seq_cls",
            classification_reader(sentence),
            ".json",
            ("negative", "positive"),
            submission="sample_reviews_predict.json",
        ),
        DatasetSpec(
            "sample_people_daily",
            "token_cls",
            read_columns,
            ".tsv",
            NER_LABELS,
            submission="sample_people_daily_predict.tsv",
        ),
        DatasetSpec("sample_reading", "qa", read_squad, ".json", submission="sample_reading_predict.json"),
    )
}


def find_dataset(name: str) -> DatasetSpec:
    """The data set of a name in either spelling: "tnews" or "clue tnews".

    Raises:
        InputError: there is none of this name.
    """
    key = name.strip().lower()
    if key.startswith("clue "):
        key = key[len("clue ") :].strip()
    if key not in DATASETS:
        raise InputError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[key]


LABEL_FILES = ("labels.txt", "labels.json")


def load_labels(spec: DatasetSpec, data_dir: Optional[str] = None) -> List[str]:
    """The classes, from labels.txt (one a line) or, without it, labels.json ({"label": ...} a line, as CLUE has it) of
    data_dir, else the data set's own.

    Raises:
        InputError: the file cannot be read, or names no classes of the task.
    """
    if data_dir is None or spec.task == "qa":
        return list(spec.labels)
    path = next((path for name in LABEL_FILES if (path := Path(data_dir) / name).exists()), None)
    if path is None:
        return list(spec.labels)
    if path.suffix == ".json":
        labels = [str(item.get("label", "")) for _, item in json_lines(path)]
    else:
        labels = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if len(labels) < 2 or len(set(labels)) != len(labels) or "" in labels:
        raise InputError(f"{path}: at least two different labels are needed, found {labels}")
    if spec.task == "token_cls" and ("O" not in labels or any(tag[:2] not in ("B-", "I-", "O") for tag in labels)):
        raise InputError(f"{path}: BIO tags are expected (B-PER, I-PER, ..., O), found {', '.join(labels)}")
    return labels


def load_examples(name: str, split: str, data_dir: Optional[str] = None) -> List[Example]:
    """All examples of one split ("train", "dev" or "test") of a data set.

    What was skipped or repaired is counted and said on stderr, in one line.

    Raises:
        InputError: the data set is unknown or cannot be had, or a file of it is missing, empty or malformed.
    """
    spec = find_dataset(name)
    file = SplitFile(_file_of(spec, split, data_dir), split, spec, load_labels(spec, data_dir))
    try:
        examples = list(spec.read(file))
    except FileNotFoundError:
        raise InputError(f"{file.path} is missing: {spec.name} needs train, dev and test{spec.suffix} there") from None
    if split == "test":
        check_ids(file, examples)
    remarks = file.summary()
    if not examples:
        raise InputError(f"{file.path} holds no examples" + (f" that can be used: {remarks}" if remarks else ""))
    if remarks:
        note(f"{file.path}: {remarks}")
    return examples


def check_ids(file: SplitFile, examples: List[Example]) -> None:
    """Predictions are told apart by the id: say where it does not.

    Raises:
        InputError: a file of answers to questions would have one place for two of them.
    """
    if file.spec.task == "token_cls":  # no ids in its prediction file
        return
    seen = set()
    for example in examples:
        key = str(example["id"])
        if key in seen and file.spec.task == "qa":
            raise InputError(f"{file.path}: two questions have the id {key!r}: give each its own")
        if key in seen:
            file.remark("examples with the id of an earlier one", f"{file.path}, id {key!r}")
        seen.add(key)


def _file_of(spec: DatasetSpec, split: str, data_dir: Optional[str]) -> Path:
    if data_dir is not None:
        return Path(data_dir) / f"{split}{spec.suffix}"
    if spec.builder is None:
        return make_sample_data(spec.name)[0] / f"{split}{spec.suffix}"
    return Path(_download(spec, dict(spec.splits)[split]))


def _download(spec: DatasetSpec, split: str) -> str:
    """The path of a split's file, downloaded by PaddleNLP's own builder and checked against its MD5."""
    from paddlenlp.datasets.dataset import import_main_class

    module, name = spec.builder
    builder = import_main_class(module)(name=name)
    try:
        return builder._get_data(split)  # load_dataset() would read the file too, and not say which line is bad
    except Exception as error:  # requests', urllib3's, OSError, RuntimeError: whatever a failed download raises
        reason = str(error).split("\n")[0][:200]
        raise InputError(
            f"data set {spec.name} cannot be had: paddlenlp.datasets could not download its {split} split ({reason}); "
            f"give your own files in the same format with --data_dir"
        ) from None
