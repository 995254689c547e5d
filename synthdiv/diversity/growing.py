"""The score of a corpus that grows in waves, with an interval that holds at every look.

What was judged of a smaller corpus still counts. A round of K documents that is drawn from the
corpus as it is now has its newest document of wave t with a known probability; those rounds are a
stratum, and a round that was judged when wave t was the newest is a random one of it for good. So
the score now is the sum over the waves of that probability times the mean of the stratum's rounds:
unbiased, with only the newest stratum to be asked about. Of pairs of documents the same holds, pair
by pair. What the offline judge explains of the rounds' deviations is subtracted (`control`).

The corpus is another one at every look, so sequences for one fixed mean do not apply. Look l has an
interval of level 1 - alpha / (l (l + 1)) on each side, by Student's t; these shares of alpha add up
to alpha, so by the union bound no end of any of the intervals misses with more probability than
alpha, whatever made one look once more (error spending; Lan & DeMets 1983, "Discrete sequential
boundaries for clinical trials"; with such shares in Darling & Robbins 1967, "Iterated logarithm
inequalities").
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.control import control_variate

Measure = Literal["score", "effective_clusters"]

_DRAW, _OWN = range(2)  # streams of random numbers


@dataclasses.dataclass(frozen=True)
class WaveRound:
    """A round that was judged, as it is kept.

    Attributes:
        wave: the newest that one of its documents is of, from 0.
        documents: indices in the corpus, `[K]`.
        clusters: places of the documents of each cluster; () where the round failed.
        names: of the clusters.
        reasons: why they stand apart.
        codes: where documents got values: one code a facet for each document.
        criteria_set: number of the criteria that it was judged by.
        lexical: the offline judge's cluster of each document, `[K]`; () where it is not asked.
    """

    wave: int
    documents: tuple[int, ...]
    clusters: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    codes: tuple[tuple[str, ...], ...] = ()
    criteria_set: int = 0
    lexical: tuple[int, ...] = ()

    @classmethod
    def of(cls, judged: Round, wave: int, lexical: Sequence[int] = ()) -> "WaveRound":
        """A judged round; clusters count as they were sorted, or as a review mended them."""
        return cls(
            wave,
            judged.documents,
            tuple(cluster.places for cluster in judged.clusters),
            tuple(cluster.name for cluster in judged.clusters),
            tuple(cluster.reason for cluster in judged.clusters),
            judged.codes,
            judged.criteria.number,
            tuple(lexical),
        )

    @classmethod
    def of_json(cls, row: dict[str, Any]) -> "WaveRound":
        """The round that `dataclasses.asdict` and JSON made `row` of."""
        nested = {
            name: tuple(tuple(part) if isinstance(part, list) else part for part in value)
            for name, value in row.items()
            if isinstance(value, list)
        }
        return cls(**row | nested)

    @property
    def labels(self) -> list[int]:
        """The number of its cluster for each document, `[K]`."""
        number = {place: n for n, cluster in enumerate(self.clusters) for place in cluster}
        return [number[place] for place in range(len(self.documents))]


@dataclasses.dataclass(frozen=True)
class Look:
    """What is known of a corpus at one look.

    Attributes:
        documents: of the corpus.
        rounds: judged so far.
        mean: the measure, estimated.
        low, high: the interval; each end holds at all looks together with the level asked for.
        standard_error: of the score; of effective clusters, of the probability behind it.
        variance_reduction: what the control variate took away; 0 where there is none.
    """

    documents: int
    rounds: int
    mean: float
    low: float
    high: float
    standard_error: float
    variance_reduction: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The look as JSON holds it; what is not known is None."""
        found = dataclasses.asdict(self)
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    @classmethod
    def of_json(cls, row: dict[str, Any]) -> "Look":
        """The look that `as_json` made `row` of."""
        unknown = {"low": -math.inf, "mean": math.nan}
        given: dict[str, Any] = {
            name: unknown.get(name, math.inf) if value is None else value
            for name, value in row.items()
        }
        return cls(**given)


def wave_weights(ends: Sequence[int], size: int) -> np.ndarray:
    """How probable it is that the newest document of a random round is of each wave, `[waves]`.

    Args:
        ends: documents of the corpus after each wave.
        size: documents of a round (K).
    """
    whole = ends[-1]
    older = [
        math.prod((end - i) / (whole - i) for i in range(size)) if end >= size else 0.0
        for end in (0, *ends)
    ]
    return np.diff(older)


def allot(count: int, weights: np.ndarray, have: Sequence[int]) -> list[int]:
    """Of which wave each of the next rounds should be, so that the variance becomes least.

    Args:
        count: how many rounds.
        weights: of the waves.
        have: rounds of each wave that there are.
    """
    counts = np.array(have, float)
    found = []
    for _ in range(count):
        # One round more takes w^2 / (n (n + 1)) off the variance; the first two make it finite.
        gain = np.where(counts > 1, weights**2 / np.maximum(counts * (counts + 1), 1), 1 + weights)
        wave = int(np.where(weights > 0, gain, -1).argmax())
        counts[wave] += 1
        found.append(wave)
    return found


def draw_round(ends: Sequence[int], wave: int, size: int, seed: Sequence[int]) -> tuple[int, ...]:
    """Documents of a random round whose newest is of `wave`, `[K]`.

    Args:
        ends: documents of the corpus after each wave.
        wave: from 0.
        size: K.
        seed: of this draw alone.
    """
    random = np.random.default_rng([_DRAW, *seed])
    first = ends[wave - 1] if wave else 0
    while True:
        drawn = random.choice(ends[wave], size, replace=False)
        if drawn.max() >= first:
            return tuple(drawn.tolist())


def own_rounds(documents: int, size: int, count: int, seed: Sequence[int]) -> list[tuple[int, ...]]:
    """Documents of random rounds of the whole corpus, for the offline judge's own mean."""
    random = np.random.default_rng([_OWN, *seed])
    return [tuple(random.choice(documents, size, replace=False).tolist()) for _ in range(count)]


def take_look(
    rounds: Sequence[WaveRound],
    ends: Sequence[int],
    measure: Measure,
    number: int,
    own: Sequence[Sequence[int]] = (),
    level: float = 0.95,
) -> Look:
    """Estimates a measure of the corpus as it is now.

    Effective clusters are those of the corpus itself: the inverse of the probability that two draws
    from it, the same document twice included, are of one cluster. So n documents have n at most,
    and a corpus reaches a number only when it has the documents for it.

    Args:
        rounds: all that were asked, of K documents each; those that failed are left out.
        ends: documents of the corpus after each wave.
        measure: what to estimate.
        number: how many looks there were, this one included.
        own: the offline judge's cluster of each document, in rounds that it drew from the whole
            corpus for itself, `[M][K]`; () without a control variate.
        level: of each end of the interval, at all looks together.
    """
    judged = [one for one in rounds if one.clusters]
    if not judged:
        return Look(ends[-1], 0, math.nan, -math.inf, math.inf, math.inf)
    documents_NK = np.array([one.documents for one in judged])
    labels_NK = np.array([one.labels for one in judged])
    offline_NK = np.array([one.lexical for one in judged]) if own else None
    return look_at(documents_NK, labels_NK, ends, measure, number, offline_NK, np.array(own), level)


def look_at(
    documents_NK: np.ndarray,
    labels_NK: np.ndarray,
    ends: Sequence[int],
    measure: Measure,
    number: int,
    offline_NK: np.ndarray | None = None,
    own_MK: np.ndarray | None = None,
    level: float = 0.95,
) -> Look:
    """Does `take_look`'s arithmetic on rounds as arrays: their documents and clusters, `[N, K]`."""
    judged, size = labels_NK.shape
    waves_NK = np.searchsorted(ends, documents_NK, "right")
    values, strata = _values(labels_NK, waves_NK, measure)
    weights = wave_weights(ends, 2 if measure == "effective_clusters" else size)
    counts = np.bincount(strata.ravel(), minlength=len(ends))
    pseudo = _pseudo_values(values, strata, weights, counts)
    error = reduction = 0.0
    if offline_NK is not None and own_MK is not None:
        offline, _ = _values(offline_NK, waves_NK, measure)
        theirs, _ = _values(own_MK, np.zeros_like(own_MK), measure)
        control = control_variate(
            pseudo,
            _pseudo_values(offline, strata, weights, counts),
            np.zeros(judged, int),
            theirs.mean(1),
        )
        pseudo, error = control.values, control.error
        reduction = control.reduction if control.used else 0.0
    mean = float(pseudo.mean())
    standard_error = reach = math.inf
    freedom = judged - len(ends)
    if freedom > 0 and (counts[weights > 0] > 0).all():
        from scipy.special import stdtrit

        spread = float(((pseudo - mean) ** 2).sum()) / judged / freedom
        standard_error = math.hypot(math.sqrt(spread), error)
        factor = -float(stdtrit(freedom, (1 - level) / (number * (number + 1))))
        reach = factor * standard_error
    low, high = mean - reach, mean + reach
    if measure == "score":
        low, high = max(low, 1 / size), min(high, float(size))
    else:
        if math.isfinite(reach):
            # Where hardly any pair is together their spread says nothing: a pair counts for one.
            pairs = 1 / float((weights**2 / np.maximum(counts, 1)).sum())
            high = max(high, wilson(max(mean, 0.0), pairs, factor)[1])
        low, high = _clusters(high, ends[-1]), _clusters(low, ends[-1])
        mean = _clusters(mean, ends[-1])
    return Look(ends[-1], judged, mean, low, high, standard_error, reduction)


def means_by_wave(
    rounds: Sequence[WaveRound], ends: Sequence[int], measure: Measure
) -> list[float]:
    """Returns the measure after each wave, all of them by what is known now.

    Differences between waves then hang on what came in between, and not on the luck of the rounds
    that an earlier look had. NaN for a corpus of which nothing was judged.

    Args:
        rounds, ends, measure: as `take_look`.
    """
    judged = [one for one in rounds if one.clusters]
    if not judged:
        return [math.nan] * len(ends)
    size = len(judged[0].documents)
    waves_NK = np.searchsorted(ends, np.array([one.documents for one in judged]), "right")
    values, strata = _values(np.array([one.labels for one in judged]), waves_NK, measure)
    counts = np.bincount(strata.ravel(), minlength=len(ends))
    sums = np.bincount(strata.ravel(), values.ravel(), len(ends))
    found = []
    for wave, end in enumerate(ends, 1):
        if end < size or not counts[:wave].any():
            found.append(math.nan)
            continue
        weights = wave_weights(ends[:wave], 2 if measure == "effective_clusters" else size)
        mean = _weighted(weights, sums[:wave], counts[:wave])
        found.append(mean if measure == "score" else _clusters(mean, end))
    return found


def _weighted(weights: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> float:
    """The strata's means, each by its weight; those of which nothing is known are left out."""
    share = float(weights[counts > 0].sum())
    return float(weights @ (sums / np.maximum(counts, 1))) / max(share, 1e-12)


def _values(
    labels_NK: np.ndarray, waves_NK: np.ndarray, measure: Measure
) -> tuple[np.ndarray, np.ndarray]:
    """What rounds say and the newest wave that it is of, `[N, U]`: C / S of each, or every pair."""
    if measure == "score":
        different = (np.diff(np.sort(labels_NK, axis=1), axis=1) != 0).sum(1) + 1
        return (different**2 / labels_NK.shape[1])[:, None], waves_NK.max(1)[:, None]
    one, other = np.triu_indices(labels_NK.shape[1], 1)
    together = labels_NK[:, one] == labels_NK[:, other]
    return together.astype(float), np.maximum(waves_NK[:, one], waves_NK[:, other])


def _pseudo_values(
    values: np.ndarray, strata: np.ndarray, weights: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """A value for each round whose mean is the weighted estimate and whose spread is its, `[N]`.

    A round's is the estimate and, N times, what the round pulls at it.
    """
    sums = np.bincount(strata.ravel(), values.ravel(), len(counts))
    means = sums / np.maximum(counts, 1)
    pull = (weights / np.maximum(counts, 1))[strata] * (values - means[strata])
    return np.asarray(_weighted(weights, sums, counts) + len(values) * pull.sum(1))


def _clusters(probability: float, documents: int) -> float:
    """Effective clusters of a corpus, of the probability that two of its documents share one."""
    inside = min(max(probability, 0.0), 1.0)
    return 1 / (1 / documents + (1 - 1 / documents) * inside)


def wilson(share: float, total: float, factor: float) -> tuple[float, float]:
    """Wilson's interval of a share that was seen in `total` draws, `factor` errors to each side."""
    squared = factor**2 / total
    centre = share + squared / 2
    reach = math.sqrt(squared * share * (1 - share) + squared**2 / 4)
    return (centre - reach) / (1 + squared), (centre + reach) / (1 + squared)
