"""Fewer calls for the same answer: the offline judge as a control variate.

It clusters the same rounds as the judge, for nothing, and very many rounds more, so that its own
mean is known. Where it sees a round as unusually diverse, the judge is likely to, and the part of
the judge's deviation that this explains is taken off: y - b (x - mean x). The mean stays what it
was in expectation, the spread shrinks by the squared correlation. Both are measured on the rounds;
the adjustment is used only where it narrows the result.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from synthdiv.diversity.arithmetic import round_score
from synthdiv.diversity.documents import Shown


@dataclasses.dataclass(frozen=True)
class Control:
    """What the control variate does to per-round values.

    Attributes:
        values: the adjusted values, `[N]`; the given ones where `used` is False.
        used: whether they are better.
        correlation: of judge and offline judge over rounds, within criteria sets.
        coefficient: b.
        reduction: share of the variance within sets that is gone.
        mean: the offline judge's own mean, from its own rounds.
        error: what not knowing that mean better adds to the standard error.
        rounds: of its own.
    """

    values: np.ndarray
    used: bool
    correlation: float
    coefficient: float
    reduction: float
    mean: float
    error: float
    rounds: int

    def as_dict(self) -> dict[str, float | bool | int]:
        """As score.json tells it."""
        return {
            "used": self.used,
            "correlation": self.correlation,
            "coefficient": self.coefficient,
            "variance_reduction": self.reduction,
            "offline_mean": self.mean,
            "offline_rounds": self.rounds,
            "added_standard_error": self.error,
        }


def offline_clusters(
    rounds: Iterable[Sequence[int]], documents: Mapping[int, Shown]
) -> list[list[int]]:
    """Cluster numbers that the offline judge gives the documents of each round."""
    from synthdiv.diversity.lexical import partition

    return [partition([documents[i].text for i in indices]) for indices in rounds]


def scores_of(labels: Iterable[Sequence[int]]) -> np.ndarray:
    """The score of each round that is given as cluster numbers, `[N]`."""
    return np.array([round_score(np.unique(one, return_counts=True)[1]) for one in labels])


def control_variate(
    judged: np.ndarray, offline: np.ndarray, sets: np.ndarray, own: np.ndarray
) -> Control:
    """Adjusts the judge's values by the offline judge's on the same rounds.

    Args:
        judged: the judge's score of each round, `[N]`; NaN where it has none.
        offline: the offline judge's score of the same rounds, `[N]`.
        sets: criteria set of each round, `[N]`.
        own: the offline judge's scores of rounds of its own, `[M]`.
    """
    mean, error = float(own.mean()), float(own.std(ddof=1) / np.sqrt(len(own)))
    usable = np.isfinite(judged)
    y, x = _within_sets(judged, sets, usable), _within_sets(offline, sets, usable)
    spread_y, spread_x = float(y @ y), float(x @ x)
    count = int(usable.sum())
    if count < 8 or spread_x <= 0 or spread_y <= 0:
        return Control(judged, False, 0.0, 0.0, 0.0, mean, 0.0, len(own))
    coefficient = float(y @ x) / spread_x
    correlation = float(y @ x) / float(np.sqrt(spread_x * spread_y))
    # One coefficient was fitted: its own noise takes back 1/(n-2) of what is left.
    remaining = (1.0 - correlation**2) * (1.0 + 1.0 / (count - 2))
    before = spread_y / count / count
    added = (coefficient * error) ** 2
    used = before * remaining + added < before
    values = judged - coefficient * (offline - mean) if used else judged
    return Control(
        values,
        bool(used),
        correlation,
        coefficient,
        1.0 - remaining,
        mean,
        abs(coefficient) * error if used else 0.0,
        len(own),
    )


def _within_sets(values: np.ndarray, sets: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Deviations from each set's mean, `[usable]`."""
    kept, groups = values[usable], sets[usable]
    _, place = np.unique(groups, return_inverse=True)
    means = np.bincount(place, kept) / np.bincount(place)
    return kept - means[place]
