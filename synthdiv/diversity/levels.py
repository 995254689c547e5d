"""The score at each level of each facet: at which scale and in which direction a corpus is diverse.

Documents with the same value at a level are a cluster there, so every round has a C / S at every
level, and the same estimator as for the judge's own clusters gives its interval, and the same
pair probability the effective number of values.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.arithmetic import round_score, shared_pairs
from synthdiv.diversity.codebook import Codebook, Label, is_other
from synthdiv.diversity.estimate import Estimate, effective_clusters, estimate, pairs_estimate
from synthdiv.diversity.figures import Figures
from synthdiv.diversity.saturation import saturation

COMMONEST = 12  # values of a level that score.json lists


@dataclasses.dataclass(frozen=True)
class LevelScore:
    """The score at one level of one facet.

    Attributes:
        facet, level: their names.
        score: mean C / S over rounds, with its interval.
        clusters: mean number of different values in a round.
        figures: C / S of each round, [N], and its criteria set.
        effective_values: 1 / P(two documents of the corpus share the value), `mean` and `ci95`, as
            `estimate.effective_clusters` returns it.
        other: share of documents that no value of this level or above fitted.
        values: the commonest, as (name, share of the documents).
        warning: what the level cannot tell apart, or None.
    """

    facet: str
    level: str
    score: Estimate
    figures: Figures
    clusters: float
    effective_values: dict[str, Any]
    other: float
    values: tuple[tuple[str, float], ...]
    warning: str | None

    @property
    def name(self) -> str:
        """As configurations name it, "subject.field"."""
        return f"{self.facet}.{self.level}"

    def as_json(self) -> dict[str, Any]:
        """The level as score.json has it."""
        return {
            "facet": self.facet,
            "level": self.level,
            "mean": self.score.mean,
            "ci95": [_known(self.score.low), _known(self.score.high)],
            "standard_error": _known(self.score.standard_error),
            "clusters": self.clusters,
            "effective_values": self.effective_values["mean"],
            "effective_values_ci95": self.effective_values["ci95"],
            "other": self.other,
            "values": [{"value": name, "share": share} for name, share in self.values],
            "warning": self.warning,
        }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def level_scores(
    rounds: Sequence[Round], size: int, resamples: int = 2000, seed: int = 0
) -> list[LevelScore]:
    """Scores every level of every facet.

    Args:
        rounds: judged by codebooks of the same facets; failed ones are left out.
        size: documents of a round (K).
        resamples, seed: of the bootstrap.

    Returns:
        the levels of the first facet from broad to fine, then those of the next.
    """
    judged = [
        (one, codebook)
        for one in rounds
        if one.codes and (codebook := one.criteria.codebook) is not None
    ]
    if not judged:
        return []
    found = []
    for facet, described in enumerate(judged[0][1].facets):
        levels = [
            _level(judged, facet, depth, size, resamples, seed)
            for depth in range(len(described.levels))
        ]
        for place, one in enumerate(levels):
            # The nearest other levels first.
            others = sorted(levels, key=lambda other: abs(levels.index(other) - place))[1:]
            counts = {other.name: other.clusters for other in others}
            warning = saturation(one.clusters, size, counts)
            found.append(dataclasses.replace(one, warning=warning))
    return found


def _level(
    judged: Sequence[tuple[Round, Codebook]],
    facet: int,
    depth: int,
    size: int,
    resamples: int,
    seed: int,
) -> LevelScore:
    scores, clusters, pairs = [], [], []
    found: dict[int, Counter[Label]] = {}  # documents of each value, by criteria set
    codebooks: dict[int, Codebook] = {}
    for one, codebook in judged:
        labels = Counter(codebook.label(facet, codes[facet], depth) for codes in one.codes)
        scores.append(round_score(list(labels.values())))
        clusters.append(len(labels))
        pairs.append(shared_pairs(list(labels.values())))
        codebooks[one.criteria.number] = codebook
        found.setdefault(one.criteria.number, Counter()).update(labels)
    totals = [counts.total() for counts in found.values()]
    names: Counter[str] = Counter()
    for number, counts in found.items():
        for label, count in counts.items():
            names[codebooks[number].called(facet, label)] += count
    other = sum(
        count for counts in found.values() for label, count in counts.items() if is_other(label)
    )
    described = judged[0][1].facets[facet]
    mean = float(np.mean(clusters))
    sets = np.array([one.criteria.number for one, _ in judged])
    figures = Figures(np.array(scores), sets, np.array(scores))
    shared = pairs_estimate(np.array(pairs), sets, resamples, seed)
    return LevelScore(
        facet=described.name,
        level=described.levels[depth].name,
        score=estimate(figures.scores, sets, resamples, seed).within_bounds(1 / size, size),
        figures=figures,
        clusters=mean,
        effective_values=effective_clusters(shared),
        other=other / sum(totals),
        values=tuple((name, n / sum(totals)) for name, n in names.most_common(COMMONEST)),
        warning=None,
    )
