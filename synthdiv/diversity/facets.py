"""Facets: how diverse the corpus is in each single criterion.

The judge gives every cluster a value in each metadata criterion and a score from 1 to 5 in each
metric. A document has its cluster's. Over the rounds this tells which facet the diversity lies in:
a corpus may have many subjects and one way of writing.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.criteria import CriteriaSet
from synthdiv.diversity.estimate import Estimate, estimate


def facets(
    rounds: Sequence[Round], sets: Sequence[CriteriaSet], seed: int = 0
) -> list[dict[str, object]]:
    """Spread of each criterion over the documents of a round, averaged over rounds.

    Returns:
        one a criterion name, the most frequent first. Of metadata, `different` is the probability
        that two documents of the corpus differ in it and `values` the commonest ones; of metrics,
        `mean` and `deviation` (of a document's score, within rounds). Each with `ci95` of its
        measure of spread and the share of rounds that it was applied in.
    """
    named: dict[tuple[str, str], int] = {}
    for number, criteria in enumerate(sets):
        count = sum(r.criteria_set % len(sets) == number and not r.failed for r in rounds)
        for criterion in criteria:
            key = (criterion.name, criterion.kind)
            named[key] = named.get(key, 0) + count
    found = []
    for (name, kind), applied in sorted(named.items(), key=lambda entry: -entry[1]):
        spread = _metadata if kind == "metadata" else _metric
        entry = spread(rounds, name, seed)
        if entry is not None:
            share = applied / max(len(rounds), 1)
            found.append({"name": name, "kind": kind, "applied": share, **entry})
    return found


def _documents(round_: Round, given: Sequence[dict], name: str) -> Iterable[tuple[object, int]]:
    """(value, documents) of each cluster that has one."""
    wanted = name.casefold()
    for cluster, values in zip(round_.clusters, given, strict=True):
        for key, value in values.items():
            if key.casefold() == wanted:
                yield value, len(cluster)
                break


def _estimate(values: list[float], rounds: list[Round], seed: int) -> Estimate | None:
    usable = np.asarray(values)
    if not np.isfinite(usable).any():
        return None
    return estimate(usable, np.array([r.criteria_set for r in rounds]), 500, seed)


def _metadata(rounds: Sequence[Round], name: str, seed: int) -> dict[str, object] | None:
    different, used, counts = [], [], {}
    for round_ in rounds:
        sizes: dict[str, int] = {}
        for value, documents in _documents(round_, round_.metadata, name):
            key = " ".join(str(value).casefold().split())
            sizes[key] = sizes.get(key, 0) + documents
            counts[key] = counts.get(key, 0) + documents
        total = sum(sizes.values())
        if total > 1:
            same = sum(s * (s - 1) for s in sizes.values())
            different.append(1.0 - same / (total * (total - 1)))
            used.append(round_)
    result = _estimate(different, used, seed) if used else None
    if result is None:
        return None
    everything = sum(counts.values())
    common = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:10]
    return {
        "different": result.mean,
        "ci95": [result.low, result.high],
        "values": [{"value": v, "share": c / everything} for v, c in common],
    }


def _metric(rounds: Sequence[Round], name: str, seed: int) -> dict[str, object] | None:
    deviations, means, used = [], [], []
    for round_ in rounds:
        scored = list(_documents(round_, round_.metrics, name))
        total = sum(documents for _, documents in scored)
        if total > 1:
            mean = sum(score * documents for score, documents in scored) / total
            squares = sum(documents * (score - mean) ** 2 for score, documents in scored)
            deviations.append((squares / (total - 1)) ** 0.5)
            means.append(mean)
            used.append(round_)
    result = _estimate(deviations, used, seed) if used else None
    if result is None:
        return None
    return {
        "mean": float(np.mean(means)),
        "deviation": result.mean,
        "ci95": [result.low, result.high],
    }
