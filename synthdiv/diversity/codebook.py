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
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from synthdiv.config import find
from synthdiv.diversity.schemas import Criterion
from synthdiv.errors import UserError, closest
from synthdiv.files import read_json

OTHER = "other"  # what a document that no value fits is called
Label = tuple[int, ...]  # the place of a value; () or a last 0 is "other"

_CODE = re.compile(r"([A-Z])(\d+(?:\.\d+)*)")
_PUBLISHED = ("name", "version")
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
        return "\n\n".join(
            f"{self.listed(number)}\n    {self.letter(number)}0 other: none of these"
            for number in range(len(self.facets))
        )

    def listed(self, number: int) -> str:
        """One facet with its values and their codes."""
        letter, facet = self.letter(number), self.facets[number]
        lines = [f"{letter}. {facet.described()}"]
        for place, value in facet.walk():
            code = letter + ".".join(map(str, place))
            meaning = f": {value.meaning}" if value.meaning else ""
            lines.append(f"{'    ' * len(place)}{code} {value.name}{meaning}")
        return "\n".join(lines)

    def narrowed(self, level: str) -> "Codebook":
        """One facet of it, down to a level named as "subject.discipline".

        Raises:
            UserError: as `find`.
        """
        number, depth = self.find(level)
        facet = self.facets[number]

        def cut(values: Sequence[Value], left: int) -> tuple[Value, ...]:
            return tuple(
                dataclasses.replace(value, values=cut(value.values, left - 1) if left else ())
                for value in values
            )

        levels, values = facet.levels[: depth + 1], cut(facet.values, depth)
        return dataclasses.replace(
            self, facets=(dataclasses.replace(facet, levels=levels, values=values),)
        )

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


def same_name(name: str) -> str:
    """What two spellings of one name have in common."""
    return " ".join(name.casefold().split())


def is_other(label: Label) -> bool:
    """Whether a label says that no value of its level fits."""
    return not label or label[-1] == 0


def read_facets(path: str | Path) -> tuple[Facet, ...]:
    """Reads facets, with or without values, from a JSON file.

    Raises:
        UserError: there is no such file, it holds none, or one of them is not as it must be.
    """
    content = read_json(find(path))
    return _facets(content.get("facets") if isinstance(content, dict) else content, str(path))


def read_codebook(path: str | Path) -> Codebook:
    """Reads a codebook: a JSON file with `facets`, or one that `judged_by` finds `codebooks` in.

    Raises:
        UserError: there is no such file, or a facet in it is not as it must be or has no values.
    """
    content = judged_by(path, valued=True)
    if isinstance(content, dict) and content.get("codebooks"):
        books = content["codebooks"]
        content = books[0] if isinstance(books, list) else None
    if not isinstance(content, dict) or not content.get("facets"):
        raise UserError(f"{path} holds no codebook: an object with `facets`")
    facets = _facets(content["facets"], str(path))
    for facet in facets:
        if not facet.values:
            raise UserError(f"{path}: facet {facet.name!r} has no values")
    name, version = (_text({key: content.get(key, "")}, key, str(path)) for key in _PUBLISHED)
    return Codebook(facets, name, version)


def judged_by(path: str | Path, valued: bool) -> Any:
    """The content of a file of criteria or codebooks, which a score.json is, too.

    Of a validation.json the first trial that was judged by codebooks (`valued`) or by criteria.
    """
    content = read_json(find(path))
    trials = content.get("trials") if isinstance(content, dict) else None
    for trial in trials if isinstance(trials, list) else ():
        if isinstance(trial, dict) and bool(trial.get("codebooks")) == valued:
            return trial
    return content


def _facets(content: Any, path: str) -> tuple[Facet, ...]:
    """Facets out of JSON that may hold anything."""
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} holds no list of facets")
    if len(content) > len(_LETTERS):
        raise UserError(f"{path} has {len(content)} facets; there are letters for {len(_LETTERS)}")
    facets = tuple(_facet(entry, f"{path}: facet {n}") for n, entry in enumerate(content, 1))
    _all_different([facet.name for facet in facets], f"{path}: two facets are called")
    return facets


def _facet(entry: Any, where: str) -> Facet:
    name = _name(entry, where)
    where += f" ({name!r})"
    levels = tuple(
        _level(level, f"{where}, level {n}")
        for n, level in enumerate(_list(entry, "levels", where), 1)
    )
    if not levels:
        raise UserError(f"{where} has no levels")
    _all_different([level.name for level in levels], f"{where}: two levels are called")
    values = _values(entry, len(levels), where)
    question, rule = _text(entry, "question", where), _text(entry, "rule", where, "")
    return Facet(name, question, rule, levels, values)


def _level(entry: Any, where: str) -> Level:
    name, meaning = _name(entry, where), _text(entry, "meaning", where)
    most = entry.get("most", Level.most)
    if type(most) is not int or most < 1:
        raise UserError(f"{where} ({name!r}): 'most' is {most!r}, not a whole number above 0")
    return Level(name, meaning, most)


def _values(entry: dict[str, Any], depth: int, where: str) -> tuple[Value, ...]:
    """The values inside a facet or a value, which has `depth` levels left below it."""
    given = _list(entry, "values", where, [])
    if given and depth == 0:
        raise UserError(f"{where} has values inside that its facet has no level for")
    values = []
    for number, value in enumerate(given, 1):
        name = _text(value, "name", f"{where}, value {number}")
        within = f"{where}, value {name!r}"
        if same_name(name) in ("", OTHER):  # "other" is what no value fits, listed or not
            raise UserError(f"{where}, value {number}: 'name' cannot be {name!r}")
        meaning = _text(value, "meaning", within, "")
        values.append(Value(name, meaning, _values(value, depth - 1, within)))
    _all_different([value.name for value in values], f"{where}: two values are called")
    return tuple(values)


def _text(entry: Any, key: str, where: str, default: str | None = None) -> str:
    found = _entry(entry, key, where, default)
    if not isinstance(found, str):
        raise UserError(f"{where}: {key!r} is {_shown(found)}, not a text")
    return found


def _list(entry: Any, key: str, where: str, default: list[Any] | None = None) -> list[Any]:
    found = _entry(entry, key, where, default)
    if not isinstance(found, list):
        raise UserError(f"{where}: {key!r} is {_shown(found)}, not a list")
    return found


def _entry(entry: Any, key: str, where: str, default: Any) -> Any:
    if not isinstance(entry, dict):
        raise UserError(f"{where} is {_shown(entry)}, not a JSON object")
    if key not in entry and default is None:
        raise UserError(f"{where} lacks {key!r}")
    return entry.get(key, default)


def _name(entry: Any, where: str) -> str:
    """A name that can stand in facet.level."""
    name = _text(entry, "name", where)
    if not name.strip() or "." in name:
        raise UserError(f"{where}: 'name' is {name!r}; it must be words, without a dot")
    return name


def _all_different(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if same_name(name) in seen:
            raise UserError(f"{what} {name!r}")
        seen.add(same_name(name))


def _shown(found: Any) -> str:
    return reprlib.repr(found)
