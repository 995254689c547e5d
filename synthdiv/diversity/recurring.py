"""The clusters that come back round after round: what a corpus is made of, and what is redundant.

Every round names its clusters afresh. Clusters are merged across rounds when their names and
reasons, and the documents in them, are alike: each name gets the LSA vector of its words beside the
mean LSA vector of its documents, and names are taken in order of the documents they hold, each
joining the nearest group so far or opening a new one. LSA sees shared words only, so two judges'
synonyms merge through their documents.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from synthdiv.baselines.embeddings import embed, normalized
from synthdiv.diversity.groups import Group, describe, places
from synthdiv.files import Document
from synthdiv.reporting.score_files import Cluster
from synthdiv.reporting.sources import same_words

ALIKE = 0.45  # cosine from which a name joins a group
_CHARACTERS = 1000  # of a document are looked at
_DIMENSIONS = 64
_REASONS = 3  # of a name are looked at


def find_recurring(
    clusters: Sequence[Cluster], documents: Mapping[int, Document], most: int = 30
) -> list[Group]:
    """Merges clusters across rounds; returns the `most` groups that hold most documents.

    Args:
        clusters: of all rounds.
        documents: by index; every index that a cluster names.
        most: how many groups to describe.
    """
    if not clusters:
        return []
    by_name: dict[str, list[int]] = defaultdict(list)
    for place, cluster in enumerate(clusters):
        by_name[same_words(cluster.name)].append(place)
    held = {name: places(clusters[m] for m in members) for name, members in by_name.items()}
    names = sorted(by_name, key=lambda name: (-held[name], name))
    indices = sorted({i for cluster in clusters for i in cluster.documents})
    embedded = embed([documents[i].text[:_CHARACTERS] for i in indices], "lsa", _DIMENSIONS)
    vectors = dict(zip(indices, embedded.vectors, strict=True))
    of_names = _name_vectors([[clusters[m] for m in by_name[name]] for name in names], vectors)
    groups = _merge(of_names, [held[name] for name in names])
    members = [[m for n in group for m in by_name[names[n]]] for group in groups]
    return describe(clusters, members, documents, most, vectors)


def _name_vectors(
    named: Sequence[Sequence[Cluster]], vectors: Mapping[int, np.ndarray]
) -> np.ndarray:
    """The vector of each name, from the clusters that have it."""
    words = [
        ". ".join([clusters[0].name, *dict.fromkeys(c.reason for c in clusters[:_REASONS])])
        for clusters in named
    ]
    of_words = embed(words, "lsa", _DIMENSIONS).vectors
    width = len(next(iter(vectors.values()), ()))
    of_documents = np.zeros((len(named), width), np.float32)
    for row, clusters in enumerate(named):
        members = [vectors[i] for cluster in clusters for i in cluster.documents]
        of_documents[row] = np.mean(members, axis=0) if members else 0
    return normalized(np.hstack([of_words, normalized(of_documents)]))


def _merge(vectors: np.ndarray, weights: Sequence[int]) -> list[list[int]]:
    """Takes names in order; each joins the group whose mean is nearest, or opens one."""
    sums = np.zeros_like(vectors)
    means = np.zeros_like(vectors)
    groups: list[list[int]] = []
    for name, (vector, weight) in enumerate(zip(vectors, weights, strict=True)):
        count = len(groups)
        similar = means[:count] @ vector
        best = int(similar.argmax()) if count else 0
        if not count or similar[best] < ALIKE:
            best = count
            groups.append([])
        groups[best].append(name)
        sums[best] += vector * weight
        means[best] = sums[best] / max(float(np.linalg.norm(sums[best])), 1e-12)
    return groups
