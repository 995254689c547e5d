"""What every baseline is, in one table: read by the report, which explains what it shows."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Metric:
    """One baseline as a reader of the report needs it.

    Attributes:
        title: its name in the field.
        group: the name that switches it on in `BaselineConfig.metrics`.
        direction: +1 higher = more diverse, -1 higher = less diverse, 0 neither.
        what: the formula in words.
        confounds: what else moves it.
    """

    title: str
    group: str
    direction: int
    what: str
    confounds: str


_TOGETHER = "depends on the embedding: compare equal documents, embedded together"
_SIZE = "falls as the corpus grows: compare equal tokens"

METRICS: dict[str, Metric] = {
    "context_length": Metric(
        "Context length", "context_length", 0, "mean words a document", "not diversity by itself"
    ),
    "self_repetition": Metric(
        "Self-repetition",
        "self_repetition",
        -1,
        "mean over documents of ln(1 + other documents' uses of its 4-grams)",
        "rises with the number and length of documents",
    ),
    "ngram_diversity": Metric(
        "N-gram diversity",
        "ngram_diversity",
        1,
        "sum over n = 1..4 of distinct / all n-grams of the joined documents",
        _SIZE,
    ),
    "distinct_1": Metric("Distinct-1", "distinct_n", 1, "distinct words / words", _SIZE),
    "distinct_2": Metric("Distinct-2", "distinct_n", 1, "distinct 2-grams / 2-grams", _SIZE),
    "distinct_3": Metric("Distinct-3", "distinct_n", 1, "distinct 3-grams / 3-grams", _SIZE),
    "distinct_4": Metric("Distinct-4", "distinct_n", 1, "distinct 4-grams / 4-grams", _SIZE),
    "compression_ratio": Metric(
        "Compression ratio (gzip)",
        "compression",
        -1,
        "bytes / bytes after gzip -9",
        "sees repetition within 32 KiB only; markup and language",
    ),
    "compression_ratio_zstd": Metric(
        "Compression ratio (zstd, long window)",
        "compression",
        -1,
        "bytes / bytes after zstd with a window of 128 MiB",
        "rises with the size of the corpus; markup and language",
    ),
    "compression_ratio_xz": Metric(
        "Compression ratio (xz)",
        "compression",
        -1,
        "bytes / bytes after xz",
        "rises with the size of the corpus up to 8 MiB; markup and language",
    ),
    "near_duplicate_rate": Metric(
        "Near-duplicate rate",
        "near_duplicates",
        -1,
        "share of documents with 5-word shingles like an earlier one's (MinHash, Jaccard 0.8)",
        "rises with the number of documents",
    ),
    "kmeans_clusters": Metric(
        "K-means clusters used",
        "embedding",
        1,
        "clusters in use of k, at most a tenth of the embedded documents",
        "bounded by k; follows the number of topics weakly, if at all",
    ),
    "kmeans_entropy": Metric(
        "K-means entropy",
        "embedding",
        1,
        "entropy (nats) of the documents over the clusters",
        "bounded by ln k; follows the number of topics weakly, if at all",
    ),
    "vendi_score": Metric(
        "Vendi score",
        "embedding",
        1,
        "exp of the entropy of the eigenvalues of the similarity matrix",
        f"bounded by the number of documents compared (1,000 at most); {_TOGETHER}",
    ),
    "mean_pairwise_distance": Metric(
        "Mean pairwise distance",
        "embedding",
        1,
        "mean cosine distance of two different documents",
        _TOGETHER,
    ),
    "nearest_neighbour_distance": Metric(
        "Nearest-neighbour distance",
        "embedding",
        1,
        "mean cosine distance to the nearest other document",
        f"falls as the number of documents grows; {_TOGETHER}",
    ),
    "perplexity": Metric(
        "Perplexity",
        "perplexity",
        0,
        "exp of the mean negative log-likelihood a token under the first model",
        "the model's own training data; length; quality",
    ),
    "perplexity_bits_per_byte": Metric(
        "Bits per byte",
        "perplexity",
        0,
        "the same log-likelihood in bits a byte: comparable between tokenizers",
        "as perplexity",
    ),
    "perplexity_gap": Metric(
        "Perplexity gap",
        "perplexity",
        0,
        "absolute difference of two models' perplexities",
        "as perplexity",
    ),
}
