"""Our baselines equal those of the packages `diversity` and `vendi-score` to 1e-6 on real text.

The packages' own functions run here; where they are not installed the tests skip:
    pip install nltk scikit-learn tqdm
    pip install --no-deps diversity==0.3.1 vendi-score==0.0.3
Without --no-deps `diversity` brings sentence-transformers and holds transformers below 5. Its
package imports spaCy at once, so its modules are loaded one by one. It rounds to three digits: the
rounding is switched off here, so that the comparison is of what is computed.
"""

import gzip
import importlib
import importlib.util
import json
import pydoc_data.topics
import sys
import types

import numpy as np
import pytest

from synthdiv.baselines import compression, embeddings, geometry, ngrams, repetition

EXACT = 1e-6


def unrounded(value, _digits=None):
    return value


class Unrounded(float):
    """A NumPy mean whose `.round(3)` changes nothing."""

    def round(self, _digits):
        return self


def mean_unrounded(values, axis=None):
    return Unrounded(np.mean(values)) if axis is None else np.mean(values, axis=axis)


class GivenVectors:
    """Stands where the package would download an embedding model: gives the vectors we hold."""

    held = None

    def __init__(self, _name):
        pass

    def encode(self, _texts, **_options):
        return self.held


@pytest.fixture(scope="module")
def diversity():
    """The modules of `diversity` that need no spaCy, with their rounding switched off."""
    spec = importlib.util.find_spec("diversity")
    if spec is None:
        pytest.skip("the package diversity is not installed")
    for needed in ("nltk", "sklearn", "tqdm"):
        pytest.importorskip(needed)
    package = types.ModuleType("diversity")
    package.__path__ = list(spec.submodule_search_locations)
    embedder = types.ModuleType("sentence_transformers")
    embedder.SentenceTransformer = GivenVectors
    modules = types.SimpleNamespace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "diversity", package)
        patch.setitem(sys.modules, "sentence_transformers", embedder)
        for name in ("ngram_diversity", "self_repetition", "compression", "embedding"):
            patch.delitem(sys.modules, f"diversity.{name}", raising=False)
            module = importlib.import_module(f"diversity.{name}")
            patch.delitem(sys.modules, f"diversity.{name}")
            module.round = unrounded
            setattr(modules, name, module)
    modules.embedding.np = types.SimpleNamespace(mean=mean_unrounded, min=np.min, eye=np.eye)
    return modules


@pytest.fixture(scope="module", params=["python_help", "newsgroups", "tinystories", "web"])
def texts(request):
    if request.param == "python_help":  # on any machine
        return sorted(pydoc_data.topics.topics.values())
    shared_data = request.getfixturevalue("shared_data")
    names = {
        "newsgroups": "labels/newsgroups20.jsonl.gz",
        "tinystories": "synthetic/tinystories.jsonl.gz",
        "web": "text/c4_sample_300.jsonl.gz",
    }
    with gzip.open(shared_data / names[request.param], "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line, _ in zip(file, range(1500), strict=False)]


def test_ngram_diversity(diversity, texts):
    peer = diversity.ngram_diversity.ngram_diversity_score(texts)
    assert ngrams.ngram_diversity(texts) == pytest.approx(peer, abs=EXACT)


@pytest.mark.parametrize("n", [2, 4])
def test_self_repetition(diversity, texts, n):
    peer = diversity.self_repetition.self_repetition_score(texts, n, verbose=False)
    assert repetition.self_repetition(texts, n) == pytest.approx(peer, abs=EXACT)


def test_compression_ratio_xz(diversity, texts):
    peer = diversity.compression.compression_ratio(texts, "xz")
    assert compression.compression_ratio(texts, "xz") == pytest.approx(peer, abs=EXACT)


def test_compression_ratio_gzip_but_for_the_second_gzip(diversity, texts):
    """The package compresses its compressed text once more, into a file that holds its own name."""
    peer = diversity.compression.compression_ratio(texts, "gzip")
    joined = " ".join(texts).encode()
    twice = len(gzip.compress(gzip.compress(joined))) + len(b"compressed\0")
    assert len(joined) / twice == pytest.approx(peer, abs=EXACT)
    ours = compression.compression_ratio(texts)
    assert ours == pytest.approx(len(joined) / len(gzip.compress(joined)), abs=EXACT)
    assert 0 <= ours - peer < 0.002


@pytest.fixture(scope="module")
def vectors(texts):
    return embeddings.embed(texts).vectors.astype(np.float64)


@pytest.mark.filterwarnings("ignore:Please import `csr_matrix`")
@pytest.mark.parametrize("q", [1, 2])
def test_vendi_score(vectors, q):
    peer = pytest.importorskip("vendi_score.vendi")
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 0]
    ours = geometry.vendi_score(vectors, q)
    assert ours == pytest.approx(peer.score_dual(vectors, q=q), abs=EXACT)
    few = embeddings.normalized(vectors[:40])  # score_X of the package passes no q on: score_K
    expected = peer.score_K(few @ few.T, q=q)
    assert geometry.vendi_score(few, q) == pytest.approx(expected, abs=EXACT)


def test_distances(diversity, vectors):
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 0]
    GivenVectors.held = vectors
    count = len(vectors)
    # Theirs counts the distance of every document to itself.
    clique = geometry.mean_pairwise_distance(vectors) * (count - 1) / count
    peer = diversity.embedding
    assert clique == pytest.approx(peer.remote_clique([], verbose=False), abs=EXACT)
    chamfer = geometry.nearest_neighbour_distance(vectors)
    assert chamfer == pytest.approx(peer.chamfer_dist([], verbose=False), abs=EXACT)
