"""The tables of reproduce.py: every row has the published figure, the measured one and their difference.

A cell is a tuple of figures, or None for what was not published or has no counterpart; it is shown as "-". Of the data
sets of a published table, what was not measured is shown as "not run".
"""

from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Sequence

from benchmarks import published
from benchmarks.published import Figures

Cell = Optional[Figures]
Scores = Mapping[str, Figures]  # data set to its metrics in percent, in the order of METRICS

METRICS = ("accuracy", "precision", "recall", "exact_match", "f1")  # in the order in which a cell has them
PUBLISHED, MEASURED, DIFFERENCE = "published", "measured", "difference"
AVERAGE, AVERAGE_OF_MEASURED = "AVG", "AVG of measured"
VARIANTS = {
    "cpu": tuple(published.SPEED["cpu"]),
    "gpu": tuple(published.SPEED["gpu"]),
    "accuracy": tuple(published.COMPRESSION),
}
# The sample sets have no published figures: those of the same task stand beside them.
COUNTERPARTS = {
    "sample_reviews": "tnews",
    "sample_people_daily": "msra_ner",
    "sample_reading": "cmrc2018",
    "sample_choice": "c3",
}
NOT_RUN = "not run"


def percent(metrics: Mapping[str, float]) -> Figures:
    """Metrics from 0 to 1 as the figures of a cell."""
    return tuple(100 * metrics[name] for name in METRICS if name in metrics)


def main_figure(figures: Figures) -> float:
    """The one that averages take: accuracy, exact match (of two), entity F1 (of three)."""
    return figures[2] if len(figures) == 3 else figures[0]


def mean(values: Sequence[float]) -> Cell:
    return (sum(values) / len(values),) if values else None


def minus(left: Cell, right: Cell) -> Cell:
    return None if left is None or right is None else tuple(a - b for a, b in zip(left, right))


# ---------------------------------------------------------------- how a cell is written


def scores(cell: Figures) -> str:
    return "/".join(f"{value:.2f}" for value in cell)


def changes(cell: Figures) -> str:
    return "/".join(f"{value:+.2f}" for value in cell)


def score_with_change(cell: Figures) -> str:
    return f"{cell[0]:.2f}" + "".join(f" ({change:+.2f})" for change in cell[1:])


def speed_with_ratio(cell: Figures) -> str:
    return f"{cell[0]:.2f} ({cell[1]:.2f}x)"


def ratio(cell: Figures) -> str:
    return f"{cell[0]:.2f}x"


def ratio_change(cell: Figures) -> str:
    return f"{cell[0]:+.2f}x"


# ---------------------------------------------------------------- the tables


@dataclass
class Line:
    """One line of a row: its cells by column, how they are written, and what stands for those that are not there."""

    kind: str
    cells: Dict[str, Cell]
    form: Dict[str, object]
    missing: Dict[str, str] = field(default_factory=dict)

    def texts(self, columns: Sequence[str]) -> List[str]:
        cells = [(column, self.cells.get(column)) for column in columns]
        return [self.missing.get(column, "-") if cell is None else self.form[column](cell) for column, cell in cells]


@dataclass
class Table:
    title: str
    columns: List[str]
    rows: Dict[str, List[Line]]
    notes: List[str] = field(default_factory=list)

    def markdown(self) -> str:
        if not self.rows:
            return "\n".join([f"## {self.title}", "", *(f"- {note}" for note in self.notes)]) + "\n"
        lines = [["", "", *self.columns]]
        for name, row in self.rows.items():
            for number, line in enumerate(row):
                lines.append(["" if number else name, line.kind, *line.texts(self.columns)])
        widths = [max(map(len, column)) for column in zip(*lines)]
        lines.insert(1, ["-" * max(3, width) for width in widths])
        table = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
        return "\n".join([f"## {self.title}", "", *table, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def to_dict(self) -> Dict:
        rows = {name: {line.kind: line.cells for line in row} for name, row in self.rows.items()}
        return {"title": self.title, "columns": self.columns, "rows": rows, "notes": self.notes}


def accuracy_columns(of_the_table: Sequence[str], measured: Mapping[str, Scores]) -> List[str]:
    """AVG, the average that is comparable, the published table's data sets, and those that were measured besides."""
    more = [name.upper() for row in measured.values() for name in row if name.upper() not in of_the_table]
    return [AVERAGE, AVERAGE_OF_MEASURED, *of_the_table, *dict.fromkeys(more)]


def accuracy_lines(known: Mapping[str, Figures], measured: Scores) -> List[Line]:
    """Published, measured and difference; `known` is the published row, with its AVG.

    A measured AVG needs all its data sets; "AVG of measured" is over those that were measured and
    published, in both lines.
    """
    here = {name.upper(): figures for name, figures in measured.items()}
    wanted = [name for name in known if name != AVERAGE]
    both = [name for name in wanted if name in here]
    theirs: Dict[str, Cell] = dict(known)
    ours: Dict[str, Cell] = dict(here)
    theirs[AVERAGE_OF_MEASURED] = mean([main_figure(known[name]) for name in both])
    ours[AVERAGE_OF_MEASURED] = mean([main_figure(here[name]) for name in both or here])
    if wanted and both == wanted:
        ours[AVERAGE] = ours[AVERAGE_OF_MEASURED]
    columns = {*theirs, *ours}
    difference = {column: minus(ours.get(column), theirs.get(column)) for column in columns}
    form, signed = dict.fromkeys(columns, scores), dict.fromkeys(columns, changes)
    return [
        Line(PUBLISHED, theirs, form),
        Line(MEASURED, ours, form, dict.fromkeys(wanted, NOT_RUN)),
        Line(DIFFERENCE, difference, signed),
    ]


def clue_table(measured: Mapping[str, Scores]) -> Table:
    """Table 1: fine-tuned models by data set. `measured`: model to scores."""
    rows = {
        model: accuracy_lines(published.CLUE.get(model, {}), measured.get(model, {}))
        for model in [*published.CLUE, *(model for model in measured if model not in published.CLUE)]
    }
    of_the_table = [column for column in published.CLUE[published.COMPRESSED_MODEL] if column != AVERAGE]
    for _, line, _ in rows.values():  # also of a model that the table does not have
        line.missing = dict.fromkeys(of_the_table, NOT_RUN)
    notes = [
        f"{AVERAGE} is over CLUE's ten data sets; {AVERAGE_OF_MEASURED} is over those measured, in both lines.",
        "CMRC2018 is exact match / F1, MSRA_NER precision / recall / F1; averages take exact match, and F1.",
        *(
            f"{model} cannot be fine-tuned on {' and '.join(map(str.upper, datasets))}: "
            f"{published.why_not(model, datasets[0])}."
            for model, classes in published.MISSING_CLASSES.items()
            for datasets in classes.values()
        ),
    ]
    return Table("Fine-tuned models on the dev sets", accuracy_columns(of_the_table, measured), rows, notes)


def compression_table(model: str, measured: Mapping[str, Scores]) -> Table:
    """Table 2: one model's compressed forms by data set. `measured`: variant to scores."""
    known = published.COMPRESSION if model == published.COMPRESSED_MODEL else {}
    rows = {name: accuracy_lines(known.get(name, {}), measured.get(name, {})) for name in VARIANTS["accuracy"]}
    of_the_table = [column for column in published.COMPRESSION["FP32"] if column != AVERAGE]
    return Table(
        f"Compression of {model}: accuracy on the dev sets",
        accuracy_columns(of_the_table, measured),
        rows,
        ["Of several INT8 models (algorithms, calibration texts) the one that is best on the dev set stands."],
    )


def sample_accuracy_table(measured: Mapping[str, Scores]) -> Table:
    """Table 1 for the sample sets, which have no published figures."""
    columns = [AVERAGE, *dict.fromkeys(name.upper() for row in measured.values() for name in row)]
    rows = {}
    for model, row in measured.items():
        cells = {AVERAGE: mean(list(map(main_figure, row.values()))), **{k.upper(): v for k, v in row.items()}}
        rows[model] = [Line(MEASURED, cells, dict.fromkeys(columns, scores))]
    notes = [
        "Reviews and choices are accuracy, People's Daily precision / recall / F1, reading exact match / F1. "
        "No figures are published for these sets, and the models start from random weights."
    ]
    return Table("Fine-tuned models on the sample dev sets", columns, rows, notes)


def sample_compression_table(model: str, measured: Mapping[str, Scores]) -> Table:
    """Table 2 for the sample sets: what compression costs here, against the published average loss."""
    datasets = list(dict.fromkeys(name for row in measured.values() for name in row))
    columns = [AVERAGE, *map(str.upper, datasets)]
    original = {name: main_figure(figures) for name, figures in measured.get("FP32", {}).items()}
    rows = {}
    for name in VARIANTS["accuracy"]:
        if name.endswith("FP16") and name not in measured:  # without a GPU
            continue
        row = {dataset: main_figure(figures) for dataset, figures in measured.get(name, {}).items()}
        average = mean(list(row.values())) if row.keys() == original.keys() else None
        cells = {AVERAGE: average, **{dataset.upper(): (value,) for dataset, value in row.items()}}
        rows[name] = [Line(MEASURED, cells, dict.fromkeys(columns, scores))]
        if name == "FP32":
            continue
        theirs = {AVERAGE: minus(published.COMPRESSION[name][AVERAGE], published.COMPRESSION["FP32"][AVERAGE])}
        ours = {dataset.upper(): (value - original[dataset],) for dataset, value in row.items() if dataset in original}
        ours[AVERAGE] = minus(average, mean(list(original.values())))
        difference = {AVERAGE: minus(ours[AVERAGE], theirs[AVERAGE])}
        for kind, cells in (
            (f"change, {PUBLISHED}", theirs),
            (f"change, {MEASURED}", ours),
            (DIFFERENCE, difference),
        ):
            rows[name].append(Line(kind, cells, dict.fromkeys(columns, changes)))
    loss = published.PRUNED_INT8_LOSS_IN_THE_TEXT
    notes = [
        "Changes are against FP32, in points. The published ones are the averages over nine data sets of "
        f"{published.COMPRESSED_MODEL} (for pruned + INT8 the published text says -{loss}).",
        "Accuracy, entity F1 and exact match. Of several INT8 models the one that is best on the dev set stands.",
    ]
    return Table(f"Compression of {model}: what it costs", columns, rows, notes)


def speed_table(
    model: str, device: str, measured: Mapping[str, Mapping[str, Figures]], datasets: Sequence[str], notes: List[str]
) -> Table:
    """A speed table. `measured`: variant to data set to (texts/s, main metric in percent).

    For a sample set, the published ratio and change of the data set of the same task stand beside it.
    """
    known = published.SPEED[device]
    if model != published.COMPRESSED_MODEL and not set(datasets) <= set(COUNTERPARTS):
        known = {}
    original = measured.get("FP32", {})
    title = f"{device.upper()} speed of {model}"
    columns = [column for name in datasets for column in (f"{name.upper()} speed", name.upper())]
    rows = {}
    for variant in VARIANTS[device]:
        if set(datasets) <= set(COUNTERPARTS) and not measured:
            break  # a table of what was published for other data sets says nothing
        lines = [Line(kind, {}, {}) for kind in (PUBLISHED, MEASURED, DIFFERENCE)]
        for dataset in datasets:
            theirs = known.get(variant, {})
            column, their_column = dataset.upper(), COUNTERPARTS.get(dataset, dataset).upper()
            figures = measured.get(variant, {}).get(dataset)
            here = original.get(dataset) if figures else None
            speed = (figures[0], figures[0] / here[0]) if here else None
            score = figures and ((figures[1],) if variant == "FP32" or not here else (figures[1], figures[1] - here[1]))
            write_cells(lines, f"{column} speed", theirs.get(f"{their_column} speed"), speed, dataset in COUNTERPARTS)
            write_cells(lines, column, theirs.get(their_column), score, dataset in COUNTERPARTS)
        rows[variant] = lines
    if not rows:
        return Table(title, columns, rows, notes)
    their_machine = f"Published: {published.MACHINES[device]}; texts a second with batches of 32, ratio to FP32."
    return Table(title, columns, rows, [their_machine, "The difference of speeds is that of the ratios.", *notes])


def write_cells(lines: List[Line], column: str, theirs: Cell, ours: Cell, only_relative: bool) -> None:
    """Fill a column of the three lines; `only_relative` compares ratios and changes, not the figures themselves."""
    is_speed = column.endswith(" speed")
    if only_relative or is_speed:
        difference = minus(ours and ours[1:], theirs and theirs[1:])
    else:
        difference = minus(ours and ours[:1], theirs and theirs[:1])
    if only_relative:
        theirs = theirs and theirs[1:]
    whole = speed_with_ratio if is_speed else score_with_change
    relative, signed = (ratio, ratio_change) if is_speed else (changes, changes)
    cells, forms = (theirs, ours, difference), (relative if only_relative else whole, whole, signed)
    for line, cell, form in zip(lines, cells, forms):
        line.cells[column], line.form[column] = cell or None, form
