"""The text of a row: one column, or several put together by a template; conversations as lines."""

import string
from collections.abc import Mapping
from typing import Any

from synthdiv.errors import UserError


class RowText:
    """Takes a document's text out of a row.

    Args:
        column: the one that holds the text; used where there is no template.
        template: text with the names of columns in braces, `{instruction}\\n{output}`; `{{` and
            `}}` stand for braces.

    Raises:
        UserError: a template that names no column, or has more than names in its braces.
    """

    def __init__(self, column: str, template: str | None = None) -> None:
        self.columns: tuple[str, ...] = (column,)
        self._parts: list[tuple[str, str | None]] = [("", column)]
        if template is not None:
            self._parts = _parsed(template)
            self.columns = tuple(dict.fromkeys(name for _, name in self._parts if name))

    def __call__(self, row: Mapping[str, Any]) -> tuple[str, bool]:
        """Returns the text of a row that has all `columns`, and whether all of them are null.

        Raises:
            ValueError: a value that is no text; says which.
        """
        if all(row[name] is None for name in self.columns):
            return "", True
        return "".join(
            literal + (_in_words(name, row[name]) if name else "") for literal, name in self._parts
        ), False


def _parsed(template: str) -> list[tuple[str, str | None]]:
    try:
        parts = list(string.Formatter().parse(template))
    except (TypeError, ValueError) as error:
        raise UserError(f"the text template {template!r}: {error}") from None
    names = [name for _, name, _, _ in parts if name is not None]
    if not all(names) or not names or any(form or kind for _, _, form, kind in parts):
        raise UserError(
            f"the text template {template!r} must name columns in braces, and nothing else there: "
            "'{instruction}\\n{output}'"
        )
    return [(literal, name) for literal, name, _, _ in parts]


def _in_words(name: str, value: Any) -> str:
    """A value as text; of a conversation, a line `role: content` a turn."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return "\n".join(_turn(name, turn) for turn in value)
    raise ValueError(f"{name!r} is {type(value).__name__}, not text")


def _turn(name: str, turn: Mapping[str, Any]) -> str:
    """One turn of a conversation, by the names of chat messages or of ShareGPT."""
    for role, content in (("role", "content"), ("from", "value")):
        if isinstance(turn.get(role), str) and isinstance(turn.get(content), str):
            return f"{turn[role]}: {turn[content]}"
    raise ValueError(f"{name!r} has a turn without the texts of role and content")
