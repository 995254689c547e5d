"""A reply made into a partition, and a partition into the paper's score."""

import itertools
import math
import random

import numpy as np
import pytest

from synthdiv.diversity.arithmetic import (
    counted_sizes,
    fault_of_partition,
    repair_partition,
    round_score,
    shared_pairs,
)


def test_a_partition_has_no_fault():
    assert fault_of_partition([[1, 3], [2]], 3) is None


@pytest.mark.parametrize(
    ("clusters", "words"),
    [
        ([[1, 2]], "no cluster holds document 3"),
        ([[1, 2], [2, 3]], "document 2 is placed more than once"),
        ([[1, 2, 3, 4]], "there is no document 4"),
        ([[0, 1, 2], [3]], "there is no document 0"),
        ([], "no cluster holds document 1, 2, 3"),
    ],
)
def test_a_fault_is_named(clusters, words):
    assert words in fault_of_partition(clusters, 3)


def test_repair_keeps_the_first_place_adds_what_is_missing_and_ignores_what_is_invented():
    partition, origin = repair_partition([[2, 1, 1], [], [2, 9, -1], [3, 2]], 5)
    assert partition == [[1, 0], [2], [3], [4]]
    assert origin == [0, 3, -1, -1]


def test_repair_makes_a_partition_of_anything_and_leaves_partitions_alone():
    generator = random.Random(0)
    for _ in range(500):
        size = generator.randint(1, 12)
        clusters = [
            [generator.randint(-2, size + 3) for _ in range(generator.randint(0, 6))]
            for _ in range(generator.randint(0, 6))
        ]
        partition, origin = repair_partition(clusters, size)
        assert sorted(itertools.chain(*partition)) == list(range(size))
        assert all(partition) and len(origin) == len(partition)
        again, _ = repair_partition([[p + 1 for p in c] for c in partition], size)
        assert again == partition


def test_the_score_is_clusters_over_mean_size():
    sizes = [4, 3, 2, 1]
    assert round_score(sizes) == pytest.approx(4 / np.mean(sizes))
    assert round_score([10]) == pytest.approx(0.1)
    assert round_score([1] * 10) == pytest.approx(10)
    assert math.isnan(round_score([]))


def test_policies_for_rejected_clusters():
    sizes, verdicts = [5, 3, 1, 1], [True, False, True, True]
    assert counted_sizes(sizes, verdicts, "drop") == [5, 1, 1]
    assert counted_sizes(sizes, verdicts, "split") == [5, 1, 1, 1, 1, 1]
    assert counted_sizes(sizes, verdicts, "keep") == sizes
    assert counted_sizes([4], [False], "drop") == []


def test_pairs_are_ordered_and_of_different_documents():
    assert shared_pairs([3, 2, 1]) == (8, 30)
    assert shared_pairs([1]) == (0, 0)
