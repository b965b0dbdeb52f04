"""How much memory and time dataset.py takes for exports of any size:

    python benchmarks/own_data.py
    python benchmarks/own_data.py --texts 50000 500000 --chars 128

Writes exports of Label Studio (JSON, one array on one line) with texts put together from the sample reviews, converts
and describes them, each in a process of its own, and prints texts a second by what the processor spent, and the most
memory the process has held, with and without what it imports.
"""

import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Callable, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.annotation.convert import ConvertOptions, convert
from ernie_suite.data import find_dataset, load_examples
from ernie_suite.description.statistics import describe

from benchmarks.loading import peak_megabytes, write_texts
from ernie_inference.console import Parser, number_from, print_table, run_command
from ernie_inference.processors import describe_processor
from ernie_inference.wordpiece import WordPiece
from examples.sample_text import build_vocab


def write_export(lines: Path, path: Path) -> None:
    """JSON lines in TNEWS's format as Label Studio exports them."""
    with lines.open(encoding="utf-8") as given, path.open("w", encoding="utf-8") as file:
        for number, line in enumerate(given):
            item = json.loads(line)
            result = {"value": {"choices": [item["label"]]}, "from_name": "topic", "to_name": "text", "type": "choices"}
            annotation = {"id": number, "completed_by": 1, "was_cancelled": False, "result": [result]}
            task = {"id": number, "annotations": [annotation], "predictions": [], "data": {"text": item["sentence"]}}
            file.write(("," if number else "[") + json.dumps(task, ensure_ascii=False))
        file.write("]")


def convert_export(folder: Path) -> None:
    convert([folder / "export.json"], folder / "data", ConvertOptions())


def describe_data(folder: Path) -> None:
    vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    describe(find_dataset("tnews"), str(folder / "data"), WordPiece(vocabulary))


def measured(work: Callable[[Path], None], folder: Path) -> Tuple[float, float, float]:
    """Seconds of the processor, and the peak of memory before and after, in MB."""
    before, start = peak_megabytes(), time.process_time()
    work(folder)
    return time.process_time() - start, before, peak_megabytes()


def in_a_process_of_its_own(work: Callable[[Path], None], folder: Path) -> Tuple[float, float, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, work, folder).result()


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--texts", type=number_from(3), nargs="+", default=[50_000, 500_000])
    parser.add_argument("--chars", type=number_from(1), default=128, help="characters of a text")
    args = parser.parse_args()
    reviews: List[str] = [example["text"] for example in load_examples("sample_reviews", "train")]
    rows = []
    for count in args.texts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_texts(folder / "lines.json", reviews, count, args.chars)
            write_export(folder / "lines.json", folder / "export.json")
            (folder / "vocabulary.json").write_text(json.dumps(build_vocab(reviews)), encoding="utf-8")
            megabytes = (folder / "export.json").stat().st_size / 2**20
            for command, work in (("convert", convert_export), ("describe", describe_data)):
                seconds, before, peak = in_a_process_of_its_own(work, folder)
                rows.append(
                    {
                        "command": command,
                        "texts": f"{count:,}",
                        "export MB": f"{megabytes:,.0f}",
                        "texts/s": f"{count / seconds:,.0f}",
                        "peak MB": f"{peak:,.0f}",
                        "of the command itself": f"{peak - before:,.0f}",
                    }
                )
    print(f"texts of {args.chars} characters, one thread of {describe_processor(1)['processor']}")
    print_table(rows, right=list(rows[0])[1:])


if __name__ == "__main__":
    run_command(main)
