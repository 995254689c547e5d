"""The figures of judged rounds as arrays, and the score with its interval."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.control import Control, LexicalJudge, control_variate
from synthdiv.diversity.estimate import Estimate, confidence_sequence, estimate
from synthdiv.errors import UserError

_NORMAL = 1.96  # standard errors of a 95% interval
_LEAST_SETS = 5  # of a confidence sequence before it may stop a run


@dataclasses.dataclass(frozen=True)
class Figures:
    """Per-round figures as arrays.

    Attributes:
        scores: C / S under the configured policy, `[N]`; NaN for a round without one.
        sets: number of the criteria set of each round, `[N]`.
        plain: the scores before the control variate, `[N]`.
        control: what the control variate did; None without one.
    """

    scores: np.ndarray
    sets: np.ndarray
    plain: np.ndarray
    control: Control | None = None


def interval(figures: Figures, config: ScoreConfig, sequential: bool) -> Estimate:
    """The score with its interval.

    Args:
        figures: of the rounds so far.
        config: bootstrap and seed.
        sequential: whether the interval has to hold at every time of looking.

    Raises:
        UserError: the judge gave no usable clustering at all.
    """
    if not np.isfinite(figures.scores).any():
        raise UserError("no round came to a score: the judge gave no usable clustering")
    found = estimate(figures.scores, figures.sets, config.bootstrap, config.seed)
    low, high, method = found.low, found.high, found.method
    if sequential:
        means = [
            float(np.nanmean(figures.scores[figures.sets == s]))
            for s in dict.fromkeys(figures.sets.tolist())
            if np.isfinite(figures.scores[figures.sets == s]).any()
        ]
        low, high = confidence_sequence(means)
        method = "confidence sequence over criteria sets, valid at every time of looking"
    error = found.standard_error
    if figures.control is not None and figures.control.used:
        # Two independent errors. Few sets make the first reach far in its t; the other is that of
        # a mean of thousands of rounds, and normal however few the sets are.
        reach = math.hypot((high - low) / 2, _NORMAL * figures.control.error)
        low, high = found.mean - reach, found.mean + reach
        error = math.hypot(error, figures.control.error)
    return dataclasses.replace(found, low=low, high=high, standard_error=error, method=method)


def figures_of(
    rounds: Sequence[Round],
    config: ScoreConfig,
    lexical: LexicalJudge | None = None,
    own: np.ndarray | None = None,
) -> Figures:
    """The figures of some rounds.

    Args:
        rounds: what the judge made of them.
        config: policy for rejected clusters.
        lexical: the judge behind the control variate, where there is one.
        own: its scores of rounds of its own, `[M]`.
    """
    plain = np.array([r.score(config.policy_in_force) for r in rounds])
    sets = np.array([r.criteria.number for r in rounds])
    if lexical is None or own is None:
        return Figures(plain, sets, plain)
    control = control_variate(plain, lexical.scores(r.documents for r in rounds), sets, own)
    return Figures(control.values, sets, plain, control)


def narrow_enough(figures: Figures, config: ScoreConfig) -> bool:
    """Whether the interval is as narrow as `target_ci` wants it."""
    if len(np.unique(figures.sets)) < _LEAST_SETS or not np.isfinite(figures.scores).any():
        return False
    found = interval(figures, config, sequential=True)
    return config.target_ci is not None and (found.high - found.low) / 2 <= config.target_ci


class RunningScore:
    """The mean score of the rounds so far, as a progress line shows it.

    Args:
        policy: for rejected clusters.
    """

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, judged: Round) -> None:
        """Counts one more round; one without a score is left out."""
        score = judged.score(self._policy)
        if math.isfinite(score):
            self._count += 1
            step = score - self._mean
            self._mean += step / self._count
            self._squares += step * (score - self._mean)

    def shown(self) -> dict[str, str]:
        """`score`: the mean, and 1.96 standard errors of independent rounds."""
        if self._count < 2:
            return {}
        error = math.sqrt(self._squares / (self._count - 1) / self._count)
        return {"score": f"{self._mean:.2f}\u00b1{_NORMAL * error:.2f}"}
