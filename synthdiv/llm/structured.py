"""Structured replies: the JSON schema a server is told, and a validated value out of its words.

A reply is tried as it is, then without what models put around JSON (thoughts, code fences, prose),
then through json-repair; what still does not fit becomes a fault in words that a model can act on.
"""

import functools
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

from synthdiv.llm.mending import mended

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound="BaseModel")

_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_CODE = re.compile(r"```[a-zA-Z]*[^\S\n]*\n(.*?)```", re.DOTALL)
_FAULTS_NAMED = 5


@functools.cache
def wire_schema(model: "type[BaseModel]") -> dict[str, Any]:
    """Returns the JSON schema of a pydantic class as servers are told it.

    Objects are closed and all of their properties required, as OpenAI's strict mode wants it and as
    grammars of vLLM and SGLang make best use of; the class's name is the title.
    """
    schema = _closed(model.model_json_schema())
    schema["title"] = model.__name__
    return schema


@functools.cache
def schema_digest(model: "type[BaseModel] | None") -> str:
    """Returns a hash of what servers are told, "" for free text."""
    if model is None:
        return ""
    return hashlib.sha256(json.dumps(wire_schema(model)).encode()).hexdigest()


def is_strict(schema: Any) -> bool:
    """Tells whether OpenAI's strict mode takes the schema: no free-form object, no tuple."""
    if isinstance(schema, list):
        return all(is_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if "prefixItems" in schema:
        return False
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return False
    return all(is_strict(part) for part in schema.values())


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}  # strict mode refuses siblings of a $ref
    closed: dict[str, Any] = {}
    for name, part in schema.items():
        if name in ("properties", "$defs"):
            closed[name] = {key: _closed(value) for key, value in part.items()}
        elif name in ("enum", "const", "required"):
            closed[name] = part
        elif name == "oneOf":
            closed["anyOf"] = _closed(part)
        elif name not in ("default", "discriminator"):
            closed[name] = _closed(part)
    if schema.get("type") == "object" and "properties" in schema:
        closed["required"] = list(schema["properties"])
        closed.setdefault("additionalProperties", False)
    return closed


def parse(text: str, model: type[M], repair: bool = True) -> tuple[M | None, bool, str | None]:
    """Reads a reply as an instance of `model`.

    Args:
        text: the reply, whatever stands around its JSON.
        model: the pydantic class.
        repair: whether broken JSON may be mended; not so for a reply that was cut off, whose end
            would be made up.

    Returns:
        the value or None; whether json-repair was needed for it; the fault in words if None.
    """
    from pydantic import ValidationError

    if not text.strip():
        return None, False, "the reply was empty"
    fault = "the reply held no JSON object"
    for candidate in _candidates(text):
        try:
            return model.model_validate_json(candidate), False, None
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":
                continue
            fault = _in_words(error)
            break
    if not repair:
        return None, False, fault
    value, repaired_fault = _repaired(_candidates(text)[-1], model)
    if value is not None:
        return value, True, None
    return None, False, repaired_fault or fault


def _candidates(text: str) -> list[str]:
    """The reply, and its parts that may be the JSON alone, the likeliest last."""
    found = [text]
    bare = _THOUGHTS.sub("", text)
    code = _CODE.findall(bare)
    if code:
        bare = code[-1]
    start = min((i for i in (bare.find("{"), bare.find("[")) if i >= 0), default=-1)
    if start >= 0:
        end = max(bare.rfind("}"), bare.rfind("]"))
        bare = bare[start : end + 1] if end > start else bare[start:]
        # An object may be wanted where prose before it holds a bracket: "[note] {...}".
        if bare[0] == "[" and "{" in bare:
            found.append(bare[bare.find("{") : bare.rfind("}") + 1] or bare)
    found.append(bare)
    return [c for i, c in enumerate(found) if c not in found[:i]]


def _repaired(text: str, model: type[M]) -> tuple[M | None, str | None]:
    from pydantic import ValidationError

    if "{" not in text and "[" not in text:
        return None, None
    guess = mended(text)
    # A list where an object is wanted: models wrap, or repair finds several; the last that fits.
    guesses = [guess, *reversed(guess)] if isinstance(guess, list) else [guess]
    fault = None
    for candidate in guesses:
        if isinstance(candidate, (dict, list)):
            try:
                return model.model_validate(candidate), None
            except ValidationError as error:
                fault = fault or _in_words(error)
    return None, fault


def _in_words(error: "ValidationError") -> str:
    """The faults of a reply as one line: where, and what is wrong there."""
    faults = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'the whole'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    ]
    more = len(faults) - _FAULTS_NAMED
    return "; ".join(faults[:_FAULTS_NAMED]) + (f"; and {more} more" if more > 0 else "")
