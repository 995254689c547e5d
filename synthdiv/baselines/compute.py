"""All baselines of a corpus in one pass over its documents.

The corpus is read in batches. A pool of threads hashes them (NumPy releases the interpreter lock),
or a Ray cluster does; each compressor has a thread of its own, and results are added in the order
of the corpus, so that the figures do not depend on who hashed what. The documents to embed are a
random subset, drawn in the same pass.
"""

import dataclasses
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from synthdiv.baselines.catalogue import METRICS
from synthdiv.baselines.compression import Compressor
from synthdiv.baselines.embeddings import embed
from synthdiv.baselines.geometry import (
    cluster_usage,
    kmeans,
    mean_pairwise_distance,
    nearest_neighbour_distance,
    vendi_score,
)
from synthdiv.baselines.near_duplicates import NearDuplicates
from synthdiv.baselines.ngrams import NgramCounts
from synthdiv.baselines.perplexity import perplexity_metrics
from synthdiv.baselines.repetition import Repetition
from synthdiv.baselines.words import batches, hash_batch, mix
from synthdiv.config import PathName, settle
from synthdiv.engine import LOCAL, Engine, crew
from synthdiv.errors import UserError, closest
from synthdiv.files import Corpus

_READ_AHEAD = 2  # batches beyond one a thread: bounds the memory they take


@dataclasses.dataclass(frozen=True)
class BaselineConfig:
    """Which baselines, and how.

    Attributes:
        metrics: names to compute (groups of `catalogue.METRICS`); perplexity has its own switch.
        compressors: of "gzip", "zstd", "xz".
        zstd_level: compression level of zstd.
        zstd_window_log: log2 of the bytes zstd looks back on.
        repetition_order: words in an n-gram of self-repetition.
        shingle, permutations, near_threshold: of the near-duplicate rate.
        embedding: "lsa", or a sentence-transformers model's name or directory.
        dimensions: of the LSA embedding.
        embedding_documents: embed at most this many, drawn at random.
        spread_documents: Vendi score and distances are of at most this many of them.
        kmeans_clusters: k; at most a tenth of the embedded documents is used.
        perplexity_models: one or two causal language models (Hugging Face names or directories);
            the gap is between the two. The paper's: ("gpt2-large", "gpt2-xl"). None by default.
        perplexity_documents: documents that are scored, drawn at random.
        memory_mb: bound of the n-gram counters; they are exact up to it.
        temporary_dir: where self-repetition keeps what exceeds half of that; by default the
            system's temporary directory.
        threads: number that hash; 0 takes all cores, of this machine or of a Ray cluster.
        seed: of every random draw.
    """

    metrics: tuple[str, ...] = (
        "context_length",
        "self_repetition",
        "ngram_diversity",
        "distinct_n",
        "compression",
        "near_duplicates",
        "embedding",
    )
    compressors: tuple[str, ...] = ("gzip", "zstd")
    zstd_level: int = 3
    zstd_window_log: int = 27
    repetition_order: int = 4
    shingle: int = 5
    permutations: int = 64
    near_threshold: float = 0.8
    embedding: str = "lsa"
    dimensions: int = 64
    embedding_documents: int = 10_000
    spread_documents: int = 1000
    kmeans_clusters: int = 10_000
    perplexity_models: tuple[str, ...] = ()
    perplexity_documents: int = 1000
    memory_mb: float = 256
    temporary_dir: PathName | None = None
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        for name in self.metrics:
            if name not in GROUPS:
                known = ", ".join(GROUPS)
                raise UserError(f"no baseline {name!r}; there are {known}{closest(name, GROUPS)}")
        if self.seed < 0:
            raise UserError(f"Baseline.seed must not be negative, as {self.seed} is")
        if len(self.perplexity_models) > 2:
            raise UserError("perplexity_models takes one model, or two for the gap between them")


GROUPS = tuple(dict.fromkeys(m.group for m in METRICS.values() if m.group != "perplexity"))


class _Drawn:
    """A uniform random subset of a stream of texts of unknown length.

    Every document has a random number made from its index; those with the smallest are kept, so
    the draw depends on nothing but the seed and the number of documents.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._salt = mix(np.array([seed], np.uint64))[0]
        self._limit = np.uint64(2**64 - 1)
        self._held: list[tuple[np.uint64, int, str]] = []

    def add(self, first: int, texts: Sequence[str]) -> None:
        indices = np.arange(first, first + len(texts), dtype=np.uint64)
        draws = mix(indices ^ self._salt)
        for place in np.flatnonzero(draws <= self._limit).tolist():
            self._held.append((draws[place], first + place, texts[place]))
        if len(self._held) > 2 * self.size:
            self._cut()

    def _cut(self) -> None:
        self._held = sorted(self._held, key=lambda held: held[:2])[: self.size]
        if len(self._held) == self.size:
            self._limit = self._held[-1][0]

    def texts(self) -> list[str]:
        """The drawn texts, in the order of the corpus."""
        self._cut()
        return [text for _, _, text in sorted(self._held, key=lambda held: held[1])]


def compute_baselines(
    corpus: Corpus | Iterable[str],
    config: BaselineConfig | None = None,
    sample: Sequence[int] | None = None,
    engine: Engine = LOCAL,
) -> dict[str, float]:
    """Computes the baseline metrics of a corpus (paper, Table 1 and appendix C, and others).

    Args:
        corpus: documents, or an iterable of texts; read once, as a stream.
        config: what to compute.
        sample: indices of the documents to compute on; all by default.
        engine: where documents are hashed; the rest is done in this process.

    Returns:
        Metric name -> value, for the names in `catalogue.METRICS`; also `documents`, `tokens`
        (words that white space separates), `bytes`, and where a bound was reached the standard
        error it costs (`ngram_diversity_error`).
    """
    config = config or BaselineConfig()
    pass_ = _Pass(config)
    pass_.read(batches(_texts(corpus, sample)), engine)
    found = pass_.results()
    return found | embedding_metrics([pass_.drawn.texts()], config)[0] if pass_.drawn else found


def _texts(corpus: Corpus | Iterable[str], sample: Sequence[int] | None) -> Iterable[str]:
    texts = (d if isinstance(d, str) else d.text for d in corpus)
    if sample is None:
        return texts
    wanted = np.unique(np.asarray(sample, np.int64)).tolist()
    return _selected(texts, set(wanted), wanted[-1] + 1 if wanted else 0)


def _selected(texts: Iterable[str], wanted: set[int], stop: int) -> Iterable[str]:
    for index, text in enumerate(itertools.islice(texts, stop)):
        if index in wanted:
            yield text


@dataclasses.dataclass(frozen=True)
class _Hashing:
    """What is done with a batch by itself, for the counters that are wanted."""

    counts: NgramCounts | None
    repetition: Repetition | None
    near: NearDuplicates | None

    def __call__(self, numbered: tuple[int, list[str]]) -> dict[str, Any]:
        batch = hash_batch(*numbered)
        return {
            "documents": len(batch.lengths),
            "empty": int((batch.lengths == 0).sum()),
            "tokens": len(batch.words),
            "bytes": len(batch.text),
            "counts": self.counts.prepare(batch) if self.counts else None,
            "repetition": self.repetition.prepare(batch) if self.repetition else None,
            "near": self.near.prepare(batch) if self.near else None,
        }


def _done(feeds: Iterable[Future[None]]) -> None:
    for feed in feeds:
        feed.result()


class _Pass:
    """The counters of one pass, and their results."""

    def __init__(self, config: BaselineConfig) -> None:
        self.config = config
        on = config.metrics
        self.counts = self.repetition = self.near = self.drawn = None
        self.compressors: dict[str, Compressor] = {}
        if "ngram_diversity" in on or "distinct_n" in on:
            self.counts = NgramCounts((1, 2, 3, 4) if "distinct_n" in on else (), config.memory_mb)
        if "self_repetition" in on:
            self.repetition = Repetition(
                config.repetition_order, config.memory_mb / 2, config.temporary_dir
            )
        if "near_duplicates" in on:
            self.near = NearDuplicates(config.shingle, config.permutations, config.near_threshold)
        if "compression" in on:
            self.compressors = {
                name: Compressor(name, config.zstd_level, config.zstd_window_log)
                for name in config.compressors
            }
        if "embedding" in on:
            self.drawn = _Drawn(config.embedding_documents, config.seed)
        self.read_closely = None
        if config.perplexity_models:
            self.read_closely = _Drawn(config.perplexity_documents, config.seed + 1)
        self.documents = self.tokens = self.bytes = self.empty = 0

    def read(self, stream: Iterable[tuple[int, list[str]]], engine: Engine) -> None:
        threads = self.config.threads or os.cpu_count() or 1
        hashing = _Hashing(self.counts, self.repetition, self.near)
        with crew(hashing, engine, self.config.threads, threads) as workers:
            for prepared in workers.map(self._fed(stream, threads)):
                self._collect(prepared)

    def _fed(
        self, stream: Iterable[tuple[int, list[str]]], threads: int
    ) -> Iterator[tuple[int, list[str]]]:
        """Hands the stream on, draws from it, and compresses it on the way."""
        # A stream is compressed in order: one thread for each compressor.
        compressing = {name: ThreadPoolExecutor(1) for name in self.compressors}
        waiting: deque[list[Future[None]]] = deque()
        try:
            for first, texts in stream:
                for drawn in filter(None, (self.drawn, self.read_closely)):
                    drawn.add(first, texts)
                waiting.append(
                    [
                        compressing[name].submit(self._feed, compressor, first, texts)
                        for name, compressor in self.compressors.items()
                    ]
                )
                yield first, texts
                if len(waiting) >= threads + _READ_AHEAD:
                    _done(waiting.popleft())
            for feeds in waiting:
                _done(feeds)
        finally:
            for executor in compressing.values():
                executor.shutdown(cancel_futures=True)

    def _feed(self, compressor: Compressor, first: int, texts: list[str]) -> None:
        joined = " ".join(texts).encode("utf-8", "surrogatepass")
        compressor.feed(b" " + joined if first else joined)

    def _collect(self, prepared: dict[str, Any]) -> None:
        self.bytes += prepared["bytes"] + (1 if self.documents else 0)
        self.documents += prepared["documents"]
        self.empty += prepared["empty"]
        self.tokens += prepared["tokens"]
        if self.counts:
            self.counts.add(prepared["counts"])
        if self.repetition:
            self.repetition.add(prepared["repetition"])
        if self.near:
            self.near.add(prepared["near"])

    def results(self) -> dict[str, float]:
        """Returns all metrics but those based on embeddings; ends the counting."""
        found: dict[str, float] = {
            "documents": self.documents,
            "empty_documents": self.empty,
            "tokens": self.tokens,
            "bytes": self.bytes,
        }
        if "context_length" in self.config.metrics:
            found["context_length"] = self.tokens / self.documents if self.documents else 0.0
        if self.counts:
            if "ngram_diversity" in self.config.metrics:
                found["ngram_diversity"] = self.counts.ngram_diversity
                found["ngram_diversity_error"] = self.counts.ngram_diversity_error
            for order, counter in self.counts.words.items():
                found[f"distinct_{order}"] = counter.ratio
            self.counts = None
        if self.repetition:
            found["self_repetition"] = self.repetition.result()
            self.repetition = None
        for name, compressor in self.compressors.items():
            key = "compression_ratio" if name == "gzip" else f"compression_ratio_{name}"
            found[key] = compressor.close()
        if self.near:
            found["near_duplicate_rate"] = self.near.result()
        if self.read_closely:
            texts = self.read_closely.texts()
            found |= perplexity_metrics(texts, self.config.perplexity_models)
        return found


def compare_baselines(
    corpora: Sequence[Corpus | Iterable[str]],
    config: BaselineConfig | None = None,
    engine: Engine = LOCAL,
) -> list[dict[str, float]]:
    """Computes the baselines of several corpora so that they can be held against each other.

    One embedding and one set of K-means clusters are fitted to all of them together. Every lexical
    baseline moves with the size of a corpus, so their documents and tokens should be equal in
    number (`matched_baselines` sees to it).

    Args:
        corpora: each is read once.
        config: as of `compute_baselines`; its bound on embedded documents is for each corpus.
        engine: as of `compute_baselines`.

    Returns:
        What `compute_baselines` returns, of each.
    """
    config = config or BaselineConfig()
    found, drawn = [], []
    for corpus in corpora:
        pass_ = _Pass(config)
        pass_.read(batches(_texts(corpus, None)), engine)
        found.append(pass_.results())
        if pass_.drawn:
            drawn.append(pass_.drawn.texts())
    if not drawn:
        return found
    embedded = embedding_metrics(drawn, config)
    return [one | other for one, other in zip(found, embedded, strict=True)]


def embedding_metrics(
    corpora: Sequence[Sequence[str]], config: BaselineConfig
) -> list[dict[str, float]]:
    """Computes the metrics that are based on embeddings, in one embedding of all corpora."""
    texts = list(itertools.chain.from_iterable(corpora))
    embedded = embed(texts, config.embedding, config.dimensions, config.seed)
    owners = np.repeat(np.arange(len(corpora)), list(map(len, corpora)))
    # Documents without words have no direction.
    owners[~embedded.vectors.any(axis=1)] = -1
    kept = np.flatnonzero(owners >= 0)
    clusters = max(min(config.kmeans_clusters, len(kept) // 10), 1)
    assigned = np.full(len(texts), -1)
    if len(kept):
        assigned[kept] = kmeans(embedded.vectors[kept], clusters, config.seed)
    found: list[dict[str, float]] = []
    for number in range(len(corpora)):
        own = np.flatnonzero(owners == number)
        if not len(own):
            found.append({"embedded_documents": 0})
            continue
        used, entropy = cluster_usage(assigned[own])
        # The documents were drawn at random, so evenly spaced ones are a random subset too.
        few = own[np.linspace(0, len(own) - 1, min(len(own), config.spread_documents)).astype(int)]
        spread = embedded.cosines[few]
        found.append(
            {
                "embedded_documents": len(own),
                "kmeans_k": clusters,
                "kmeans_clusters": used,
                "kmeans_entropy": entropy,
                "spread_documents": len(few),
                "vendi_score": vendi_score(spread),
                "mean_pairwise_distance": mean_pairwise_distance(spread),
                "nearest_neighbour_distance": nearest_neighbour_distance(spread),
            }
        )
    return found
