"""The .onnx form of an exported model, and its FP16 and INT8 forms."""

import importlib.util
import logging
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional, Union

from ernie_inference.derived import Kind, derive, origin_of
from ernie_inference.engines.availability import installed_version
from ernie_inference.engines.onnx_graph import read_graph
from ernie_inference.engines.onnx_quantized import quantize_products, write_unquantized
from ernie_inference.engines.static_program import write_without_padding_index
from ernie_inference.errors import InputError
from ernie_inference.files import digest_of
from ernie_inference.model_files import ONNX_FILE, find_model, inspect_model, program_files

OPSET_VERSION = 13
CONVERTERS = {"paddlepaddle": "paddle", "paddle2onnx": "paddle2onnx"}  # what a conversion needs, and its module
METADATA_PROPS = 14  # field number in ModelProto
ORIGIN, PRECISION = "origin", "precision"  # our entries there


def metadata_entry(key: str, value: str) -> bytes:
    """An entry of ModelProto.metadata_props, which may stand at the end of an .onnx file: protobuf merges fields."""
    texts = [text.encode() for text in (key, value)]
    entry = b"".join(_tag(number) + _size(text) + text for number, text in enumerate(texts, start=1))
    return _tag(METADATA_PROPS) + _size(entry) + entry


def _tag(number: int) -> bytes:
    return bytes([number << 3 | 2])  # length-delimited


def _size(content: bytes) -> bytes:
    """The length as a varint, of up to 14 bits."""
    return bytes([len(content)]) if len(content) < 0x80 else bytes([len(content) & 0x7F | 0x80, len(content) >> 7])


ONNX_FORM = Kind(mark=lambda text: metadata_entry(ORIGIN, text), instead="make its folder writable")


def find_onnx(model_path: Union[str, Path]) -> Path:
    """The .onnx file that a path means; an exported Paddle model is converted, and the result kept beside it.

    Where both are there, the Paddle model is what is meant, and one that has changed is converted again. Where nothing
    can be converted, as without Paddle, the file is what is meant, unless it was made from other Paddle files.
    """
    if not str(model_path).endswith(ONNX_FILE):
        try:
            prefix = find_model(model_path)
        except InputError:
            prefix = None
        if prefix is not None:
            lacking = [package for package, module in CONVERTERS.items() if not _is_installed(module)]
            return _ready_made(model_path, prefix, lacking) if lacking else export_onnx(prefix)
    try:
        return Path(f"{find_model(model_path, ONNX_FILE)}{ONNX_FILE}")
    except InputError:
        if str(model_path).endswith(ONNX_FILE):
            raise
    return export_onnx(find_model(model_path))  # says what is missing


def _ready_made(model_path: Union[str, Path], prefix: Path, lacking: List[str]) -> Path:
    """The .onnx file that is there where a path means the Paddle model PREFIX, which cannot be converted here."""
    why = f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed"
    file = Path(f"{prefix}{ONNX_FILE}")
    if not file.exists():
        try:
            file = Path(f"{find_model(model_path, ONNX_FILE)}{ONNX_FILE}")
        except InputError:
            raise InputError(
                f"{file} is missing, and {why} to make it: make it with deploy/paddle2onnx/export.py where they are, "
                "and copy it here"
            ) from None
    sources = program_files(prefix)
    origin = origin_of(file) if file.name == f"{prefix.name}{ONNX_FILE}" else None
    if origin and all(source.exists() for source in sources) and origin.digest != digest_of(sources):
        raise InputError(
            f"{file} was made from another model than {sources[0]}, and {why} to make it anew: "
            "name the file itself to use it as it is"
        )
    return file


def export_onnx(prefix: Path) -> Path:
    """Convert an exported Paddle model to PREFIX.onnx, unless that was made from it as it is now.

    A quantized one becomes INT8 there too, with the same thresholds: see onnx_quantized.py.

    Raises:
        InputError: the model is broken, PREFIX.onnx was made by something else, or a package is missing.
    """
    sources = program_files(prefix)

    def convert(file: Path) -> None:
        quantized = inspect_model(prefix).quantized
        for package in ("paddle2onnx", *(["onnx"] if quantized else [])):
            _need(package)
        if quantized:
            _convert_quantized(prefix, file)
        else:
            _convert(prefix, file)

    recipe = _recipe("paddle2onnx", f"opset{OPSET_VERSION}-uint8-tables-once")
    return derive(Path(f"{prefix}.onnx"), sources, recipe, convert, ONNX_FORM)


def _is_already(file: Path, precision: str) -> bool:
    try:
        return read_graph(file).precision == precision
    except (OSError, ValueError):
        return False  # whoever reads it next says what it is


def _convert(prefix: Path, file: Path) -> None:
    import paddle2onnx

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain")
        write_without_padding_index(prefix, plain)
        paddle2onnx.export(*map(str, program_files(plain)), str(file), opset_version=OPSET_VERSION, verbose=False)


def _convert_quantized(prefix: Path, file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, plain_file = Path(folder, "fp32"), Path(folder, "fp32.onnx")
        thresholds = write_unquantized(prefix, plain)
        _convert(plain, plain_file)
        model = _load(plain_file)
    constants_to_initializers(model)
    quantize_products(model, thresholds)
    file.write_bytes(model.SerializeToString() + metadata_entry(PRECISION, "int8"))


def in_precision(file: Path, precision: str) -> Path:
    """NAME.fp16.onnx or NAME.int8.onnx beside NAME.onnx, made from it unless that was made from it as it is now.

    fp32 is NAME.onnx itself, and so is int8 of a quantized model.
    """
    if precision == "fp32" or file.name.endswith(f".{precision}.onnx") or _is_already(file, precision):
        return file

    def convert(target: Path) -> None:
        _need("onnx")
        model = _load(file)
        kept = [entry for entry in model.metadata_props if entry.key not in (ORIGIN, PRECISION)]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        constants_to_initializers(model)
        content = CONVERSIONS[precision](model).SerializeToString()
        target.write_bytes(content + metadata_entry(PRECISION, precision))

    recipe = _recipe("onnxruntime", precision) if _is_installed("onnx") else None
    return derive(file.with_name(f"{file.stem}.{precision}.onnx"), [file], recipe, convert, ONNX_FORM)


def check_converters() -> None:
    """Raises InputError where a package is missing that makes .onnx files of FP32 and quantized models."""
    for package in ("paddle2onnx", "onnx"):
        _need(package)


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _need(package: str) -> None:
    if not _is_installed(package):
        raise InputError(f"the package {package} is not installed, which makes this .onnx file: install it")


def _recipe(package: str, settings: str) -> Optional[str]:
    """The tool that makes a file, with its version, and its settings; None where it is not installed."""
    if not _is_installed(package):
        return None
    version = installed_version(package)
    return f"{package}-{version}-{settings}" if version else None


def _load(file: Path):
    import onnx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # protobuf warns of bytes that it leaves over
            model = onnx.load(str(file))
    except FileNotFoundError:
        raise InputError(f"{file} is missing: make it with paddle2onnx") from None
    except Exception as error:  # DecodeError, ValidationError and others, with no common base
        raise InputError(f"{file} is not an ONNX model, or only a part of one ({type(error).__name__})") from None
    if not model.graph.node:
        raise InputError(f"{file} is empty or not an ONNX model: make it with paddle2onnx")
    return model


def constants_to_initializers(model) -> None:
    """Make weights initializers, as quantize_dynamic wants them.

    paddle2onnx 1.2.11 writes every weight as a Constant node, and onnxruntime 1.19.2 then quantizes
    nothing, without a word.
    """
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _to_fp16(model):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


def _to_int8(model):
    """Dynamic INT8 of the weight matmuls: weights once, a scale for each output channel; activations at run time.

    Weights take 7 of the 8 bits, because processors without VNNI overflow when they add two products
    of 8 bits.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet_logging():
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, str(source))
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        return onnx.load(str(target))


CONVERSIONS = {"fp16": _to_fp16, "int8": _to_int8}


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """quantize_dynamic advises a pre-processing step that changes nothing for these graphs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
