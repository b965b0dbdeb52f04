"""What convert says on the screen."""

from pathlib import Path

from ernie_suite.annotation.convert import CHANGES_FILE, COUNTS_FILE, UNLABELED_FILE, Converted
from ernie_suite.annotation.forms import SEVERAL_LABELS
from ernie_suite.annotation.splits import SPLITS

from ernie_inference.console import note, print_table
from ernie_inference.text_output import one_line

MOST_CLASSES = 40  # on the screen; counts.json has all


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
    unseen = sorted(set(total) - set(classes["train"]))
    if unseen:
        note(f"no text of train has {one_line(', '.join(unseen), 200)}: a model will not learn it")
    print(f"{folder} is a data set like {converted.dataset}: --task_name {converted.dataset} "
          f"--data_dir {folder}")  # fmt: skip
