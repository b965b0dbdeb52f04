"""From an exported or compressed model to the folder that Paddle Serving loads.

    python deploy/serving/model_to_serving.py --model_path best_models/TNEWS/export/model
    python deploy/serving/model_to_serving.py --model_path best_models/TNEWS/compress/0.75/hist16/int8 \\
        --output_dir best_models/TNEWS/serving_int8

The folder holds the model, serving_server_conf.prototxt (names, types and shapes of its inputs and outputs), and
the vocabulary and inference.json, which say how texts become inputs and outputs answers.

This stands in for `python -m paddle_serving_client.convert`, which ends with "No module named 'paddle.fluid'" since
paddle 2.5 (https://github.com/PaddlePaddle/Serving/issues/1985); it can go when that works again.
"""

import shutil
import sys
from pathlib import Path
from typing import Union

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "python"), str(Path(__file__).resolve().parents[2])]

from commands import Parser, run_command  # noqa: E402
from ernie_predictor import INFERENCE_FILE, VOCAB_FILE, load_task  # noqa: E402
from model_files import PARAMETERS, PROGRAM, InputError, find_model, inspect_model  # noqa: E402

SERVING_FILE = "serving_server_conf.prototxt"
# VarType of framework.proto -> feed_type and fetch_type of general_model_config.proto.
SERVING_TYPES = {3: 0, 5: 1, 2: 2}  # int64, float32, int32


def convert(model_path: Union[str, Path], output_dir: Union[str, Path]) -> Path:
    """Write the serving folder of a model; nothing is replaced there before all files are made. Returns the folder.

    Raises:
        InputError: there is no such model, a file of it is missing or broken, or the folder cannot be written.
    """
    from files import publish

    prefix, output_dir = find_model(model_path), Path(output_dir)
    load_task(prefix.parent)  # its files must be there and whole before anything is written
    config = serving_config(prefix)
    if output_dir.resolve() == prefix.parent.resolve():
        raise InputError(f"{output_dir} is the model's own folder: name another --output_dir")
    strangers = [path.name for path in output_dir.glob(f"*{PROGRAM}") if path.name != f"model{PROGRAM}"]
    if strangers:
        raise InputError(f"{output_dir} holds another model, {strangers[0]}: name another --output_dir")
    with publish(output_dir) as temporary:
        for suffix in (PROGRAM, PARAMETERS):
            shutil.copyfile(f"{prefix}{suffix}", temporary / f"model{suffix}")
        for name in (INFERENCE_FILE, VOCAB_FILE):
            shutil.copyfile(prefix.parent / name, temporary / name)
        (temporary / SERVING_FILE).write_text(config, encoding="utf-8")
    return output_dir


def serving_config(prefix: Path) -> str:
    """The text of serving_server_conf.prototxt for a model (GeneralModelConfig of paddle_serving_app)."""
    inspect_model(prefix)
    from google.protobuf import text_format
    from paddle.base.proto import framework_pb2
    from paddle_serving_app.proto.general_model_config_pb2 import GeneralModelConfig

    block = framework_pb2.ProgramDesc.FromString(Path(f"{prefix}{PROGRAM}").read_bytes()).blocks[0]
    tensors = {variable.name: variable.type.lod_tensor.tensor for variable in block.vars}
    config = GeneralModelConfig()
    for op in block.ops:
        if op.type == "feed":
            name = op.outputs[0].arguments[0]
            feed = config.feed_var.add(name=name, alias_name=name, is_lod_tensor=False)
            feed.feed_type = SERVING_TYPES[tensors[name].data_type]
            feed.shape.extend(tensors[name].dims[1:])  # Serving leaves out the batch
        elif op.type == "fetch":
            name = op.inputs[0].arguments[0]
            fetch = config.fetch_var.add(name=name, alias_name=name, is_lod_tensor=False)
            fetch.fetch_type = SERVING_TYPES[tensors[name].data_type]
            fetch.shape.extend(tensors[name].dims[1:])
    return text_format.MessageToString(config)


def check_serving_folder(folder: Union[str, Path]) -> Path:
    """The folder, if it is one that convert() wrote.

    Raises:
        InputError: it is not, or serving_server_conf.prototxt is not the model's own.
    """
    folder = Path(folder)
    instead = "make the folder with deploy/serving/model_to_serving.py"
    if not folder.is_dir():
        raise InputError(f"model_dir {folder} is missing: {instead}")
    try:
        written = (folder / SERVING_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{folder / SERVING_FILE} is missing: {instead}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / SERVING_FILE} cannot be read ({error}): {instead}") from None
    if written != serving_config(find_model(folder)):
        raise InputError(f"{folder / SERVING_FILE} does not belong to the model beside it: {instead}")
    return folder


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model_path", required=True, help="prefix or folder of an exported or compressed model")
    parser.add_argument("--output_dir", help="default: serving, beside the folder of the model")
    args = parser.parse_args()
    output_dir = args.output_dir or find_model(args.model_path).parent.parent / "serving"
    print(f"wrote {convert(args.model_path, output_dir)}")


if __name__ == "__main__":
    run_command(main)
