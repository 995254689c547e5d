"""From rounds to a figure with an interval that holds.

Rounds under one set of criteria share what is particular to it, so they are not independent draws;
the sets are. The mean of each set is therefore the unit: B balanced sets with means m_1..m_B give
the score (their mean), its standard error sd(m) / sqrt(B), and an interval by the two-level
bootstrap (sets are resampled, and the rounds inside each), studentised and symmetric (Hall 1988):
resampling alone is too narrow for as few units as criteria sets are, the studentised form is not.

`confidence_sequence` is valid at every number of sets at once, so that one may stop as soon as it
is narrow enough: the mixture of one-sample t statistics over effect sizes (Lai 1976; Wang & Ramdas
2024, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance").
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

_FEW_VALUES = 12  # resamples of fewer are too much alike for the bootstrap (docs/decisions.md)
_FEW_SETS = 3  # fewer do not tell how sets differ: the interval then takes the criteria as given
_NO_SPREAD = 1e-6  # of the largest error: below it a resample has one value and rounding
_MIXTURE = 0.5  # squared scale of the effect sizes mixed over: narrowest at about 15 to 20 sets


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: the estimate.
        standard_error: of the mean.
        low, high: the 95% interval.
        method: how the interval was made, in words.
        within, between: variance of a single value within a set, and of the sets' own means.
        values, sets: how many went in.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    method: str
    within: float
    between: float
    values: int
    sets: int

    @property
    def ci95(self) -> list[float | None]:
        """The interval as JSON has it; None for an end that is not known."""
        return [end if math.isfinite(end) else None for end in (self.low, self.high)]

    def within_bounds(self, least: float, most: float) -> "Estimate":
        """The same with an interval that ends where the mean cannot go."""
        low = min(max(self.low, least), self.mean) if self.low < least else self.low
        high = max(min(self.high, most), self.mean) if self.high > most else self.high
        return dataclasses.replace(self, low=low, high=high)


def by_set(values: np.ndarray, sets: np.ndarray) -> list[np.ndarray]:
    """Splits values by criteria set, leaving out what is no number; sets without any vanish."""
    kept = np.isfinite(values)
    groups = [values[kept & (sets == s)] for s in np.unique(sets)]
    return [g for g in groups if len(g)]


def variances(groups: Sequence[np.ndarray]) -> tuple[float, float]:
    """Variance within sets (of one value) and between sets (of a set's own mean), unbiased.

    The second is what is left of the spread of the set means after subtracting the rounds' share
    (one-way analysis of variance), and 0 where nothing is left.
    """
    total = sum(len(g) for g in groups)
    inner = total - len(groups)
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / inner if inner > 0 else 0.0
    if len(groups) < 2:
        return within, 0.0
    means = np.array([g.mean() for g in groups])
    share = within * float(np.mean([1.0 / len(g) for g in groups]))
    return within, max(0.0, float(means.var(ddof=1)) - share)


def estimate(
    values: np.ndarray, sets: np.ndarray, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Mean and interval of per-round values.

    Args:
        values: one a round, `[N]`; NaN is left out.
        sets: criteria set of each round, `[N]`.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        level: of the interval.

    Raises:
        ValueError: there is no value.
    """
    groups = by_set(values, sets)
    if not groups:
        raise ValueError("no round has a value")
    within, between = variances(groups)
    total = sum(len(g) for g in groups)
    generator = np.random.default_rng([seed, 77])
    if len(groups) >= _FEW_SETS:
        means = np.array([g.mean() for g in groups])
        mean, error = float(means.mean()), float(means.std(ddof=1)) / math.sqrt(len(means))
        resampled = _resample_sets(groups, resamples, generator)
        method = "two-level studentised bootstrap over criteria sets and rounds"
    else:
        pooled = np.concatenate(groups)
        mean = float(pooled.mean())
        error = float(pooled.std(ddof=1)) / math.sqrt(total) if total > 1 else float("nan")
        resampled = _resample_values(pooled, resamples, generator)
        method = "studentised bootstrap over rounds, the criteria taken as given"
    if total < 2:
        reach = float("nan")
    elif len(groups) < _FEW_SETS and total < _FEW_VALUES:
        from scipy import stats

        reach = float(stats.t.ppf((1 + level) / 2, total - 1)) * error
        method = "Student's t over rounds, the criteria taken as given"
    else:
        reach = _studentised(mean, resampled, level) * error if error > 0 else 0.0
    return Estimate(
        mean, error, mean - reach, mean + reach, method, within, between, total, len(groups)
    )


def _resample_sets(
    groups: Sequence[np.ndarray], resamples: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of two-level resamples, `[R]` each."""
    count = len(groups)
    # Each set is resampled `count` times a resample at most: draw the inner means set by set.
    chosen_RB = generator.integers(count, size=(resamples, count))
    means_RB = np.empty((resamples, count))
    for number, group in enumerate(groups):
        rows, columns = np.nonzero(chosen_RB == number)
        means_RB[rows, columns] = _resampled_means(group, len(rows), generator)
    return means_RB.mean(1), means_RB.std(1, ddof=1) / math.sqrt(count)


def _resampled_means(group: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Means of `count` resamples of a group, `[count]`: by how often each value is drawn."""
    distinct, frequency = np.unique(group, return_counts=True)
    if len(distinct) > max(64, len(group) // 4):
        drawn = generator.integers(len(group), size=(count, len(group)))
        return group[drawn].mean(1)
    # Scores take few values; how often each comes up is multinomial.
    drawn = generator.multinomial(len(group), frequency / len(group), size=count)
    return drawn @ distinct / len(group)


def _resample_values(
    values: np.ndarray, resamples: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    distinct, frequency = np.unique(values, return_counts=True)
    drawn = generator.multinomial(len(values), frequency / len(values), size=resamples)
    centre = float(values.mean())  # squares of distances to it, or rounding drowns small spreads
    means = drawn @ (distinct - centre) / len(values)
    squares = drawn @ (distinct - centre) ** 2 / len(values)
    freedom = max(len(values) - 1, 1)
    return centre + means, np.sqrt(np.maximum(squares - means**2, 0.0) / freedom)


def _studentised(mean: float, resampled: tuple[np.ndarray, np.ndarray], level: float) -> float:
    """Quantile of |t| over the resamples."""
    means, errors = resampled
    usable = errors > _NO_SPREAD * errors.max()  # not those that drew one value throughout
    if not usable.any():
        return 0.0
    return float(np.quantile(np.abs(means[usable] - mean) / errors[usable], level))


def confidence_sequence(means: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Interval for the mean of set means that holds at all numbers of sets at once.

    Args:
        means: of independent criteria sets, in the order they came.
        level: probability that no interval of the whole sequence misses.

    Returns:
        low, high; infinite as long as there are too few sets.
    """
    count = len(means)
    values = np.asarray(means, float)
    if count < 2:
        return -math.inf, math.inf
    centre, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(count)
    reach = sequence_factor(count, level) * error
    return centre - reach, centre + reach


def sequence_factor(count: int, level: float = 0.95) -> float:
    """How many standard errors the confidence sequence reaches after `count` sets.

    Solves ((1 + x) / (1 + x / g))^(n/2) = sqrt(g) / alpha for x = t^2 / (n - 1), where
    g = 1 + n * c with c the mixture's squared scale.
    """
    growth = 1.0 + count * _MIXTURE
    power = 2.0 / count * (0.5 * math.log(growth) - math.log(1.0 - level))
    ratio = math.exp(power) if power < 700 else math.inf
    if ratio >= growth:
        return math.inf
    return math.sqrt((ratio - 1.0) / (1.0 - ratio / growth) * (count - 1))


def pair_probability(shared: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Share of a round's pairs of documents that share a cluster, `[N]`; NaN without a pair.

    Two documents of a round are two random documents of the corpus, so the mean over rounds is
    unbiased for the probability that two random documents share a cluster, whatever K is.

    Args:
        shared: ordered pairs in one cluster, `[N]`.
        pairs: ordered pairs of the documents that count, `[N]`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs > 0, shared / np.maximum(pairs, 1), np.nan)


def pairs_estimate(
    counts: np.ndarray, sets: np.ndarray, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """The probability that two random documents share a cluster, with its interval.

    Args:
        counts: shared ordered pairs and all of them, one row a round, `[N, 2]`.
        sets: criteria set of each round, `[N]`.
        resamples, seed: of the bootstrap.

    Raises:
        ValueError: no round has two documents that count.
    """
    found = estimate(pair_probability(counts[:, 0], counts[:, 1]), sets, resamples, seed)
    bounded = dataclasses.replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
    if found.mean == 0:  # the rule of three
        return dataclasses.replace(bounded, high=min(1.0, 3.0 / found.values))
    return bounded


def effective_clusters(pair: Estimate) -> dict[str, Any]:
    """The effective number of clusters of the corpus: 1 / P(two random documents share one).

    This is Simpson's inverse, the number of equal clusters that would give the same probability.
    The inverse of an estimate is too high on average by about its squared relative error, which is
    subtracted (to first order). The interval is the inverse of the probability's.

    Args:
        pair: estimate of the probability.

    Returns:
        `mean`, and `ci95` as [low, high]; None stands for a number without an upper bound.
    """
    if pair.mean <= 0:
        # Nobody ever shared: P(a round has a sharing pair) < 3/N with 95%, and the pair
        # probability is at most that.
        return {"mean": None, "ci95": [pair.values / 3.0, None]}
    relative = (pair.standard_error / pair.mean) ** 2 if pair.values > 1 else 0.0
    high = 1.0 / pair.low if pair.low > 0 else None
    low = 1.0 / pair.high if math.isfinite(pair.high) else 1.0
    corrected = 1.0 / (pair.mean * (1.0 + relative))
    return {"mean": max(corrected, 1.0), "ci95": [max(low, 1.0), high]}
