"""How embeddings spread: K-means, Vendi score, pairwise and nearest-neighbour distance."""

from typing import Any

import numpy as np

from synthdiv.baselines.embeddings import normalized

_WORKING_MB = 64  # of distances at once


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
    matrix = vectors.T @ vectors if dimensions < count else vectors @ vectors.T
    dense = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    values = np.linalg.eigvalsh(dense / count)
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
    if vectors.shape[0] < 2:
        return 0.0
    import sklearn
    from sklearn.neighbors import NearestNeighbors

    scaled = _scaled(vectors)
    with sklearn.config_context(working_memory=_WORKING_MB):
        found = NearestNeighbors(n_neighbors=1, metric="cosine").fit(scaled).kneighbors()
    return float(found[0].mean())


def _scaled(vectors: Any) -> Any:
    """Rows of length 1 in float64, as dense or as sparse as they were."""
    return normalized(vectors.astype(np.float64))


def kmeans(vectors: np.ndarray, clusters: int, seed: int = 0) -> np.ndarray:
    """Mini-batch K-means from documents drawn at random.

    A cluster that no document is near stays empty. It is not moved elsewhere, since the number of
    clusters in use is what is measured; nor does the search stop early, so that the result does not
    depend on the number of threads.
    Source: Sculley 2010.

    Args:
        vectors: [documents, dimensions].
        clusters: k, at most the number of documents.
        seed: of the first centres and of the batches.

    Returns:
        int32 [documents] in 0..clusters-1: the cluster of each.
    """
    from sklearn.cluster import MiniBatchKMeans

    clustering = MiniBatchKMeans(
        clusters,
        init="random",
        n_init=1,
        max_iter=10,
        batch_size=4096,
        max_no_improvement=None,
        reassignment_ratio=0,
        random_state=seed,
    )
    return clustering.fit_predict(vectors)


def cluster_usage(assigned: np.ndarray) -> tuple[int, float]:
    """Clusters in use, and the entropy in nats of the documents over the clusters.

    Source: the paper's Table 1 (K-means over embeddings, k = 10,000; ours is never above a tenth
    of the documents). exp(entropy) is the effective number of clusters.
    Direction: higher = more diverse, but weakly: K-means spends its clusters where documents are
    many, and divides one topic as readily as it separates two. On mixtures of newsgroups of equal
    size neither figure follows the number of newsgroups, which is what the paper reports too.
    Confounds: k and the number of documents bound both: comparable only between corpora that were
    embedded and clustered together (`compare_baselines`), at equal documents.
    """
    sizes = np.bincount(assigned)
    shares = sizes[sizes > 0] / max(len(assigned), 1)
    return len(shares), float(-(shares * np.log(shares)).sum()) + 0.0
