"""How embeddings spread: K-means, Vendi score, pairwise and nearest-neighbour distance."""

from typing import Any

import numpy as np

from synthdiv.baselines.embeddings import normalized

_ROWS = 2048  # compared at once


def vendi_score(vectors: Any, q: float = 1.0) -> float:
    """Vendi score: exp of the entropy of the eigenvalues of the cosine-similarity matrix / n.

    Equal documents give 1, documents that are all orthogonal give n. Computed from the smaller of
    the n x n and the d x d matrix, which have the same eigenvalues above zero.
    Source: Friedman and Dieng 2023 (order q: Pasarkar and Dieng 2024).
    Direction: higher = more diverse.
    Confounds: at most the number of documents, and of the embedding's dimensions; grows with the
    number of documents: compare equal numbers, in one embedding.

    Args:
        vectors: [documents, dimensions], NumPy or SciPy sparse; rows are scaled to length 1.
        q: order; 1 weighs by Shannon entropy, infinity looks at the largest eigenvalue only.
    """
    vectors = _scaled(vectors)
    count, dimensions = vectors.shape
    if not count:
        return 0.0
    matrix = _dense(vectors.T @ vectors if dimensions < count else vectors @ vectors.T)
    values = np.linalg.eigvalsh(matrix / count)
    values = values[values > 0]
    if not len(values):
        return 0.0
    if q == 1:
        return float(np.exp(-(values * np.log(values)).sum()))
    if np.isinf(q):
        return float(1 / values.max())
    return float((values**q).sum() ** (1 / (1 - q)))


def mean_pairwise_distance(vectors: Any) -> float:
    """Mean cosine distance over all pairs of different documents, from the sum of all vectors.

    Source: remote-clique of Cox et al. 2021; the `diversity` package's remote_clique also counts
    every document's distance to itself, so it is ours times (n - 1) / n.
    Direction: higher = more diverse; about 0 to 1.
    Confounds: the embedding; one far group of documents raises it as much as many topics do.

    Args:
        vectors: [documents, dimensions], NumPy or SciPy sparse; rows are scaled to length 1.
    """
    vectors = _scaled(vectors)
    count = vectors.shape[0]
    if count < 2:
        return 0.0
    total = np.asarray(vectors.sum(axis=0)).ravel()
    own = vectors.multiply(vectors).sum() if hasattr(vectors, "multiply") else (vectors**2).sum()
    return float(1 - (total @ total - own) / (count * (count - 1)))


def nearest_neighbour_distance(vectors: Any) -> float:
    """Mean over documents of the cosine distance to the nearest other document.

    Source: Chamfer distance of Cox et al. 2021, as in the `diversity` package's chamfer_dist.
    Direction: higher = more diverse; 0 when every document has a twin.
    Confounds: falls as the number of documents grows: compare equal numbers.

    Args:
        vectors: [documents, dimensions], NumPy or SciPy sparse; rows are scaled to length 1.
    """
    vectors = _scaled(vectors)
    count = vectors.shape[0]
    if count < 2:
        return 0.0
    nearest = np.empty(count)
    for start in range(0, count, _ROWS):
        similar = _dense(vectors[start : start + _ROWS] @ vectors.T)
        rows = np.arange(len(similar))
        similar[rows, start + rows] = -np.inf
        nearest[start : start + _ROWS] = similar.max(axis=1)
    return float(np.maximum(1 - nearest, 0).mean())


def _scaled(vectors: Any) -> Any:
    """Rows of length 1 in float64, as dense or as sparse as they were."""
    if not hasattr(vectors, "tocsr"):
        return normalized(np.asarray(vectors, np.float64))
    from scipy import sparse

    vectors = vectors.tocsr().astype(np.float64)
    lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    return sparse.diags(1 / np.where(lengths > 0, lengths, 1)) @ vectors


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix


def kmeans(
    vectors: np.ndarray, clusters: int, seed: int = 0, iterations: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's K-means from documents drawn at random.

    A cluster that loses all its documents stays empty: it is not moved elsewhere, since the number
    of clusters in use is what is measured.

    Returns:
        (float32 [clusters, dimensions], int64 [documents] in 0..clusters-1).
    """
    vectors = np.asarray(vectors, np.float32)
    generator = np.random.Generator(np.random.PCG64(seed))
    clusters = min(clusters, len(vectors))
    centres = vectors[generator.choice(len(vectors), clusters, replace=False)]
    assigned = np.full(len(vectors), -1)
    for _ in range(iterations):
        fresh = nearest_centre(vectors, centres)
        if (fresh == assigned).all():
            break
        assigned = fresh
        sizes = np.bincount(assigned, minlength=clusters)
        order = np.argsort(assigned, kind="stable")
        used = np.flatnonzero(sizes)
        starts = np.concatenate(([0], np.cumsum(sizes[used])[:-1]))
        sums = np.add.reduceat(vectors[order], starts, axis=0)
        centres = centres.copy()
        centres[used] = sums / sizes[used, None]
    return centres, assigned


def nearest_centre(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Returns int64 [documents]: the nearest centre of each; equal distances go to the first."""
    halves = (centres * centres).sum(axis=1) / 2
    nearest = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _ROWS):
        scores = vectors[start : start + _ROWS] @ centres.T
        scores -= halves
        nearest[start : start + _ROWS] = scores.argmax(axis=1)
    return nearest


def cluster_usage(assigned: np.ndarray) -> tuple[int, float]:
    """Clusters in use, and the entropy in nats of the documents over the clusters.

    Source: the paper's Table 1 (K-means over embeddings, k = 10,000; ours is never above a tenth
    of the documents). exp(entropy) is the effective number of clusters.
    Direction: higher = more diverse, but weakly: K-means spends its clusters where documents are
    many, and cuts one topic as readily as it parts two. On mixtures of newsgroups at equal size
    neither figure follows the number of newsgroups, which is what the paper reports too.
    Confounds: k and the number of documents bound both: comparable only between corpora that were
    embedded and clustered together (`compare_baselines`), at equal documents.
    """
    sizes = np.bincount(assigned)
    shares = sizes[sizes > 0] / max(len(assigned), 1)
    return len(shares), float(-(shares * np.log(shares)).sum()) + 0.0
