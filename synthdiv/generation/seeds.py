"""What texts are about and for: topic seeds, personas and styles, read from JSONL files.

Topic seeds are the paper's main dial of diversity (section 3.2 of arXiv 2410.15226): a path of up
to five levels from a field of knowledge down to the topic, and a few keywords.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from synthdiv.errors import UserError
from synthdiv.json_lines import encodable, json_lines


@dataclass(frozen=True)
class Topic:
    """A topic: `path` from the broadest level to the topic itself, and its `keywords`."""

    path: tuple[str, ...]
    keywords: tuple[str, ...]

    @property
    def key(self) -> str:
        """The path in one string, levels joined by "/"."""
        return "/".join(self.path)


@dataclass(frozen=True)
class Style:
    """A manner of writing: its name, and what the prompt says about it."""

    name: str
    instruction: str


def read_topics(path: str | Path) -> list[Topic]:
    """Reads topic seeds, one `{"path": [...], "keywords": [...]}` a line.

    Raises:
        UserError: the file is missing or empty, a line is no topic, or a topic stands there twice.
    """
    topics: dict[str, Topic] = {}
    for number, row in _rows(path):
        levels, keywords = row.get("path"), row.get("keywords", [])
        if not _texts(levels) or not levels or not _texts(keywords):
            form = "{'path': [texts], 'keywords': [texts]}"
            raise UserError(f"{path} line {number}: a topic is {form}")
        topic = Topic(tuple(level.strip() for level in levels), tuple(keywords))
        if any("/" in level for level in topic.path):
            raise UserError(f"{path} line {number}: a level of a path must not hold a slash")
        if topic.key in topics:
            raise UserError(f"{path} line {number}: topic {topic.key!r} is there twice")
        topics[topic.key] = topic
    return list(topics.values())


def read_personas(path: str | Path) -> list[str]:
    """Reads personas, one `{"persona": "a ..."}` a line.

    Raises:
        UserError: the file is missing or empty, or a line is no persona.
    """
    return [_field(path, number, row, "persona") for number, row in _rows(path)]


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


def choose_topics(topics: Sequence[Topic], number: int, seed: int) -> list[Topic]:
    """A seeded choice of `number` topics, nested: the first 16 of 48 are the choice of 16.

    It depends on the topics themselves and not on their order in the file.

    Raises:
        UserError: there are fewer topics than that.
    """
    if number > len(topics):
        raise UserError(f"{number} topics wanted, and there are {len(topics)}")
    return sorted(topics, key=lambda topic: Random(f"{seed}/{topic.key}").random())[:number]


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


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)
