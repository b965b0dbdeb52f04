"""From an exported or compressed model to the folder that Paddle Serving loads."""

import shutil
from pathlib import Path
from typing import Optional, Union

from ernie_inference.console import Parser, run_command
from ernie_inference.engines.availability import is_installed
from ernie_inference.engines.backends import BACKENDS, PADDLE
from ernie_inference.errors import InputError
from ernie_inference.files import publish
from ernie_inference.inference_config import INFERENCE_FILE, VOCAB_FILE, load_task
from ernie_inference.model_files import PARAMETERS, PROGRAM, find_model, inspect_model

SERVING_FILE = "serving_server_conf.prototxt"
# VarType of framework.proto -> feed_type and fetch_type of general_model_config.proto.
SERVING_TYPES = {3: 0, 5: 1, 2: 2}  # int64, float32, int32


def convert(model_path: Union[str, Path], output_dir: Union[str, Path]) -> Path:
    """Write the serving folder of a model; nothing is replaced there before all files are made. Returns the folder.

    Raises:
        InputError: there is no such model, a file of it is missing or broken, or the folder cannot be written.
    """
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

    Where Paddle is not installed, another engine runs a .onnx file of the folder: nothing can read the Paddle model,
    and whether the .onnx file belongs to it is that engine's to say.

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
    if is_installed(BACKENDS[PADDLE]) and written != serving_config(find_model(folder)):
        raise InputError(f"{folder / SERVING_FILE} does not belong to the model beside it: {instead}")
    return folder


def run_converter(description: Optional[str]) -> None:
    """The command model_to_serving.py."""

    def main() -> None:
        parser = Parser(description=description)
        parser.add_argument("--model_path", required=True, help="prefix or folder of an exported or compressed model")
        parser.add_argument("--output_dir", help="default: serving, beside the folder of the model")
        args = parser.parse_args()
        output_dir = args.output_dir or find_model(args.model_path).parent.parent / "serving"
        print(f"wrote {convert(args.model_path, output_dir)}")

    run_command(main)
