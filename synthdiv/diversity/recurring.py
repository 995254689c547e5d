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

from synthdiv.baselines.embeddings import embed, normalized
from synthdiv.files import Document
from synthdiv.reporting.score_files import Cluster

ALIKE = 0.45  # cosine from which a name joins a group
_CHARACTERS = 1000  # of a document are looked at
_DIMENSIONS = 64
_REASONS = 3  # of a name are looked at
_LONGEST_TOLD, _LONGEST_OTHER = 200, 60  # characters of a provenance value that is counted
_TOLD = ("topic", "style", "persona", "template", "model", "label", "source")  # shown first


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
    vectors = embed([documents[i].text[:_CHARACTERS] for i in indices], "lsa", _DIMENSIONS).vectors
    groups = _merge(_name_vectors(names, by_name, vectors, place), [by_name[n] for n in names])
    places = _places(clusters)
    rounds = len({cluster.round for cluster in clusters})
    told = {i: _told(documents[i]) for i in indices}
    common = Counter(pair for pairs in told.values() for pair in pairs)
    largest = sorted(groups, key=lambda group: -_places(group))[:most]
    return [_describe(group, told, vectors, place, places, rounds, common) for group in largest]


def _plain(name: str) -> str:
    return " ".join(name.lower().split())


def _places(clusters: Sequence[Cluster]) -> int:
    return sum(len(cluster.documents) for cluster in clusters)


def _name_vectors(names, by_name, vectors: np.ndarray, place: Mapping[int, int]) -> np.ndarray:
    words = [
        ". ".join([name, *dict.fromkeys(c.reason for c in by_name[name][:_REASONS])])
        for name in names
    ]
    of_words = embed(words, "lsa", _DIMENSIONS).vectors
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
    told: Mapping[int, set[tuple[str, str]]],
    vectors: np.ndarray,
    place: Mapping[int, int],
    places: int,
    rounds: int,
    common: Counter,
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
        origins=_origins([told[i] for i in indices], common, len(told)),
    )


def _told(document: Document) -> set[tuple[str, str]]:
    """(column, value) pairs of a document's provenance: short ones, and each of a list."""
    found = set()
    for column, value in document.provenance.items():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if one is None or isinstance(one, (dict, list)):
                continue
            words = str(one)
            if words and len(words) <= (_LONGEST_TOLD if column in _TOLD else _LONGEST_OTHER):
                found.add((column, words))
    return found


def _origins(
    members: Sequence[set[tuple[str, str]]], common: Counter, total: int
) -> tuple[Origin, ...]:
    """What the documents of a group share in their provenance, most telling first."""
    found: dict[str, list[Origin]] = defaultdict(list)
    for (column, value), count in Counter(pair for told in members for pair in told).items():
        share = count / len(members)
        lift = share / (common[column, value] / total)
        telling = share >= 0.3 or (column in _TOLD and share >= 0.1 and lift >= 1.5)
        if telling and (count >= 2 or len(members) == 1):
            found[column].append(Origin(column, value, share, lift))
    order = {column: place for place, column in enumerate(_TOLD)}
    shown = []
    for column in sorted(found, key=lambda column: (order.get(column, len(order)), column)):
        # Share times the log of the lift: what the group has much of, and more of than others.
        ranked = sorted(
            found[column],
            key=lambda o: (-o.share * np.log(max(o.lift, 1.0)), -o.share, o.value),
        )
        shown += ranked[: 2 if column in order else 1]
    return tuple(shown[:6])
