"""One loader for every data set of the suite: the CLUE classification sets, msra_ner, cmrc2018, and the samples.

    load_examples("tnews", "train")                    downloaded by paddlenlp.datasets
    load_examples("tnews", "train", data_dir="mine")   mine/train.json, in TNEWS's own format
    load_examples("sample_reviews", "train")           written from an installed package, needs no network

An example is what the tasks of deploy/python/ernie_predictor.py take, with its answer:
classification {"id", "text", "text_pair", "label"}, tagging {"id", "tokens", "labels"},
reading {"id", "question", "context", "answers", "answer_starts"}. Every file is checked as it is
read; what is wrong is said with file and line.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import deploy_path  # noqa: F401
from ernie_predictor import InputError
from make_sample_data import make as make_sample_data

Example = Dict
Reader = Callable[[Path, "DatasetSpec", List[str]], Iterator[Example]]


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


# ---------------------------------------------------------------- file formats


def json_lines(path: Path) -> Iterator[Tuple[str, Dict]]:
    """(place, object) for each line; place is what an error message names."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                item = json.loads(line)
            except ValueError as error:
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


def label_field(item: Dict, labels: List[str], place: str) -> Optional[str]:
    """The label, or None where the file has none (a test split)."""
    if "label" not in item:
        return None
    label = str(item["label"])
    if label not in labels:
        listed = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
        raise InputError(f"{place}: label {label!r} is not one of {listed}")
    return label


def classification_reader(to_texts: Callable[[Dict, str], Tuple[str, Optional[str]]]) -> Reader:
    """A reader of JSON lines whose texts `to_texts(item, place)` picks."""

    def read(path: Path, spec: DatasetSpec, labels: List[str]) -> Iterator[Example]:
        for number, (place, item) in enumerate(json_lines(path)):
            if spec.skipped_label is not None and item.get("label") == spec.skipped_label:
                continue
            text, text_pair = to_texts(item, place)
            label = label_field(item, labels, place)
            yield {"id": item.get("id", number), "text": text, "text_pair": text_pair, "label": label}

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


def read_columns(path: Path, spec: DatasetSpec, labels: List[str]) -> Iterator[Example]:
    """MSRA NER: tokens and tags, each joined by \\x02, with a tab between; tags may be missing in a test split."""
    known = set(labels)
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}, line {number}"
            line = line.rstrip("\r\n")
            if not line:
                continue
            columns = line.split("\t")
            if len(columns) > 2:
                raise InputError(f"{place}: {len(columns)} columns, but tokens and tags are two")
            tokens = columns[0].split("\x02")
            tags = columns[1].split("\x02") if len(columns) == 2 else None
            if tags is not None and len(tags) != len(tokens):
                raise InputError(f"{place}: {len(tokens)} tokens but {len(tags)} tags")
            unknown = sorted(set(tags or ()) - known)
            if unknown:
                raise InputError(f"{place}: tag {unknown[0]!r} is not one of {', '.join(labels)}")
            yield {"id": number - 1, "tokens": tokens, "labels": tags}


def read_squad(path: Path, spec: DatasetSpec, labels: List[str]) -> Iterator[Example]:
    """CMRC 2018: {"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise InputError(f"{path}: an object with a list 'data' is expected, as in CMRC 2018")
    try:
        for entry in content["data"]:
            for paragraph in entry["paragraphs"]:
                for qa in paragraph["qas"]:
                    yield _question(paragraph["context"], qa, f"{path}, question {qa.get('id')!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not in the format of CMRC 2018 ({type(error).__name__}: {error})") from None


def _question(context: str, qa: Dict, place: str) -> Example:
    example = {"id": qa["id"], "question": text_field(qa, "question", place), "context": context}
    answers = qa.get("answers")
    if not answers:
        return {**example, "answers": None, "answer_starts": None}
    texts, starts = [], []
    for answer in answers:
        text = text_field(answer, "text", place)
        start = answer.get("answer_start")
        if not text or not isinstance(start, int) or context[start : start + len(text)] != text:
            start = nearest(context, text, start if isinstance(start, int) else 0)
        if start < 0:
            raise InputError(f"{place}: the answer {text!r} is not in its context")
        texts.append(text)
        starts.append(start)
    return {**example, "answers": texts, "answer_starts": starts}


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
    try:
        if path.suffix == ".json":
            labels = [str(item.get("label", "")) for _, item in json_lines(path)]
        else:
            labels = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    if len(labels) < 2 or len(set(labels)) != len(labels) or "" in labels:
        raise InputError(f"{path}: at least two different labels are needed, found {labels}")
    if spec.task == "token_cls" and ("O" not in labels or any(tag[:2] not in ("B-", "I-", "O") for tag in labels)):
        raise InputError(f"{path}: BIO tags are expected (B-PER, I-PER, ..., O), found {', '.join(labels)}")
    return labels


def load_examples(name: str, split: str, data_dir: Optional[str] = None) -> List[Example]:
    """All examples of one split ("train", "dev" or "test") of a data set.

    Raises:
        InputError: the data set is unknown or cannot be had, or a file of it is missing, empty or malformed.
    """
    spec = find_dataset(name)
    path = _file_of(spec, split, data_dir)
    try:
        examples = list(spec.read(path, spec, load_labels(spec, data_dir)))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {spec.name} needs train, dev and test{spec.suffix} there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    if not examples:
        raise InputError(f"{path} holds no examples")
    answer = {"seq_cls": "label", "token_cls": "labels", "qa": "answers"}[spec.task]
    unanswered = [example for example in examples if example[answer] is None]
    if split != "test" and unanswered:
        raise InputError(f"{path}: example {unanswered[0]['id']!r} has no {answer}, which the {split} split needs")
    return examples


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
