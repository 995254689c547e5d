"""The clusters that come back round after round: what a corpus is made of, and what is redundant.

Every round names its clusters afresh. Clusters are merged across rounds when their names and
reasons, and the documents in them, are alike: each name gets the LSA vector of its words beside the
mean LSA vector of its documents, and names are taken in order of the documents they hold, each
joining the nearest group so far or opening a new one. LSA sees shared words only, so two judges'
synonyms merge through their documents.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from synthdiv.diversity.baselines.embeddings import embed, normalized
from synthdiv.files import Document

ALIKE = 0.45  # cosine from which a name joins a group
_CHARACTERS = 1000  # of a document are looked at
_DIMENSIONS = 64
_REASONS = 3  # of a name are looked at


@dataclasses.dataclass(frozen=True)
class Cluster:
    """One cluster of one round.

    Attributes:
        round: number of the round.
        name, reason: the judge's words.
        documents: indices in the corpus.
        valid: what self-verification said.
    """

    round: int
    name: str
    reason: str
    documents: tuple[int, ...]
    valid: bool


@dataclasses.dataclass(frozen=True)
class Origin:
    """A value of a provenance column that a group has more of than the corpus.

    Attributes:
        column, value: such as "style", "blog post".
        share: of the group's documents that have it.
        lift: that share over the share among all documents looked at.
    """

    column: str
    value: str
    share: float
    lift: float


@dataclasses.dataclass(frozen=True)
class Recurring:
    """A group of clusters from different rounds that are about the same thing.

    Attributes:
        name: the name that holds most of its documents.
        names: other names, most documents first.
        reason: why one of its clusters stood apart.
        share: of all document places in the rounds (documents times rounds they were in).
        rounds: share of the rounds in which it occurs.
        clusters: how many clusters were merged.
        valid: share of them that self-verification accepted.
        documents: how many different documents.
        examples: indices of documents nearest to the group's middle.
        origins: where its documents come from, most telling first.
    """

    name: str
    names: tuple[str, ...]
    reason: str
    share: float
    rounds: float
    clusters: int
    valid: float
    documents: int
    examples: tuple[int, ...]
    origins: tuple[Origin, ...]


def find_recurring(
    clusters: Sequence[Cluster], documents: Mapping[int, Document], most: int = 30
) -> list[Recurring]:
    """Merges clusters across rounds; returns the `most` groups that hold most documents.

    Args:
        clusters: of all rounds.
        documents: by index; every index that a cluster names.
        most: how many groups to describe.
    """
    if not clusters:
        return []
    by_name: dict[str, list[Cluster]] = defaultdict(list)
    for cluster in clusters:
        by_name[_plain(cluster.name)].append(cluster)
    names = sorted(by_name, key=lambda name: (-_places(by_name[name]), name))
    indices = sorted({i for cluster in clusters for i in cluster.documents})
    place = {index: i for i, index in enumerate(indices)}
    vectors = embed([documents[i].text[:_CHARACTERS] for i in indices], "lsa", _DIMENSIONS)
    groups = _merge(_name_vectors(names, by_name, vectors, place), [by_name[n] for n in names])
    places = _places(clusters)
    rounds = len({cluster.round for cluster in clusters})
    common = _provenance_counts(documents[i] for i in indices)
    largest = sorted(groups, key=lambda group: -_places(group))[:most]
    return [
        _describe(group, documents, vectors, place, places, rounds, common, len(indices))
        for group in largest
    ]


def _plain(name: str) -> str:
    return " ".join(name.lower().split())


def _places(clusters: Sequence[Cluster]) -> int:
    return sum(len(cluster.documents) for cluster in clusters)


def _name_vectors(names, by_name, vectors: np.ndarray, place: Mapping[int, int]) -> np.ndarray:
    words = [
        ". ".join([name, *dict.fromkeys(c.reason for c in by_name[name][:_REASONS])])
        for name in names
    ]
    of_words = embed(words, "lsa", _DIMENSIONS)
    of_documents = np.zeros((len(names), vectors.shape[1]), np.float32)
    for row, name in enumerate(names):
        members = [place[i] for cluster in by_name[name] for i in cluster.documents]
        of_documents[row] = vectors[members].mean(axis=0) if members else 0
    return normalized(np.hstack([of_words, normalized(of_documents)]))


def _merge(vectors: np.ndarray, members: Sequence[list[Cluster]]) -> list[list[Cluster]]:
    """Takes names in order; each joins the group whose mean is nearest, or opens one."""
    sums = np.zeros_like(vectors)
    means = np.zeros_like(vectors)
    groups: list[list[Cluster]] = []
    for vector, clusters in zip(vectors, members, strict=True):
        count = len(groups)
        similar = means[:count] @ vector
        best = int(similar.argmax()) if count else 0
        if not count or similar[best] < ALIKE:
            best = count
            groups.append([])
        groups[best].extend(clusters)
        sums[best] += vector * _places(clusters)
        means[best] = sums[best] / max(float(np.linalg.norm(sums[best])), 1e-12)
    return groups


def _describe(
    group: list[Cluster],
    documents: Mapping[int, Document],
    vectors: np.ndarray,
    place: Mapping[int, int],
    places: int,
    rounds: int,
    common: Mapping[str, Counter],
    total: int,
) -> Recurring:
    held: Counter = Counter()
    spelling: dict[str, str] = {}
    for cluster in group:
        held[_plain(cluster.name)] += len(cluster.documents)
        spelling.setdefault(_plain(cluster.name), cluster.name)
    names = [spelling[name] for name, _ in held.most_common()]
    indices = sorted({i for cluster in group for i in cluster.documents})
    rows = vectors[[place[i] for i in indices]]
    nearest = np.argsort(-(rows @ rows.mean(axis=0)), kind="stable")
    first = next((c for c in group if c.name == names[0] and c.reason), group[0])
    return Recurring(
        name=names[0],
        names=tuple(names[1:7]),
        reason=first.reason,
        share=_places(group) / max(places, 1),
        rounds=len({cluster.round for cluster in group}) / max(rounds, 1),
        clusters=len(group),
        valid=sum(cluster.valid for cluster in group) / len(group),
        documents=len(indices),
        examples=tuple(indices[i] for i in nearest[:3]),
        origins=_origins([documents[i] for i in indices], common, total),
    )


def _provenance_counts(documents) -> dict[str, Counter]:
    counts: dict[str, Counter] = defaultdict(Counter)
    for document in documents:
        for column, value in document.provenance.items():
            for one in _values(value):
                counts[column][one] += 1
    return counts


def _values(value) -> list[str]:
    """A provenance value as short strings: each of a list's; none of what is empty or long."""
    values = value if isinstance(value, (list, tuple)) else [value]
    words = [str(v) for v in values if v is not None and not isinstance(v, (dict, list))]
    return list(dict.fromkeys(w for w in words if w.strip() and len(w) <= 200))


def _origins(
    members: Sequence[Document], common: Mapping[str, Counter], total: int
) -> tuple[Origin, ...]:
    """Values of provenance shared by at least two of the group's documents, by share and lift."""
    found = []
    for column, counts in _provenance_counts(members).items():
        for value, count in counts.most_common(3):
            share = count / len(members)
            lift = share / (common[column][value] / total)
            if (count >= 2 or len(members) == 1) and (share >= 0.05):
                found.append(Origin(column, value, share, lift))
    # Share times the log of the lift: what the group has more of, and has much of.
    found.sort(key=lambda o: (-o.share * np.log(max(o.lift, 1.0)), -o.share, o.column, o.value))
    return tuple(found[:6])
