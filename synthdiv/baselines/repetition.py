"""Self-repetition: how often a document's 4-grams occur in other documents. Exact at any size.

One 64-bit number holds an n-gram (52 bits of its hash) and its document's place in the batch
(12 bits), so a plain sort removes repeats within a document. Numbers that exceed the memory bound
are written to temporary files, one for each of 128 ranges of hashes. The files have no names, so
nothing is left behind however the process ends. Finally the ranges are sorted one at a time, and
the document frequencies of each document's n-grams are added up. The disk space needed is at most
8 bytes a word, about 1.4 times the text.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from synthdiv.baselines.words import Batch, batches, distinct_sorted, hash_batch

_PLACE_BITS = np.uint64(12)
_PLACE_MASK = np.uint64((1 << 12) - 1)
_RANGES = 128
_EDGES = np.arange(1, _RANGES, dtype=np.uint64) << np.uint64(57)


class Repetition:
    """Counts, batch by batch, what `self_repetition` needs.

    Args:
        order: words in an n-gram.
        memory_mb: bound on the numbers held in memory before they go to disk.
        directory: where temporary files go; the system's place for them by default.
    """

    def __init__(
        self, order: int = 4, memory_mb: float = 256, directory: str | Path | None = None
    ) -> None:
        self.order = order
        self.capacity = int(memory_mb * 2**20 / 8)
        self.directory = directory
        self._firsts: list[int] = []  # first document of every batch
        self._held: list[np.ndarray] = []
        self._held_size = 0
        self._spilled: list[np.ndarray] = []  # [batch][range]: numbers on disk
        self._files: list[IO[bytes]] = []  # one a range
        self._documents = 0

    def prepare(self, batch: Batch) -> tuple[int, int, np.ndarray]:
        """Returns (first document, documents, sorted distinct numbers) of a batch (any thread)."""
        numbers = batch.ngrams(self.order)
        numbers &= ~_PLACE_MASK
        numbers |= batch.documents_of(self.order).astype(np.uint64)
        return batch.first, len(batch.lengths), distinct_sorted(numbers)

    def add(self, prepared: tuple[int, int, np.ndarray]) -> None:
        """Adds a prepared batch; batches come in the order of the corpus."""
        first, documents, numbers = prepared
        self._firsts.append(first)
        self._documents += documents
        self._held.append(numbers)
        self._held_size += len(numbers)
        if self._held_size > self.capacity:
            self._spill()

    def _spill(self) -> None:
        if not self._files:
            for _ in range(_RANGES):  # closed one by one as they are read
                self._files.append(tempfile.TemporaryFile(dir=self.directory))  # noqa: SIM115
        cuts = [_cuts(numbers) for numbers in self._held]
        for number, file in enumerate(self._files):
            for numbers, cut in zip(self._held, cuts, strict=True):
                file.write(numbers[cut[number] : cut[number + 1]].data)
            file.flush()
        self._spilled.extend(np.diff(cut) for cut in cuts)
        self._held, self._held_size = [], 0

    def _ranges(self) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Yields, for every range of hashes, its numbers and the first document of each's batch."""
        firsts = np.array(self._firsts, np.int64)
        if not self._files:
            # In memory one range is enough unless there is a lot: sorting wants the cache.
            step = _RANGES if self._held_size < 1 << 22 else 16
            cuts = [_cuts(numbers) for numbers in self._held]
            for low in range(0, _RANGES, step):
                parts = [
                    numbers[cut[low] : cut[low + step]]
                    for numbers, cut in zip(self._held, cuts, strict=True)
                ]
                yield np.concatenate(parts), np.repeat(firsts, list(map(len, parts)))
            return
        self._spill()
        sizes = np.array(self._spilled)
        for number, file in enumerate(self._files):
            file.seek(0)
            yield np.fromfile(file, np.uint64), np.repeat(firsts, sizes[:, number])
            file.close()

    def result(self) -> float:
        """The score; ends the counting."""
        repeats = np.zeros(self._documents)
        if not self._documents:
            return 0.0
        for numbers, firsts in self._ranges():
            if not len(numbers):
                continue
            order = np.argsort(numbers)
            numbers = numbers[order]
            grams = numbers >> _PLACE_BITS
            edges = np.flatnonzero(np.concatenate(([True], grams[1:] != grams[:-1], [True])))
            others = np.diff(edges) - 1  # documents that have this n-gram, without the one asked
            shared = np.repeat(others > 0, others + 1)
            documents = firsts[order[shared]] + (numbers[shared] & _PLACE_MASK).astype(np.int64)
            weights = np.repeat(others, others + 1)[shared]
            repeats += np.bincount(documents, weights, minlength=self._documents)
        return float(np.log1p(repeats).mean())


def _cuts(numbers: np.ndarray) -> np.ndarray:
    """Where each range of hashes begins in sorted numbers, and their end."""
    return np.concatenate(([0], np.searchsorted(numbers, _EDGES), [len(numbers)]))


def self_repetition(
    texts: Iterable[str],
    n: int = 4,
    memory_mb: float = 256,
    directory: str | Path | None = None,
) -> float:
    """Mean over documents of ln(1 + sum over the document's distinct n-grams of (df - 1)).

    df is the number of documents that have the n-gram; words are what white space separates.
    Source: Salkar et al. 2022, as the `diversity` package computes it (their formula
    log(k * sum(N_i + 1)) is read there as a mean over documents).
    Direction: higher = LESS diverse; 0 when no two documents share an n-gram.
    Confounds: rises with the number of documents and with their length: compare equal documents
    and equal tokens. Blind to repetition inside a document.
    """
    counted = Repetition(n, memory_mb, directory)
    for first, held in batches(texts):
        counted.add(counted.prepare(hash_batch(first, held)))
    return counted.result()
