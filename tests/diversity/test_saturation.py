"""Rounds nearly all different, or nearly all alike: the warning, and what still resolves."""

import numpy as np
import pytest

from synthdiv.diversity.agent import JudgedCluster, Round
from synthdiv.diversity.codebook import Codebook, Facet, Level, Value
from synthdiv.diversity.criteria import Basis, CriteriaSet
from synthdiv.diversity.saturation import documents_that_resolve, saturation, saturation_of

BOOK = Codebook(
    (
        Facet(
            "subject",
            "",
            "",
            (Level("field", ""), Level("discipline", "")),
            tuple(Value(field, "", (Value(f"{field} 1"), Value(f"{field} 2"))) for field in "abc"),
        ),
    )
)


def judged(sizes: list[int], basis: Basis, fields: str = "") -> Round:
    ends = np.cumsum([0, *sizes]).tolist()
    clusters = tuple(
        JudgedCluster(
            tuple(range(start, end)),
            f"cluster {n}",
            "",
            {"subject: field": fields[n], "subject: discipline": str(n)} if fields else {},
        )
        for n, (start, end) in enumerate(zip(ends, ends[1:], strict=False))
    )
    return Round(0, CriteriaSet(0, basis), tuple(range(ends[-1])), clusters)


@pytest.mark.parametrize(("clusters", "warned"), [(1.4, True), (1.5, False), (8.5, False)])
def test_only_what_leaves_no_room_is_warned_of(clusters, warned) -> None:
    assert (saturation(clusters, 10, {}) is not None) == warned


def test_the_criteria_of_the_paper_are_warned_of_too() -> None:
    told = saturation_of(
        [judged([1] * 9, ()), Round(1, CriteriaSet(0, ()), (), failure="no")], 9, ""
    )
    assert "9.0 of 9 documents" in str(told) and "a broader level may resolve" in str(told)
    assert saturation_of([judged([3, 3, 3], ())], 9, "") is None
    mended = Round(0, CriteriaSet(0, ()), tuple(range(9)), corrected=(tuple(range(9)),))
    assert "1.0 clusters in a round of 9" in str(saturation_of([mended], 9, ""))


def test_clusters_of_a_level_name_the_broader_one_that_resolves() -> None:
    rounds = [judged([1] * 6, BOOK, "aabbcc"), judged([1] * 6, BOOK, "aaabbb")]
    told = str(saturation_of(rounds, 6, "subject.discipline"))
    assert "subject.field (2.5 clusters) still resolves" in told


@pytest.mark.parametrize(("kinds", "size"), [(12, 5), (20, 10)])
def test_the_number_of_documents_that_resolves_does(kinds, size) -> None:
    def clusters(documents: int) -> float:
        drawn = np.random.default_rng(0).integers(kinds, size=(4000, documents))
        return float(np.mean([len(set(row)) for row in drawn.tolist()]))

    found = documents_that_resolve(clusters(size), size)
    assert found is not None and found > size
    assert clusters(found) < 0.86 * found
    assert documents_that_resolve(size, size) is None  # no two were ever alike: nobody knows


def test_a_flat_round_wants_more_documents_until_strays_show() -> None:
    assert documents_that_resolve(1.25, 10) == 20  # 2.25 strays of 90 documents, 0.53 of 20
    assert documents_that_resolve(1.0, 10) is None
