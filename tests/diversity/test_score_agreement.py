"""Agreement of partitions: scikit-learn's index against its definition, and pairs by hand."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from synthdiv.diversity.agent import DrawnRound, JudgedCluster, Round
from synthdiv.diversity.agreement import between_rounds, compare_partitions
from synthdiv.diversity.criteria import CriteriaSet


def rand_index(one, other) -> float:
    return compare_partitions([one], [other], [0])["ari"]


def by_formula(one, other) -> float:
    """Hubert & Arabie 1985, by counts."""

    def pairs(labels):
        return sum(n * (n - 1) // 2 for n in Counter(labels).values())

    total = len(one) * (len(one) - 1) // 2
    expected = pairs(one) * pairs(other) / total
    highest = (pairs(one) + pairs(other)) / 2
    if highest == expected:
        return 1.0
    return (pairs(zip(one, other, strict=True)) - expected) / (highest - expected)


def test_adjusted_rand_index_against_its_definition_by_enumeration():
    """The index is (pairs - expected) / (highest - expected) over all relabellings of one side."""
    one, other = [0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2]

    def together(labels):
        return {p for p in itertools.combinations(range(6), 2) if labels[p[0]] == labels[p[1]]}

    def agreed(labels):
        return len(together(one) & together(labels))

    expected = np.mean([agreed(p) for p in itertools.permutations(other)])
    highest = (len(together(one)) + len(together(other))) / 2
    by_definition = (agreed(other) - expected) / (highest - expected)
    assert rand_index(one, other) == pytest.approx(by_definition)


def test_adjusted_rand_index_is_that_of_the_formula_for_every_kind_of_partition():
    generator = np.random.default_rng(1)
    for _ in range(100):
        size, classes = generator.integers(2, 21), generator.integers(1, 22, size=2)
        one = generator.integers(classes[0], size=size).tolist()
        other = [f"label {n}" for n in generator.integers(classes[1], size=size)]
        assert rand_index(one, other) == pytest.approx(by_formula(one, other), abs=1e-12)


def test_adjusted_rand_index_of_equal_and_of_unrelated_partitions():
    assert rand_index([0, 1, 1], ["b", "a", "a"]) == 1
    assert rand_index([0, 1, 2], [5, 6, 7]) == 1
    assert rand_index([0, 0, 0], ["a", "a", "a"]) == 1
    generator = np.random.default_rng(0)
    drawn = generator.integers(3, size=(2, 300, 10)).tolist()
    found = compare_partitions(*drawn, [0] * 300)
    low, high = found["ari_ci95"]
    assert low < 0 < high and math.isfinite(found["ari"])


def test_precision_and_recall_over_pairs():
    found = compare_partitions([[0, 0, 0, 1]], [["a", "a", "b", "b"]], [0])
    assert (found["pair_precision"], found["pair_recall"]) == (1 / 3, 1 / 2)
    apart = compare_partitions([[0, 1, 2]], [["a", "a", "b"]], [0])
    assert (apart["pair_precision"], apart["pair_recall"]) == (None, 0)
    assert compare_partitions([], [], []) == {"rounds": 0}


def test_v_measure_is_the_harmonic_mean_of_homogeneity_and_completeness():
    # Classes aabb, clusters 0001: 1 bit of classes, of which 3/4 H(1/3, 2/3) are left in clusters.
    entropy = -(math.log2(1 / 3) / 3 + math.log2(2 / 3) * 2 / 3)
    homogeneity = 1 - 3 / 4 * entropy
    clusters = -(math.log2(1 / 4) / 4 + math.log2(3 / 4) * 3 / 4)
    completeness = 1 - (1 / 2) / clusters
    expected = 2 * homogeneity * completeness / (homogeneity + completeness)
    found = compare_partitions([[0, 0, 0, 1]], [["a", "a", "b", "b"]], [0])
    assert found["v_measure"] == pytest.approx(expected)
    both = compare_partitions([[0, 0, 0, 1], [0, 1]], [["a", "a", "b", "b"], ["b", "a"]], [0, 1])
    assert both["v_measure"] == pytest.approx((expected + 1) / 2)


def judged(documents: tuple[int, ...], *clusters: tuple[int, ...]) -> Round:
    drawn = DrawnRound(0, CriteriaSet(0, ()), documents)
    found = tuple(JudgedCluster(places, "", "") for places in clusters)
    return Round(drawn.id, drawn.criteria, drawn.documents, found)


def test_another_order_of_the_documents_is_no_disagreement():
    first = judged((7, 8, 9), (0, 1), (2,))
    assert between_rounds([first], [judged((9, 8, 7), (1, 2), (0,))])["ari"] == 1
    assert between_rounds([first], [judged((9, 8, 7), (0, 1), (2,))])["ari"] < 1
    failed = Round(0, CriteriaSet(0, ()), (7, 8, 9), failure="no reply")
    assert between_rounds([first], [failed]) == {"rounds": 0}
