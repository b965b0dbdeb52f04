"""Your own data: from annotation tools to a data set of the scripts, a look at it before training, and back.

    python dataset.py convert --input_file export.json --output_dir my_data
    python dataset.py describe --task_name tnews --data_dir my_data
    python dataset.py preannotate --input_file texts.jsonl --answer_file answers.jsonl --tool label_studio \\
        --output_file tasks.json

convert reads exports of doccano and Label Studio, CSV and TSV, and CoNLL columns; describe counts classes, lengths and
texts that stand there twice; preannotate makes of a model's answers what doccano and Label Studio import.
"""

from argparse import Namespace
from pathlib import Path

from ernie_suite.annotation.convert import DUPLICATES, KEEP, Converted, ConvertOptions, convert
from ernie_suite.annotation.formats import FORMATS
from ernie_suite.annotation.forms import FORMS
from ernie_suite.annotation.offsets import UNITS
from ernie_suite.annotation.preannotate import TOOLS, preannotate
from ernie_suite.annotation.prelabels import Names
from ernie_suite.annotation.records import ReadOptions
from ernie_suite.annotation.report import print_converted
from ernie_suite.annotation.spans import LONGEST, OVERLAPS
from ernie_suite.annotation.splits import Shares
from ernie_suite.arguments import DEFAULT_MODEL
from ernie_suite.data import find_dataset
from ernie_suite.description.picture import draw_description
from ernie_suite.description.report import REPORT, as_json, default_folder, print_description
from ernie_suite.description.statistics import describe
from ernie_suite.description.vocabulary import find_vocabulary

from ernie_inference.console import Parser, filled, number_from, run_command
from ernie_inference.errors import InputError
from ernie_inference.files import check_writable, write_json
from ernie_inference.text_output import one_line


def parse_arguments() -> Namespace:
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="convert | describe | preannotate")
    add_convert(commands.add_parser("convert", help="exports of annotation tools to a data set"))
    add_describe(commands.add_parser("describe", help="counts of a data set before training"))
    add_preannotate(commands.add_parser("preannotate", help="answers of a model to what annotation tools import"))
    return parser.parse_args()


def add_convert(parser) -> None:
    parser.add_argument("--input_file", type=filled(Path), nargs="+", required=True, help="one or more exports")
    parser.add_argument("--output_dir", type=filled(Path), required=True, help="folder of the data set")
    parser.add_argument("--overwrite_output_dir", action="store_true", help="replace a data set that is there")
    about = "; ".join(f"{found.name}: {found.about}" for found in FORMATS.values())
    parser.add_argument("--format", choices=list(FORMATS), help=f"default: as each file looks. {about}")
    tasks = [form.task_name for form in FORMS]
    parser.add_argument("--task_name", choices=tasks, help="default: what the texts are annotated for")
    parser.add_argument("--dev_share", type=number_from(0, float, 1), default=0.1, help="of the texts; 0.1")
    parser.add_argument("--test_share", type=number_from(0, float, 1), default=0.1, help="of the texts; 0.1")
    parser.add_argument("--seed", type=number_from(0), default=42, help="of the split; 42")
    parser.add_argument("--overlaps", choices=OVERLAPS, default=LONGEST, help="of spans that share characters: keep "
                        "the longest, or refuse them")  # fmt: skip
    parser.add_argument("--duplicates", choices=DUPLICATES, default=KEEP, help="of texts that stand there twice: keep "
                        "all in one split, or drop all but the first")  # fmt: skip
    parser.add_argument("--text_column", type=filled(str), help="field, column or key of the text")
    parser.add_argument("--text_pair_column", type=filled(str), help="likewise of the second text of a pair")
    parser.add_argument("--question_column", type=filled(str), help="likewise of the question")
    parser.add_argument("--label_column", type=filled(str), help="likewise of the labels, spans or answers")
    parser.add_argument("--label_separator", help='between the labels of one cell of a table, e.g. "#"')
    parser.add_argument("--from_name", type=filled(str), help="the control of Label Studio whose results count")
    parser.add_argument("--offsets", choices=list(UNITS), help="what positions of spans count; default: "
                        "utf16 in doccano's exports, else code_points")  # fmt: skip


def run_convert(args: Namespace) -> None:
    if args.dev_share + args.test_share >= 1:
        raise InputError(f"--dev_share {args.dev_share} and --test_share {args.test_share} leave nothing to train on")
    options = ConvertOptions(
        ReadOptions(
            args.text_column,
            args.text_pair_column,
            args.question_column,
            args.label_column,
            args.from_name,
            args.label_separator,
            args.offsets,
        ),
        args.format,
        args.task_name,
        Shares(args.dev_share, args.test_share),
        args.seed,
        args.overlaps,
        args.duplicates,
    )
    converted: Converted = convert(args.input_file, args.output_dir, options, args.overwrite_output_dir)
    print_converted(converted, args.output_dir)


def add_describe(parser) -> None:
    parser.add_argument("--task_name", "--dataset", required=True, help='data set, as tnews or as "clue tnews"')
    parser.add_argument("--data_dir", type=filled(str), help="folder of your own files in the data set's format")
    parser.add_argument("--model_name_or_path", help=f"whose vocabulary counts the tokens; {DEFAULT_MODEL}")
    parser.add_argument("--vocab_file", type=filled(Path), help="a vocab.txt instead")
    parser.add_argument(
        "--output_dir", type=filled(Path), help="of the picture and the JSON; default: the data's folder"
    )


def run_describe(args: Namespace) -> None:
    spec = find_dataset(args.task_name)
    if args.data_dir is not None and not Path(args.data_dir).is_dir():
        raise InputError(f"{args.data_dir} is no folder: give that of your files with --data_dir")
    folder = args.output_dir or default_folder(args.data_dir, spec.name)
    check_writable(folder)
    description = describe(spec, args.data_dir, find_vocabulary(args.model_name_or_path, args.vocab_file))
    print_description(description)
    write_json(folder / REPORT, as_json(description, args.data_dir))
    picture = draw_description(description, folder)
    print(f"wrote {folder / REPORT}" + (f" and {picture}" if picture else ""))


def add_preannotate(parser) -> None:
    parser.add_argument("--input_file", type=filled(Path), required=True, help="JSON lines that were answered")
    parser.add_argument("--answer_file", type=filled(Path), required=True, help="their answers, of deploy/python")
    parser.add_argument("--output_file", type=filled(Path), required=True, help="what the tool imports")
    parser.add_argument("--tool", choices=TOOLS, required=True)
    parser.add_argument("--from_name", default="label", help="Label Studio: the name of the control; label")
    parser.add_argument("--to_name", default="text", help="Label Studio: the name of the text's object; text")
    parser.add_argument("--text_column", default="text", help="Label Studio: the key of the text in the data; text")
    parser.add_argument("--model_version", default="ernie", help="Label Studio: whose answers these are; ernie")


def run_preannotate(args: Namespace) -> None:
    names = Names(args.text_column, args.from_name, args.to_name, args.model_version)
    done = preannotate(args.input_file, args.answer_file, args.output_file, args.tool, names)
    labels = ", ".join(f"{one_line(label, 40)} {count:,}" for label, count in sorted(done.labels.items()))
    print(
        f"wrote {done.texts:,} texts to {args.output_file}, {done.empty:,} without an answer: {labels or 'no labels'}"
    )
    if done.config:
        print(f"a labeling configuration that takes them: {one_line(done.config)}")


COMMANDS = {"convert": run_convert, "describe": run_describe, "preannotate": run_preannotate}


def main() -> None:
    args = parse_arguments()
    COMMANDS[args.command](args)


if __name__ == "__main__":
    run_command(main)
