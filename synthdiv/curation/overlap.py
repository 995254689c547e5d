"""Which documents hold the text of an item: by runs of words, and by most of its words in order.

Items are kept as sorted arrays of n-gram hashes. A bit a hash tells nearly all of a document's
n-grams from theirs before any is looked up, so that an hour's worth of tokens costs seconds.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from synthdiv.baselines.words import Batch, batches, hash_batch
from synthdiv.curation.items import Item
from synthdiv.curation.normal import normal_form
from synthdiv.files import sha256_text

_PART = 5  # words in a run by which items that stand in a document in part are found
_PART_SHARE = 0.15  # of an item's runs that a document must have to be looked at closely
_CLOSELY = 20  # items that a document is held against, those first that it has most of
_WHOLE = 0.999  # of an item's words: all of them, but for rounding
_BITS = 24
_SHOWN = 160  # characters of evidence


@dataclass(frozen=True)
class Found:
    """An item that a document holds: the item's number, and the document's own words."""

    item: int
    share: float
    words: str


class _Grams:
    """Which items have which n-grams."""

    def __init__(self, order: int, hashes: np.ndarray, owners: np.ndarray, most: int) -> None:
        self.order = order
        by_hash = np.lexsort((owners, hashes))
        hashes, owners = hashes[by_hash], owners[by_hash]
        again = (hashes[1:] == hashes[:-1]) & (owners[1:] == owners[:-1])
        once = np.concatenate((np.ones(min(len(hashes), 1), bool), ~again))
        values, counts = np.unique(hashes[once], return_counts=True)
        self.hashes = values[counts <= most]
        self.owners = owners[once][np.repeat(counts <= most, counts)]
        self.edges = np.concatenate(([0], np.cumsum(counts[counts <= most])))
        self._seen = np.zeros(1 << _BITS, bool)
        self._seen[self.hashes >> np.uint64(64 - _BITS)] = True

    def places(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of `hashes` are of items, and which of the items' n-grams they are."""
        maybe = np.flatnonzero(self._seen[hashes >> np.uint64(64 - _BITS)])
        if not len(maybe) or not len(self.hashes):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        at = np.searchsorted(self.hashes, hashes[maybe])
        at[at == len(self.hashes)] = 0
        true = self.hashes[at] == hashes[maybe]
        return maybe[true], at[true]


class Overlap:
    """Items to be found in documents.

    Args:
        items: those of one text are one.
        ngram: words of a run that shows an item.
        most_items: a run that more items have is nobody's own.
        fuzzy_words: words of an item that can be found in part; 0 looks for none.
        fuzzy_share: of an item's words, weighted by their rarity among items, in its order; an
            item that is shorter than a run must be there whole.
    """

    def __init__(
        self,
        items: Iterable[Item],
        ngram: int = 13,
        most_items: int = 10,
        fuzzy_words: int = 0,
        fuzzy_share: float = 0.8,
    ) -> None:
        kept: dict[str, Item] = {}
        for item in items:
            kept.setdefault(normal_form(item.text), item)
        self.items = list(kept.values())
        self._texts = list(kept)
        self.fuzzy_words = fuzzy_words
        lengths = np.array([len(text.split()) for text in self._texts], np.int64)
        least = fuzzy_words or ngram
        self.too_short = int((lengths < min(least, ngram)).sum())  # cannot be found at all
        self._runs = _Grams(ngram, *self._hashed(ngram), most_items)
        self._parts = None
        if fuzzy_words:
            self._parts = _Grams(_PART, *self._hashed(_PART), most_items)
            self._part_counts = np.bincount(self._parts.owners, minlength=len(self.items))
            self._lengths = lengths
            self._least = np.where(lengths < ngram, _WHOLE, fuzzy_share)
            frequency = Counter(word for text in self._texts for word in set(text.split()))
            self._weights = {
                word: float(np.log(1 + len(self.items) / count))
                for word, count in frequency.items()
            }

    @property
    def sha256(self) -> str:
        """Of all texts."""
        return sha256_text("\n".join(self._texts))

    def _hashed(self, order: int) -> tuple[np.ndarray, np.ndarray]:
        hashes, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for first, texts in batches(self._texts):
            batch = hash_batch(first, texts)
            hashes.append(batch.ngrams(order))
            owners.append(first + batch.documents_of(order))
        return np.concatenate(hashes), np.concatenate(owners)

    def exact(self, batch: Batch, texts: Sequence[str]) -> dict[int, Found]:
        """Documents of a batch that have a run of words in common with an item.

        Args:
            batch: hashed normal forms.
            texts: the normal forms.
        """
        order = self._runs.order
        places, grams = self._runs.places(batch.ngrams(order))
        if not len(places):
            return {}
        documents = batch.documents_of(order)[places]
        found: dict[int, Found] = {}
        starts = _starts(batch, order)
        for document, place, gram in zip(
            documents.tolist(), places.tolist(), grams.tolist(), strict=True
        ):
            if document not in found:
                word = place - int(starts[document])
                words = " ".join(texts[document].split()[word : word + order])
                owner = int(self._runs.owners[self._runs.edges[gram]])
                found[document] = Found(owner, 1.0, words[:_SHOWN])
        return found

    def fuzzy(self, batch: Batch, texts: Sequence[str]) -> dict[int, Found]:
        """Documents of a batch that hold most of an item's words, in its order.

        Candidates share runs of 5 words; they are then aligned word by word, and the words that
        agree count by their rarity, so that "which of the following is" shows nothing.
        """
        if self._parts is None:
            return {}
        places, grams = self._parts.places(batch.ngrams(_PART))
        if not len(places):
            return {}
        documents = batch.documents_of(_PART)[places]
        starts = _starts(batch, _PART)
        counts = self._parts.edges[grams + 1] - self._parts.edges[grams]
        where = np.repeat(np.arange(len(places)), counts)
        offsets = np.arange(len(where)) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = self._parts.owners[self._parts.edges[grams[where]] + offsets]
        pairs = documents[where] * len(self.items) + owners
        order = np.lexsort((grams[where], pairs))
        pairs, runs = pairs[order], grams[where][order]
        begins = np.concatenate(([True], pairs[1:] != pairs[:-1]))
        fresh = begins | np.concatenate(([True], runs[1:] != runs[:-1]))
        edges = np.concatenate((np.flatnonzero(begins), [len(pairs)]))
        shared = np.add.reduceat(fresh, edges[:-1])
        of_document, of_item = np.divmod(pairs[edges[:-1]], len(self.items))
        shares = shared / self._part_counts[of_item]
        near = np.flatnonzero(
            (shares >= _PART_SHARE) & (self._lengths[of_item] >= self.fuzzy_words)
        )
        looked = Counter[int]()
        found: dict[int, Found] = {}
        for number in near[np.lexsort((-shares[near], of_document[near]))].tolist():
            document = int(of_document[number])
            looked[document] += 1
            if document not in found and looked[document] <= _CLOSELY:
                hits = places[where[order[edges[number] : edges[number + 1]]]] - starts[document]
                words = texts[document].split()
                one = self._aligned(int(of_item[number]), words, np.unique(hits))
                if one.share >= self._least[one.item]:
                    found[document] = one
        return found

    def _aligned(self, owner: int, words: list[str], hits: np.ndarray) -> Found:
        """How much of an item stands where most of its runs were found."""
        item = self._texts[owner].split()
        reach = len(item) + len(item) // 2
        ends = np.searchsorted(hits, hits + reach)
        best = int(np.argmax(ends - np.arange(len(hits))))
        first, last = int(hits[best]), int(hits[ends[best] - 1])
        window = words[max(last + _PART - reach, 0) : first + reach]
        blocks = difflib.SequenceMatcher(None, item, window, autojunk=False).get_matching_blocks()
        same = sum(
            self._weights[word] for block in blocks for word in item[block.a : block.a + block.size]
        )
        total = sum(self._weights[word] for word in item)
        shown = " ".join(window[blocks[0].b : blocks[0].b + len(item)])
        return Found(owner, same / total, shown[:_SHOWN])


def _starts(batch: Batch, order: int) -> np.ndarray:
    """Where each document's n-grams begin among those of its batch."""
    counts = np.maximum(batch.lengths - (order - 1), 0)
    return np.cumsum(counts) - counts
