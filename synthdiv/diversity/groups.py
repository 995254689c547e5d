"""Groups of clusters that mean the same thing, and what a reader is told of each.

Where documents got values, clusters of one value are a group. Where a judge sorted them into
clusters with names of its own, `recurring` finds out which belong together.
"""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from synthdiv.files import Document
from synthdiv.reporting.score_files import Cluster
from synthdiv.reporting.sources import TOLD, constant, same_words, told

_EXAMPLES = 3
_NAMES = 6  # other names of a group
_COMMON_NAME = 0.2  # share of a group's documents from which a name stands for it
_MARKS, _MARKED, _UNUSUAL = 4, 0.5, 1.2  # values that mark a group: how many, share, lift
_ORIGINS = 6
_RARE, _PREFERRED = 0.1, 1.5  # share and lift from which an origin of a known column is told
_COMMON = 0.3  # share from which any origin is

Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Origin:
    """A value of a provenance column or of a criterion that a group has more of than the corpus.

    Attributes:
        column, value: such as "style", "blog post".
        share: of the group that has it.
        lift: that share over the share among all that was looked at.
    """

    column: str
    value: str
    share: float
    lift: float


@dataclasses.dataclass(frozen=True)
class Group:
    """Clusters from different rounds that are about the same thing.

    Attributes:
        name: the name that holds most of its documents, or the most typical of many.
        within: the broader values it belongs to, broadest first; none of clusters without values.
        names: other names, most documents first.
        reason: why one of its clusters stood apart, or what belongs to its value.
        share: of all document places in the rounds (documents times rounds they were in).
        rounds: share of the rounds in which it occurs.
        clusters: how many clusters were merged.
        valid: share of them that self-verification accepted.
        documents: how many different documents.
        examples: indices of documents to show.
        marks: values of criteria that its clusters have and others do not.
        origins: where its documents come from, most telling first.
        members: places of its clusters among those that were given.
    """

    name: str
    within: tuple[str, ...]
    names: tuple[str, ...]
    reason: str
    share: float
    rounds: float
    clusters: int
    valid: float
    documents: int
    examples: tuple[int, ...]
    marks: tuple[Origin, ...]
    origins: tuple[Origin, ...]
    members: tuple[int, ...]


def value_groups(
    clusters: Sequence[Cluster], documents: Mapping[int, Document], most: int = 200
) -> list[Group]:
    """Groups clusters by the value they stand for; returns those that hold most documents.

    Args:
        clusters: of all rounds; their metadata is the value at each level, broadest first.
        documents: by index; those that are known.
        most: how many groups to describe.
    """
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, cluster in enumerate(clusters):
        found[tuple(map(same_words, cluster.metadata.values()))].append(place)
    return describe(clusters, list(found.values()), documents, most)


def describe(
    clusters: Sequence[Cluster],
    members: Sequence[Sequence[int]],
    documents: Mapping[int, Document],
    most: int,
    nearest: Mapping[int, np.ndarray] | None = None,
) -> list[Group]:
    """Describes groups of clusters, those with most documents first.

    Args:
        clusters: of all rounds.
        members: of each group, the places of its clusters.
        documents: by index; those that are known.
        most: how many groups to describe.
        nearest: the vector of each document; examples are then those in a group's middle.
    """
    corpus = _Corpus(clusters, documents)
    largest = sorted(members, key=lambda group: -places(clusters[m] for m in group))[:most]
    return [corpus.described(sorted(group), nearest) for group in largest]


def places(clusters: Iterable[Cluster]) -> int:
    """How many documents the clusters hold, one in several rounds as often as it was there."""
    return sum(len(cluster.documents) for cluster in clusters)


class _Corpus:
    """What single groups are held against."""

    def __init__(self, clusters: Sequence[Cluster], documents: Mapping[int, Document]) -> None:
        self.clusters = clusters
        self.places = max(places(clusters), 1)
        self.rounds = max(len({cluster.round for cluster in clusters}), 1)
        shown = {i for cluster in clusters for i in cluster.documents}
        self.told = {i: told(documents[i]) for i in shown if i in documents}
        self.common = Counter(pair for pairs in self.told.values() for pair in pairs)
        self.constant = constant(self.told.values())
        self.values = _valued(clusters)

    def described(self, members: Sequence[int], vectors: Mapping[int, np.ndarray] | None) -> Group:
        group = [self.clusters[m] for m in members]
        held: Counter[str] = Counter()
        spelling: dict[str, str] = {}
        for cluster in group:
            held[same_words(cluster.name)] += len(cluster.documents)
            spelling.setdefault(same_words(cluster.name), cluster.name)
        typical = _typical(held)
        others = [name for name, _ in held.most_common() if name != typical]
        names = [spelling[name] for name in (typical, *others)]
        indices = sorted({i for cluster in group for i in cluster.documents})
        first = next((c for c in group if c.name == names[0] and c.reason), group[0])
        return Group(
            name=names[0],
            within=first.within,
            names=tuple(names[1 : 1 + _NAMES]),
            reason=first.reason,
            share=places(group) / self.places,
            rounds=len({cluster.round for cluster in group}) / self.rounds,
            clusters=len(group),
            valid=sum(cluster.valid for cluster in group) / len(group),
            documents=len(indices),
            examples=_examples(indices, vectors),
            marks=() if first.within else self._marks(group),
            origins=self._origins([self.told[i] for i in indices if i in self.told]),
            members=tuple(members),
        )

    def _marks(self, group: Sequence[Cluster]) -> tuple[Origin, ...]:
        """Values that most of a group's documents have by the judge's word, and others have not."""
        total, found = places(group), []
        for pair, count in _valued(group).items():
            share = count / max(total, 1)
            lift = share / (self.values[pair] / self.places)
            if share >= _MARKED and lift >= _UNUSUAL:
                found.append(Origin(*pair, share, lift))
        found.sort(key=lambda mark: (-mark.lift * mark.share, mark.column))
        return tuple(found[:_MARKS])

    def _origins(self, members: Sequence[set[Pair]]) -> tuple[Origin, ...]:
        """What the documents of a group share in their provenance, most telling first."""
        found: dict[str, list[Origin]] = defaultdict(list)
        for (column, value), count in Counter(pair for one in members for pair in one).items():
            if column in self.constant:
                continue
            share = count / len(members)
            lift = share / (self.common[column, value] / len(self.told))
            telling = share >= _COMMON or (column in TOLD and share >= _RARE and lift >= _PREFERRED)
            if telling and (count >= 2 or len(members) == 1):
                found[column].append(Origin(column, value, share, lift))
        order = {column: place for place, column in enumerate(TOLD)}
        shown = []
        for column in sorted(found, key=lambda column: (order.get(column, len(order)), column)):
            # Share times the log of the lift: what the group has much of, and more than others.
            ranked = sorted(
                found[column],
                key=lambda o: (-o.share * np.log(max(o.lift, 1.0)), -o.share, o.value),
            )
            shown += ranked[: 2 if column in order else 1]
        return tuple(shown[:_ORIGINS])


def _typical(names: Counter[str]) -> str:
    """The name to call a group by: the commonest, or if none is common, the most typical one.

    A judge that calls a thing differently every time still uses the same words for it.

    Args:
        names: by how many documents have them.
    """
    commonest, count = names.most_common(1)[0]
    if count >= _COMMON_NAME * names.total():
        return commonest
    weights: Counter[str] = Counter()
    for name, documents in names.items():
        for word in set(_words(name)):
            weights[word] += documents

    def typical(name: str) -> float:
        words = set(_words(name))
        return sum(weights[word] for word in words) / max(len(words), 1) ** 0.5

    return max(names, key=lambda name: (typical(name), names[name], name))


def _words(name: str) -> list[str]:
    return re.findall(r"\w{3,}", name)


def _valued(clusters: Sequence[Cluster]) -> Counter[Pair]:
    """(criterion, value) pairs of clusters, by how many documents have them."""
    found: Counter[Pair] = Counter()
    for cluster in clusters:
        for pair in cluster.metadata.items():
            found[pair] += len(cluster.documents)
    return found


def _examples(indices: Sequence[int], vectors: Mapping[int, np.ndarray] | None) -> tuple[int, ...]:
    if vectors is None:
        step = max(len(indices) // _EXAMPLES, 1)
        return tuple(indices[::step][:_EXAMPLES])
    rows = np.array([vectors[i] for i in indices])
    nearest = np.argsort(-(rows @ rows.mean(axis=0)), kind="stable")
    return tuple(indices[i] for i in nearest[:_EXAMPLES])
