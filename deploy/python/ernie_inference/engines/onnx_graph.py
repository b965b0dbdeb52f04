"""The lookup tables of an .onnx file, read without the onnx package, which deployment does not need.

Only the few fields of onnx.proto that this takes are read; the weights between them are passed over.
"""

import mmap
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple, Union

# Field numbers of ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto.
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
NODE_INPUT, NODE_OUTPUT, NODE_OP_TYPE, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_TENSOR = 5
TENSOR_DIMS, TENSOR_NAME = 1, 8
VARINT, EIGHT_BYTES, LENGTH_DELIMITED, FOUR_BYTES = 0, 1, 2, 5  # wire types

# What a table or its indices may go through on the way to the lookup (paddle2onnx multiplies the word embedding with
# a mask that zeroes the row of [PAD]).
KEEPS_ROWS = ("Mul", "Cast", "Identity", "DequantizeLinear")
KEEPS_INDICES = ("Cast", "Identity")


class Node(NamedTuple):
    op_type: str
    inputs: List[str]


def lookup_tables(path: Union[str, Path]) -> Dict[str, int]:
    """What is looked up (an input's name, or a computed tensor's) -> rows of the table it is looked up in.

    Raises:
        ValueError: the file is not an ONNX model.
    """
    with open(path, "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        return _tables_of_model(content)
    except (IndexError, TypeError) as error:  # the end in the middle of a field, a number where a message should be
        raise ValueError(f"{path} is not an ONNX model ({error})") from None


def _tables_of_model(content: memoryview) -> Dict[str, int]:
    rows: Dict[str, int] = {}  # of each constant with two dimensions
    nodes: Dict[str, Node] = {}  # by output
    graphs = [_message(graph) for number, graph in _fields(content) if number == MODEL_GRAPH]
    for graph in graphs:
        for part, value in _fields(graph):
            if part == GRAPH_INITIALIZER:
                _read_tensor(_message(value), "", rows)
            elif part == GRAPH_NODE:
                _read_node(_message(value), nodes, rows)
    tables = {}
    for node in nodes.values():
        if node.op_type == "Gather":
            found = _rows_of(node.inputs[0], nodes, rows)
            if found:
                tables[_source_of(node.inputs[1], nodes)] = found
    return tables


def _read_node(content: memoryview, nodes: Dict[str, Node], rows: Dict[str, int]) -> None:
    inputs, outputs, op_type, attributes = [], [], "", []
    for number, value in _fields(content):
        if number == NODE_INPUT:
            inputs.append(_text(value))
        elif number == NODE_OUTPUT:
            outputs.append(_text(value))
        elif number == NODE_OP_TYPE:
            op_type = _text(value)
        elif number == NODE_ATTRIBUTE:
            attributes.append(_message(value))
    nodes.update(dict.fromkeys(outputs, Node(op_type, inputs)))
    for attribute in attributes if op_type == "Constant" else ():
        for number, value in _fields(attribute):
            if number == ATTRIBUTE_TENSOR:
                _read_tensor(_message(value), outputs[0], rows)


def _read_tensor(content: memoryview, name: str, rows: Dict[str, int]) -> None:
    dims: List[int] = []
    for number, value in _fields(content):
        if number == TENSOR_DIMS:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == TENSOR_NAME:
            name = name or _text(value)
    if len(dims) == 2:
        rows[name] = dims[0]


def _rows_of(name: str, nodes: Dict[str, Node], rows: Dict[str, int]) -> int:
    """Rows of a table, or 0 where this is none."""
    if name in rows:
        return rows[name]
    node = nodes.get(name)
    if node is None or node.op_type not in KEEPS_ROWS:
        return 0
    return max((_rows_of(each, nodes, rows) for each in node.inputs), default=0)


def _source_of(name: str, nodes: Dict[str, Node]) -> str:
    while name in nodes and nodes[name].op_type in KEEPS_INDICES:
        name = nodes[name].inputs[0]
    return name


def _fields(content: memoryview) -> Iterator[Tuple[int, Union[int, memoryview]]]:
    """The fields of a protobuf message, each with its number; those of fixed size are passed over."""
    position = 0
    while position < len(content):
        key, position = _varint(content, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, position = _varint(content, position)
            yield number, value
        elif wire_type == LENGTH_DELIMITED:
            size, position = _varint(content, position)
            if position + size > len(content):
                raise ValueError("a field is longer than the file")
            yield number, content[position : position + size]
            position += size
        elif wire_type in (EIGHT_BYTES, FOUR_BYTES):
            position += 8 if wire_type == EIGHT_BYTES else 4
        else:
            raise ValueError(f"{wire_type} is no wire type of protobuf")


def _message(value: Union[int, memoryview]) -> memoryview:
    """A field that is a message.

    Raises:
        TypeError: it is a number.
    """
    if isinstance(value, int):
        raise TypeError("a number where a message should be")
    return value


def _varint(content: memoryview, position: int) -> Tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _packed(content: memoryview) -> List[int]:
    values, position = [], 0
    while position < len(content):
        value, position = _varint(content, position)
        values.append(value)
    return values


def _text(content: Union[int, memoryview]) -> str:
    return bytes(content).decode("utf-8") if isinstance(content, memoryview) else ""
