"""Document embeddings: LSA by default, sentence-transformers where that package is installed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from synthdiv.baselines.words import batches, hash_batch
from synthdiv.errors import UserError

CHARACTERS = 4000  # of a document are embedded: its beginning, as embedding models cut it too
VOCABULARY = 30_000


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Documents as vectors.

    Attributes:
        vectors: float32 [documents, dimensions], rows of length 1, or 0 for a document without
            words.
        cosines: the matrix whose rows' products are the documents' similarities: the same vectors,
            or for LSA the TF-IDF rows that it was made of (SciPy sparse).
    """

    vectors: np.ndarray
    cosines: Any


def embed(
    texts: Sequence[str], embedding: str = "lsa", dimensions: int = 64, seed: int = 0
) -> Embedded:
    """Embeds documents.

    An LSA embedding is fitted to the texts: its dimensions go to what there is most of. Of a
    document about something rare they hold little, and scaled to length 1 all such documents look
    alike: on mixtures of newsgroups the distances between LSA vectors fall as newsgroups are added.
    Distances are therefore taken from the TF-IDF rows.

    Args:
        texts: documents; only their first 4,000 characters count.
        embedding: "lsa", or the name or directory of a sentence-transformers model.
        dimensions: of the LSA embedding.
        seed: of the LSA's random projection.

    Raises:
        UserError: a sentence-transformers model is asked for and the package is not installed.
    """
    cut = [text[:CHARACTERS] for text in texts]
    if embedding == "lsa":
        terms = term_matrix(cut)
        return Embedded(normalized(lsa(terms, dimensions, seed)), terms)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise UserError(
            f"embedding {embedding!r} needs the package sentence-transformers: "
            "pip install sentence-transformers, or use 'lsa'"
        ) from None
    encoded = SentenceTransformer(embedding).encode(cut, show_progress_bar=False)
    vectors = normalized(np.asarray(encoded, np.float32))
    vectors[[not text.strip() for text in cut]] = 0
    return Embedded(vectors, vectors)


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Scales rows to length 1; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def term_matrix(texts: Sequence[str]):
    """Returns a sparse float32 [documents, terms] of TF-IDF weights, rows of length 1.

    Terms are lower-case words without the punctuation around them that are in at least two
    documents (in one, where there are none such); the 30,000 most frequent are kept.
    Weight: (1 + ln tf) * ln((1 + documents) / (0.5 + df)), then length 1.
    """
    from scipy import sparse

    rows, hashes = [], []
    for first, held in batches(map(_lowered, texts)):
        batch = hash_batch(first, held, _BLANKED)
        rows.append(np.repeat(np.arange(first, first + len(held), dtype=np.int32), batch.lengths))
        hashes.append(batch.words)
    if not hashes:
        return sparse.csr_matrix((0, 0), dtype=np.float32)
    row, word = np.concatenate(rows), np.concatenate(hashes)
    del rows, hashes
    order = np.argsort(word)
    word = word[order]
    fresh = np.ones(len(word), bool)
    np.not_equal(word[1:], word[:-1], out=fresh[1:])
    del word
    terms = int(fresh.sum())
    column = np.empty(len(order), np.int32)
    column[order] = np.cumsum(fresh, dtype=np.int32) - 1
    del order, fresh
    ones = np.ones(len(column), np.float32)
    counts = sparse.csr_matrix((ones, (row, column)), shape=(len(texts), terms))
    del row, column, ones
    frequency = np.bincount(counts.indices, minlength=terms)
    useful = frequency >= 2
    if not useful.any():
        useful = frequency > 0
    columns = np.flatnonzero(useful)
    if len(columns) > VOCABULARY:
        most = np.argsort(-frequency[columns], kind="stable")[:VOCABULARY]
        columns = np.sort(columns[most])
    counts = counts[:, columns]
    counts.data = 1 + np.log(counts.data)
    # Above zero even of a word that all documents have, so that none is left without a direction.
    weights = np.log((1 + len(texts)) / (0.5 + frequency[columns])).astype(np.float32)
    counts = (counts @ sparse.diags(weights)).tocsr().astype(np.float32)
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    return sparse.diags((1 / np.where(lengths > 0, lengths, 1)).astype(np.float32)) @ counts


_MARKS = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_BLANKED = bytes.maketrans(_MARKS, b" " * len(_MARKS))
_WIDE_MARKS = "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u3001\u3002\uff0c"
_WIDE_BLANKED = str.maketrans(_WIDE_MARKS, " " * len(_WIDE_MARKS))


def _lowered(text: str) -> str:
    text = text.lower()
    return text if text.isascii() else text.translate(_WIDE_BLANKED)


def lsa(terms, dimensions: int = 64, seed: int = 0) -> np.ndarray:
    """Latent semantic analysis: rows of U*S of a term matrix's truncated SVD, [documents, dims].

    Source: Deerwester et al. 1990; the SVD by random projection with three power iterations
    (Halko, Martinsson and Tropp 2011), so the same texts and seed give the same embedding.
    """
    rank = min(dimensions, *terms.shape)
    vectors = np.zeros((terms.shape[0], dimensions), np.float32)
    if rank:
        left, values = truncated_svd(terms, rank, seed)
        vectors[:, : len(values)] = left * values
    return vectors


def truncated_svd(matrix, rank: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns U [rows, rank] and S [rank] of a sparse matrix, by random projection.

    A matrix of lower rank gives fewer columns.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    width = min(rank + 16, *matrix.shape)
    basis = generator.standard_normal((matrix.shape[1], width)).astype(np.float32)
    transposed = matrix.T.tocsr()
    for _ in range(3):
        basis = _orthonormal(transposed @ _orthonormal(matrix @ basis))
    projected = matrix @ basis
    # The singular values of a tall matrix from its small Gram matrix.
    squares, right = np.linalg.eigh(projected.T.astype(np.float64) @ projected)
    largest = np.argsort(-squares)[:rank]
    values = np.sqrt(np.maximum(squares[largest], 0)).astype(np.float32)
    left = (projected @ right[:, largest].astype(np.float32)) / np.where(values > 0, values, 1)
    return left, values


def _orthonormal(tall: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns of a tall matrix, with what is next to nothing left out.

    By the Gram matrix: ten times as fast as a QR decomposition, and exact enough between power
    iterations.
    """
    squares, vectors = np.linalg.eigh(tall.T.astype(np.float64) @ tall)
    kept = squares > squares[-1] * 1e-10
    return tall @ (vectors[:, kept] / np.sqrt(squares[kept])).astype(np.float32)
