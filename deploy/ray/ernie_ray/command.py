"""The command: its flags, what is checked before anything is started, and what is said in the end."""

import importlib.util
import os
import sys
from argparse import Namespace
from typing import Any, Dict, NoReturn

from ernie_inference.answer_options import add_answer_flags, answer_options_of
from ernie_inference.console import Parser, number_from, run_command
from ernie_inference.engine_choice import add_engine_flags, engine_of, load_with
from ernie_inference.errors import InputError
from ernie_inference.processors import usable_processors
from ernie_inference.tasks import TASKS

INTERRUPTED = "interrupted: the same command goes on after the parts that are complete"


def run_bulk(description: str) -> None:
    """The command bulk.py."""
    try:
        run_command(lambda: main(description), INTERRUPTED)
    except SystemExit as end:
        ray = sys.modules.get("ray")
        if ray is not None and ray.is_initialized():
            leave(end.code)
        raise


def leave(status: Any) -> NoReturn:
    """End this process after an error. Ray started here ends with it, and so do its workers elsewhere.

    Not with ray.shutdown(), as threads of Ray Data 2.49 go on when an iteration is left early: they find no Ray, start
    another, and when that one is gone too the process ends with exit status 1. Can go when leaving a loop over
    Dataset.iter_rows() ends them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def parse_arguments(description: str) -> Namespace:
    parser = Parser(description=description)
    parser.add_argument("--model_path", required=True, help="prefix, folder or .onnx file; the same on every machine")
    parser.add_argument("--task_name", choices=sorted(TASKS), help="must agree with the model's inference.json")
    parser.add_argument(
        "--input_path", required=True, nargs="+", help="JSON lines or Parquet: files, folders, s3://..."
    )
    parser.add_argument("--output_dir", required=True, help="folder of the parts; on a cluster one that all share")
    parser.add_argument("--text_column", help="the column that is the input; default: the task's own fields")
    parser.add_argument("--answer_column", default="answer", help="the new column (default: answer)")
    parser.add_argument("--precision_mode", default="fp32", choices=["fp32", "int8", "bf16"])
    parser.add_argument("--batch_size", type=number_from(1), default=32, help="texts computed at once")
    parser.add_argument("--max_seq_length", type=number_from(1), help="tokens of a window; default: as it was trained")
    parser.add_argument("--num_workers", type=number_from(1), help="default: as many as there are processors for")
    parser.add_argument("--num_threads", type=number_from(1), default=1, help="of each worker (default: 1)")
    parser.add_argument("--rows_per_part", type=number_from(1), default=5000, help="the most rows of one output file")
    parser.add_argument("--address", help="auto or ray://host:port: a cluster; default: Ray is started here")
    add_engine_flags(parser)
    add_answer_flags(parser)
    args = parser.parse_args()
    args.answer_options = answer_options_of(args)
    return args


def main(description: str) -> None:
    args = parse_arguments(description)
    for module in ("ray", "pyarrow"):
        if importlib.util.find_spec(module) is None:
            raise InputError(f"{module} is not installed: pip install -r requirements/ray.txt")
    from ernie_ray.rows import FORMATS, Columns, format_of  # what needs pyarrow, and Ray
    from ernie_ray.run import Run, answer
    from ernie_ray.store import Store, find_files

    endings = tuple(ending for kind in FORMATS.values() for ending in kind.endings)
    files = find_files(args.input_path, endings)
    output = Store(args.output_dir)
    if any(output.is_in(path) for path in args.input_path):
        raise InputError(
            f"--output_dir {output} is in --input_path, where answers would be taken for rows: name another"
        )
    model, depends_on = choose_model(args)
    run = Run(
        files=files,
        format=format_of(files),
        columns=Columns(args.text_column, args.answer_column),
        output=output,
        model=model,
        depends_on=depends_on,
        rows_per_part=args.rows_per_part,
        batch_size=args.batch_size,
        num_workers=args.num_workers or default_workers(args),
        num_threads=args.num_threads,
        address=args.address,
        answer_options=args.answer_options,
    )
    written = answer(run)
    there = f", {written.parts_before} of which were there already" if written.parts_before else ""
    print(f"wrote {written.rows:,} rows in {written.parts:,} parts to {args.output_dir}{there}")


def default_workers(args: Namespace) -> Any:
    """None on a cluster, which knows itself what there is room for."""
    return None if args.address else max(1, usable_processors() // args.num_threads)


def choose_model(args: Namespace) -> tuple:
    """The arguments that make the predictor of each worker, and what its answers depend on.

    The model is loaded here once: what is wrong with it is said before anything is started, files that are made from
    it (a .onnx of a Paddle model) are made by one process, and --engine auto chooses the same engine for all workers.

    Raises:
        InputError: as load_with.
    """
    model: Dict[str, Any] = {
        "engine": engine_of(args),
        "model_path": os.path.abspath(args.model_path),  # workers have other working directories
        "task_name": args.task_name,
        "max_seq_length": args.max_seq_length,
        "precision": args.precision_mode,
        "batch_size": args.batch_size,
    }
    predictor = load_with(**model, num_threads=args.num_threads)
    predictor.task.answer_options(**args.answer_options.given)
    model["engine"] = predictor.engine.config.backend
    print(f"{predictor.engine.describe()} a worker", flush=True)
    return model, predictor.depends_on()
