"""Fields of the JSON documents: their types, their bounds and what they mean, from which the JSON Schema is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        meaning: one sentence, with the unit.
        schema: JSON Schema of its values, without the description.
        optional: whether documents may lack it.
    """

    meaning: str
    schema: Mapping[str, Any]
    optional: bool = False

    @property
    def is_number(self) -> bool:
        """Whether the field is a single number."""
        kinds = self.schema.get("type", "")
        return bool({"number", "integer"} & {*([kinds] if isinstance(kinds, str) else kinds)})

    @property
    def node(self) -> dict[str, Any]:
        """The JSON Schema of its values, with the description."""
        return {**self.schema, "description": self.meaning} if self.meaning else dict(self.schema)


Fields = Mapping[str, Field]


def _scalar(kind: str, meaning: str, null: bool, optional: bool, bounds: Mapping[str, Any]) -> Field:
    return Field(meaning, {"type": [kind, "null"] if null else kind, **bounds}, optional)


def number(meaning: str, *, null: bool = True, optional: bool = False, **bounds: float) -> Field:
    """Return the field of a number; null where it is not determined or not finite, unless `null` is false."""
    return _scalar("number", meaning, null, optional, bounds)


def integer(meaning: str, *, null: bool = False, optional: bool = False, **bounds: int) -> Field:
    """Return the field of an integer, or, if `null`, of one that may be missing."""
    return _scalar("integer", meaning, null, optional, bounds)


def string(meaning: str, *, null: bool = False, optional: bool = False, **bounds: Any) -> Field:
    """Return the field of a text; `pattern` and `format` as in JSON Schema."""
    return _scalar("string", meaning, null, optional, bounds)


def boolean(meaning: str, *, optional: bool = False) -> Field:
    """Return the field of a truth value."""
    return Field(meaning, {"type": "boolean"}, optional)


def constant(meaning: str, value: Any, *, optional: bool = False) -> Field:
    """Return the field of a value that is always the same."""
    return Field(meaning, {"const": value}, optional)


def choice(meaning: str, *values: str | None, optional: bool = False) -> Field:
    """Return the field of one of several texts, or of null."""
    kind = {"type": ["string", "null"]} if None in values else {}
    return Field(meaning, {**kind, "enum": list(values)}, optional)


def array(meaning: str, items: Field, *, null: bool = False, optional: bool = False, **bounds: int) -> Field:
    """Return the field of a list; `minItems` and `maxItems` as in JSON Schema."""
    kind = ["array", "null"] if null else "array"
    return Field(meaning, {"type": kind, "items": items.node, **bounds}, optional)


def interval(meaning: str, *, optional: bool = False) -> Field:
    """Return the field of the two ends of an interval, or of null where it is not determined."""
    ends = number("", null=False)
    return array(meaning, ends, null=True, optional=optional, minItems=2, maxItems=2)


def numbers(meaning: str, *, rows: str = "", optional: bool = False) -> Field:
    """Return the field of a list of numbers, null where one is not determined; of lists of them if `rows` says what."""
    one = number("")
    return array(meaning, array(rows, one) if rows else one, optional=optional)


def record(meaning: str, fields: Fields, *, optional: bool = False, others: Field | bool = False) -> Field:
    """Return the field of an object with these fields; `others`: what further ones are, or whether there may be any."""
    return Field(meaning, object_schema(fields, others), optional)


def mapping(meaning: str, values: Field, *, optional: bool = False) -> Field:
    """Return the field of an object whose keys are names, and whose values are alike."""
    return Field(meaning, {"type": "object", "additionalProperties": values.node}, optional)


def ref(meaning: str, name: str, *, optional: bool = False) -> Field:
    """Return the field of what is defined once, under a name."""
    return Field(meaning, {"$ref": f"#/$defs/{name}"}, optional)


def object_schema(fields: Fields, others: Field | bool = False) -> dict[str, Any]:
    """Return the JSON Schema of an object with these fields."""
    required = [name for name, field in fields.items() if not field.optional]
    return {
        "type": "object",
        "properties": {name: field.node for name, field in fields.items()},
        **({"required": required} if required else {}),
        "additionalProperties": others.node if isinstance(others, Field) else others,
    }
