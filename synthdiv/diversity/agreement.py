"""How far the judge can be trusted: against labels, against itself, against another judge.

All three compare partitions of the same documents, so the figures are means over rounds of the
adjusted Rand index (Hubert & Arabie 1985, "Comparing partitions") and of the V-measure (Rosenberg &
Hirschberg 2007), and precision and recall over all pairs of documents.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.arithmetic import score_of_labels
from synthdiv.diversity.estimate import estimate
from synthdiv.diversity.inquiry import Inquiry
from synthdiv.llm import Session


def compare_partitions(
    ones: Sequence[Sequence[object]], others: Sequence[Sequence[object]], sets: Sequence[int]
) -> dict[str, Any]:
    """Agreement of two partitions of each round; the second is taken as the truth.

    Args:
        ones, others: the cluster of each document, round by round.
        sets: number of the criteria set of each round.

    Returns:
        rounds; `ari` with `ari_ci95`; `v_measure`; `pair_precision` (of pairs the first puts
        together, how many the second does) and `pair_recall`; None where no pair is put together.
    """
    if not ones:
        return {"rounds": 0}
    compared = [_compared(numbered(a), numbered(b)) for a, b in zip(ones, others, strict=True)]
    indices, measures, pairs = zip(*compared, strict=True)
    (_, first), (second, both) = np.sum(pairs, axis=0).tolist()
    result = estimate(np.array(indices), np.asarray(sets), 500).within_bounds(-1.0, 1.0)
    return {
        "rounds": len(ones),
        "ari": result.mean,
        "ari_ci95": None if len(ones) < 2 else [result.low, result.high],
        "v_measure": float(np.mean(measures)),
        "pair_precision": both / (both + first) if both + first else None,
        "pair_recall": both / (both + second) if both + second else None,
    }


@functools.lru_cache(maxsize=1 << 16)  # one round is compared at many levels and in many sums
def _compared(one: tuple[int, ...], truth: tuple[int, ...]) -> tuple[float, float, np.ndarray]:
    """The index, the V-measure, and ordered pairs by whether the truth and `one` join them."""
    from sklearn.metrics import adjusted_rand_score, v_measure_score
    from sklearn.metrics.cluster import pair_confusion_matrix

    return (
        float(adjusted_rand_score(truth, one)),
        float(v_measure_score(truth, one)),
        pair_confusion_matrix(truth, one),
    )


def numbered(labels: Sequence[object]) -> tuple[int, ...]:
    """Labels of any type as numbers in the order in which they come, which scikit-learn wants."""
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(label, len(numbers)) for label in labels)


def against_labels(rounds: Sequence[Round], labels: Sequence[Sequence[object]]) -> dict[str, Any]:
    """The judge measured by ground truth, and the score a perfect judge would have given.

    Args:
        rounds: what the judge made of them; failed ones are left out.
        labels: of each round's documents.
    """
    kept = [(r, truth) for r, truth in zip(rounds, labels, strict=True) if not r.failed]
    found = compare_partitions(
        [r.memberships() for r, _ in kept],
        [truth for _, truth in kept],
        [r.criteria.number for r, _ in kept],
    )
    if not kept:
        return found
    scores = np.array([score_of_labels([str(label) for label in truth]) for truth in labels])
    perfect = estimate(scores, np.arange(len(scores)) % 20, 500)
    return found | {
        "perfect_judge": {"mean": perfect.mean, "ci95": [perfect.low, perfect.high]},
        "classes": len({label for truth in labels for label in truth}),
    }


def between_rounds(
    first: Sequence[Round],
    again: Sequence[Round],
    read: Callable[[Round], Sequence[object]] = Round.memberships,
) -> dict[str, Any]:
    """Two judgements of the same documents, which may have been shown in another order.

    Args:
        first: rounds as they were scored.
        again: the same documents, round by round.
        read: the cluster of each document of a round.
    """
    pairs = [(a, b) for a, b in zip(first, again, strict=True) if not (a.failed or b.failed)]
    others = []
    for one, other in pairs:
        place = dict(zip(other.documents, read(other), strict=True))
        others.append([place[index] for index in one.documents])
    return compare_partitions(
        [read(a) for a, _ in pairs], others, [a.criteria.number for a, _ in pairs]
    )


def agreement_of(asked: Inquiry, second: Session | None) -> dict[str, Any]:
    """`agreement` of score.json."""
    config, rounds = asked.config, asked.rounds
    by_id = {r.id: r for r in rounds}
    found: dict[str, Any] = {}
    if config.labels is not None:
        labels = [
            [str(asked.sample.documents[i].provenance[config.labels]) for i in r.documents]
            for r in rounds
        ]
        found["labels"] = {"column": config.labels} | against_labels(rounds, labels)
    if asked.again is not None:
        found["test_retest"] = between_rounds([by_id[r.id] for r in asked.again], asked.again)
    if second is not None and asked.theirs is not None:
        found["second_judge"] = {"backend": second.backend, "model": second.model} | between_rounds(
            [by_id[r.id] for r in asked.theirs], asked.theirs
        )
    if asked.lexical is not None:
        judged = [r for r in rounds if not r.failed]
        found["offline_judge"] = compare_partitions(
            [r.memberships() for r in judged],
            [asked.lexical.labels(r.documents) for r in judged],
            [r.criteria.number for r in judged],
        )
    return found
