"""What the script of a score's page reads: rounds, documents and groups as JSON, within bounds.

A page must open in a browser whatever was scored. It holds the first rounds up to a number, their
documents, and of each document as many characters as there is room for; it says what it leaves out.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from synthdiv.files import Document
from synthdiv.reporting.score_files import Round, ScoreFiles
from synthdiv.reporting.sources import beginning, constant, told
from synthdiv.reporting.values import paths

ROUNDS_IN_BLOCK = 100
DOCUMENTS_IN_BLOCK = 200
MOST_ROUNDS = 2000  # in one page
TEXT_BUDGET = 6_000_000  # characters of documents in one page, shared among them
LONGEST, SHORTEST = 2000, 160  # characters shown of one document, and as many of its provenance
_VALUE = 120  # characters shown of one provenance value


class Grouped(Protocol):
    """A group as the page's script needs it."""

    @property
    def name(self) -> str: ...
    @property
    def within(self) -> Sequence[str]: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def reason(self) -> str: ...
    @property
    def share(self) -> float: ...
    @property
    def rounds(self) -> float: ...
    @property
    def documents(self) -> int: ...
    @property
    def members(self) -> Sequence[int]: ...


@dataclasses.dataclass(frozen=True)
class PageData:
    """What a page embeds.

    Attributes:
        blocks: (id of the script element, content); each is parsed when it is first asked for.
        rounds, documents: how many are in the page.
        characters: shown of one document at most.
    """

    blocks: tuple[tuple[str, Any], ...]
    rounds: int
    documents: int
    characters: int


def page_data(files: ScoreFiles, groups: Sequence[Grouped]) -> PageData:
    """Returns what a page embeds of a score and its groups."""
    of_cluster = group_numbers(groups)
    shown = files.rounds[:MOST_ROUNDS]
    indices = sorted({i for round_ in shown for i in round_.indices})
    number = {index: i for i, index in enumerate(indices)}
    characters = max(min(TEXT_BUDGET // max(len(indices), 1), LONGEST), SHORTEST)
    rounds, first = [], 0  # number of a round's first cluster among those of all rounds
    for round_ in shown:
        rounds.append(_round(round_, first, number, of_cluster, groups))
        first += len(round_.clusters)
    provenance = _Provenance(files, indices)
    documents = [
        _document(index, files.documents.get(index), characters, provenance) for index in indices
    ]
    about = {
        "rounds": [round_.number for round_ in shown],
        "flags": [_flags(round_) for round_ in shown],
        "roundsInBlock": ROUNDS_IN_BLOCK,
        "documentsInBlock": DOCUMENTS_IN_BLOCK,
        "documents": len(documents),
        "columns": provenance.columns,
        "sets": len({round_.criteria_set for round_ in files.rounds}),
        "name": (files.score.get("corpus") or {}).get("name") or "corpus",
        "policy": (files.score.get("score") or {}).get("policy"),
    }
    blocks: list[tuple[str, Any]] = [("about", about), ("groups", list(map(_group, groups)))]
    blocks.append(("score", files.score))
    for kind, content, size in (
        ("rounds", rounds, ROUNDS_IN_BLOCK),
        ("documents", documents, DOCUMENTS_IN_BLOCK),
    ):
        for start in range(0, len(content), size):
            blocks.append((f"{kind}-{start // size}", content[start : start + size]))
    return PageData(tuple(blocks), len(rounds), len(documents), characters)


def group_numbers(groups: Sequence[Grouped]) -> dict[int, int]:
    """The number of its group for each cluster that is in one, by place among all clusters."""
    return {place: number for number, group in enumerate(groups) for place in group.members}


def memberships(files: ScoreFiles, groups: Sequence[Grouped]) -> dict[int, list[int]]:
    """The group of each document in every round it was in; what is in none counts as its own."""
    of_cluster = group_numbers(groups)
    found: dict[int, list[int]] = {}
    for place, cluster in enumerate(files.clusters):
        for index in cluster.documents:
            found.setdefault(index, []).append(of_cluster.get(place, -1 - place))
    return found


def _group(group: Grouped) -> dict[str, Any]:
    return {
        "name": group.name,
        "within": list(group.within),
        "names": list(group.names),
        "reason": group.reason,
        "share": round(group.share, 5),
        "rounds": round(group.rounds, 5),
        "documents": group.documents,
    }


def _round(
    round_: Round,
    first: int,
    number: Mapping[int, int],
    of_cluster: Mapping[int, int],
    groups: Sequence[Grouped],
) -> dict[str, Any]:
    clusters = []
    for place, cluster in enumerate(round_.clusters, first):
        shown: dict[str, Any] = {"documents": [number[i] for i in cluster.documents]}
        group = of_cluster.get(place)
        if group is not None:
            shown["group"] = group
        if group is None or cluster.name != groups[group].name:
            shown["name"] = cluster.name
        if cluster.reason and (group is None or cluster.reason != groups[group].reason):
            shown["reason"] = cluster.reason
        if not cluster.valid:
            shown["rejected"] = True
        clusters.append(shown)
    return {
        "round": round_.number,
        "set": round_.criteria_set,
        "documents": [number[i] for i in round_.indices],
        "C": round_.C,
        "S": round_.S,
        "score": round_.score,
        "repaired": round_.repaired,
        "failed": round_.failed,
        "clusters": clusters,
    }


def _flags(round_: Round) -> list[str]:
    flags = {
        "failed": round_.failed,
        "repaired": round_.repaired,
        "rejected": any(not cluster.valid for cluster in round_.clusters),
        "alike": round_.C == 1,
    }
    return [name for name, on in flags.items() if on]


class _Provenance:
    """What is told of single documents: not what is the same for all of them."""

    def __init__(self, files: ScoreFiles, indices: Sequence[int]) -> None:
        self._constant = constant(map(told, files.documents.values()))
        self._coded: dict[int, list[tuple[str, str]]] = {}
        self._numbers: dict[str, int] = {}
        if files.values:
            facets = files.score["codebooks"][0]["facets"]
            levels = {f["name"]: [level["name"] for level in f["levels"]] for f in facets}
            wanted = set(indices)
            for row in files.values:
                if row["index"] in wanted:
                    self._coded[row["index"]] = [
                        (facet, name)
                        for facet, of_facet in levels.items()
                        for name in [name for _, name in paths(row, facet, of_facet)][-1:]
                    ]

    def of(self, index: int, document: Document | None) -> list[tuple[str, str]]:
        """(column, words) of a document: its values, then its provenance."""
        found = list(self._coded.get(index, ()))
        for column, value in document.provenance.items() if document else ():
            words = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            if words is not None and column not in self._constant:
                found.append((column, str(words)))
        return found

    def column(self, name: str) -> int:
        """The number of a column, a new one if it has none."""
        return self._numbers.setdefault(name, len(self._numbers))

    @property
    def columns(self) -> list[str]:
        """The names of the columns that have a number, in order."""
        return list(self._numbers)


def _document(
    index: int, document: Document | None, characters: int, provenance: _Provenance
) -> list[Any]:
    """[index, id, text, characters left out, [[column, value], ...]]."""
    told_of, left = [], characters
    for column, words in provenance.of(index, document):
        if left > 0 and (shown := beginning(words, _VALUE)).strip():
            told_of.append([provenance.column(column), shown])
            left -= len(column) + len(shown)
    if document is None:
        return [index, str(index), "", 0, told_of]
    text = document.text[:characters]
    return [index, document.id, text, len(document.text) - len(text), told_of]
