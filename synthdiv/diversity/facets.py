"""Facets: how diverse the corpus is in each single criterion.

The judge gives every cluster a value in each metadata criterion and a score from 1 to 5 in each
metric. A document has its cluster's. Over the rounds this tells which facet the diversity lies in:
a corpus may have many subjects and one way of writing.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.criteria import Criteria
from synthdiv.diversity.estimate import Estimate, estimate

V = TypeVar("V")


def facets(
    rounds: Sequence[Round], sets: Sequence[Criteria], seed: int = 0
) -> list[dict[str, object]]:
    """Spread of each criterion over the documents of a round, averaged over rounds.

    Args:
        rounds: what the judge made of them.
        sets: the criteria of each set, in order.
        seed: of the bootstrap.

    Returns:
        one a criterion name, the most frequent first. Of metadata, `different` is the probability
        that two documents of the corpus differ in it and `values` the commonest ones; of metrics,
        `mean` and `deviation` (of a document's score, within rounds). Each with `ci95` of its
        measure of spread and the share of rounds that it was applied in.
    """
    names: dict[tuple[str, str], str] = {}  # as the first set spells them
    for criterion in itertools.chain(*sets):
        names.setdefault((_folded(criterion.name), criterion.kind), criterion.name)
    applied: Counter[tuple[str, str]] = Counter(
        key
        for round_ in rounds
        if not round_.failed
        for key in {(_folded(c.name), c.kind) for c in round_.criteria.criteria}
    )
    found = []
    for key in sorted(names, key=lambda key: -applied[key]):
        name, kind = names[key], key[1]
        spread = _metadata if kind == "metadata" else _metric
        entry = spread(rounds, name, seed)
        if entry is not None:
            share = applied[key] / max(len(rounds), 1)
            found.append({"name": name, "kind": kind, "applied": share, **entry})
    return found


def _folded(name: str) -> str:
    """A name as it is compared: judges spell one in several ways."""
    return " ".join(name.casefold().split())


def _valued(values: Iterable[tuple[Mapping[str, V], int]], name: str) -> list[tuple[V, int]]:
    """(value, documents) of each cluster that has one.

    Args:
        values: of each cluster, its values by criterion name and its number of documents.
        name: of the criterion.
    """
    wanted = _folded(name)
    found = []
    for given, documents in values:
        value = next((v for key, v in given.items() if _folded(key) == wanted), None)
        if value is not None:
            found.append((value, documents))
    return found


def _estimate(
    values: list[float], rounds: list[Round], seed: int, most: float = math.inf
) -> Estimate | None:
    usable = np.asarray(values)
    if not np.isfinite(usable).any():
        return None
    found = estimate(usable, np.array([r.criteria.number for r in rounds]), 500, seed)
    return found.within_bounds(0.0, most)


def _metadata(rounds: Sequence[Round], name: str, seed: int) -> dict[str, object] | None:
    different, used = [], []
    counts: dict[str, int] = {}
    for round_ in rounds:
        sizes: dict[str, int] = {}
        given = [(c.metadata, len(c.places)) for c in round_.clusters]
        for value, documents in _valued(given, name):
            key = _folded(str(value))
            sizes[key] = sizes.get(key, 0) + documents
            counts[key] = counts.get(key, 0) + documents
        total = sum(sizes.values())
        if total > 1:
            same = sum(s * (s - 1) for s in sizes.values())
            different.append(1.0 - same / (total * (total - 1)))
            used.append(round_)
    result = _estimate(different, used, seed, most=1.0) if used else None
    if result is None:
        return None
    everything = sum(counts.values())
    common = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:10]
    return {
        "different": result.mean,
        "ci95": result.ci95,
        "values": [{"value": v, "share": c / everything} for v, c in common],
    }


def _metric(rounds: Sequence[Round], name: str, seed: int) -> dict[str, object] | None:
    deviations, means, used = [], [], []
    for round_ in rounds:
        scored = _valued([(c.metrics, len(c.places)) for c in round_.clusters], name)
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
        "ci95": result.ci95,
    }
