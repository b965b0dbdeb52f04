"""Draw what speed.py measured, one bar a row and one panel a length:

python benchmarks/plot.py speed/speed.json speed/speed.png
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def main(source: str, target: str) -> None:
    content = json.loads(Path(source).read_text(encoding="utf-8"))
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
        panel.margins(x=0.15)
    panels[0][0].invert_yaxis()
    figure.suptitle(f"{content['processor']}, {content['num_threads']} threads, batches of {content['batch_size']}")
    figure.tight_layout()
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
