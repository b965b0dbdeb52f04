"""Words for what goes in and comes out, as schemas of OpenAPI 3.0."""

from typing import Any, Dict, Mapping, Optional, Sequence

Schema = Dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 1}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
SPAN: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2}
TEXT_PAIR: Schema = {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}


def one_of(*schemas: Schema) -> Schema:
    return {"oneOf": list(schemas)}


def array(items: Schema, fewest: int = 0, most: Optional[int] = None) -> Schema:
    limits = {**({"minItems": fewest} if fewest else {}), **({} if most is None else {"maxItems": most})}
    return {"type": "array", "items": items, **limits}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] = {}) -> Schema:
    """An object with these fields and no others."""
    fields = {**required, **optional}
    return {"type": "object", "required": list(required), "properties": fields, "additionalProperties": False}


def nullable(schema: Schema) -> Schema:
    also = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **also, "nullable": True}


def one_of_names(names: Sequence[str]) -> Schema:
    return {"type": "string", "enum": list(names)}
