"""Exports of annotation tools as a data set of the suite: train, dev and test, labels.txt, and what became of the rest.

The exports are read once, record by record; what is kept goes to a file first, and from there to its split when all
hashes are known. Memory holds some 30 bytes of each text, and no text.
"""

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, Optional, Sequence, Tuple, Type

from ernie_suite.annotation.formats import find_format
from ernie_suite.annotation.forms import FORMS, PAIRS, Form
from ernie_suite.annotation.records import Changes, ReadOptions, Record, Source
from ernie_suite.annotation.spans import LONGEST
from ernie_suite.annotation.splits import SPLITS, Shares, assign
from ernie_suite.same_texts import Digests, digest, groups_of, repeat_digest, tie_digest

import numpy as np
from tqdm import tqdm

from ernie_inference.bulk import QUIET_SECONDS
from ernie_inference.errors import InputError
from ernie_inference.files import publish, write_json
from ernie_inference.text_output import ESCAPE, to_json

KEEP, DROP = DUPLICATES = ("keep", "drop")  # what becomes of a text that stands there again
DROPPED = len(SPLITS)  # beside the numbers of the splits
LABELS_FILE, UNLABELED_FILE, CHANGES_FILE, COUNTS_FILE = "labels.txt", "unlabeled.jsonl", "changes.jsonl", "counts.json"
BESIDE = (LABELS_FILE, UNLABELED_FILE, CHANGES_FILE, COUNTS_FILE)
SPOOL = "kept.jsonl"


@dataclass(frozen=True)
class ConvertOptions:
    """How exports become a data set.

    Attributes:
        read: how they are read.
        format_name: of formats.FORMATS; None: as each file looks.
        task_name: the task family; None: as the annotation looks.
        shares, seed: of the split.
        overlaps, duplicates: what becomes of spans that share characters, and of texts that are there twice.
    """

    read: ReadOptions = ReadOptions()
    format_name: Optional[str] = None
    task_name: Optional[str] = None
    shares: Shares = Shares(0.1, 0.1)
    seed: int = 42
    overlaps: str = LONGEST
    duplicates: str = KEEP


@dataclass
class Converted:
    """What was written.

    Attributes:
        form: the format.
        dataset: whose format it is, for --task_name of the scripts.
        examples: how many there are of each split.
        classes: of each split how many examples (entities, for tagging) there are of each class.
        unlabeled: texts without an answer.
        duplicates: texts that were there before.
        contradictions: those of them that have another answer now.
        changes: of what was changed or left out, how often and where first.
    """

    form: Type[Form]
    dataset: str
    examples: Dict[str, int]
    classes: Dict[str, Dict[str, int]]
    unlabeled: int
    duplicates: int
    contradictions: int
    changes: Changes


def convert(files: Sequence[Path], output_dir: Path, options: ConvertOptions, overwrite: bool = False) -> Converted:
    """Write a data set of exports into a folder, all at once or nothing.

    Raises:
        InputError: a file cannot be used, there is too little in all of them, or the folder holds a data set.
    """
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing} is no file: give an export of doccano or Label Studio, a table or CoNLL columns")
    _check_free(output_dir, overwrite)
    _check_kept(files, output_dir)
    form_class = find_form(files, options)
    with publish(output_dir) as folder:
        converted = _write(files, folder, form_class, options)
    _remove_what_was_before(output_dir, converted)
    return converted


def _check_free(folder: Path, overwrite: bool) -> None:
    """Raises InputError where a data set lies in the folder that nobody said may go."""
    there = [path for name in SPLITS for path in sorted(folder.glob(f"{name}.*"))]
    if there and not overwrite:
        raise InputError(
            f"{there[0]} is there already: name another --output_dir, or replace it with --overwrite_output_dir"
        )


def _check_kept(files: Sequence[Path], folder: Path) -> None:
    """Raises InputError where a file that is read would be replaced or removed."""
    ours = {*(f"{name}{form.suffix}" for name in SPLITS for form in FORMS), *BESIDE}
    for path in files:
        if path.resolve().parent == folder.resolve() and path.name in ours:
            raise InputError(f"{path} would be replaced by what is made of it: name another --output_dir")


def _remove_what_was_before(folder: Path, converted: Converted) -> None:
    """Files of an earlier data set that this one has not: they would be taken for parts of it."""
    ours = {f"{name}{converted.form.suffix}" for name, count in converted.examples.items() if count}
    theirs = {f"{name}{form.suffix}" for name in SPLITS for form in FORMS}
    if not converted.form.has_labels:
        theirs.add(LABELS_FILE)
    if not converted.unlabeled:
        theirs.add(UNLABELED_FILE)
    if not converted.changes.counts:
        theirs.add(CHANGES_FILE)
    for name in theirs - ours:
        (folder / name).unlink(missing_ok=True)


def find_form(files: Sequence[Path], options: ConvertOptions) -> Type[Form]:
    """The form of what is written: of the task that was named, else that the first annotated record is for.

    Raises:
        InputError: there is no annotated record, or its annotation is for two tasks.
    """
    count = 0
    for path in files:
        for record in _records(path, options, Changes()):
            count += 1
            found = [form for form in FORMS if form(Changes()).is_annotated(record)]
            if options.task_name is not None:
                found = [form for form in FORMS if form.task_name == options.task_name]
            elif len(found) > 1 and record.question is None:
                listed = " or ".join(form.task_name for form in found)
                raise InputError(
                    f"{record.place}: it is annotated for several tasks: say which with --task_name {listed}"
                )
            if found:
                return PAIRS.get(found[-1], found[-1]) if record.text_pair is not None else found[-1]
    raise InputError(
        f"none of {count:,} texts in {', '.join(map(str, files))} is annotated: is the field of the labels another? "
        "name it with --label_column (of Label Studio's controls, with --from_name)"
    )


def _records(path: Path, options: ConvertOptions, changes: Changes) -> Iterator[Record]:
    found = find_format(path, options.format_name)
    yield from found.read(Source(path, options.read, changes))


class _Kept:
    """What is remembered of the examples that are kept, in their order: 8 bytes a text and a few more."""

    def __init__(self) -> None:
        self.asked, self.answers, self.texts, self.strata = Digests(), Digests(), Digests(), Digests()
        self.count, self.columns = 0, 1
        self.names: Dict[str, int] = {}  # of the classes, with a number each

    def add(self, form: Form, record: Record, example: Dict) -> None:
        labels = form.labels(example)
        texts = form.texts(record)
        self.columns = len(texts)
        self.count += 1
        self.asked.extend([repeat_digest(form.asked(record))])
        self.answers.extend([digest(form.answer(example))])
        self.texts.extend(map(tie_digest, texts))
        for label in labels:
            self.names.setdefault(label, len(self.names))
        self.strata.extend([self.names[labels[0]] if labels else 0])

    def repeats(self) -> Tuple[np.ndarray, np.ndarray]:
        """Of each example, whether what is asked stands before it, and whether with another answer."""
        asked, answers = self.asked.numpy(), self.answers.numpy()
        _, first, numbers = np.unique(asked, return_index=True, return_inverse=True)
        firsts = first[numbers]
        again = firsts != np.arange(self.count)
        return again, again & (answers != answers[firsts])


def _write(files: Sequence[Path], folder: Path, form_class: Type[Form], options: ConvertOptions) -> Converted:
    with ExitStack() as stack:
        changes = Changes(stack.enter_context(open(folder / CHANGES_FILE, "wb")))
        form = form_class(changes, options.overlaps)
        with open(folder / SPOOL, "wb") as spool, open(folder / UNLABELED_FILE, "wb") as unlabeled:
            kept, left = _read(files, form, options, spool, unlabeled)
        if not kept.count:
            where = ", ".join(map(str, files))
            raise InputError(f"no text in {where} has an answer that can be used: {'; '.join(changes.lines())}")
        labels = form.label_lines(set(kept.names)) if form.has_labels else []
        if len(labels) == 1:
            raise InputError(f"all {kept.count:,} texts have the label {labels[0]!r}: two labels are needed")
        again, otherwise = kept.repeats()
        owners = np.repeat(np.arange(kept.count), kept.columns)
        groups = groups_of(kept.texts.numpy(), owners, kept.count)
        split = assign(groups, kept.strata.numpy().astype(np.int64), options.shares, options.seed)
        if options.duplicates == DROP:
            split = np.where(again, DROPPED, split)
        counts = _distribute(folder, form, split, again, otherwise)
        if form.has_labels:
            lines = "".join(f"{line}\n" for line in labels)
            (folder / LABELS_FILE).write_bytes(lines.encode("utf-8", ESCAPE))
    converted = Converted(form_class, form.is_like(), *counts, left, int(again.sum()), int(otherwise.sum()), changes)
    (folder / SPOOL).unlink()
    for name, is_needed in ((UNLABELED_FILE, left), (CHANGES_FILE, changes.counts)):
        if not is_needed:
            (folder / name).unlink()
    write_json(folder / COUNTS_FILE, _as_json(converted, files, options))
    return converted


def _read(
    files: Sequence[Path], form: Form, options: ConvertOptions, spool: BinaryIO, unlabeled: BinaryIO
) -> Tuple[_Kept, int]:
    """Write what is kept, one example a line, and the texts without an answer; returns what to remember, and how many
    those are."""
    kept, left = _Kept(), 0
    for path in files:
        for record in tqdm(
            _records(path, options, form.changes), desc=str(path), unit=" texts", delay=QUIET_SECONDS, leave=False
        ):
            emptiness = form.emptiness(record)
            if emptiness is not None:
                form.changes.add(emptiness, record.place, id=record.id)
                continue
            example = form.example(record)
            if example is None:
                unlabeled.write(to_json(form.unlabeled(record)) + b"\n")
                left += 1
            else:
                form.count_unused(record)
                kept.add(form, record, example)
                spool.write(to_json([record.place, example]) + b"\n")
    return kept, left


def _distribute(
    folder: Path, form: Form, split: np.ndarray, again: np.ndarray, otherwise: np.ndarray
) -> Tuple[Dict[str, int], Dict[str, Dict[str, int]]]:
    """Write each example that was kept to the file of its split; returns the counts of examples and of classes."""
    counts = dict.fromkeys(SPLITS, 0)
    classes: Dict[str, Counter] = {name: Counter() for name in SPLITS}
    with ExitStack() as stack:
        writers = [
            stack.enter_context(form.writer(folder / f"{name}{form.suffix}")) if (split == number).any() else None
            for number, name in enumerate(SPLITS)
        ]
        spool = stack.enter_context(open(folder / SPOOL, "rb"))
        for number, line in enumerate(spool):
            place, example = json.loads(line)
            if again[number]:
                _say_repeated(form, place, example, bool(otherwise[number]), split[number] == DROPPED)
            write = None if split[number] == DROPPED else writers[split[number]]
            if write is not None:
                write(example)
                counts[SPLITS[split[number]]] += 1
                classes[SPLITS[split[number]]].update(form.labels(example))
    return counts, {name: dict(classes[name]) for name in SPLITS}


def _say_repeated(form: Form, place: str, example: Dict, otherwise: bool, is_dropped: bool) -> None:
    what = "texts that stand there before with another answer" if otherwise else "texts that stand there before"
    form.changes.add(f"{what}, left out" if is_dropped else f"{what}, kept in the same split", place, example=example)


def _as_json(converted: Converted, files: Sequence[Path], options: ConvertOptions) -> Dict:
    """What counts.json says."""
    return {
        "files": [str(path) for path in files],
        "task": converted.form.task_name,
        "like": converted.dataset,
        "seed": options.seed,
        "shares": options.shares._asdict(),
        "examples": converted.examples,
        "classes": converted.classes,
        "unlabeled": converted.unlabeled,
        "duplicates": converted.duplicates,
        "contradictions": converted.contradictions,
        "changes": {what: count for what, (count, _) in converted.changes.counts.items()},
    }
