"""How far the judge can be trusted: against labels, against itself, against another judge.

All three compare partitions of the same ten documents, so the figures are means over rounds of the
adjusted Rand index, and precision and recall over all pairs of documents.
"""

from collections.abc import Sequence

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.arithmetic import (
    adjusted_rand_index,
    memberships,
    pair_counts,
    round_score,
)
from synthdiv.diversity.estimate import estimate


def compare_partitions(
    ones: Sequence[Sequence[object]], others: Sequence[Sequence[object]], sets: Sequence[int]
) -> dict[str, object]:
    """Agreement of two partitions of each round; the second is taken as the truth.

    Returns:
        rounds; `ari` with `ari_ci95`; `pair_precision` (of pairs the first puts together, how many
        the second does) and `pair_recall`; None where no pair is put together.
    """
    if not ones:
        return {"rounds": 0}
    indices = np.array(
        [adjusted_rand_index(a, b) for a, b in zip(ones, others, strict=True)], float
    )
    counts = np.array([pair_counts(a, b) for a, b in zip(ones, others, strict=True)]).sum(0)
    both, first, second = (int(c) for c in counts)
    result = estimate(indices, np.asarray(sets), 500)
    return {
        "rounds": len(ones),
        "ari": result.mean,
        "ari_ci95": None if len(ones) < 2 else [result.low, result.high],
        "pair_precision": both / first if first else None,
        "pair_recall": both / second if second else None,
    }


def _labels(round_: Round) -> list[int]:
    return memberships(round_.clusters, len(round_.indices)).tolist()


def against_labels(
    rounds: Sequence[Round], labels: Sequence[Sequence[object]]
) -> dict[str, object]:
    """The judge measured by ground truth, and the score a perfect judge would have given.

    Args:
        rounds: what the judge made of them; failed ones are left out.
        labels: of each round's documents.
    """
    kept = [(r, truth) for r, truth in zip(rounds, labels, strict=True) if not r.failed]
    sets = [r.criteria_set for r, _ in kept]
    found = compare_partitions([_labels(r) for r, _ in kept], [t for _, t in kept], sets)
    if not kept:
        return found
    scores = np.array(
        [round_score(np.unique([str(x) for x in t], return_counts=True)[1]) for t in labels]
    )
    perfect = estimate(scores, np.arange(len(scores)) % 20, 500)
    return found | {
        "perfect_judge": {"mean": perfect.mean, "ci95": [perfect.low, perfect.high]},
        "classes": len({x for t in labels for x in t}),
    }


def retest(first: Sequence[Round], again: Sequence[Round]) -> dict[str, object]:
    """The judge against itself, on the same documents in another order.

    Args:
        first: rounds as they were scored.
        again: the same documents in another order, round by round.
    """
    pairs = [(a, b) for a, b in zip(first, again, strict=True) if not (a.failed or b.failed)]
    ones, others = [], []
    for one, other in pairs:
        place = {index: label for index, label in zip(other.indices, _labels(other), strict=True)}
        ones.append(_labels(one))
        others.append([place[index] for index in one.indices])
    return compare_partitions(ones, others, [a.criteria_set for a, _ in pairs])


def between_judges(first: Sequence[Round], second: Sequence[Sequence[int]]) -> dict[str, object]:
    """Two judges on the same rounds; the second gives the cluster number of each document."""
    kept = [(r, labels) for r, labels in zip(first, second, strict=True) if not r.failed]
    return compare_partitions(
        [_labels(r) for r, _ in kept], [t for _, t in kept], [r.criteria_set for r, _ in kept]
    )
