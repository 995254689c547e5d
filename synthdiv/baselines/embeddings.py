"""Document embeddings: LSA by default, sentence-transformers where that package is installed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

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

    An LSA embedding is fitted to the texts, and its dimensions go to the commonest subjects. They
    hold little of a document on a rare one, and once scaled to length 1 all such documents look
    alike: on mixtures of newsgroups, distances between LSA vectors fall as newsgroups are added.
    Distances are therefore taken from the TF-IDF rows.

    Args:
        texts: documents; only their first 4,000 characters count.
        embedding: "lsa", or the name or directory of a sentence-transformers model.
        dimensions: of the LSA embedding.
        seed: of the random projection behind the LSA embedding.

    Returns:
        The vectors, one row for each text.

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


def normalized(vectors: Any) -> Any:
    """Scales rows to length 1, dense or SciPy sparse; a zero row stays zero."""
    from sklearn.preprocessing import normalize

    return normalize(vectors) if min(vectors.shape) else vectors


_TERM = r"[^\W_]+"  # letters and digits


class Terms:
    """The terms of some documents and their weights, by which any document becomes a row.

    Terms are runs of letters and digits, in lower case, that are in at least two documents (in one,
    where there are none such); of these the 30,000 that most documents have. The weight of a term
    is (1 + ln tf) * ln((1 + documents) / (0.5 + df)). scikit-learn's own idf adds 1 to the
    logarithm, so that words of every document go on counting and all distances shrink.

    Attributes:
        fitted: the rows of these documents, see `rows`.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

        self._vectorizer = CountVectorizer(token_pattern=_TERM, dtype=np.float32)
        self._weigh: Any = None
        try:
            counts = self._vectorizer.fit_transform(texts)
        except ValueError:  # not a single word
            self.fitted = csr_array(np.empty((len(texts), 0), np.float32))
            return
        frequency = counts.getnnz(axis=0)
        most = np.argsort(-frequency, kind="stable")[:VOCABULARY]
        self._kept = np.sort(most[frequency[most] >= min(2, frequency.max())])
        self._weigh = TfidfTransformer(sublinear_tf=True)
        # Above zero even for a word that all documents have: none is left without a direction.
        idf = np.log((1 + len(texts)) / (0.5 + frequency[self._kept]))
        self._weigh.idf_ = idf.astype(np.float32)
        self.fitted = self._weigh.transform(counts[:, self._kept])

    def rows(self, texts: Sequence[str]) -> Any:
        """Returns SciPy sparse float32 [documents, terms], rows of length 1, of any documents."""
        if self._weigh is None:
            return self.fitted[[0] * len(texts)]
        return self._weigh.transform(self._vectorizer.transform(texts)[:, self._kept])


def term_matrix(texts: Sequence[str]) -> Any:
    """Weighs the words of documents by TF-IDF; see `Terms`.

    Args:
        texts: documents.

    Returns:
        SciPy sparse float32 [documents, terms], rows of length 1.
    """
    return Terms(texts).fitted


def lsa(terms: Any, dimensions: int = 64, seed: int = 0) -> np.ndarray:
    """Latent semantic analysis: rows of U*S of a term matrix's truncated SVD.

    Source: Deerwester et al. 1990; the SVD is the randomized one of Halko, Martinsson and Tropp
    2011.

    Args:
        terms: SciPy sparse [documents, terms].
        dimensions: columns of the result; beyond the matrix's rank they are zero.
        seed: of the random projection. The same terms and seed give the same embedding.

    Returns:
        float32 [documents, dimensions].
    """
    from sklearn.utils.extmath import randomized_svd

    vectors = np.zeros((terms.shape[0], dimensions), np.float32)
    rank = min(dimensions, *terms.shape)
    if rank:
        left, values, _ = randomized_svd(terms, rank, n_iter=5, random_state=seed)
        vectors[:, :rank] = left * values
        vectors[np.diff(terms.indptr) == 0] = 0  # no words: rounding has no direction either
    return vectors
