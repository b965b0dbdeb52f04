"""What convert says on the screen."""

import unicodedata
from pathlib import Path
from typing import Dict, Iterable, List

from ernie_suite.annotation.convert import CHANGES_FILE, COUNTS_FILE, UNLABELED_FILE, Converted
from ernie_suite.annotation.forms import SEVERAL_LABELS
from ernie_suite.annotation.splits import SPLITS

from ernie_inference.console import note, print_table
from ernie_inference.text_output import one_line

MOST_ALIKE = 5  # kinds of labels that are shown
MOST_CLASSES = 40  # on the screen; counts.json has all


def look_alike(labels: Iterable[str]) -> List[List[str]]:
    """Labels that a person may take for one, which a model cannot; MOST_ALIKE kinds of them at most."""
    kinds: Dict[str, List[str]] = {}
    for label in sorted(labels):
        kinds.setdefault("".join(unicodedata.normalize("NFKC", label).casefold().split()), []).append(label)
    return [kind for kind in kinds.values() if len(kind) > 1][:MOST_ALIKE]


def print_converted(converted: Converted, folder: Path) -> None:
    """The counts of examples and classes as a table, what was changed or left out as notes, and what to type next."""
    classes = converted.classes
    total = {name: sum(of_split.get(name, 0) for of_split in classes.values()) for of_split in classes.values()
             for name in of_split}  # fmt: skip
    rows = [{"": "texts", **{name: f"{converted.examples[name]:,}" for name in SPLITS}}]
    for name in sorted(total, key=lambda name: (-total[name], name))[:MOST_CLASSES]:
        rows.append({"": one_line(name, 40), **{split: f"{classes[split].get(name, 0):,}" for split in SPLITS}})
    print_table(rows, right=SPLITS)
    if len(total) > MOST_CLASSES:
        print(f"and {len(total) - MOST_CLASSES} classes more: {folder / COUNTS_FILE}")
    for line in converted.changes.lines():
        note(line)
    if converted.changes.counts:
        note(f"each of these is listed in {folder / CHANGES_FILE}")
    if converted.dataset == SEVERAL_LABELS:
        note("some texts have several labels: all lines have a list of them, under 'labels'")
    if converted.unlabeled:
        note(f"texts without an answer: {converted.unlabeled:,}, in {folder / UNLABELED_FILE}")
    for alike in look_alike(total):
        note(f"labels that differ in case, width or white space alone: {one_line(', '.join(map(repr, alike)), 200)}")
    if not converted.examples["dev"]:
        note("there is no dev set, without which nothing is trained: give one, or a --dev_share")
    unseen = sorted(set(total) - set(classes["train"]))
    if unseen:
        note(f"no text of train has {one_line(', '.join(unseen), 200)}: a model will not learn it")
    print(f"{folder} is a data set like {converted.dataset}: --task_name {converted.dataset} "
          f"--data_dir {folder}")  # fmt: skip
