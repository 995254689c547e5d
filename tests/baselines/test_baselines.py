"""Every baseline against a plain Python version of its definition, and on real text."""

import gzip
import inspect
import json
import math
import os
import pydoc_data.topics
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from synthdiv.baselines import (
    METRICS,
    BaselineConfig,
    compare_baselines,
    compression,
    compute_baselines,
    embeddings,
    geometry,
    matched_baselines,
    near_duplicates,
    ngrams,
    perplexity,
    repetition,
    words,
)
from synthdiv.baselines.matched import first_words
from synthdiv.errors import UserError
from synthdiv.files import Corpus, CorpusWriter

# Real text of any machine: what Python's help() says about the language.
TEXTS = sorted(pydoc_data.topics.topics.values())


def naive_ngram_diversity(texts):
    pieces = " ".join(texts).split(" ")
    runs = [list(zip(*[pieces[i:] for i in range(n)], strict=False)) for n in range(1, 5)]
    return sum(len(set(r)) / len(r) for r in runs)


def naive_self_repetition(texts, n=4):
    grams = [set(zip(*[w[i:] for i in range(n)], strict=False)) for w in map(str.split, texts)]
    frequency = Counter(g for found in grams for g in found)
    return np.mean([math.log(1 + sum(frequency[g] - 1 for g in found)) for found in grams])


def naive_distinct(texts, n):
    split = [text.split() for text in texts]
    grams = [tuple(w[i : i + n]) for w in split for i in range(len(w) - n + 1)]
    return len(set(grams)) / len(grams)


def test_ngram_diversity_is_its_definition():
    assert ngrams.ngram_diversity(TEXTS) == pytest.approx(naive_ngram_diversity(TEXTS), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_distinct_n_is_its_definition(n):
    assert ngrams.distinct_n(TEXTS, n) == pytest.approx(naive_distinct(TEXTS, n), abs=1e-12)


@pytest.mark.parametrize("n", [1, 4])
def test_self_repetition_is_its_definition(n):
    expected = naive_self_repetition(TEXTS, n)
    assert repetition.self_repetition(TEXTS, n) == pytest.approx(expected, abs=1e-12)


def test_small_batches_change_nothing(monkeypatch):
    monkeypatch.setattr(words, "BATCH_CHARACTERS", 5000)
    assert ngrams.ngram_diversity(TEXTS) == pytest.approx(naive_ngram_diversity(TEXTS), abs=1e-12)
    assert repetition.self_repetition(TEXTS) == pytest.approx(
        naive_self_repetition(TEXTS), abs=1e-12
    )
    assert near_duplicates.near_duplicate_rate(TEXTS + TEXTS) == pytest.approx(0.5, abs=0.02)


def test_self_repetition_spilled_to_disk_is_the_same_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "BATCH_CHARACTERS", 20_000)
    spilled = repetition.self_repetition(TEXTS, memory_mb=0.05, directory=tmp_path)
    assert spilled == pytest.approx(naive_self_repetition(TEXTS), abs=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_ngram_diversity_beyond_its_memory_is_within_its_stated_error(monkeypatch):
    exact = naive_ngram_diversity(TEXTS)
    counts = ngrams.NgramCounts((2,), memory_mb=0.1)
    for first, held in words.batches(TEXTS):
        counts.add(counts.prepare(words.hash_batch(first, held)))
    assert any(counter.halvings for counter in counts.pieces.values())
    assert 0 < counts.ngram_diversity_error < 0.2
    assert abs(counts.ngram_diversity - exact) < 4 * counts.ngram_diversity_error
    held = sum(c.held for c in [*counts.pieces.values(), *counts.words.values()])
    assert held <= counts.capacity


def test_the_stated_error_of_a_halved_counter_holds_in_many_draws():
    generator = np.random.Generator(np.random.PCG64(0))
    errors = []
    for _ in range(200):
        counter = ngrams.DistinctCounter()
        hashes = generator.integers(0, 2**64, 20_000, dtype=np.uint64)
        for _ in range(4):
            counter.halve()
        counter.add(counter.prepare(hashes), len(hashes))
        errors.append((counter.ratio - 1.0) / counter.standard_error)
    assert abs(np.mean(errors)) < 0.25
    assert 0.85 < np.std(errors) < 1.15


@pytest.mark.parametrize("algorithm", ["gzip", "zstd", "xz"])
def test_compression_ratio_is_bytes_over_compressed_bytes(algorithm):
    joined = " ".join(TEXTS).encode()
    ratio = compression.compression_ratio(TEXTS, algorithm)
    stream = compression.Compressor(algorithm)
    stream.feed(joined)
    assert stream.close() == pytest.approx(ratio, rel=0.01)
    if algorithm == "gzip":
        assert ratio == pytest.approx(len(joined) / len(gzip.compress(joined)), abs=1e-12)


def test_a_repeated_corpus_is_seen_by_the_long_window_and_not_by_gzip():
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    once = {a: compression.compression_ratio(TEXTS, a) for a in ("gzip", "zstd", "xz")}
    for again in (TEXTS, shuffled):
        twice = {a: compression.compression_ratio(TEXTS + again, a) for a in once}
        assert twice["gzip"] < once["gzip"] * 1.1
        assert twice["zstd"] > once["zstd"] * 1.8
        assert twice["xz"] > once["xz"] * 1.8


def test_unknown_compressor_is_refused():
    with pytest.raises(UserError, match="did you mean 'zstd'"):
        compression.compression_ratio(["a"], "zstdd")


def jaccard(left, right, n=5):
    one, two = (
        {tuple(t[i : i + n]) for i in range(len(t) - n + 1)} for t in (left.split(), right.split())
    )
    return len(one & two) / len(one | two)


def test_near_duplicates_are_found_and_others_are_not():
    long = [text for text in TEXTS if 150 < len(text.split()) < 400]
    generator = random.Random(1)
    near, far = [], []
    for text in long:
        split = text.split()
        split[generator.randrange(len(split))] = "changed"
        near.append(" ".join(split))
        for place in range(0, len(split), 8):
            split[place] = "other"
        far.append(" ".join(split))
    assert min(map(jaccard, long, near)) > 0.9
    assert max(map(jaccard, long, far)) < 0.6
    assert near_duplicates.near_duplicate_rate(long) == 0
    assert near_duplicates.near_duplicate_rate(long + near) == pytest.approx(0.5)
    assert near_duplicates.near_duplicate_rate(long + far) == 0


def test_near_duplicates_of_short_and_empty_documents():
    rate = near_duplicates.near_duplicate_rate
    assert rate([]) == 0
    assert rate(["", " ", "\n"]) == 0
    assert rate(["one two", "one two", "two one", "", "one"]) == pytest.approx(1 / 4)
    assert rate(["same words here"] * 1000) == pytest.approx(0.999)
    mixed = ["a b c d e f g", "x", "a b c d e f g", "y z", "x", "p q r s t"]
    assert rate(mixed) == pytest.approx(2 / 6)


def test_vendi_score_of_known_geometries():
    assert geometry.vendi_score(np.ones((50, 8))) == pytest.approx(1)
    assert geometry.vendi_score(np.eye(7)) == pytest.approx(7)
    assert geometry.vendi_score(np.repeat(np.eye(5), 10, axis=0)) == pytest.approx(5)
    assert geometry.vendi_score(np.repeat(np.eye(5), 10, axis=0), q=math.inf) == pytest.approx(5)
    assert geometry.vendi_score(np.zeros((0, 8))) == 0


def test_sparse_and_dense_vectors_give_the_same_figures():
    terms = embeddings.term_matrix(TEXTS)
    for measure in (
        geometry.vendi_score,
        geometry.mean_pairwise_distance,
        geometry.nearest_neighbour_distance,
    ):
        assert measure(terms) == pytest.approx(measure(terms.toarray()), abs=1e-9)


def test_distances_are_their_definitions():
    vectors = np.random.Generator(np.random.PCG64(0)).standard_normal((300, 10))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    off = ~np.eye(300, dtype=bool)
    assert geometry.mean_pairwise_distance(vectors) == pytest.approx(distance[off].mean())
    nearest = np.where(off, distance, np.inf).min(axis=1).mean()
    assert geometry.nearest_neighbour_distance(vectors) == pytest.approx(nearest, abs=1e-6)


def test_nearest_neighbours_of_twins_and_of_a_document_without_a_direction():
    twins = np.repeat(np.eye(3), 2, axis=0)
    assert geometry.nearest_neighbour_distance(twins) == pytest.approx(0)
    assert geometry.nearest_neighbour_distance(np.zeros((2, 3))) == pytest.approx(1)


def test_kmeans_finds_groups_that_are_apart():
    generator = np.random.Generator(np.random.PCG64(0))
    centres = 20 * generator.standard_normal((4, 6))
    vectors = np.repeat(centres, 50, axis=0) + generator.standard_normal((200, 6))
    assigned = geometry.kmeans(vectors, 12)
    for cluster in np.unique(assigned):
        assert len({i // 50 for i in np.flatnonzero(assigned == cluster)}) == 1


def test_duplicates_leave_kmeans_clusters_unused():
    few = np.repeat(np.eye(3, dtype=np.float32), 100, axis=0)
    used, entropy = geometry.cluster_usage(geometry.kmeans(few, 30))
    assert used <= 3
    assert entropy <= math.log(3) + 1e-9
    assert geometry.cluster_usage(np.zeros(5, int)) == (1, 0)


def test_lsa_puts_alike_documents_together_and_repeats_itself():
    stars = ["the star and the planet orbit", "a planet with a star and a moon"] * 5
    bread = ["flour water yeast and an oven", "knead flour with water for bread"] * 5
    vectors = embeddings.embed(stars + bread, "lsa", 4).vectors
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similar = vectors @ vectors.T
    assert similar[:10, :10].mean() > similar[:10, 10:].mean() + 0.5
    assert np.array_equal(vectors, embeddings.embed(stars + bread, "lsa", 4).vectors)


def test_lsa_of_odd_corpora():
    def vectors(texts):
        return embeddings.embed(texts).vectors

    assert vectors([]).shape == (0, 64)
    assert vectors(["", " "]).tolist() == np.zeros((2, 64)).tolist()
    assert np.isfinite(vectors(["only one document"])).all()
    assert np.isfinite(vectors(["same"] * 9)).all()
    mixed = vectors([*TEXTS[:20], "", "\x00\ud800"])
    assert np.isfinite(mixed).all()
    assert not mixed[-2].any()


def test_tfidf_is_its_formula():
    texts = ["one two two", "one three", "one, Two_three!", "", "once"]
    log = math.log
    one, two, three = log(6 / 3.5), log(6 / 2.5), log(6 / 2.5)
    rows = np.array(
        [
            [one, 0, (1 + log(2)) * two],
            [one, three, 0],
            [one, three, two],
            [0, 0, 0],
            [0, 0, 0],  # "once" is in one document alone
        ]
    )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    expected = rows / np.where(lengths > 0, lengths, 1)
    assert embeddings.term_matrix(texts).toarray() == pytest.approx(expected, abs=1e-6)


def test_the_most_widespread_terms_are_kept(monkeypatch):
    monkeypatch.setattr(embeddings, "VOCABULARY", 2)
    texts = ["a b c c c c", "a b c", "a b", "a"]
    assert embeddings.term_matrix(texts).getnnz(axis=0).tolist() == [4, 3]


def test_lsa_has_the_singular_values_of_a_full_svd():
    matrix = embeddings.term_matrix(TEXTS)
    full = np.linalg.svd(matrix.toarray(), compute_uv=False)[:16]
    values = np.linalg.norm(embeddings.lsa(matrix, 16), axis=0)
    assert values[:8] == pytest.approx(full[:8], rel=0.01)
    assert values == pytest.approx(full, rel=0.05)


def test_figures_of_embeddings_are_those_of_another_process():
    """To the last digit, whatever order Python hashes strings in and however many threads."""
    script = (
        "import json, pydoc_data.topics as t; "
        "from synthdiv.baselines import BaselineConfig, compute_baselines as c; "
        "config = BaselineConfig(metrics=('embedding', 'near_duplicates')); "
        "print(json.dumps(c(sorted(t.topics.values()), config)))"
    )
    found = []
    for seed, threads in (("1", "1"), ("2", "4")):
        told = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        told |= {"OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": threads}
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=told, check=True
        )
        found.append(json.loads(ended.stdout))
    assert found[0] == found[1]
    assert {"vendi_score", "kmeans_entropy", "near_duplicate_rate"} <= set(found[0])


def test_all_baselines_in_one_pass_equal_the_single_ones(tmp_path):
    rows = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
    writer = CorpusWriter(tmp_path / "corpus")
    writer.write(rows[:30])
    writer.write(rows[30:])
    writer.close({})
    found = compute_baselines(Corpus(tmp_path / "corpus"))
    assert found["documents"] == len(TEXTS)
    assert found["tokens"] == sum(len(text.split()) for text in TEXTS)
    assert found["bytes"] == len(" ".join(TEXTS).encode())
    assert found["context_length"] == pytest.approx(found["tokens"] / len(TEXTS))
    assert found["ngram_diversity"] == pytest.approx(ngrams.ngram_diversity(TEXTS), abs=1e-12)
    assert found["ngram_diversity_error"] == 0
    assert found["self_repetition"] == pytest.approx(repetition.self_repetition(TEXTS), abs=1e-12)
    assert found["compression_ratio"] == compression.compression_ratio(TEXTS)
    assert found["distinct_3"] == ngrams.distinct_n(TEXTS, 3)
    assert found["near_duplicate_rate"] == near_duplicates.near_duplicate_rate(TEXTS)
    assert set(found) >= {
        name for name, metric in METRICS.items() if metric.group != "perplexity"
    } - {"compression_ratio_xz"}
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_batches_change_no_figure(monkeypatch, threads):
    expected = compute_baselines(TEXTS, BaselineConfig(threads=2))
    monkeypatch.setattr(words, "BATCH_CHARACTERS", 10_000)
    found = compute_baselines(TEXTS, BaselineConfig(threads=threads))
    # zstd ends a block with what it was fed, which moves the ratio a little.
    assert found.pop("compression_ratio_zstd") == pytest.approx(
        expected.pop("compression_ratio_zstd"), rel=0.01
    )
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_sample_is_the_corpus_of_those_documents():
    sample = [3, 10, 11, 40]
    config = BaselineConfig(seed=1)
    assert compute_baselines(TEXTS, config, sample) == pytest.approx(
        compute_baselines([TEXTS[i] for i in sample], config), rel=1e-12
    )


def test_metrics_can_be_chosen_and_unknown_ones_are_refused():
    found = compute_baselines(TEXTS[:5], BaselineConfig(metrics=("compression",)))
    assert set(found) == {
        "documents",
        "empty_documents",
        "tokens",
        "bytes",
        "compression_ratio",
        "compression_ratio_zstd",
    }
    with pytest.raises(UserError, match="did you mean 'compression'"):
        BaselineConfig(metrics=("compresion",))


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["", "   ", "\n"],
        ["one"],
        ["x" * 1_000_000],
        ["word " * 100_000, "another"],
        ["\x00\xff\ud800", "\u202e\u05d0\u05d1", '{"a": [1, 2]}', "<script>alert(1)</script>"],
        ["same text every time"] * 50,
    ],
)
def test_odd_corpora_give_finite_figures(texts):
    found = compute_baselines(texts)
    assert found["documents"] == len(texts)
    assert found["tokens"] == sum(len(text.split()) for text in texts)
    assert all(math.isfinite(value) for value in found.values())
    if texts and any(texts):
        assert found["ngram_diversity"] == pytest.approx(
            sum(counter.ratio for counter in ngrams._count(texts, (), 512).pieces.values())
        )


def test_duplicating_a_corpus_lowers_every_diversity():
    once, twice = compute_baselines(TEXTS), compute_baselines(TEXTS + TEXTS)
    for name, metric in METRICS.items():
        if name not in once or not metric.direction:
            continue
        # What gzip cannot see, what bounds move, and what duplication leaves as it is:
        if name in ("compression_ratio", "kmeans_clusters", "kmeans_entropy", "vendi_score"):
            continue
        less_diverse = (twice[name] - once[name]) * metric.direction
        assert less_diverse < 0.02, name
    for name in ("ngram_diversity", "distinct_4"):
        assert twice[name] < once[name] * 0.8
    assert twice["nearest_neighbour_distance"] == pytest.approx(0, abs=1e-6)
    for name in ("self_repetition", "compression_ratio_zstd", "near_duplicate_rate"):
        assert twice[name] > once[name] * 1.2


def test_the_drawn_documents_are_a_uniform_sample_whatever_the_batches():
    from synthdiv.baselines.compute import _Drawn

    counts = Counter()
    for seed in range(300):
        drawn = _Drawn(20, seed)
        for first in range(0, 200, 10):
            drawn.add(first, [str(first + i) for i in range(10)])
        texts = drawn.texts()
        assert len(set(texts)) == 20
        assert texts == sorted(texts, key=int)
        counts.update(int(text) // 50 for text in texts)
    shares = [counts[i] / 6000 for i in range(4)]
    assert max(abs(share - 0.25) for share in shares) < 0.03


def test_corpora_compared_share_one_embedding_and_their_clusters():
    words_of = {
        "stars": "star planet orbit moon dust ring",
        "bread": "flour yeast oven loaf salt rye",
    }
    generator = random.Random(0)

    def about(subjects, count=100):
        return [
            " ".join(generator.choices(words_of[generator.choice(subjects)].split(), k=40))
            for _ in range(count)
        ]

    narrow, wide = compare_baselines([about(["stars"]), about(["stars", "bread"])])
    assert narrow["kmeans_k"] == wide["kmeans_k"] == 20
    assert narrow["kmeans_clusters"] < wide["kmeans_clusters"]
    assert narrow["kmeans_entropy"] < wide["kmeans_entropy"]
    assert narrow["mean_pairwise_distance"] < wide["mean_pairwise_distance"]
    assert compare_baselines([]) == []


def test_in_one_embedding_a_corpus_of_more_subjects_is_more_spread_out(shared_data):
    with gzip.open(shared_data / "labels/newsgroups20.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    labels = random.Random(1).sample(sorted({row["label"] for row in rows}), 16)
    corpora = []
    for count in (1, 4, 16):
        pool = [row["text"] for row in rows if row["label"] in labels[:count]]
        corpora.append(random.Random(2).sample(pool, 280))
    config = BaselineConfig(metrics=("embedding",))
    found = compare_baselines(corpora, config)
    alone = [compute_baselines(corpus, config) for corpus in corpora]
    for name in ("vendi_score", "nearest_neighbour_distance"):
        values = [one[name] for one in found]
        assert values == sorted(values), (name, values)
        assert alone[0][name] < alone[2][name]


def test_matched_corpora_have_equal_documents_lengths_and_words(tmp_path):
    corpora = []
    for name, texts in {
        "long": [t * 2 for t in TEXTS],
        "short": [t[:900] for t in TEXTS[:40]],
    }.items():
        writer = CorpusWriter(tmp_path / name)
        writer.write([{"id": str(i), "text": text} for i, text in enumerate(texts)])
        writer.close({})
        corpora.append(Corpus(tmp_path / name))
    found, matched = matched_baselines(corpora, BaselineConfig(embedding_documents=30))
    assert [one["documents"] for one in found] == [40, 40]
    assert found[0]["tokens"] == found[1]["tokens"] == matched[0].words == matched[1].words
    lengths = [sorted(len(text.split()) for text in texts) for texts in matched]
    assert lengths[0] == lengths[1]
    originals = [document.text for document in corpora[0]]
    for index, text in zip(matched[0].indices, matched[0], strict=True):
        assert originals[index].startswith(text)


def test_a_longer_or_larger_corpus_does_not_win_for_that(tmp_path):
    mixed = random.Random(0).sample(TEXTS, len(TEXTS))
    halves = [first_words(text, 100) for text in mixed[:25]], mixed[25:]
    corpora = []
    for number, texts in enumerate(halves):
        writer = CorpusWriter(tmp_path / str(number))
        writer.write([{"id": str(i), "text": text} for i, text in enumerate(texts)])
        writer.close({})
        corpora.append(Corpus(tmp_path / str(number)))
    plain = [compute_baselines(corpus) for corpus in corpora]
    matched, _ = matched_baselines(corpora)
    for name in ("self_repetition", "ngram_diversity"):
        gap = abs(plain[0][name] - plain[1][name])
        assert abs(matched[0][name] - matched[1][name]) < gap / 2, name


@pytest.mark.parametrize(
    "text, count, expected",
    [
        ("a b c", 2, "a b"),
        ("a b c", 3, "a b c"),
        ("a b c", 9, "a b c"),
        ("  a\n\nb  c ", 2, "  a\n\nb"),
        ("a b ", 0, ""),
        ("", 0, ""),
        ("a b c ", 3, "a b c "),
    ],
)
def test_first_words(text, count, expected):
    assert first_words(text, count) == expected


def test_every_public_metric_says_its_source_direction_and_confounds():
    functions = [
        ngrams.ngram_diversity,
        ngrams.distinct_n,
        repetition.self_repetition,
        compression.compression_ratio,
        near_duplicates.near_duplicate_rate,
        geometry.vendi_score,
        geometry.mean_pairwise_distance,
        geometry.nearest_neighbour_distance,
        geometry.cluster_usage,
        perplexity.perplexity,
    ]
    for function in functions:
        said = inspect.getdoc(function)
        for word in ("Source:", "Direction:", "Confounds:"):
            assert word in said, (function, word)


def test_importing_the_baselines_is_light():
    script = (
        "import sys; import synthdiv.baselines; "
        "heavy = {'scipy', 'pyarrow', 'sklearn', 'rensa', 'torch', 'jax', 'zstandard'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.slow
def test_the_benchmark_prints_its_measurements(tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, root / "benchmarks/baselines.py", f"--scratch={tmp_path}"]
    command += ["--peer_mb=1", "--sizes=1,2", "--documents=500"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["peer"]["ours"]["figures"]["bytes"] >= 1e6
    assert [one["megabytes"] for one in found["scaling"]] == [1, 2]
    assert found["documents"]["figures"]["documents"] == 500
    assert found["documents"]["peak_memory_mb"] > 50
    if "diversity" in found["peer"]:
        theirs = found["peer"]["diversity"]["figures"]
        ours = found["peer"]["ours"]["figures"]
        assert theirs["ngram_diversity"] == pytest.approx(ours["ngram_diversity"], abs=0.0006)
