"""Fewer calls for the same precision: a lexical judge as a control variate.

It costs nothing, so it sorts the rounds of the judge and very many others, from which its own mean
is known. Where it finds a round unusually diverse, the judge probably does too. The part of the
judge's deviation that this explains is subtracted: y - b (x - mean x). In expectation the mean
stays the same, and the variance shrinks by the squared correlation. Both are estimated from the
rounds, and the adjustment is used only where it narrows the interval.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from synthdiv.diversity.arithmetic import score_of_labels
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.documents import Shown
from synthdiv.diversity.lexical import partition
from synthdiv.llm import Session


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


class LexicalJudge:
    """Sorts rounds by their words alone, each once.

    Args:
        documents: those of all rounds, by index.
    """

    def __init__(self, documents: Mapping[int, Shown]) -> None:
        self._documents = documents
        self._known: dict[tuple[int, ...], list[int]] = {}

    def labels(self, round_: tuple[int, ...]) -> list[int]:
        """The number of its cluster for each document of a round, `[K]`.

        Args:
            round_: indices of the documents.
        """
        if round_ not in self._known:
            self._known[round_] = partition([self._documents[i].text for i in round_])
        return self._known[round_]

    def scores(self, rounds: Iterable[tuple[int, ...]]) -> np.ndarray:
        """The score of each round, `[N]`."""
        return np.array([score_of_labels(self.labels(round_)) for round_ in rounds])


def has_control(config: ScoreConfig, session: Session) -> bool:
    """Whether there is a control variate: the offline judge needs none of itself."""
    return config.control_rounds >= 2 * config.repeats and session.backend != "offline"


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
