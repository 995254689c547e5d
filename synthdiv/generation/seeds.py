"""How texts are told: styles and forms, read from files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError
from synthdiv.json_lines import encodable, json_lines


@dataclass(frozen=True)
class Style:
    """A manner of writing: its name, and what the prompt says about it."""

    name: str
    instruction: str


@dataclass(frozen=True)
class Form:
    """What a source may become: its name, what the prompt says of it, and how often it is drawn."""

    name: str
    instruction: str
    weight: float = 1.0


def read_styles(path: str | Path) -> dict[str, Style]:
    """Reads styles, one `{"style": name, "instruction": text}` a line, by name in file order.

    Raises:
        UserError: the file is missing or empty, or a line is no style.
    """
    styles = [
        Style(_field(path, number, row, "style"), _field(path, number, row, "instruction"))
        for number, row in _rows(path)
    ]
    return {style.name: style for style in styles}


def read_forms(path: str | Path) -> list[Form]:
    """Reads forms, one `{"form": name, "instruction": text, "weight": number}` a line.

    Raises:
        UserError: the file is missing or empty, or a line is no form.
    """
    forms: dict[str, Form] = {}
    for number, row in _rows(path):
        name, weight = _field(path, number, row, "form"), row.get("weight", 1.0)
        if type(weight) not in (int, float) or not 0 <= weight < math.inf:
            raise UserError(f"{path} line {number}: a weight is a number from 0 on, not {weight!r}")
        if name in forms:
            raise UserError(f"{path} line {number}: form {name!r} is there twice")
        forms[name] = Form(name, _field(path, number, row, "instruction"), weight)
    return list(forms.values())


def _rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    empty = True
    for number, row in json_lines(path):
        empty = False
        yield number, encodable(row)
    if empty:
        raise UserError(f"{path} is empty")


def _field(path: str | Path, number: int, row: dict[str, Any], name: str) -> str:
    if not isinstance(row.get(name), str) or not row[name].strip():
        raise UserError(f"{path} line {number}: no text under {name!r}")
    return row[name].strip()
