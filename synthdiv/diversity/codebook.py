"""A codebook: the closed lists of values that every document is described by, facet by facet.

A facet is a direction in which documents differ (subject, form, style, audience). Its values are
nested in levels, from broad to fine, and each has a code: "A2" a value of facet A's first level,
"A2.3" one of the second that belongs to it. A document gets one code a facet, the finest that fits;
from it follows its value at every level. "A0" says that nothing in facet A fits, and the code of a
value that has finer ones says that none of those does: both are "other" at the levels left open.

A codebook can be kept, published and used again: scores under one codebook can be compared.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from synthdiv.config import find
from synthdiv.diversity.schemas import Criterion
from synthdiv.errors import UserError, closest
from synthdiv.files import read_json

Label = tuple[int, ...]  # the place of a value; () or a last 0 is "other"

_CODE = re.compile(r"([A-Z])(\d+(?:\.\d+)*)")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclasses.dataclass(frozen=True)
class Level:
    """One level of a facet.

    Attributes:
        name: "discipline".
        meaning: how broad its values are, in words.
        most: values that a gathered list may have at this level.
    """

    name: str
    meaning: str
    most: int = 40


@dataclasses.dataclass(frozen=True)
class Value:
    """One value of a facet.

    Attributes:
        name: a few words.
        meaning: a sentence that says what belongs there.
        values: the finer ones that belong to it.
    """

    name: str
    meaning: str = ""
    values: tuple["Value", ...] = ()


@dataclasses.dataclass(frozen=True)
class Facet:
    """A direction in which documents differ.

    Attributes:
        name: "subject".
        question: what it asks of a document.
        rule: what decides where two readers would disagree.
        levels: from broad to fine.
        values: of the first level, with the finer ones inside; empty in a codebook to be gathered.
    """

    name: str
    question: str
    rule: str
    levels: tuple[Level, ...]
    values: tuple[Value, ...] = ()

    def walk(self) -> Iterator[tuple[tuple[int, ...], Value]]:
        """Yields (place, value) of all values in the order of an outline; places count from 1."""

        def below(place: tuple[int, ...], values: Sequence[Value]) -> Iterator:
            for number, value in enumerate(values, 1):
                yield (*place, number), value
                yield from below((*place, number), value.values)

        yield from below((), self.values)

    def described(self) -> str:
        """The facet without its values, as a prompt explains it."""
        levels = "\n".join(f"- {level.name}: {level.meaning}" for level in self.levels)
        return f"{self.name}: {self.question}\n{levels}\n{self.rule}"


@dataclasses.dataclass(frozen=True)
class Codebook:
    """Facets with their values; see the module.

    Attributes:
        facets: the first one's levels carry the headline score.
        name, version: of a published codebook; "" for one that was gathered from a corpus.
        coverage: share of documents it was not made from that had a value at the headline's level;
            None where nobody looked.
    """

    facets: tuple[Facet, ...]
    name: str = ""
    version: str = ""
    coverage: float | None = None

    @functools.cached_property
    def criteria(self) -> tuple[Criterion, ...]:
        """The facets at each level as criteria, for whoever asks what documents were judged by."""
        return tuple(
            Criterion(
                name=f"{facet.name}: {level.name}",
                kind="metadata",
                sentence=f"{facet.question} At this level: {level.meaning}.",
            )
            for facet in self.facets
            for level in facet.levels
        )

    def find(self, level: str) -> tuple[int, int]:
        """Facet number and depth of a level named as "subject.discipline".

        Raises:
            UserError: there is no such level.
        """
        names = {
            f"{facet.name}.{one.name}": (number, depth)
            for number, facet in enumerate(self.facets)
            for depth, one in enumerate(facet.levels)
        }
        if level not in names:
            raise UserError(
                f"no level {level!r}{closest(level, names)}; there are {', '.join(names)}"
            )
        return names[level]

    def letter(self, number: int) -> str:
        """The letter that the codes of facet `number` begin with."""
        return _LETTERS[number]

    @functools.cached_property
    def text(self) -> str:
        """The codebook as a prompt shows it."""
        parts = []
        for number, facet in enumerate(self.facets):
            letter = self.letter(number)
            lines = [f"{letter}. {facet.described()}"]
            for place, value in facet.walk():
                code = letter + ".".join(map(str, place))
                meaning = f": {value.meaning}" if value.meaning else ""
                lines.append(f"{'    ' * len(place)}{code} {value.name}{meaning}")
            lines.append(f"    {letter}0 other: none of these")
            parts.append("\n".join(lines))
        return "\n\n".join(parts)

    def fault(self, codes: Sequence[str]) -> str | None:
        """Says in words why these are not one code a facet; None if they are."""
        if len(codes) != len(self.facets):
            return f"{len(codes)} codes where {len(self.facets)} facets need one each"
        for number, code in enumerate(codes):
            if self.place(number, code) is None:
                name = self.facets[number].name
                return f"{code!r} is no code of facet {self.letter(number)} ({name})"
        return None

    def place(self, facet: int, code: str) -> tuple[int, ...] | None:
        """Where a code of facet number `facet` leads: () is "other"; None if it leads nowhere."""
        found = _CODE.fullmatch(code.strip())
        if not found or found[1] != self.letter(facet):
            return None
        place = tuple(map(int, found[2].split(".")))
        while place and place[-1] == 0:  # "A2.0": other of A2
            place = place[:-1]
        values = self.facets[facet].values
        for number in place:
            if not 1 <= number <= len(values):
                return None
            values = values[number - 1].values
        return place

    def labels(self, facet: int, place: Label) -> list[Label]:
        """The value of a document at each level of a facet, as the place that stands for it.

        A place that ends early is a value of its own at the finer levels: a value without finer
        ones is itself there, and one with finer ones is "other" of it (0 says so).
        """
        labels: list[Label] = []
        values = self.facets[facet].values
        at: tuple[int, ...] = ()
        for depth in range(len(self.facets[facet].levels)):
            if depth < len(place):
                at = place[: depth + 1]
                values = values[place[depth] - 1].values
            elif values and (not at or at[-1] != 0):
                at = (*at, 0)
            labels.append(at)
        return labels

    def label(self, facet: int, code: str, depth: int) -> Label:
        """The value that a code stands for at one level."""
        return self.labels(facet, self.place(facet, code) or ())[depth]

    def called(self, facet: int, label: Label) -> str:
        """A value's name in words."""
        values = self.facets[facet].values
        names: list[str] = []
        for number in label:
            if number == 0:
                return f"other ({names[-1]})" if names else "other"
            names.append(values[number - 1].name)
            values = values[number - 1].values
        return names[-1] if names else "other"

    def meaning(self, facet: int, label: Label) -> str:
        """What belongs under a value, in words; "" for "other"."""
        if is_other(label):
            return ""
        values = self.facets[facet].values
        for number in label[:-1]:
            values = values[number - 1].values
        return values[label[-1] - 1].meaning

    def as_json(self) -> dict[str, Any]:
        """The codebook as files and score.json hold it."""
        return dataclasses.asdict(self)


def is_other(label: Label) -> bool:
    """Whether a label says that no value of its level fits."""
    return not label or label[-1] == 0


def read_facets(path: str | Path) -> tuple[Facet, ...]:
    """Reads facets, with or without values, from a JSON file.

    Raises:
        UserError: there is no such file, or it holds none.
    """
    content = read_json(find(path))
    if isinstance(content, dict):
        content = content.get("facets")
    if not isinstance(content, list) or not content or len(content) > len(_LETTERS):
        raise UserError(f"{path} holds no list of facets")
    try:
        return tuple(_facet(entry) for entry in content)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: a facet lacks {error}") from None


def read_codebook(path: str | Path) -> Codebook:
    """Reads a codebook: a JSON file with `facets`, or a score.json that has `codebooks`.

    Raises:
        UserError: there is no such file, or a facet in it has no values.
    """
    content = read_json(find(path))
    if isinstance(content, dict) and content.get("codebooks"):
        content = content["codebooks"][0]
    if not isinstance(content, dict) or not content.get("facets"):
        raise UserError(f"{path} holds no codebook: an object with `facets`")
    try:
        facets = tuple(_facet(entry) for entry in content["facets"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: a facet lacks {error}") from None
    for facet in facets:
        if not facet.values:
            raise UserError(f"{path}: facet {facet.name!r} has no values")
    return Codebook(facets, str(content.get("name", "")), str(content.get("version", "")))


def _facet(entry: dict[str, Any]) -> Facet:
    levels = tuple(
        Level(level["name"], level["meaning"], int(level.get("most", 40)))
        for level in entry["levels"]
    )
    return Facet(
        entry["name"], entry["question"], entry.get("rule", ""), levels, _values(entry, len(levels))
    )


def _values(entry: dict[str, Any], depth: int) -> tuple[Value, ...]:
    if depth == 0:
        return ()
    return tuple(
        Value(value["name"], value.get("meaning", ""), _values(value, depth - 1))
        for value in entry.get("values", ())
    )
