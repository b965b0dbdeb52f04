"""Draw what the other scripts wrote, as one PNG:

    python benchmarks/plot.py speed speed/speed.png speed/speed.json
    python benchmarks/plot.py compression compression.png best_models/TNEWS/compress/report.json
    python benchmarks/plot.py training training.png ernie=best_models/TNEWS/results.json
    python benchmarks/plot.py memory memory.png serving_soak/serving_soak.json

speed: one bar a row and one panel a length. compression: what every compressed model gains in speed and
costs, one panel a report. training: losses and dev metric over the steps, one column a data set and
one line a file. memory: of every process of a service over the time, one panel a file. A file may be
NAME=FILE; its name is its folder's otherwise.
"""

import json
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

import matplotlib

from ernie_inference.console import Parser, run_command

matplotlib.use("Agg")
from matplotlib import pyplot

# Okabe and Ito's colours, which colour-blind readers tell apart.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
REPORTS_ABREAST = 2

pyplot.rcParams.update(
    {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#dddddd",
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }
)


class Source(NamedTuple):
    """A JSON file under the name it has in the picture."""

    name: str
    content: Dict

    @classmethod
    def read(cls, argument: str) -> "Source":
        name, equals, path = argument.partition("=")
        path = Path(path if equals else argument)
        folder = path.parent.parent if path.parent.name == "compress" else path.parent
        return cls(name if equals else folder.name, json.loads(path.read_text(encoding="utf-8")))


def draw_speed(sources: List[Source]):
    (source,) = sources
    content = source.content
    rows = content["rows"]
    lengths = list(dict.fromkeys(row["length"] for row in rows))
    height = 1.5 + 0.4 * len(rows) / len(lengths)
    figure, panels = pyplot.subplots(1, len(lengths), figsize=(7 * len(lengths), height), squeeze=False, sharey=True)
    for panel, length in zip(panels[0], lengths):
        here = [row for row in rows if row["length"] == length]
        bars = panel.barh(range(len(here)), [row["texts_per_second"]["median"] for row in here])
        panel.bar_label(bars, [f"{row['ratio']['median']:.2f}x" for row in here], padding=3)
        panel.set_yticks(range(len(here)), [f"{row['model']}: {row['engine'].rsplit(', ', 1)[0]}" for row in here])
        panel.set_xlabel(f"texts a second, {length} tokens")
        panel.grid(axis="y", visible=False)
        panel.margins(x=0.15)
    panels[0][0].invert_yaxis()
    figure.suptitle(f"{content['processor']}, {content['num_threads']} threads, batches of {content['batch_size']}")
    return figure


def draw_compression(sources: List[Source]):
    """The pictures that reports have beside them, one panel a report."""
    from ernie_suite.compression.pareto import draw, report_axes  # here, as importing the suite takes seconds

    columns = min(len(sources), REPORTS_ABREAST)
    rows = -(-len(sources) // columns)
    figure = pyplot.figure(figsize=(9 * columns, 5.8 * rows), layout="none")  # where labels are depends on the size
    for number, source in enumerate(sources):
        panel = report_axes(figure, number, columns, rows)
        draw(source.content, panel)
        panel.set_title(f"{source.content['task_name']}, {source.name}", pad=28)
    return figure


def draw_training(sources: List[Source]):
    """Above the losses, below the dev metric with its best value marked."""
    datasets = list(dict.fromkeys(source.content["dataset"] for source in sources))
    names = list(dict.fromkeys(source.name for source in sources))
    size = (5 * len(datasets), 6.4)
    figure, panels = pyplot.subplots(2, len(datasets), figsize=size, squeeze=False, sharex="col")
    for source in sources:
        training = source.content["training"]
        above, below = panels[:, datasets.index(source.content["dataset"])]
        colour = LINES[names.index(source.name) % len(LINES)]
        ((metric, best),) = training["best"].items()
        losses = [entry for entry in training["history"] if "loss" in entry]
        evaluated = [entry for entry in training["history"] if "eval_loss" in entry]
        steps = [entry["step"] for entry in evaluated]
        values = [100 * entry[f"eval_{metric}"] for entry in evaluated]
        above.plot([e["step"] for e in losses], [e["loss"] for e in losses], color=colour, alpha=0.35, linewidth=0.9)
        above.plot(steps, [e["eval_loss"] for e in evaluated], color=colour, marker=".", label=source.name)
        below.plot(steps, values, color=colour, marker=".", label=source.name)
        if values:
            highest = max(range(len(values)), key=values.__getitem__)
            below.plot(steps[highest], values[highest], marker="o", markersize=9, fillstyle="none", color=colour)
            below.annotate(
                f"{100 * best:.1f}",
                (steps[highest], values[highest]),
                (0, -14),
                textcoords="offset points",
                ha="center",
            )
        above.set_title(source.content["dataset"])
        below.set_ylabel(f"dev {metric.replace('_', ' ')}, %")
        below.set_xlabel("steps")
        below.margins(y=0.15)
    panels[0][0].set_ylabel("loss: training (thin), dev (bold)")
    for panel in panels.flat:
        panel.set_xlim(left=0)
    handles = {label: handle for panel in panels.flat for handle, label in zip(*panel.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)))
    return figure


def draw_memory(sources: List[Source]):
    """What every process holds, on top of one another, and where models were reloaded."""
    size = (9, 4 * len(sources))
    figure, panels = pyplot.subplots(len(sources), 1, figsize=size, squeeze=False)
    for panel, source in zip(panels[:, 0], sources):
        content = source.content
        samples, memory = content["memory"]["samples"], content["memory"]
        names = list(dict.fromkeys(name for sample in samples for name in sample["mb"]))
        minutes = [sample["seconds"] / 60 for sample in samples]
        held = [[sample["mb"].get(name, 0.0) for sample in samples] for name in names]
        colours = [LINES[number % len(LINES)] for number in range(len(names))]
        panel.stackplot(minutes, held, labels=names, colors=colours, alpha=0.75, step="post")
        settled = memory["settled_after_seconds"] / 60
        panel.hlines(memory["settled_mb"], settled, minutes[-1], color="#000000", linewidth=0.8, linestyle="--")
        for entry in content["reloads"]:
            panel.axvline(entry["seconds"] / 60, color="#000000", linewidth=0.6, linestyle=":")
        panel.set_title(
            f"{source.name}: {memory['settled_mb']:.0f} MB after {settled:.1f} min (dashed), "
            f"{memory['end_mb']:.0f} MB at the end; dotted: reloads"
        )
        panel.set_xlabel("minutes of full load")
        panel.set_ylabel("resident memory, MB")
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.legend(loc="lower right", fontsize=8)
    return figure


KINDS = {"speed": draw_speed, "compression": draw_compression, "training": draw_training, "memory": draw_memory}


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("target", help="the PNG")
    parser.add_argument("sources", nargs="+", metavar="[NAME=]FILE")
    args = parser.parse_args()
    KINDS[args.kind]([Source.read(source) for source in args.sources]).savefig(args.target, dpi=120)


if __name__ == "__main__":
    run_command(main)
