"""The score at each level of each facet: at which scale, and in which direction, a corpus is diverse.

Documents with the same value at a level are a cluster there, so every round has a C / S at every
level, and the same estimator as for the judge's own clusters gives its interval. A document's value
does not depend on its round: over all documents together, two of them share a value with the
probability that Simpson's index estimates, and its inverse is the effective number of values.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from synthdiv.diversity.arithmetic import round_score
from synthdiv.diversity.codebook import Codebook
from synthdiv.diversity.estimate import Estimate, estimate

COMMONEST = 12  # values of a level that score.json lists
SATURATED, FLAT = 0.85, 1.5  # mean clusters above this share of K, or below this number

Label = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LevelScore:
    """The score at one level of one facet.

    Attributes:
        facet, level: their names.
        score: mean C / S over rounds, with its interval.
        clusters: mean number of different values in a round.
        effective_values: 1 / P(two documents of the corpus share the value); inf if none do.
        other: share of documents that no value of this level or above fitted.
        values: the commonest, as (name, share of the documents).
        warning: what the level cannot tell apart, or None.
    """

    facet: str
    level: str
    score: Estimate
    clusters: float
    effective_values: float
    other: float
    values: tuple[tuple[str, float], ...]
    warning: str | None

    def as_json(self) -> dict[str, Any]:
        """The level as score.json has it."""
        finite = np.isfinite(self.effective_values)
        return {
            "facet": self.facet,
            "level": self.level,
            "mean": self.score.mean,
            "ci95": [self.score.low, self.score.high],
            "standard_error": self.score.standard_error,
            "clusters": self.clusters,
            "effective_values": self.effective_values if finite else None,
            "other": self.other,
            "values": [{"value": name, "share": share} for name, share in self.values],
            "warning": self.warning,
        }


def level_scores(
    rounds: Sequence[Sequence[Sequence[str]]],
    codebooks: Sequence[Codebook],
    sets: Sequence[int],
    resamples: int = 2000,
    seed: int = 0,
) -> list[LevelScore]:
    """Scores every level of every facet.

    Args:
        rounds: the codes of each document of each round, `[N][K][facets]`.
        codebooks: all of the same facets and levels, with values of their own.
        sets: which of them each round was coded by, `[N]`.
        resamples, seed: of the bootstrap.

    Returns:
        the levels of the first facet from broad to fine, then those of the next.
    """
    found = []
    for facet, described in enumerate(codebooks[0].facets):
        labelled = [
            [
                codebooks[number].labels(facet, codebooks[number].place(facet, codes[facet]) or ())
                for codes in documents
            ]
            for documents, number in zip(rounds, sets, strict=True)
        ]
        for depth, level in enumerate(described.levels):
            at_level = [[labels[depth] for labels in documents] for documents in labelled]
            found.append(
                _level(at_level, codebooks, sets, facet, level.name, resamples, seed)
            )
    return found


def _level(
    labels: Sequence[Sequence[Label]],
    codebooks: Sequence[Codebook],
    sets: Sequence[int],
    facet: int,
    level: str,
    resamples: int,
    seed: int,
) -> LevelScore:
    sizes = [list(Counter(documents).values()) for documents in labels]
    scores = np.array([round_score(one) for one in sizes])
    clusters = float(np.mean([len(one) for one in sizes]))
    size = float(np.mean([sum(one) for one in sizes]))
    names: Counter[str] = Counter()
    other = total = same = pairs = 0
    for number in sorted(set(sets)):
        mine = [
            label
            for documents, of in zip(labels, sets, strict=True)
            if of == number
            for label in documents
        ]
        counts = Counter(mine)
        same += sum(n * (n - 1) for n in counts.values())
        pairs += len(mine) * (len(mine) - 1)
        total += len(mine)
        for label, count in counts.items():
            names[codebooks[number].called(facet, label)] += count
            other += count if not label or 0 in label else 0
    return LevelScore(
        facet=codebooks[0].facets[facet].name,
        level=level,
        score=estimate(scores, np.asarray(sets), resamples, seed),
        clusters=clusters,
        effective_values=pairs / same if same else float("inf"),
        other=other / max(total, 1),
        values=tuple((name, count / total) for name, count in names.most_common(COMMONEST)),
        warning=_warning(clusters, size),
    )


def _warning(clusters: float, size: float) -> str | None:
    if clusters > SATURATED * size:
        return (
            f"{clusters:.1f} of {size:.0f} documents of a round differ: more diverse corpora would"
            " score the same; take a broader level, or more documents a round"
        )
    if clusters < FLAT:
        return (
            f"{clusters:.1f} different values in a round of {size:.0f}: less diverse corpora would"
            " score the same; take a finer level"
        )
    return None
