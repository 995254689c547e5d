"""How far the judge can be trusted: against labels, against itself, against another judge.

All three compare partitions of the same ten documents, so the figures are means over rounds of the
adjusted Rand index, and precision and recall over all pairs of documents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from synthdiv.diversity.agent import Agent, Round
from synthdiv.diversity.arithmetic import (
    adjusted_rand_index,
    memberships,
    pair_counts,
    round_score,
)
from synthdiv.diversity.control import offline_clusters
from synthdiv.diversity.estimate import estimate
from synthdiv.diversity.prompts import load_prompts
from synthdiv.errors import Paused
from synthdiv.llm import Session

if TYPE_CHECKING:
    from synthdiv.diversity.scoring import Scored


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


def agreement_of(scored: Scored, session: Session, second: Session | None) -> dict[str, Any]:
    """`agreement` of score.json; a cap that is reached on the way is noted in `scored.pause`."""
    config = scored.config
    found: dict[str, Any] = {}
    if config.labels is not None:
        labels = [
            [str(scored.documents[i].provenance[config.labels]) for i in r.indices]
            for r in scored.rounds
        ]
        found["labels"] = {"column": config.labels} | against_labels(scored.rounds, labels)
    if scored.pause is None:
        try:
            _ask_for_agreement(scored, session, second, found)
        except Paused as pause:
            if not session.capped:
                raise
            scored.pause = pause
    if scored.figures.control is not None:
        offline = offline_clusters((r.indices for r in scored.rounds), scored.documents)
        found["offline_judge"] = between_judges(scored.rounds, offline)
    return found


def _ask_for_agreement(
    scored: Scored, session: Session, second: Session | None, found: dict[str, Any]
) -> None:
    """Asks a share of the rounds once more, and puts into `found` what that shows."""
    config = scored.config
    per_repeat = config.rounds
    drawn = scored.draws[0]
    by_number = {r.number: r for r in scored.rounds if r.number < per_repeat}
    chosen = [n for n in drawn.chosen(config.repeat_fraction, per_repeat, 0) if n in by_number]
    if chosen:
        originals = [by_number[n] for n in chosen]
        again = [
            Round(r.number, r.criteria_set, tuple(r.indices[p] for p in drawn.order(r.number)))
            for r in originals
        ]
        _cluster_only(again, scored, session, "repeated clustering")
        found["test_retest"] = retest(originals, again)
    if second is not None:
        chosen = [n for n in drawn.chosen(config.second_fraction, per_repeat, 1) if n in by_number]
        originals = [by_number[n] for n in chosen]
        theirs = [Round(r.number, r.criteria_set, r.indices) for r in originals]
        _cluster_only(theirs, scored, second, "the second judge's clustering")
        pairs = [(a, b) for a, b in zip(originals, theirs, strict=True) if not b.failed]
        labels = [_labels(b) for _, b in pairs]
        found["second_judge"] = {
            "backend": second.backend,
            "model": second.model,
        } | between_judges([a for a, _ in pairs], labels)


def _cluster_only(rounds: list[Round], scored: Scored, session: Session, label: str) -> None:
    """Step 4 alone: agreement is about the clusters, whatever their verdicts."""
    config = dataclasses.replace(scored.config, verify=False)
    prompts = load_prompts(config.prompts)
    Agent(session, scored.documents, scored.sets, prompts, config).run(rounds, label)
