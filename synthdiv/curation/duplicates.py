"""Documents that an earlier one of a corpus says in the same words, or nearly so.

Signatures propose, shingles decide: two documents that share a band of their MinHash signatures are
compared by the true Jaccard similarity of their sets of shingles. A document goes where an earlier
one that stays is near enough, so nothing goes for the likeness of something that went.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

_MARGIN = 0.25  # below the threshold: 4 standard errors of a similarity told by 64 values
_LATEST = 64  # kept documents of a bucket that one is held against, beside its first


@dataclass
class Twins:
    """For each document the earlier one that it repeats, or -1.

    Attributes:
        of: int64 [documents].
        similarity: float32 [documents], Jaccard similarity to it; 1 of the same words.
        compared: pairs whose shingles were compared.
        full_buckets: times that a bucket held more kept documents than one is compared with.
    """

    of: np.ndarray
    similarity: np.ndarray
    compared: int = 0
    full_buckets: int = 0

    def pass_on(self) -> None:
        """Holds what has the words of a near-duplicate against the document which that repeats."""
        through = (self.of >= 0) & (self.of[self.of] >= 0)
        self.similarity[through] = self.similarity[self.of[through]]
        self.of[through] = self.of[self.of[through]]


def find_twins(
    digests: np.ndarray | None,
    signatures: np.ndarray | None,
    taking_part: np.ndarray,
    shingles: Callable[[int], np.ndarray],
    threshold: float,
) -> Twins:
    """Finds the documents that repeat an earlier one.

    Args:
        digests: uint64 [documents, 2] of their words; None looks for no equal words.
        signatures: uint16 [documents, permutations]; None looks for no near-duplicates.
        taking_part: bool [documents]; what was dropped already neither repeats nor is repeated.
        shingles: the sorted distinct shingle hashes of a document.
        threshold: Jaccard similarity.
    """
    count = len(taking_part)
    twins = Twins(np.full(count, -1, np.int64), np.zeros(count, np.float32))
    taking_part = taking_part.copy()
    if digests is not None:
        _same_words(digests, taking_part, twins)
    if signatures is not None:
        _near(signatures, taking_part, shingles, threshold, twins)
    return twins


def _same_words(digests: np.ndarray, taking_part: np.ndarray, twins: Twins) -> None:
    places = np.flatnonzero(taking_part)
    keys = np.ascontiguousarray(digests[places]).view([("", np.uint64)] * 2).ravel()
    order = np.argsort(keys, kind="stable")  # the earliest of equal ones first
    fresh = np.concatenate(([True], keys[order][1:] != keys[order][:-1]))[: len(order)]
    leaders = order[np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))]
    later = places[order[~fresh]]
    twins.of[later] = places[leaders[~fresh]]
    twins.similarity[later] = 1
    taking_part[later] = False


def _near(
    signatures: np.ndarray,
    taking_part: np.ndarray,
    shingles: Callable[[int], np.ndarray],
    threshold: float,
    twins: Twins,
) -> None:
    kept: dict[int, list[int]] = {}  # of each bucket, the documents that stay
    least = max(threshold - _MARGIN, 0.0)
    for document, buckets in _bucketed(signatures, taking_part):
        others: dict[int, None] = {}
        for bucket in buckets:
            held = kept.setdefault(bucket, [])
            if len(held) > _LATEST:
                twins.full_buckets += 1
                others |= dict.fromkeys([held[0], *held[-_LATEST:]])
            else:
                others |= dict.fromkeys(held)
        twin, similarity = -1, 0.0
        if others:
            near = np.fromiter(others, np.int64, len(others))
            alike = (signatures[near] == signatures[document]).mean(axis=1)
            best = np.argsort(-alike, kind="stable")
            own = None
            for place in best[alike[best] >= least].tolist():
                own = shingles(document) if own is None else own
                twins.compared += 1
                similarity = jaccard(own, shingles(int(near[place])))
                if similarity >= threshold:
                    twin = int(near[place])
                    break
        if twin >= 0:
            twins.of[document], twins.similarity[document] = twin, similarity
        else:
            for bucket in buckets:
                kept[bucket].append(document)


def _bucketed(signatures: np.ndarray, taking_part: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """Documents that share a band with another, in order, each with the buckets that it is in."""
    places = np.flatnonzero(taking_part)
    bands = signatures.view(np.uint64)
    small = np.int32 if bands.size < 2**31 else np.int64  # of a document, or a bucket
    documents, buckets = [np.empty(0, small)], [np.empty(0, small)]
    number = 0
    for column in range(bands.shape[1]):
        keys = bands[places, column]
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        begins = np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1]))[: len(order)]
        group = np.cumsum(begins) - 1
        shared = np.bincount(group, minlength=1)[group] > 1
        documents.append(places[order[shared]].astype(small))
        buckets.append((number + group[shared]).astype(small))
        number += len(order)
    all_documents, all_buckets = np.concatenate(documents), np.concatenate(buckets)
    order = np.argsort(all_documents, kind="stable")
    all_documents, all_buckets = all_documents[order], all_buckets[order]
    edges = np.flatnonzero(np.diff(all_documents)) + 1
    for start, end in zip([0, *edges.tolist()], [*edges.tolist(), len(order)], strict=True):
        if end > start:
            yield int(all_documents[start]), all_buckets[start:end].tolist()


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """The Jaccard similarity of two sets, given as sorted arrays of distinct values."""
    if not len(left) or not len(right):
        return 0.0
    places = np.searchsorted(left, right)
    places[places == len(left)] = 0
    common = int((left[places] == right).sum())
    return common / (len(left) + len(right) - common)
