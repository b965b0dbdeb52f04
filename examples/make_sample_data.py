"""Write the sample data sets of real Chinese text, which need no network:

    python examples/make_sample_data.py

What they are made of stands in ernie_suite/sample_data.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.sample_data import SAMPLES, WRITERS, make_sample_data

from ernie_inference.console import Parser, print_table, run_command


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, default=SAMPLES, help="folder to write the data sets to")
    args = parser.parse_args()
    rows = []
    for name in WRITERS:
        folder, counts = make_sample_data(name, args.output_dir)
        sizes = {split: f"{counts[split]:,}" for split in ("train", "dev", "test")}
        rows.append({"data set": name, **sizes, "folder": str(folder)})
    print_table(rows)


if __name__ == "__main__":
    run_command(main)
