"""A description as tables on the screen and as JSON."""

from pathlib import Path
from typing import Any, Dict, List

from ernie_suite.description.statistics import LENGTHS, MOST_LONGER, PERCENTILES, Description

from ernie_inference.console import print_table
from ernie_inference.text_output import one_line

REPORT = "description.json"
MOST_CLASSES = 40  # on the screen
MOST_CHARACTERS = 20
FIRST_LENGTH = 32  # for which the share of longer texts is shown


def print_description(description: Description) -> None:
    splits, unit = description.splits, description.unit
    print_table(
        [
            {
                "": name,
                "texts": f"{counts.examples:,}",
                "with answer": f"{counts.answered:,}",
                "there before": f"{description.duplicates[name]:,}",
                **{
                    f"{percent} %" if percent < 100 else "longest": f"{length:,}"
                    for percent, length in counts.percentiles().items()
                },
            }  # fmt: skip
            for name, counts in splits.items()
        ],
        right=["texts", "with answer", "there before", *(f"{percent} %" for percent in PERCENTILES), "longest"],
    )
    print(f"(columns in %: how many {unit} so many of the model inputs have at most)\n")
    print_classes(description)
    print_table(
        [
            {
                "max_seq_length": f"{length}{' *' if length == description.suggested else '  '}",
                **{name: f"{counts.share_longer(length):.1%}" for name, counts in splits.items()},
            }
            for length in LENGTHS
            if length >= max(description.suggested // 4, FIRST_LENGTH) or length == description.suggested
        ],
        right=["max_seq_length", *splits],
    )
    print(f"(share of the texts that are longer)\n* {advice(description)}\n")
    for line in findings(description):
        print(line)


def print_classes(description: Description) -> None:
    """How often each class is named in each split, the most frequent of train first."""
    order = class_order(description)
    if not order:
        return
    splits = description.splits
    print_table(
        [
            {"class": one_line(label, 40), **{name: f"{counts.classes[label]:,}" for name, counts in splits.items()}}
            for label in order[:MOST_CLASSES]
        ],
        right=list(splits),
    )
    if len(order) > MOST_CLASSES:
        print(f"and {len(order) - MOST_CLASSES} classes more, in {REPORT}")
    print()


def class_order(description: Description) -> List[str]:
    """The classes, the most frequent of the first split first."""
    first = next(iter(description.splits.values())).classes
    named = {label for counts in description.splits.values() for label in counts.classes}
    known = description.labels if named and named <= set(description.labels) else sorted(named)
    return sorted(known, key=lambda label: -first[label])


def advice(description: Description) -> str:
    """What max_seq_length to take, and what becomes of longer texts."""
    counts = next(iter(description.splits.values()))
    share = counts.share_longer(description.suggested)
    if description.unit == "characters":
        fate = "by characters: with the model's vocabulary it is less where texts hold numbers and Latin words"
    else:
        fate = "cut" if description.is_cut else "read in several windows"
        fate = f"{share:.1%} of the texts are longer and are {fate}"
    best = "the longest that is suggested" if share > MOST_LONGER else "the least for 99 % of the texts"
    return f"--max_seq_length {description.suggested} is {best} ({fate})"


def findings(description: Description) -> List[str]:
    """What else there is to know, a line each; what is right is said too."""
    lines = []
    for (first, second), (examples, texts) in description.shared.items():
        lines.append(f"{second} texts that stand in {first} too: {examples:,} (single texts of both: {texts:,})")
    lines.append(f"the same text with another answer than before: {description.contradictions:,}")
    if description.unseen:
        shown = one_line(", ".join(description.unseen), 200)
        lines.append(f"labels without a text in train: {len(description.unseen)} ({shown})")
    if description.unknown is not None:
        shown = one_line("".join(list(description.unknown)[:MOST_CHARACTERS]))
        total = sum(sum(counts.characters.values()) for counts in description.splits.values())
        share = sum(description.unknown.values()) / max(total, 1)
        lines.append(
            f"characters that the vocabulary lacks: {len(description.unknown):,}, {share:.3%} of all characters"
            + (f" ({shown})" if shown else "")
        )
    return lines


def as_json(description: Description, data_dir: Any) -> Dict[str, Any]:
    """All of it, for a program."""
    order = class_order(description)
    return {
        "dataset": description.spec.name,
        "data_dir": data_dir,
        "task": description.spec.task_name,
        "lengths_in": description.unit,
        "suggested_max_seq_length": description.suggested,
        "longer_texts_are_cut": description.is_cut if description.unit == "tokens" else None,
        "splits": {
            name: {
                "examples": counts.examples,
                "answered": counts.answered,
                "duplicates": description.duplicates[name],
                "classes": {label: counts.classes[label] for label in order},
                "length_percentiles": {str(percent): length for percent, length in counts.percentiles().items()},
                "share_longer_than": {str(length): round(counts.share_longer(length), 6) for length in LENGTHS},
            }
            for name, counts in description.splits.items()
        },
        "in_two_splits": [
            {"first": first, "second": second, "examples": examples, "texts": texts}
            for (first, second), (examples, texts) in description.shared.items()
        ],
        "contradictions": description.contradictions,
        "labels_without_a_text_in_train": description.unseen,
        "unknown_characters": description.unknown,
        "shown": description.shown,
    }


def default_folder(data_dir: Any, name: str) -> Path:
    """Where the description goes that is told no folder: to the data, or to a folder of the data set's name."""
    return Path(data_dir) if data_dir is not None else Path(f"description-{name}")
