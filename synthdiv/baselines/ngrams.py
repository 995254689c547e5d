"""Distinct n-grams: exact within a memory bound, beyond it estimated with a stated error.

A counter keeps the distinct hashes in rising order. When all counters of a run together hold more
than the bound allows, the largest keeps only the hashes below half of its limit. Hashes are random,
so this is a random half of the distinct n-grams, and twice its size is an unbiased count.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from synthdiv.baselines.words import Batch, batches, distinct_sorted, hash_batch, ngram_hashes

PIECE_ORDERS = (1, 2, 3, 4)  # n-gram diversity sums over these


class DistinctCounter:
    """Counts distinct 64-bit hashes of a stream.

    Two different n-grams share a hash with probability 2**-64: at 10**8 distinct ones the expected
    number of such pairs is below 0.001.
    """

    def __init__(self) -> None:
        self.total = 0
        self.halvings = 0  # hashes kept: those below 2**(64 - halvings)
        self._kept = np.empty(0, np.uint64)
        self._pending: list[np.ndarray] = []
        self._pending_size = 0

    def prepare(self, hashes: np.ndarray) -> np.ndarray:
        """Returns what `add` takes: the distinct hashes of a part that are kept. For any thread."""
        if self.halvings:
            hashes = hashes[hashes < np.uint64(self._limit)]
        return distinct_sorted(hashes)

    def add(self, prepared: np.ndarray, total: int) -> None:
        """Adds a prepared part of the stream that had `total` n-grams in it."""
        self.total += total
        if self.halvings:  # there may have been fewer when it was prepared
            prepared = prepared[: np.searchsorted(prepared, np.uint64(self._limit))].copy()
        self._pending.append(prepared)
        self._pending_size += len(prepared)
        # Often enough that merging, which takes both twice, needs little memory beside them.
        if self._pending_size > max(1 << 19, len(self._kept) // 4):
            self.settle()

    @property
    def _limit(self) -> int:
        return (1 << (64 - self.halvings)) - 1

    @property
    def held(self) -> int:
        """Hashes in memory."""
        return len(self._kept) + self._pending_size

    def settle(self) -> None:
        """Merges what was added into the distinct hashes."""
        if self._pending:
            self._kept = distinct_sorted(np.concatenate([self._kept, *self._pending]))
            self._pending, self._pending_size = [], 0
        if self.halvings:
            self._kept = self._kept[: np.searchsorted(self._kept, np.uint64(self._limit))]

    def halve(self) -> None:
        """Keeps a random half of the distinct hashes, to save memory."""
        self.halvings += 1
        self.settle()
        self._kept = self._kept.copy()  # lets go of the other half

    @property
    def distinct(self) -> float:
        """Number of distinct hashes: exact while `halvings` is 0, else an unbiased estimate."""
        self.settle()
        return float(len(self._kept)) * 2**self.halvings

    @property
    def ratio(self) -> float:
        """Distinct over total, 0 for an empty stream."""
        return self.distinct / self.total if self.total else 0.0

    @property
    def standard_error(self) -> float:
        """Standard error of `ratio` that comes from keeping only some hashes; 0 when exact."""
        if not self.halvings or not self.total:
            return 0.0
        kept = max(len(self._kept), 1)
        return self.ratio * math.sqrt((1 - 2.0**-self.halvings) / kept)


@dataclasses.dataclass(frozen=True)
class PreparedCounts:
    """What one batch adds to the counters.

    Attributes:
        first, last: hashes of the batch's first and last three pieces.
        pieces, words: by order, the distinct hashes of its n-grams and how many n-grams it has.
    """

    first: np.ndarray
    last: np.ndarray
    pieces: dict[int, tuple[np.ndarray, int]]
    words: dict[int, tuple[np.ndarray, int]]


class NgramCounts:
    """The counters of n-gram diversity and of distinct-n, fed batch by batch in order."""

    def __init__(
        self, distinct_orders: Sequence[int] = (1, 2, 3, 4), memory_mb: float = 512
    ) -> None:
        self.capacity = int(memory_mb * 2**20 / 8)
        self.pieces = {order: DistinctCounter() for order in PIECE_ORDERS}
        self.words = {order: DistinctCounter() for order in distinct_orders}
        self._tail = np.empty(0, np.uint64)

    def prepare(self, batch: Batch) -> PreparedCounts:
        """Does what depends on neither order nor state; in any thread."""
        pieces, words = {}, {}
        for order, counter in self.pieces.items():
            hashes = ngram_hashes(batch.pieces, order)
            pieces[order] = counter.prepare(hashes), len(hashes)
        for order, counter in self.words.items():
            hashes = batch.ngrams(order)
            words[order] = counter.prepare(hashes), len(hashes)
        return PreparedCounts(batch.pieces[:3].copy(), batch.pieces[-3:].copy(), pieces, words)

    def add(self, prepared: PreparedCounts) -> None:
        """Adds a prepared batch; batches come in the order of the corpus."""
        for order, counter in self.words.items():
            counter.add(*prepared.words[order])
        for order, counter in self.pieces.items():
            counter.add(*prepared.pieces[order])
            # n-grams that begin in what came before and end in this batch
            before = self._tail[max(len(self._tail) - (order - 1), 0) :]
            seam = np.concatenate((before, prepared.first[: order - 1]))
            hashes = ngram_hashes(seam, order)
            counter.add(counter.prepare(hashes), len(hashes))
        self._tail = np.concatenate((self._tail, prepared.last))[-3:]
        counters = [*self.pieces.values(), *self.words.values()]
        while sum(counter.held for counter in counters) > self.capacity:
            max(counters, key=lambda counter: counter.held).halve()

    @property
    def ngram_diversity(self) -> float:
        return sum(counter.ratio for counter in self.pieces.values())

    @property
    def ngram_diversity_error(self) -> float:
        """Standard error of `ngram_diversity` from the memory bound; 0 when it was not reached."""
        return math.sqrt(sum(c.standard_error**2 for c in self.pieces.values()))


def _count(texts: Iterable[str], orders: Sequence[int], memory_mb: float) -> NgramCounts:
    counts = NgramCounts(orders, memory_mb)
    for first, held in batches(texts):
        counts.add(counts.prepare(hash_batch(first, held)))
    return counts


def ngram_diversity(texts: Iterable[str], memory_mb: float = 512) -> float:
    """Sum over n = 1..4 of distinct n-grams / all n-grams.

    Source: Padmakumar and He 2023, as the `diversity` package computes it: the documents are joined
    by one space and cut at single spaces (a line break stays inside a piece, two spaces make an
    empty piece), and n-grams cross documents.
    Direction: higher = more diverse; between 0 and 4.
    Confounds: falls as a corpus grows, whatever is in it: compare equal numbers of tokens. Line
    breaks and markup raise it.
    """
    return _count(texts, (), memory_mb).ngram_diversity


def distinct_n(texts: Iterable[str], n: int = 2, memory_mb: float = 512) -> float:
    """Distinct n-grams / all n-grams, within documents, over the words that white space separates.

    Source: Li et al. 2016 (distinct-1 and distinct-2), with the n-grams as the denominator.
    Direction: higher = more diverse; between 0 and 1.
    Confounds: falls as a corpus grows: compare equal numbers of tokens. Blind to the order of
    documents and to everything longer than n words.
    """
    return _count(texts, (n,), memory_mb).words[n].ratio
