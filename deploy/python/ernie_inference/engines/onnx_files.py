"""The .onnx form of an exported model, and its FP16 and INT8 forms."""

import importlib.util
import logging
import tempfile
import warnings
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Iterator, Optional, Union

from ernie_inference.derived import Kind, derive
from ernie_inference.errors import InputError
from ernie_inference.model_files import find_model, inspect_model, program_files

OPSET_VERSION = 13
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

    Where both are there, the Paddle model is what is meant, and one that has changed is converted again.
    """
    if not str(model_path).endswith(".onnx"):
        try:
            prefix = find_model(model_path)
        except InputError:
            prefix = None
        if prefix is not None:
            return export_onnx(prefix)
    try:
        return Path(f"{find_model(model_path, '.onnx')}.onnx")
    except InputError:
        if str(model_path).endswith(".onnx"):
            raise
    return export_onnx(find_model(model_path))  # says what is missing


def export_onnx(prefix: Path) -> Path:
    """Convert an exported FP32 Paddle model to PREFIX.onnx, unless that was made from it as it is now.

    Raises:
        InputError: the model is broken or quantized (paddle2onnx 1.2.11 ends the process on those), PREFIX.onnx was
            made by something else, or a package is missing.
    """
    sources = program_files(prefix)

    def convert(file: Path) -> None:
        if inspect_model(prefix).quantized:
            raise InputError(
                f"{prefix} is quantized, which paddle2onnx cannot convert: give the FP32 model; "
                "INT8 of ONNX Runtime is made from it"
            )
        _need("paddle2onnx")
        import paddle2onnx

        paddle2onnx.export(*map(str, sources), str(file), opset_version=OPSET_VERSION, verbose=False)

    recipe = _recipe("paddle2onnx", f"opset{OPSET_VERSION}")
    return derive(Path(f"{prefix}.onnx"), sources, recipe, convert, ONNX_FORM)


def in_precision(file: Path, precision: str) -> Path:
    """NAME.fp16.onnx or NAME.int8.onnx beside NAME.onnx, made from it unless that was made from it as it is now.

    fp32 is NAME.onnx itself.
    """
    if precision == "fp32" or file.name.endswith(f".{precision}.onnx"):
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


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _need(package: str) -> None:
    if not _is_installed(package):
        raise InputError(f"the package {package} is not installed, which makes this .onnx file: install it")


def _recipe(package: str, settings: str) -> Optional[str]:
    """The tool that makes a file, with its version, and its settings; None where it is not installed."""
    if not _is_installed(package):
        return None
    for name in (package, f"{package}-gpu"):
        try:
            return f"{package}-{metadata.version(name)}-{settings}"
        except metadata.PackageNotFoundError:
            pass
    return None


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
