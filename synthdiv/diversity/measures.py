"""What a validation measures of judged rounds: agreement, scores, and whether places matter.

A scale is one way of reading a round as a clustering: the clusters of a judge that sorts, or the
values at one level of one facet, of which there are several.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.agreement import compare_partitions, numbered
from synthdiv.diversity.arithmetic import score_of_labels
from synthdiv.diversity.codebook import Codebook
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import Basis
from synthdiv.diversity.estimate import estimate
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.results import score_of

STANDARD_ERROR = 0.05  # of the paper's scores
_PERMUTATIONS = 1999


@dataclasses.dataclass(frozen=True)
class Scale:
    """One way of reading a round as a clustering.

    Attributes:
        name: "clusters", or a level such as "subject.discipline".
        facet, depth: of the level, in the codebook; None for clusters.
        policy: of clusters: what becomes of those that verification rejects.
    """

    name: str
    facet: int | None = None
    depth: int = 0
    policy: str = "keep"

    def clusters(self, round_: Round) -> list[object]:
        """The cluster of each document of a round, `[K]`."""
        codebook = round_.criteria.codebook
        if self.facet is None or codebook is None:
            return list(round_.memberships(self.policy))
        return [codebook.label(self.facet, codes[self.facet], self.depth) for codes in round_.codes]

    def score(self, round_: Round) -> float:
        """C / S of a round; NaN where it has none."""
        if round_.failed or self.facet is None:
            return round_.score(self.policy)
        return score_of_labels(self.clusters(round_))


def scales_of(basis: Basis, config: ScoreConfig) -> list[Scale]:
    """The scales of rounds that were judged by `basis`: clusters, or every level."""
    if not isinstance(basis, Codebook) or load_prompts(config.prompts).way == "rule":
        return [Scale("clusters", policy=config.policy_in_force)]
    return [
        Scale(f"{facet.name}.{level.name}", number, depth)
        for number, facet in enumerate(basis.facets)
        for depth, level in enumerate(facet.levels)
    ]


def against_classes(
    rounds: Sequence[Round], labels: Sequence[Sequence[str]], scale: Scale
) -> dict[str, Any]:
    """How far the clusters of some rounds are the classes of their documents."""
    kept = [(r, truth) for r, truth in zip(rounds, labels, strict=True) if not r.failed]
    return compare_partitions(
        [scale.clusters(r) for r, _ in kept],
        [truth for _, truth in kept],
        [r.criteria.number for r, _ in kept],
    )


def mean_score(
    rounds: Sequence[Round],
    value: Callable[[Round], float],
    resamples: int,
    seed: int,
) -> dict[str, Any] | None:
    """Mean, interval and standard error of a value of each round; None where no round has one."""
    values = np.array([value(r) for r in rounds], float)
    if not np.isfinite(values).any():
        return None
    sets = np.array([r.criteria.number for r in rounds])
    return score_of(estimate(values, sets, resamples, seed))


def rounds_for(values: np.ndarray, error: float = STANDARD_ERROR) -> int | None:
    """Rounds whose mean has a standard error, the criteria taken as given.

    Args:
        values: the scores of some rounds, `[N]`; NaN is left out.
        error: the standard error.

    Returns:
        how many, at least two; None where fewer than two rounds show no spread.
    """
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    return max(2, math.ceil(float(known.var(ddof=1)) / error**2))


def position_bias(rounds: Sequence[Round], scale: Scale, seed: int = 0) -> dict[str, Any]:
    """Whether a document's place in the round changes what it is put together with.

    Documents are shown in random order. So if places play no part, all orders of the clusters of a
    round are equally likely, and shuffling them gives what chance does to two figures: how
    differently often the places share a cluster (the variance over places of the share of the
    other documents that is in the cluster), and how often neighbours do.

    Returns:
        `share` at each place; its `p_value`; `neighbours`, the share of neighbours put together,
        beside `pairs`, that of all pairs; its `neighbours_p_value`, two-sided.
    """
    done = [r for r in rounds if not r.failed]
    if not done:
        return {"rounds": 0}
    clusters = np.array([numbered(scale.clusters(r)) for r in done])
    count, size = clusters.shape
    together = clusters[:, :, None] == clusters[:, None, :]
    shares = (together.sum(axis=2) - 1) / (size - 1)

    def neighbours(numbers: np.ndarray) -> float:
        return float((numbers[:, 1:] == numbers[:, :-1]).mean())

    pairs = float(shares.mean())
    spread, beside = float(shares.mean(axis=0).var()), neighbours(clusters)
    generator = np.random.default_rng([seed, count, size])
    wider = closer = 1
    for _ in range(_PERMUTATIONS):
        order = generator.random((count, size)).argsort(axis=1)
        wider += np.take_along_axis(shares, order, 1).mean(axis=0).var() >= spread - 1e-12
        shuffled = neighbours(np.take_along_axis(clusters, order, 1))
        closer += abs(shuffled - pairs) >= abs(beside - pairs) - 1e-12
    return {
        "rounds": count,
        "share": shares.mean(axis=0).tolist(),
        "p_value": float(wider / (_PERMUTATIONS + 1)),
        "pairs": pairs,
        "neighbours": beside,
        "neighbours_p_value": float(closer / (_PERMUTATIONS + 1)),
    }
