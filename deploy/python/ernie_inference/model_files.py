"""The files of an exported model: found by what the user typed, and checked before C++ code opens them.

Paddle Inference 2.6 ends the whole process on some broken .pdmodel files (segmentation fault) and
runs with wrong weights when the last tensor of a .pdiparams file is cut short, so both are read
here first.
"""

import re
import struct
import warnings
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from ernie_inference.errors import InputError
from ernie_inference.quiet_imports import import_paddle

DERIVED = (".fp16", ".int8")
PROGRAM, PARAMETERS, ONNX_FILE = ".pdmodel", ".pdiparams", ".onnx"
INPUTS = ("input_ids", "token_type_ids")

# Sizes in bytes of the numbers that VarType.Type (framework.proto) names.
ITEM_SIZES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}
QUANTIZE_OPS = ("fake_quantize", "fake_channel_wise_quantize", "quantize_linear")


class ModelInfo(NamedTuple):
    """What a model file says about itself. None where it does not say.

    Attributes:
        quantized: whether it holds quantization (INT8) operators.
        scale_per_column: whether those give each output column of a weight a scale of its own.
        vocab_size: rows of the word embedding.
        max_positions: rows of the position embedding, so the most tokens of one input.
        num_labels: size of the last dimension of the first output.
    """

    quantized: bool
    scale_per_column: bool
    vocab_size: Optional[int]
    max_positions: Optional[int]
    num_labels: Optional[int]


def find_model(path: Union[str, Path], suffix: str = PROGRAM) -> Path:
    """The model a path means, as a prefix without suffix: a prefix, a file, a folder with one model,
    or the beginning of one prefix only (`float` for `float32`).

    Raises:
        InputError: there is no such model, or more than one.
    """
    path = Path(path)
    for ending in (suffix, PARAMETERS if suffix == PROGRAM else suffix):
        if path.name.endswith(ending) and path.name != ending:
            path = path.with_name(path.name[: -len(ending)])
    if Path(f"{path}{suffix}").exists():
        return path
    folder, beginning = (path, "") if path.is_dir() else (path.parent, path.name)
    names = sorted(file.name for file in folder.glob(f"*{suffix}")) if folder.is_dir() else []
    found = [name[: -len(suffix)] for name in names if name.startswith(beginning)]
    # model.int8.onnx and model.fp16.onnx are made from model.onnx, which is the one that is meant.
    found = [name for name in found if not (Path(name).suffix in DERIVED and Path(name).stem in found)]
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise InputError(f"{path} can mean {', '.join(found)} in {folder}: give one of these names")
    if not names:
        raise InputError(f"{folder} holds no {suffix} file: give the prefix or the folder of an exported model")
    raise InputError(f"{path}{suffix} is missing; {folder} holds {', '.join(names)}: give one of these")


def inspect_model(prefix: Path) -> ModelInfo:
    """Check PREFIX.pdmodel and PREFIX.pdiparams without running them.

    Raises:
        InputError: a file is missing, empty, cut short or something else than an exported model.
    """
    program = Path(f"{prefix}{PROGRAM}")
    block = _read_program(program)
    _check_parameters(Path(f"{prefix}{PARAMETERS}"))
    variables = {variable.name: list(variable.type.lod_tensor.tensor.dims) for variable in block.vars}
    inputs = {name for op in block.ops if op.type == "feed" for name in _arguments(op.outputs)}
    if not set(INPUTS) <= inputs:
        raise InputError(
            f"{program} has the inputs {', '.join(sorted(inputs)) or 'none'}, "
            "not input_ids and token_type_ids: export the model with --do_export"
        )
    tables: Dict[str, int] = {}  # what is looked up -> rows of the table
    for op in block.ops:
        if op.type == "lookup_table_v2":
            slots = {slot.parameter: slot.arguments[0] for slot in op.inputs}
            tables[slots["Ids"]] = variables[slots["W"]][0]
    vocab_size, max_positions = table_sizes(tables)
    outputs = [name for op in block.ops if op.type == "fetch" for name in _arguments(op.inputs)]
    return ModelInfo(
        quantized=any(op.type.startswith(QUANTIZE_OPS) for op in block.ops),
        scale_per_column=any(_has_scale_per_column(op, variables) for op in block.ops),
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_labels=variables[outputs[0]][-1] if outputs and variables[outputs[0]] else None,
    )


def says_quantized(program: Path) -> bool:
    """Whether a .pdmodel file has quantization operators, without Paddle to read it.

    Field 3 of an OpDesc is the operator's type. The name alone is in every file: versions of all operators are.
    """
    names = "|".join(QUANTIZE_OPS).encode()
    return re.search(rb"\x1a[\x00-\x7f](?:" + names + rb")", _read(program), re.DOTALL) is not None


def table_sizes(tables: Dict[str, int]) -> Tuple[Optional[int], Optional[int]]:
    """(vocab_size, max_positions) from a program's lookup tables: what is looked up -> rows of the table.

    Positions and ERNIE's task ids are both computed inside; there are only a few tasks.
    """
    computed = [rows for ids, rows in tables.items() if ids not in INPUTS]
    return tables.get(INPUTS[0]), max(computed, default=None)


def _has_scale_per_column(op, variables: Dict[str, List[int]]) -> bool:
    if op.type == "dequantize_linear":
        scale = next(slot.arguments[0] for slot in op.inputs if slot.parameter == "Scale")
        return variables[scale] not in ([], [1])
    return op.type.startswith("fake_channel_wise")


def _arguments(slots) -> List[str]:
    return [name for slot in slots for name in slot.arguments]


def _read_program(path: Path):
    """The operators and variables of a .pdmodel file (BlockDesc of Paddle's framework.proto)."""
    import_paddle()
    from google.protobuf.message import DecodeError
    from paddle.base.proto import framework_pb2

    content = _read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # protobuf warns of bytes that it leaves over; they have no blocks
            blocks = framework_pb2.ProgramDesc.FromString(content).blocks
    except DecodeError:
        blocks = []
    if not blocks or not blocks[0].ops:
        raise InputError(f"{path} is not a Paddle program, or only a part of one: export the model again")
    return blocks[0]


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: export the model again, or copy the file here") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    if not content:
        raise InputError(f"{path} is empty: export the model again")
    return content


def _check_parameters(path: Path) -> None:
    """Walk over the tensors of a .pdiparams file; the last one must end where the file ends.

    A tensor is: version 0 (uint32), number of LoD levels 0 (uint64), version 0 (uint32), size of the
    description (int32), the description (data type and dimensions), the numbers.
    """
    from google.protobuf.message import DecodeError
    from paddle.base.proto import framework_pb2

    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty: export the model again")
    try:
        with path.open("rb") as file:
            size, position = path.stat().st_size, 0
            while position < size:
                file.seek(position)
                header = struct.unpack("<IQIi", file.read(20))
                if header[:3] != (0, 0, 0) or not 0 < header[3] < 1024:
                    raise InputError(f"{path} is not a file of Paddle parameters: export the model again")
                tensor = framework_pb2.VarType.TensorDesc.FromString(file.read(header[3]))
                count = 1
                for dimension in tensor.dims:
                    count *= dimension
                position += 20 + header[3] + count * ITEM_SIZES[tensor.data_type]
    except FileNotFoundError:
        raise InputError(f"{path} is missing: copy it beside the .pdmodel file, or export the model again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    except (struct.error, DecodeError, KeyError):
        position = -1
    if position != size:
        raise InputError(f"{path} is cut short or damaged: copy it again, or export the model again")


def program_files(prefix: Path) -> List[Path]:
    """The files of a Paddle model."""
    return [Path(f"{prefix}{suffix}") for suffix in (PROGRAM, PARAMETERS)]


def check_length(max_seq_length: int, info: ModelInfo) -> None:
    """Raises InputError where inputs can be longer than the model has positions for."""
    if info.max_positions is not None and max_seq_length > info.max_positions:
        raise InputError(f"max_seq_length {max_seq_length}: the model takes at most {info.max_positions}")
