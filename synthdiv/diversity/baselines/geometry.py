"""How embeddings spread: K-means, Vendi score, pairwise and nearest-neighbour distance."""

import numpy as np

from synthdiv.diversity.baselines.embeddings import normalized

_ROWS = 2048  # compared at once


def vendi_score(vectors: np.ndarray, q: float = 1.0) -> float:
    """Vendi score: exp of the entropy of the eigenvalues of the cosine-similarity matrix / n.

    Equal documents give 1, documents that are all orthogonal give n. Computed from the smaller of
    the n x n and the d x d matrix, which have the same eigenvalues above zero.
    Source: Friedman and Dieng 2023 (order q: Pasarkar and Dieng 2024).
    Direction: higher = more diverse.
    Confounds: at most the embedding's dimensions; depends on the embedding; grows with the number
    of documents while that is small.

    Args:
        vectors: [documents, dimensions]; rows are scaled to length 1.
        q: order; 1 weighs by Shannon entropy, infinity looks at the largest eigenvalue only.
    """
    vectors = normalized(np.asarray(vectors, np.float64))
    count, dimensions = vectors.shape
    if not count:
        return 0.0
    matrix = vectors.T @ vectors if dimensions < count else vectors @ vectors.T
    values = np.linalg.eigvalsh(matrix / count)
    values = values[values > 0]
    if not len(values):
        return 0.0
    if q == 1:
        return float(np.exp(-(values * np.log(values)).sum()))
    if np.isinf(q):
        return float(1 / values.max())
    return float((values**q).sum() ** (1 / (1 - q)))


def mean_pairwise_distance(vectors: np.ndarray) -> float:
    """Mean cosine distance over all pairs of different documents, from the sum of all vectors.

    Source: remote-clique of Cox et al. 2021; the `diversity` package's remote_clique also counts
    every document's distance to itself, so it is ours times (n - 1) / n.
    Direction: higher = more diverse; about 0 to 1.
    Confounds: the embedding; one far group of documents raises it as much as many topics do.
    """
    vectors = normalized(np.asarray(vectors, np.float64))
    count = len(vectors)
    if count < 2:
        return 0.0
    total = vectors.sum(axis=0)
    own = (vectors * vectors).sum()
    return float(1 - (total @ total - own) / (count * (count - 1)))


def nearest_neighbour_distance(vectors: np.ndarray) -> float:
    """Mean over documents of the cosine distance to the nearest other document.

    Source: Chamfer distance of Cox et al. 2021, as in the `diversity` package's chamfer_dist.
    Direction: higher = more diverse; 0 when every document has a twin.
    Confounds: falls as the number of documents grows: compare equal numbers.
    """
    vectors = normalized(np.asarray(vectors, np.float32))
    if len(vectors) < 2:
        return 0.0
    nearest = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _ROWS):
        similar = vectors[start : start + _ROWS] @ vectors.T
        rows = np.arange(len(similar))
        similar[rows, start + rows] = -np.inf
        nearest[start : start + _ROWS] = similar.max(axis=1)
    return float(np.maximum(1 - nearest, 0).mean(dtype=np.float64))


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
    Direction: higher = more diverse.
    Confounds: k and the number of documents bound both: comparable only between corpora that were
    embedded and clustered together (`compare_baselines`), or, roughly, at equal documents and k.
    """
    sizes = np.bincount(assigned)
    shares = sizes[sizes > 0] / max(len(assigned), 1)
    return len(shares), float(-(shares * np.log(shares)).sum()) + 0.0
