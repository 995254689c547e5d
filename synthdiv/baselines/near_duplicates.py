"""Near-duplicate documents by MinHash: signatures as the corpus streams by, then banded look-up."""

from collections.abc import Iterable

import numpy as np

from synthdiv.baselines.words import Batch, batches, hash_batch, mix, ngram_hashes

_ROWS = 4  # 16-bit values in a band: together one 64-bit number
_SEED = 3


class NearDuplicates:
    """Collects MinHash signatures (2 bytes a permutation and document) and finds near-duplicates.

    Args:
        shingle: words in a shingle; a shorter document is one shingle.
        permutations: hash functions; a multiple of 4.
        threshold: Jaccard similarity of the shingle sets from which two documents count as near.
    """

    def __init__(self, shingle: int = 5, permutations: int = 64, threshold: float = 0.8) -> None:
        self.shingle = shingle
        self.threshold = threshold
        self.permutations = permutations // _ROWS * _ROWS
        self._signatures: list[np.ndarray] = []

    def prepare(self, batch: Batch) -> np.ndarray:
        """Returns uint16 [documents with words, permutations] of a batch (any thread)."""
        from rensa import RMinHash

        lengths = batch.lengths[batch.lengths > 0]
        counts = np.maximum(lengths - (self.shingle - 1), 0)
        hashes = batch.ngrams(self.shingle)
        short = np.flatnonzero(counts == 0)
        if len(short):
            # A short document becomes one shingle, put where its n-grams would have stood.
            ends = np.cumsum(lengths)
            wholes = np.zeros(len(short), np.uint64)
            for order in range(1, self.shingle):
                of_order = lengths[short] == order
                if of_order.any():
                    runs = ngram_hashes(batch.words, order)
                    wholes[of_order] = runs[ends[short[of_order]] - order]
            hashes = np.insert(hashes, np.cumsum(counts)[short], wholes)
            counts = np.maximum(counts, 1)
        if not len(lengths):
            return np.empty((0, self.permutations), np.uint16)
        edges = np.concatenate(([0], np.cumsum(counts))).astype(np.uint64)
        found = RMinHash.digest_matrix_from_flat_token_hashes(
            hashes, edges, self.permutations, _SEED
        )
        # The smallest hashes of a long document are small numbers: spread before they are cut.
        return mix(np.array(found.to_rows(), np.uint64)).astype(np.uint16)

    def add(self, prepared: np.ndarray) -> None:
        """Adds a prepared batch; batches come in the order of the corpus."""
        self._signatures.append(prepared)

    def result(self) -> float:
        """The share of documents that are near-duplicates of an earlier one."""
        if not sum(map(len, self._signatures)):
            return 0.0
        signatures = np.concatenate(self._signatures)
        self._signatures = []
        near = np.zeros(len(signatures), bool)
        bands = signatures.view(np.uint64)
        for column in range(bands.shape[1]):
            order = np.argsort(bands[:, column], kind="stable")
            keys = bands[order, column]
            fresh = np.concatenate(([True], keys[1:] != keys[:-1]))
            leaders = order[np.maximum.accumulate(np.where(fresh, np.arange(len(keys)), 0))]
            previous = np.concatenate((order[:1], order[:-1]))
            for other in (leaders, previous):
                ask = ~fresh & ~near[order]
                near[order[ask]] = self._alike(signatures, order[ask], other[ask])
        return float(near.mean())

    def _alike(self, signatures: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        alike = np.empty(len(left), bool)
        for start in range(0, len(left), 1 << 16):
            part = slice(start, start + (1 << 16))
            same = (signatures[left[part]] == signatures[right[part]]).mean(axis=1)
            alike[part] = same >= self.threshold
        return alike


def near_duplicate_rate(
    texts: Iterable[str], threshold: float = 0.8, shingle: int = 5, permutations: int = 64
) -> float:
    """Share of documents whose 5-word shingles are, for 80%, those of an earlier document.

    De-duplication would remove them. Documents without words are left out.
    Source: Broder 1997 (MinHash), by fast similarity sketching (Dahlgaard, Knudsen and Thorup
    2017); banded search as in Leskovec, Rajaraman and Ullman, chapter 3. The Jaccard similarity is
    estimated from 64 values, with a standard error of 0.05 or less at 0.8. A pair at 0.8 shares a
    band, and so is compared, with probability 0.9998; one at 0.5 with 0.64.
    Direction: higher = LESS diverse; between 0 and 1.
    Confounds: rises with the number of documents; boilerplate shared by short documents counts.
    """
    found = NearDuplicates(shingle, permutations, threshold)
    for first, held in batches(texts):
        found.add(found.prepare(hash_batch(first, held)))
    return found.result()
