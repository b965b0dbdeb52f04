"""What the commands that answer texts share: their flags, what they answer, and how answers are printed."""

import argparse
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Type, Union

from ernie_inference.answer_options import PLAIN, AnswerOptions, add_answer_flags, answer_options_of
from ernie_inference.bulk import answer_file
from ernie_inference.console import Parser, number_from
from ernie_inference.errors import InputError
from ernie_inference.predictor import ErniePredictor
from ernie_inference.tasks import TASKS
from ernie_inference.tasks.base import Task
from ernie_inference.text_output import one_line


class ModelAnswerer:
    """An exported model, to answer texts or a file as options say.

    Raises:
        InputError: its task does not give what they ask for.
    """

    def __init__(self, predictor: ErniePredictor, options: AnswerOptions = PLAIN):
        self.task = predictor.task
        self._predictor = predictor
        self._options = self.task.answer_options(**options.given).given

    def predict_iter(self, inputs: Iterable[Any], batch_size: int) -> Iterator[Dict]:
        return self._predictor.predict_iter(inputs, batch_size, **self._options)

    def depends_on(self) -> Dict[str, Any]:
        return {**self._predictor.depends_on(), **self._options}


def make_parser(description: str, precisions: List[str]) -> argparse.ArgumentParser:
    """A parser with the flags that all inference commands have."""
    parser = Parser(description=description)
    parser.add_argument("--model_path", required=True, help="prefix or folder of the exported model")
    parser.add_argument("--task_name", choices=sorted(TASKS), help="must agree with the model's inference.json")
    parser.add_argument("--precision_mode", default="fp32", choices=precisions)
    parser.add_argument("--batch_size", type=number_from(1), default=32, help="texts computed at once")
    parser.add_argument(
        "--max_seq_length", type=number_from(1), help="tokens of one window; default: as the model was trained"
    )
    add_answer_flags(parser)
    parser.add_argument("--input_file", help="JSON lines to answer instead of the example texts")
    parser.add_argument("--output_file", help="where the answers of --input_file go, one a line")
    return parser


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, checked before any work."""
    args = parser.parse_args()
    args.answer_options = answer_options_of(args)
    if bool(args.input_file) != bool(args.output_file):
        raise InputError("--input_file and --output_file belong together: give both, or neither for the example texts")
    if args.input_file and not Path(args.input_file).is_file():
        raise InputError(f"--input_file {args.input_file} is missing: give a file of JSON lines")
    return args


def answer(predictor: ErniePredictor, args: argparse.Namespace) -> None:
    """Say which engine runs, then answer the file that was given or the example texts."""
    answerer = ModelAnswerer(predictor, args.answer_options)
    print(predictor.engine.describe(), flush=True)
    if args.input_file:
        lines = answer_file(answerer, args.input_file, args.output_file, args.batch_size)
        print(f"wrote {lines} lines to {args.output_file}")
        return
    inputs = predictor.task.sample_inputs
    for given, result in zip(inputs, list(answerer.predict_iter(inputs, args.batch_size))):
        print(format_answer(predictor.task, given, result))


def format_answer(task: Union[Task, Type[Task]], given: Any, answer: Dict) -> str:
    """An input and its answer for people, in the form that the reference implementation prints."""
    return "\n".join([f"input data: {given}", *map(one_line, task.describe(answer)), "-----------------------------"])
