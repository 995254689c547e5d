"""The reply that a family asks for: a JSON Schema, and the pydantic classes made of it.

A family's `reply.json` says everything that a writer may be asked for. What a single text asks for
is less: so many passages, no question, no title. `Replies.of` makes the class for that, so that the
server's grammar, the check of the reply and the example in the prompt all say the same.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, create_model

from synthdiv.errors import UserError, closest
from synthdiv.json_lines import parse_json

Schema = dict[str, Any]

_BOUNDS = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minimum": "ge",
    "maximum": "le",
}
_KNOWN: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength", "enum"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
}
_NUMBERS: dict[str, type] = {"integer": int, "number": float, "boolean": bool}


class Replies:
    """The classes of one reply schema.

    Args:
        text: JSON, the schema of an object: types, bounds, `enum`, `uniqueItems` and
            `description`; its title names the class.
        path: the file that it is from.

    Raises:
        UserError: the schema asks for what cannot be checked.
    """

    def __init__(self, text: str, path: Path) -> None:
        self.schema: Schema = parse_json(text, path)
        _check(self.schema, str(path))
        if self.schema["type"] != "object":
            raise UserError(f"{path}: a reply is an object, not {self.schema['type']!r}")
        self._names = _names(self.schema)
        self._of = functools.cache(self._make)  # a class a shape: sessions know schemas by class

    def of(self, counts: Mapping[str, int]) -> type[BaseModel]:
        """Returns the class of replies with so many of each thing.

        Args:
            counts: by property, at any depth. A list has exactly so many elements, a number goes
                from 1 up to it, a text is asked for; what counts 0 is left out.
        """
        return self._of(tuple(pair for pair in counts.items() if pair[0] in self._names))

    def _make(self, counts: tuple[tuple[str, int], ...]) -> type[BaseModel]:
        made: type[BaseModel] = _type(
            _counted(self.schema, dict(counts)), str(self.schema.get("title", "Reply"))
        )
        return made


def read_replies(path: Path) -> Replies:
    """Reads a reply.json; equal files have the same classes, which are made once a process.

    Raises:
        UserError: the file is missing, or its schema asks for what cannot be checked.
    """
    try:
        return _replies(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


_replies = functools.lru_cache(maxsize=64)(Replies)


def _names(schema: Schema) -> set[str]:
    """The names of all properties, at any depth."""
    inner = [schema["items"]] if "items" in schema else [*schema.get("properties", {}).values()]
    return set(schema.get("properties", ())).union(*map(_names, inner))


def _counted(schema: Schema, counts: Mapping[str, int]) -> Schema:
    """A schema with bounds by `counts`, and without the properties that count 0."""
    if "items" in schema:
        return schema | {"items": _counted(schema["items"], counts)}
    if "properties" not in schema:
        return schema
    properties = {}
    for name, part in schema["properties"].items():
        number = counts.get(name)
        if number == 0:
            continue
        part = _counted(part, counts)
        if number is not None and part["type"] == "array":
            part = part | {"minItems": number, "maxItems": number}
        elif number is not None and part["type"] == "integer":
            part = part | {"minimum": 1, "maximum": number}
        properties[name] = part
    return schema | {"properties": properties}


def example(model: type[BaseModel]) -> str:
    """Returns how a reply of a class looks, for a prompt: JSON with places to be filled."""
    schema = model.model_json_schema()
    return _example(schema, schema.get("$defs", {}))


def _example(schema: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _example(known[schema["$ref"].rpartition("/")[2]], known)
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    match schema["type"]:
        case "object":
            inside = (f'"{n}": {_example(s, known)}' for n, s in schema["properties"].items())
            return "{" + ", ".join(inside) + "}"
        case "array":
            one, least, most = (
                _example(schema["items"], known),
                schema.get("minItems", 0),
                schema.get("maxItems"),
            )
            if most == 1:
                return f"[{one}]"
            if least == most and schema["items"].get("type") == "string":
                return "[" + ", ".join([one] * least) + "]"
            return f"[{one}, ...]"
        case "string":
            return '"..."'
        case "boolean":
            return "<true or false>"
    said = schema.get("description", "a number")
    bounds = [str(schema[b]) for b in ("minimum", "maximum") if b in schema]
    return f"<{', '.join([said, ' to '.join(bounds)] if bounds else [said])}>"


def _type(schema: Schema, name: str) -> Any:
    """The Python type, with its bounds, that pydantic checks for a checked schema."""
    kind = schema["type"]
    about = {_BOUNDS[key]: schema[key] for key in _BOUNDS if key in schema}
    if "description" in schema:
        about["description"] = schema["description"]
    if kind == "object":
        needed = schema.get("required", list(schema["properties"]))
        fields: dict[str, Any] = {}
        for key, part in schema["properties"].items():
            inner = _type(part, f"{name}_{key}")
            fields[key] = (inner, ...) if key in needed else (inner | None, None)
        return create_model(name, **fields)
    if kind == "array":
        items = _type(schema["items"], f"{name}_item")
        checks = [AfterValidator(_different)] if schema.get("uniqueItems") else []
        return Annotated[(list[items], Field(**about), *checks)]  # type: ignore[valid-type]
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if kind == "string":
        words = StringConstraints(
            strip_whitespace=True,
            min_length=about.pop("min_length", 1),
            max_length=about.pop("max_length", None),
        )
        return Annotated[str, words, Field(**about)]
    return Annotated[_NUMBERS[kind], Field(**about)]


def _different(values: list[Any]) -> list[Any]:
    seen = {value.casefold() if isinstance(value, str) else repr(value) for value in values}
    if len(seen) < len(values):
        raise ValueError("two of them are the same")
    return values


def _check(schema: Any, where: str) -> None:
    if not isinstance(schema, dict) or schema.get("type") not in _KNOWN:
        raise UserError(f"{where}: 'type' must be one of {', '.join(_KNOWN)}")
    kind = schema["type"]
    for key in schema:
        if key not in (known := (*_KNOWN[kind], "type", "title", "description")):
            raise UserError(f"{where}: {kind}s have no {key!r} here{closest(key, known)}")
    if kind == "object":
        if not isinstance(schema.get("properties"), dict) or not schema["properties"]:
            raise UserError(f"{where}: an object needs 'properties'")
        for name, part in schema["properties"].items():
            _check(part, f"{where}, {name!r}")
    if kind == "array":
        _check(schema.get("items"), f"{where}, 'items'")
