"""Personas: people who texts are written for, from a list or composed of tables.

Tables say facts: what somebody does, what they know, what they care about. Composed, they make
more people than any list, each in one sentence, and no two alike.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from synthdiv import files
from synthdiv.errors import UserError
from synthdiv.json_lines import encodable, json_lines, parse_json


def read_personas(path: str | Path) -> Sequence[str]:
    """Reads personas: JSONL of `{"persona": "a ..."}`, or tables to compose them of (.json).

    Raises:
        UserError: the file is missing or empty, or holds no personas.
    """
    if Path(path).suffix == ".json":
        return Composed.read(Path(path))
    personas = []
    for number, row in json_lines(path):
        persona = encodable(row).get("persona")
        if not isinstance(persona, str) or not persona.strip():
            raise UserError(f"{path} line {number}: no text under 'persona'")
        personas.append(persona.strip())
    if not personas:
        raise UserError(f"{path} is empty")
    return personas


def personas_sha256(personas: Sequence[str]) -> str:
    """Returns a hash that differs where the personas do."""
    if isinstance(personas, Composed):
        return personas.sha256
    return files.sha256_text("\n".join(personas))


class Composed(Sequence[str]):
    """Every combination of the entries of some tables, in one sentence each; group after group.

    Args:
        groups: sentences with `{table}` for each of their tables, and the entries by table.
    """

    def __init__(self, groups: Sequence[tuple[str, dict[str, list[str]]]]) -> None:
        self._ends = list(accumulate(math.prod(map(len, tables.values())) for _, tables in groups))
        self._groups = [
            _composer(sentence, tables, end - math.prod(map(len, tables.values())))
            for (sentence, tables), end in zip(groups, self._ends, strict=True)
        ]
        self.sha256 = files.sha256_text(json.dumps(groups))

    @classmethod
    def read(cls, path: Path) -> Composed:
        """Reads a list of `{"sentence": "{table}, who {table}", "tables": {name: [entries]}}`.

        Raises:
            UserError: it is not that, or an entry is there twice.
        """
        try:
            groups = encodable(parse_json(path.read_text(encoding="utf-8"), path))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        if not isinstance(groups, list) or not groups:
            raise UserError(f"{path}: personas are composed of a list of groups")
        return cls([_group(group, f"{path}, group {n}") for n, group in enumerate(groups, 1)])

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self.at(range(*index.indices(len(self))))
        place = index + self._ends[-1] if index < 0 else index
        if not 0 <= place < self._ends[-1]:
            raise IndexError(index)
        return self.at([place])[0]

    def at(self, places: Iterable[int]) -> list[str]:
        """The personas at some places, which there must be; takes less time than one by one."""
        found = []
        for place in places:
            sentence, tables, start = self._groups[bisect_right(self._ends, place)]
            own = place - start
            found.append(
                sentence % tuple([some[own // step % size] for some, step, size in tables])
            )
        return found


def _composer(
    sentence: str, tables: Mapping[str, list[str]], start: int
) -> tuple[str, list[tuple[list[str], int, int]], int]:
    """A group's sentence with `%s` for its entries, these, and the place of its first persona."""
    entries = {name: (some, math.prod(map(len, list(tables.values())[:n])), len(some))
               for n, (name, some) in enumerate(tables.items())}  # fmt: skip
    pieces = re.split(r"{(\w*)}", sentence.replace("%", "%%"))
    return "%s".join(pieces[::2]), [entries[name] for name in pieces[1::2]], start


def _group(group: Any, where: str) -> tuple[str, dict[str, list[str]]]:
    sentence = group.get("sentence") if isinstance(group, dict) else None
    tables = group.get("tables") if isinstance(group, dict) else None
    if not isinstance(sentence, str) or not isinstance(tables, dict):
        raise UserError(f"{where}: personas are composed of a 'sentence' and of 'tables'")
    if sorted(re.findall(r"{(\w*)}", sentence)) != sorted(tables):
        raise UserError(f"{where}: the sentence must name each of {', '.join(tables)} once")
    for name, entries in tables.items():
        texts = isinstance(entries, list) and all(isinstance(one, str) for one in entries)
        if not texts or not entries or len(set(entries)) < len(entries):
            raise UserError(f"{where}: table {name!r} is no list of texts that differ")
    return sentence, tables
