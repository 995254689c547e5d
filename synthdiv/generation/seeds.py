"""What texts are about and how they are told: topic seeds, styles and forms, read from files.

Topic seeds are the paper's main dial of diversity (section 3.2 of arXiv 2410.15226): a path of up
to five levels from a field of knowledge down to the topic, and a few keywords.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from synthdiv.errors import UserError
from synthdiv.json_lines import encodable, json_lines


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True)
class Form:
    """What a source may become: its name, what the prompt says of it, and how often it is drawn."""

    name: str
    instruction: str
    weight: float = 1.0


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
        path_of = tuple(sys.intern(level.strip()) for level in levels)  # upper levels are shared
        topic = Topic(path_of, tuple(keywords))
        if any("/" in level for level in topic.path):
            raise UserError(f"{path} line {number}: a level of a path must not hold a slash")
        if topic.key in topics:
            raise UserError(f"{path} line {number}: topic {topic.key!r} is there twice")
        topics[topic.key] = topic
    return list(topics.values())


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


def choose_topics(topics: Sequence[Topic], number: int, seed: int) -> list[Topic]:
    """A seeded choice of `number` topics, nested: the first 16 of 48 are the choice of 16.

    It depends on the topics themselves and not on their order in the file.

    Raises:
        UserError: there are fewer topics than that.
    """
    if number > len(topics):
        raise UserError(f"{number} topics wanted, and there are {len(topics)}")
    return sorted(topics, key=lambda topic: Random(f"{seed}/{topic.key}").random())[:number]


class Tree:
    """Finds topics that are near to one another: under one field, part or subject.

    Args:
        topics: whose places are meant by all numbers here.
    """

    def __init__(self, topics: Sequence[Topic]) -> None:
        self._order = sorted(range(len(topics)), key=lambda place: topics[place].path)
        self._paths = [topics[place].path for place in self._order]

    def near(self, path: tuple[str, ...], number: int, random: Random) -> list[int]:
        """Draws topics out of the smallest branch around `path` that has so many others."""
        for depth in range(len(path) - 1, -1, -1):
            branch = path[:depth]
            low = bisect_left(self._paths, branch)
            high = len(self._paths)
            if branch:  # the next string after a level is that level with a NUL behind it
                high = bisect_left(self._paths, (*branch[:-1], branch[-1] + "\0"))
            if high - low > number:
                break
        own = bisect_left(self._paths, path)
        drawn = random.sample(range(low, high - 1), number)
        return [self._order[place + (place >= own)] for place in drawn]

    def anywhere(self, path: tuple[str, ...], number: int, random: Random) -> list[int]:
        """Draws topics other than `path` out of all."""
        own = bisect_left(self._paths, path)
        drawn = random.sample(range(len(self._paths) - 1), number)
        return [self._order[place + (place >= own)] for place in drawn]


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
