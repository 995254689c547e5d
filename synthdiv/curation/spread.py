"""Documents far from one another: farthest-first order within cells, at a million documents.

Gonzalez' farthest-first traversal (1985) takes, again and again, the document that is farthest from
all taken; each prefix of it is within a factor of two of the best cover of its size. It compares
every document with every taken one, so a corpus is first cut into cells of documents that are near
each other, and each cell is traversed by itself (as Malkomes et al. 2015 do it over machines, and
SemDeDup, Abbas et al. 2023, within clusters). A document's reach is its distance to those of its
cell that were taken before it; what is chosen are the documents of the greatest reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from synthdiv.baselines.embeddings import CHARACTERS, Terms, embed, normalized
from synthdiv.baselines.geometry import kmeans

_CELL = 1000  # documents of a cell, about
_LARGEST = 2000  # of which all are compared with all; a larger cell is cut at random
_CELLS = 2000  # at most
_TERMS = 64  # heaviest terms of a document that are kept
_BATCH = 2000  # documents that become rows at once
FIT = 20_000  # documents by which terms are weighed and cells found


class Rows:
    """The direction of every document of a corpus: its heaviest terms, or an embedding.

    Memory: 256 bytes a document by terms, two bytes a dimension by an embedding.

    Args:
        texts: documents to fit to, for terms.
        documents: how many there will be.
        embedding: "terms", or the name or directory of a sentence-transformers model.
    """

    def __init__(self, texts: Sequence[str], documents: int, embedding: str = "terms") -> None:
        self._embedding = embedding
        self._filled = 0
        self._terms = Terms([text[:CHARACTERS] for text in texts]) if embedding == "terms" else None
        self._columns = np.zeros((documents if self._terms else 0, _TERMS), np.uint16)
        self._values = np.zeros((documents if self._terms else 0, _TERMS), np.float16)
        self._dense: np.ndarray | None = None
        self._documents = documents

    def add(self, texts: Sequence[str]) -> None:
        """Adds the next documents of the corpus."""
        span = slice(self._filled, self._filled + len(texts))
        self._filled = span.stop
        if self._terms is None:
            vectors = embed(texts, self._embedding).vectors
            if self._dense is None:
                self._dense = np.zeros((self._documents, vectors.shape[1]), np.float16)
            self._dense[span] = vectors
            return
        rows = self._terms.rows([text[:CHARACTERS] for text in texts])
        for place in range(len(texts)):
            own = slice(rows.indptr[place], rows.indptr[place + 1])
            values, columns = rows.data[own], rows.indices[own]
            if len(values) > _TERMS:
                heaviest = np.argpartition(-values, _TERMS)[:_TERMS]
                values, columns = values[heaviest], columns[heaviest]
            self._columns[span.start + place, : len(values)] = columns
            self._values[span.start + place, : len(values)] = values

    def of(self, documents: np.ndarray) -> Any:
        """Rows of length 1, SciPy sparse or dense, of some documents."""
        if self._dense is not None:
            return normalized(self._dense[documents].astype(np.float32))
        from scipy.sparse import csr_array

        values = self._values[documents].astype(np.float32)
        filled = values > 0
        edges = np.concatenate(([0], np.cumsum(filled.sum(axis=1)))).astype(np.int32)
        columns = self._columns[documents][filled].astype(np.int32)
        width = self._terms.fitted.shape[1] if self._terms else 0
        shape = (len(documents), max(width, 1))
        return normalized(csr_array((values[filled], columns, edges), shape=shape))


def near_cells(rows: Rows, among: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """The cell of each of some documents, by K-means of a random part of them.

    Args:
        rows: of all documents.
        among: numbers of documents.
        cells: how many.
        seed: of the part and of K-means.
    """
    if cells < 2:
        return np.zeros(len(among), np.int64)
    drawn = np.random.default_rng(seed).permutation(len(among))[:FIT]
    part = rows.of(among[np.sort(drawn)])
    assigned = kmeans(part, min(cells, part.shape[0]), seed)
    return nearest(rows, among, centres(part, assigned))


def centres(rows: Any, assigned: np.ndarray) -> np.ndarray:
    """The mean directions of groups of rows, dense float32 [groups, columns]."""
    from scipy.sparse import csr_array

    used, group = np.unique(assigned, return_inverse=True)
    where = (np.ones(len(group), np.float32), (group, np.arange(len(group))))
    sums = csr_array(where, shape=(len(used), len(group))) @ rows
    return np.asarray(normalized(sums.toarray() if hasattr(sums, "toarray") else sums), np.float32)


def nearest(rows: Rows, among: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """For each of some documents, the number of the nearest of `middles`."""
    found = [np.empty(0, np.int64)]
    for start in range(0, len(among), _BATCH):
        found.append((rows.of(among[start : start + _BATCH]) @ middles.T).argmax(axis=1))
    return np.concatenate(found)


def cells_for(documents: int, wanted: int) -> int:
    """Into how many cells to cut: of about 1,000, and far fewer than documents are wanted."""
    return max(min(documents // _CELL, wanted // 10, _CELLS), 1)


def reaches(rows: Rows, among: np.ndarray, cells: np.ndarray, seed: int) -> np.ndarray:
    """How far each document is from those of its cell that farthest-first takes before it.

    The first of a cell is the one nearest to its middle, and has the greatest reach, 2.
    """
    found = np.zeros(len(among), np.float32)
    for members in _members(cells, seed):
        own = rows.of(among[members])
        middle = np.asarray(own.sum(axis=0), np.float32).ravel()
        alike = own @ own.T
        alike = np.asarray(alike.toarray() if hasattr(alike, "toarray") else alike)
        taken = int((own @ middle).argmax())
        distance = np.full(len(members), 2, np.float32)
        open_ = np.ones(len(members), bool)
        for _ in range(len(members)):
            found[members[taken]] = distance[taken]
            open_[taken] = False
            np.minimum(distance, 1 - alike[taken], out=distance)
            taken = int(np.where(open_, distance, -1).argmax())
    return found


def _members(cells: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """The documents of each cell; large cells cut at random into equal parts."""
    draw = np.random.default_rng([seed, 1])
    order = np.argsort(cells, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1):
        parts = -(-len(members) // _LARGEST)
        if parts > 1:
            members = draw.permutation(members)
        yield from np.array_split(members, parts)


def even_shares(cells: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Ranks documents so that the first of every cell come first, then the second of every one.

    Returns:
        float64 [documents]; the lower, the sooner. Within a cell those of the greater reach first,
        and of documents of one rank in their cells those of the greater reach, too.
    """
    order = np.lexsort((-reach, cells))
    begins = np.concatenate(([True], np.diff(cells[order]) != 0))
    starts = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    rank = np.empty(len(cells), np.float64)
    rank[order] = np.arange(len(order)) - starts
    return rank - reach / 4  # a reach is at most 2
