"""What a corpus is made of by the values of its codebook, and which of them no document has."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthdiv.reporting.sources import beginning, same_words

FEW = 2  # documents up to which a value is nearly missing

Path = tuple[str, ...]  # the folded names of a value and of those it belongs to, broadest first


@dataclasses.dataclass(frozen=True)
class ValueNode:
    """A value of a facet, with the finer ones that belong to it, most documents first.

    Attributes:
        name, meaning: the judge's words.
        path: its own folded name and those of what it belongs to.
        documents: how many different ones were read.
        share: of all places in the rounds.
        values: the finer ones.
    """

    name: str
    meaning: str
    path: Path
    documents: int
    share: float
    values: tuple["ValueNode", ...]


@dataclasses.dataclass(frozen=True)
class Unread:
    """Values of one level that no document or next to none was found for.

    Attributes:
        level: its name.
        known: how many values the codebooks have there.
        missing: names of those without a document, each with what it belongs to.
        few: names of those with one document or two.
    """

    level: str
    known: int
    missing: tuple[tuple[str, str], ...]
    few: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class FacetValues:
    """A facet as the documents that were read have it.

    Attributes:
        name: "subject".
        levels: their names, broadest first.
        values: of the broadest level.
        unread: of each level.
    """

    name: str
    levels: tuple[str, ...]
    values: tuple[ValueNode, ...]
    unread: tuple[Unread, ...]

    def at(self, depth: int) -> list[ValueNode]:
        """The values of one level, most documents first."""
        nodes = list(self.values)
        for _ in range(depth):
            nodes = [finer for node in nodes for finer in (node.values or (node,))]
        return sorted(nodes, key=lambda node: -node.share)


def facet_values(
    codebooks: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> list[FacetValues]:
    """Counts the values of every facet.

    Values of several codebooks that are called alike, and belong to what is called alike, are one.

    Args:
        codebooks: as score.json has them.
        rows: of values.parquet.
    """
    if not codebooks or not rows:
        return []
    facets = [_facet(number, codebooks, rows) for number in range(len(codebooks[0]["facets"]))]
    return [facet for facet in facets if facet.values]


def paths(row: Mapping[str, Any], facet: str, levels: Sequence[str]) -> Iterable[tuple[Path, str]]:
    """A document's value at each level of a facet, as (path, name); ends where no finer one is."""
    path: Path = ()
    for level in levels:
        if f"{facet}.{level}" not in row:
            continue  # it was sorted by a value of its own, outside the codebook
        name = str(row[f"{facet}.{level}"] or "")
        if path and same_words(name) == path[-1]:
            return  # a value without finer ones stands for itself at the levels below
        path = (*path, same_words(name))
        yield path, name


def _facet(
    number: int, codebooks: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> FacetValues:
    described = codebooks[0]["facets"][number]
    facet, levels = described["name"], [level["name"] for level in described["levels"]]
    known: dict[Path, tuple[str, str]] = {}
    for codebook in codebooks:
        for path, told in known_values(codebook["facets"][number]):
            known.setdefault(path, told)
    counts: Counter[Path] = Counter()
    documents: dict[Path, set[int]] = defaultdict(set)
    names: dict[Path, str] = {}
    for row in rows:
        for path, name in paths(row, facet, levels):
            counts[path] += 1
            documents[path].add(row["index"])
            names.setdefault(path, beginning(name))
    below: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(counts, key=lambda path: (-counts[path], path)):
        below[path[:-1]].append(path)

    def node(path: Path) -> ValueNode:
        name, meaning = known.get(path, (names[path], ""))
        finer = tuple(map(node, below[path]))
        share = counts[path] / len(rows)
        return ValueNode(name, meaning, path, len(documents[path]), share, finer)

    unread = tuple(_unread(depth, level, known, documents) for depth, level in enumerate(levels))
    return FacetValues(facet, tuple(levels), tuple(map(node, below[()])), unread)


def known_values(
    facet: Mapping[str, Any], above: Path = ()
) -> Iterable[tuple[Path, tuple[str, str]]]:
    """The values of a facet, or those below one of them, as (path, (name, meaning))."""
    for value in facet.get("values") or ():
        path = above
        # One that is called like what it is in stands for that.
        if (name := same_words(value["name"])) not in above[-1:]:
            path = (*above, name)
            yield path, (beginning(value["name"]), value.get("meaning") or "")
        yield from known_values(value, path)


def _unread(
    depth: int,
    level: str,
    known: Mapping[Path, tuple[str, str]],
    documents: Mapping[Path, set[int]],
) -> Unread:
    at = [path for path in known if len(path) == depth + 1]

    def named(path: Path) -> tuple[str, str]:
        return known[path][0], known[path[:-1]][0] if depth else ""

    missing = [named(path) for path in at if not documents.get(path)]
    few = [named(path) for path in at if 0 < len(documents.get(path, ())) <= FEW]
    return Unread(level, len(at), tuple(missing), tuple(few))
