"""How many corpora and seeds an effect of a given size takes, before a study is run."""

import dataclasses
import math

import numpy as np

from synthdiv.config import settle
from synthdiv.errors import UserError
from synthdiv.study.regression import reliability_of

_MOST = 1000  # corpora that are looked at
_PRECISION = 2e-3  # of a slope


@dataclasses.dataclass(frozen=True)
class PowerConfig:
    """What `--power` goes by; what is None is taken from the noise of an earlier study.

    Attributes:
        outcome: the one that is to be seen, as in `outcomes` of study.json.
        model, phase: of the earlier study; "": its first model.
        effect: slope, in units of the outcome (accuracy: 0.01 is a percentage point) per unit of
            score; 0: none is given, and the smallest that can be seen is told.
        spread: standard deviation of the corpora's scores.
        training, questions, corpora, scores: standard deviations, as `sample_size.Noise`.
        wanted: probability with which the effect is to be seen.
    """

    outcome: str = "bits_per_byte"
    model: str = ""
    phase: str = "pretrain"
    effect: float = 0.0
    spread: float | None = None
    training: float | None = None
    questions: float | None = None
    corpora: float | None = None
    scores: float | None = None
    wanted: float = 0.8

    def __post_init__(self) -> None:
        settle(self)
        for name in ("spread", "training", "questions", "corpora", "scores"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f"Power.{name} is a standard deviation, not {value:g}")
        if not 0.05 < self.wanted < 1:
            raise UserError(f"Power.wanted is a probability above 0.05, not {self.wanted:g}")


@dataclasses.dataclass(frozen=True)
class Noise:
    """What stands between an effect and its being seen, as standard deviations.

    Attributes:
        training: of the outcome from one training run to another on the same corpus.
        questions: of the outcome, because no more questions were asked.
        corpora: of what else corpora do to the outcome, beside their score.
        scores: standard error of a score.
    """

    training: float
    questions: float = 0.0
    corpora: float = 0.0
    scores: float = 0.0


def power(slope: float, spread: float, noise: Noise, corpora: int, seeds: int = 1) -> float:
    """The probability that a study shows a slope whose 95% interval leaves out zero.

    By the rule of `regression.regress`, which shows none where the scores' errors hide it.

    Args:
        slope: the true effect, in units of the outcome per unit of score.
        spread: standard deviation of the corpora's true scores; they are taken as drawn from a
            normal distribution.
        noise: what is in the way.
        corpora: how many, at least three.
        seeds: training runs a corpus.

    Raises:
        UserError: fewer than three corpora or one seed, or no spread.
    """
    from scipy import stats

    if corpora < 3 or seeds < 1 or spread <= 0:
        raise UserError("power takes three corpora or more, a seed, and scores that differ")
    variance = noise.training**2 / seeds + noise.questions**2 + noise.corpora**2
    observed = spread**2 + noise.scores**2
    reliability = spread**2 / observed
    # Given its score, a corpus's outcome scatters by what the score's own error hides as well.
    residual = variance + slope**2 * reliability * noise.scores**2
    freedom = corpora - 2
    quantiles = (np.arange(400) + 0.5) / 400
    sums = observed * stats.chi2.ppf(quantiles, corpora - 1)
    if residual == 0:
        return 1.0 if slope else 0.05
    shift = abs(slope) * reliability * np.sqrt(sums / residual)
    t = stats.t.ppf(0.975, freedom)
    reliable, shown = reliability_of(noise.scores**2, sums, corpora)
    reliable = reliable[shown]
    if not reliable.size:
        return 0.0
    # Solved for the t-value: slope > t * hypot(its error, slope * the reliability's own).
    left = 1 - 2 * np.square(t * (1 - reliable) / reliable) / (corpora - 1)
    needed = t / np.sqrt(np.maximum(left, 1e-12))
    shift = shift[shown]
    beyond = stats.nct.sf(needed, freedom, shift) + stats.nct.cdf(-needed, freedom, shift)
    # Far from zero the distribution is not computed, and the answer is plain.
    return float(np.where(np.isnan(beyond), shift > needed, beyond).sum()) / len(sums)


def corpora_needed(
    slope: float, spread: float, noise: Noise, seeds: int = 1, wanted: float = 0.8
) -> int | None:
    """The fewest corpora with which a study sees an effect with probability `wanted`.

    Returns:
        None where a thousand do not suffice.
    """
    low, high = 2, 4
    while power(slope, spread, noise, high, seeds) < wanted:
        low, high = high, 2 * high
        if low >= _MOST:
            return None
    while high - low > 1:
        middle = math.floor((low + high) / 2)
        if power(slope, spread, noise, max(middle, 3), seeds) < wanted:
            low = middle
        else:
            high = middle
    return max(high, 3)


def detectable(
    spread: float, noise: Noise, corpora: int, seeds: int = 1, wanted: float = 0.8
) -> float | None:
    """The smallest slope that a study sees with probability `wanted`.

    Returns:
        None where errors in the scores hide any slope; 0 where nothing else is in the way, so that
        any slope is seen.
    """
    variance = noise.training**2 / seeds + noise.questions**2 + noise.corpora**2
    if variance == 0:  # what is seen of one effect is seen of any
        return 0.0 if power(1.0, spread, noise, corpora, seeds) >= wanted else None
    low, high = 0.0, (2 * math.sqrt(variance / corpora) or 1.0) / spread
    for _ in range(20):
        if power(high, spread, noise, corpora, seeds) >= wanted:
            break
        low, high = high, 2 * high
    else:
        return None
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        enough = power(middle, spread, noise, corpora, seeds) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high
