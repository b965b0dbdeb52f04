"""What the commands share: their parser and how they end, and for those that answer, flags, example texts and how
answers are printed."""

import argparse
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, NoReturn

from bulk import answer_file
from ernie_predictor import TASKS, ErniePredictor
from model_files import InputError
from text_output import print_anything

EXAMPLES: Dict[str, List[Any]] = {
    "seq_cls": [
        "房间宽敞明亮，早餐也很丰富，下次出差还会住这里。",
        "等了一个小时才上菜，鱼还是凉的，不会再来了。",
    ],
    "token_cls": [
        "北京的秋天很美，王小明打算和同事去香山看红叶。",
        ["中", "国", "科", "学", "院", "的", "李", "华", "昨", "天", "从", "上", "海", "回", "来", "。"],
    ],
    "qa": [
        {"question": "大桥有多长？", "context": "这座跨海大桥于2018年通车，全长55公里，连接三座城市。"},
        {"question": "谁写了这本书？", "context": "《边城》是沈从文的中篇小说，写的是湘西小镇上一家人的故事。"},
    ],
}


class Parser(argparse.ArgumentParser):
    """Its errors are InputError, so that a command ends with one line whatever was wrong; flags are not abbreviated."""

    def __init__(self, **options: Any):
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


MOST = 2**31  # what C++ takes for a whole number


def number_from(least: float, kind: type = int) -> Callable[[str], Any]:
    """What argparse calls a type: the numbers from `least` on, whole ones unless `kind` is float."""
    return _number(kind, lambda value: value >= least, f"give a number from {least} on")


def number_above(limit: float) -> Callable[[str], float]:
    """The numbers above `limit`, likewise."""
    return _number(float, lambda value: value > limit, f"give a number above {limit}")


def _number(kind: type, is_wanted: Callable[[Any], bool], advice: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' * (kind is int)}number: {advice}") from None
        if not (-MOST < value < MOST and is_wanted(value)):  # not so for nan and inf either
            raise argparse.ArgumentTypeError(f"{text}: {advice}")
        return value

    return parse


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
    parser.add_argument("--input_file", help="JSON lines to answer instead of the example texts")
    parser.add_argument("--output_file", help="where the answers of --input_file go, one a line")
    return parser


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, checked before any work."""
    args = parser.parse_args()
    if bool(args.input_file) != bool(args.output_file):
        raise InputError("--input_file and --output_file belong together: give both, or neither for the example texts")
    if args.input_file and not Path(args.input_file).is_file():
        raise InputError(f"--input_file {args.input_file} is missing: give a file of JSON lines")
    return args


def run_command(main: Callable[[], None]) -> None:
    """Run a command; what the user or the system makes impossible is one line on stderr and exit status 2."""
    print_anything()
    try:
        main()
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def answer(predictor: ErniePredictor, args: argparse.Namespace) -> None:
    """Say which engine runs, then answer the file that was given or the example texts."""
    print(predictor.engine.config.describe(), flush=True)
    if args.input_file:
        lines = answer_file(predictor, args.input_file, args.output_file, args.batch_size)
        print(f"wrote {lines} lines to {args.output_file}")
        return
    examples = EXAMPLES[predictor.task.name]
    for example, result in zip(examples, predictor.predict(examples, args.batch_size)):
        print(format_answer(predictor.task.name, example, result))


def format_answer(task_name: str, example: Any, result: Dict) -> str:
    """An answer for people, in the form that the reference implementation prints."""
    lines = [f"input data: {example}", *FORMATS[task_name](result), "-----------------------------"]
    return "\n".join(lines)


def _seq_cls_lines(result: Dict) -> List[str]:
    truncated = "   (the text was truncated)" if result["truncated"] else ""
    return ["seq cls result:", f"label: {result['label']}   confidence: {result['confidence']:.4f}{truncated}"]


def _token_cls_lines(result: Dict) -> List[str]:
    entities = [
        f"entity: {entity['entity']}   label: {entity['label']}   pos: {entity['pos']}" for entity in result["entities"]
    ]
    return ["The model detects all entities:", *entities]


def _qa_lines(result: Dict) -> List[str]:
    return ["qa result:", f"answer: {result['answer']}   score: {result['score']:.4f}   pos: {result['pos']}"]


FORMATS = {"seq_cls": _seq_cls_lines, "token_cls": _token_cls_lines, "qa": _qa_lines}
