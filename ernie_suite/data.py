"""One loader for every data set of the suite: CLUE's ten sets, msra_ner, and the samples.

Another one is an entry in DATASETS; how its files are read is in tasks/, in the file of its family.

    load_examples("tnews", "train")                    downloaded by paddlenlp.datasets
    load_examples("tnews", "train", data_dir="mine")   mine/train.json, in TNEWS's own format
    load_examples("sample_reviews", "train")           written from an installed package, needs no network

An example is what the tasks of ernie_inference take, with its answer:
classification {"id", "text", "text_pair", "label"}, where a text may have several {..., "labels"}, tagging {"id",
"tokens", "labels"}, reading {"id", "question", "context", "answers", "answer_starts"}, multiple choice {"id",
"context", "question", "choices", "answers"}; the answer (label, labels, answers) is None where a test split gives none.
Every file is checked as it is read; what is wrong is said with file and line, and what was skipped or repaired is
counted and said in one line a file.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Set, Tuple

from ernie_suite.reading import Example, Reader, SplitFile, json_lines
from ernie_suite.sample_data import WRITERS, make_sample_data
from ernie_suite.tasks.family import TaskFamily
from ernie_suite.tasks.multi_label import MULTI_LABEL, multi_label_reader
from ernie_suite.tasks.multiple_choice import MULTIPLE_CHOICE, read_c3, read_chid
from ernie_suite.tasks.qa import QA, read_squad
from ernie_suite.tasks.seq_cls import (
    SEQ_CLS,
    classification_reader,
    keywords_and_abstract,
    label_text,
    marked_pronoun,
    sentence,
    sentence_pair,
)
from ernie_suite.tasks.token_cls import TOKEN_CLS, read_columns

from ernie_inference.console import note
from ernie_inference.errors import InputError
from ernie_inference.files import publish
from ernie_inference.text_files import read_text


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: its task family, how its files are read, and where PaddleNLP has it."""

    name: str
    family: TaskFamily
    read: Reader
    suffix: str
    labels: Tuple[str, ...] = ()
    builder: Optional[Tuple[str, Optional[str]]] = (
        None  # module and name in paddlenlp.datasets; None: a sample set, or --data_dir only
    )
    splits: Tuple[Tuple[str, str], ...] = (("train", "train"), ("dev", "dev"), ("test", "test"))  # ours, PaddleNLP's
    skipped_label: Optional[str] = None  # examples that the annotators could not agree on
    submission: str = ""  # the file name CLUE asks for
    is_on_hub: bool = False  # builder is of Hugging Face's hub, not of paddlenlp.datasets
    # The files of a split, without suffix; where there are several such lists, a folder holds those of one.
    files: Tuple[Tuple[str, ...], ...] = (("{split}",),)

    def paths(self, folder: Path, split: str) -> List[Path]:
        """The files of a split in a folder: those of the first list of which one is there, else of the last list."""
        for names in self.files:
            paths = [folder / f"{name.format(split=split)}{self.suffix}" for name in names]
            if any(path.exists() for path in paths):
                break
        return paths

    def needs(self) -> str:
        """What files a folder has to hold, in words."""
        if len(self.files) == 1:
            return f"train, dev and test{self.suffix}"
        lists = [" and ".join(f"{name.format(split='train')}{self.suffix}" for name in names) for names in self.files]
        return f"{' or '.join(lists)}, and dev and test likewise"

    @property
    def task_name(self) -> str:
        return self.family.name


NER_LABELS = ("B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O")

TNEWS_LABELS = tuple(str(n) for n in range(100, 117) if n not in (105, 111))


def _clue(name: str, to_texts, labels, submission: str = "", skipped_label: Optional[str] = None) -> DatasetSpec:
    reader = classification_reader(to_texts)
    return DatasetSpec(
        name,
        SEQ_CLS,
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
            TOKEN_CLS,
            read_columns,
            ".tsv",
            NER_LABELS,
            builder=("msra_ner", None),
            splits=(("train", "train"), ("dev", "test"), ("test", "test")),
            submission="msra_ner_predict.tsv",
        ),
        DatasetSpec(
            "cmrc2018",
            QA,
            read_squad,
            ".json",
            builder=("cmrc2018", None),
            splits=(("train", "train"), ("dev", "dev"), ("test", "trial")),
            submission="cmrc2018_predict.json",
        ),
        DatasetSpec(
            "c3",
            MULTIPLE_CHOICE,
            read_c3,
            ".json",
            builder=("c3", None),
            submission="c311_predict.json",
            files=(("c3-d-{split}", "c3-m-{split}"), ("d-{split}", "m-{split}"), ("{split}",)),
        ),
        DatasetSpec(
            "chid",
            MULTIPLE_CHOICE,
            read_chid,
            ".json",
            builder=("clue", "chid"),
            is_on_hub=True,
            splits=(("train", "train"), ("dev", "validation"), ("test", "test")),
            submission="chid11_predict.json",
        ),
        DatasetSpec(
            "sample_reviews",
            SEQ_CLS,
            classification_reader(sentence),
            ".json",
            ("negative", "positive"),
            submission="sample_reviews_predict.json",
        ),
        DatasetSpec(
            "sample_people_daily",
            TOKEN_CLS,
            read_columns,
            ".tsv",
            NER_LABELS,
            submission="sample_people_daily_predict.tsv",
        ),
        DatasetSpec("sample_reading", QA, read_squad, ".json", submission="sample_reading_predict.json"),
        DatasetSpec("sample_choice", MULTIPLE_CHOICE, read_c3, ".json", submission="sample_choice_predict.json"),
        DatasetSpec(
            "sample_entity_types",
            MULTI_LABEL,
            multi_label_reader(),
            ".json",
            ("PER", "LOC", "ORG"),
            submission="sample_entity_types_predict.json",
        ),
        DatasetSpec("multi_label", MULTI_LABEL, multi_label_reader(), ".json", submission="multi_label_predict.json"),
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


def stream_examples(
    spec: DatasetSpec, split: str, data_dir: Optional[str] = None, check: bool = False
) -> Iterator[Example]:
    """The examples of a split one by one, without holding them all; none where data_dir has no such file.

    Args:
        check: no file may be missing or hold none, nor ids be the same where they tell predictions apart; and a line
            says what of a file was left out.

    Raises:
        InputError: it cannot be had, a line of it is malformed, or what is checked does not hold.
    """
    count = 0
    ids: Set[str] = set()
    for file in split_files(spec, split, data_dir):
        if not check and not file.path.exists():
            continue
        before = file.first_number = count
        try:
            for example in spec.read(file):
                if check and split == "test":
                    check_id(spec.family, file, example, ids)
                count += 1
                yield example
        except FileNotFoundError:
            raise InputError(f"{file.path} is missing: {spec.name} needs {spec.needs()} there") from None
        if check:
            say_what_is_left_out(file, holds_any=count > before)


def say_what_is_left_out(file: SplitFile, holds_any: bool) -> None:
    """Of a file that has been read; InputError where that is all of it, or there was nothing."""
    remarks = file.summary()
    if not holds_any:
        raise InputError(f"{file.path} holds no examples" + (f" that can be used: {remarks}" if remarks else ""))
    if remarks:
        note(f"{file.path}: {remarks}")


LABEL_FILES = ("labels.txt", "labels.json")


def load_labels(spec: DatasetSpec, data_dir: Optional[str] = None) -> List[str]:
    """The classes, from labels.txt (one a line) or, without it, labels.json ({"label": ...} a line, as CLUE has it) of
    data_dir, else the data set's own.

    Raises:
        InputError: the file cannot be read, or names no classes of the task, or is missing where they have no others.
    """
    if data_dir is None or not spec.family.task_class.has_labels:
        return list(spec.labels)
    path = next((path for name in LABEL_FILES if (path := Path(data_dir) / name).exists()), None)
    if path is None and not spec.labels:
        raise InputError(f"{Path(data_dir) / LABEL_FILES[0]} is missing: {spec.name} takes your labels, one a line")
    if path is None:
        return list(spec.labels)
    if path.suffix == ".json":
        labels = [label_text(item.get("label", "")) for _, item in json_lines(path)]
    else:
        labels = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if "" in labels:
        raise InputError(f"{path}: line {labels.index('') + 1} has no label: give one, or take the line out")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise InputError(f"{path}: the label {twice[0]!r} is there twice: give each once, {len(twice)} are not")
    if len(labels) < 2:
        raise InputError(f"{path}: at least two different labels are needed, found {labels}")
    try:
        spec.family.check_labels(labels)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return labels


def load_examples(name: str, split: str, data_dir: Optional[str] = None) -> List[Example]:
    """All examples of one split ("train", "dev" or "test") of a data set.

    What was skipped or repaired is counted and said on stderr, in one line.

    Raises:
        InputError: the data set is unknown or cannot be had, or a file of it is missing, empty or malformed.
    """
    return list(stream_examples(find_dataset(name), split, data_dir, check=True))


def split_files(spec: DatasetSpec, split: str, data_dir: Optional[str] = None) -> List[SplitFile]:
    """The files of a split, for spec.read, which gives their examples one by one; downloaded where they have to be.

    Raises:
        InputError: they cannot be had, or there is something wrong with the labels beside them.
    """
    labels = load_labels(spec, data_dir)
    return [SplitFile(path, split, labels, spec.skipped_label) for path in _files_of(spec, split, data_dir)]


def load_answered_examples(spec: DatasetSpec, split: str, data_dir: Optional[str] = None) -> List[Example]:
    """load_examples for answers to be compared with.

    Raises:
        InputError: as load_examples, or the split gives no answers.
    """
    return list(check_answered_examples(spec, split, data_dir))


def check_answered_examples(spec: DatasetSpec, split: str, data_dir: Optional[str] = None) -> Iterator[Example]:
    """load_answered_examples, one by one, without holding them all."""
    for example in stream_examples(spec, split, data_dir, check=True):
        if example[spec.family.answer_field] is None:
            raise InputError(f"the {split} split of {spec.name} has no answers to compare with: use --split dev")
        yield example


def check_id(family: TaskFamily, file: SplitFile, example: Example, seen: Set[str]) -> None:
    """Predictions are told apart by the id: say where it does not.

    Args:
        seen: the ids before, to which this one is added.

    Raises:
        InputError: a file of answers to questions would have one place for two of them.
    """
    if family.ids == "unused":
        return
    key = str(example["id"])
    if key in seen and family.ids == "unique":
        raise InputError(f"{file.path}: two questions have the id {key!r}: give each its own")
    if key in seen:
        file.remark("examples with the id of an earlier one", f"{file.path}, id {key!r}")
    seen.add(key)


def _files_of(spec: DatasetSpec, split: str, data_dir: Optional[str]) -> List[Path]:
    if data_dir is not None:
        return spec.paths(Path(data_dir), split)
    if spec.builder is None and spec.name not in WRITERS:
        raise InputError(f"data set {spec.name} is not one that can be downloaded: give your files with --data_dir")
    if spec.builder is None:
        return spec.paths(make_sample_data(spec.name)[0], split)
    download = _download_from_hub if spec.is_on_hub else _download
    try:
        found = download(*spec.builder, dict(spec.splits)[split])
    except Exception as error:  # requests', urllib3's, OSError, RuntimeError: whatever a failed download raises
        reason = str(error).split("\n")[0][:200]
        library = "the library datasets" if spec.is_on_hub else "paddlenlp.datasets"
        raise InputError(
            f"data set {spec.name} cannot be had: {library} could not download its {split} split ({reason}); "
            f"give your own files in the same format with --data_dir"
        ) from None
    return [Path(path) for path in (found if isinstance(found, list) else [found])]


def _download(module: str, name: Optional[str], split: str) -> Any:
    """The path of a split's file, or a list of them, downloaded by PaddleNLP's own builder and checked against MD5."""
    from paddlenlp.datasets.dataset import import_main_class

    builder = import_main_class(module)(name=name)
    return builder._get_data(split)  # load_dataset() would read the file too, and not say which line is bad


def _download_from_hub(module: str, name: Optional[str], split: str) -> Path:
    """The path of a split as JSON lines; PaddleNLP's own builders have no such set."""
    from paddlenlp.utils.env import DATA_HOME

    folder = Path(DATA_HOME) / f"{module}_{name}"
    if not (folder / f"{split}.json").exists():
        from datasets import load_dataset

        with publish(folder) as temporary:
            load_dataset(module, name, split=split).to_json(str(temporary / f"{split}.json"), force_ascii=False)
    return folder / f"{split}.json"
