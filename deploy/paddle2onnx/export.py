"""Write the .onnx files of exported models beside them: FP32 models as FP32, quantized ones as INT8 (QDQ).

    python deploy/paddle2onnx/export.py --model_path best_models/TNEWS/export/model
    python deploy/paddle2onnx/export.py --model_path best_models/TNEWS/compress best_models/MSRA_NER/compress

A folder is searched for models, also in the folders within. A file that was made from the model as it is now is kept.
What needs it then runs without Paddle: deploy/python with ONNX Runtime or OpenVINO.
"""

import os
import sys
from pathlib import Path
from typing import Iterable, List

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "python"))

from ernie_inference.console import Parser, note, run_command
from ernie_inference.engines.onnx_files import export_onnx
from ernie_inference.engines.onnx_graph import read_graph
from ernie_inference.errors import InputError
from ernie_inference.files import TEMPORARY
from ernie_inference.model_files import PROGRAM, find_model

FORMS = {"fp32": "FP32", "int8": "INT8 (QDQ)"}


def find_models(paths: Iterable[str]) -> List[Path]:
    """The prefixes of the models that paths mean, each once: those in a folder, or what find_model takes.

    Raises:
        InputError: a path means none.
    """
    prefixes: List[Path] = []
    for path in map(Path, paths):
        found = sorted(path.rglob(f"*{PROGRAM}")) if path.is_dir() else []
        whole = [file for file in found if not any(part.startswith(TEMPORARY) for part in file.parts)]
        prefixes += [file.with_name(file.name[: -len(PROGRAM)]) for file in whole] or [find_model(path)]
    return list(dict.fromkeys(prefixes))


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--model_path", required=True, nargs="+", help="prefixes of exported models, or folders of some"
    )
    os.environ.setdefault("GLOG_minloglevel", "2")  # no notes of Paddle's C++ on every program that it reads
    prefixes = find_models(parser.parse_args().model_path)
    refused = 0
    for prefix in prefixes:
        try:
            file = export_onnx(prefix)
        except InputError as error:
            if len(prefixes) == 1:
                raise
            note(f"no .onnx file of {prefix}: {error}")
            refused += 1
        else:
            print(f"{file}  {FORMS[read_graph(file).precision]}", flush=True)
    if refused:
        raise InputError(f"{refused} of {len(prefixes)} models have no .onnx file, for the reasons above")


if __name__ == "__main__":
    run_command(main)
