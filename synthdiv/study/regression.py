"""How an outcome depends on score over the corpora of a study: the line of the paper's Figure 1.

Corpora are the observations. The scatter of their means around the line holds what training,
questions and the corpora themselves add, so that an interval made of it counts all three.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from synthdiv.study.correlations import pearson, spearman

_RELIABLE = 0.7  # share of the scores' variance below which their errors hide a slope
FEWEST = 3  # corpora that make a line with an interval
_LEAST = 0.02  # reliability, of a limit that may be none
_SURE = 0.9  # reliability below which the interval counts in full how little is known of it
_DOUBT = 0.005  # chance that the reliability is below the limit which that takes


def regress(
    scores: Sequence[float],
    outcomes: Sequence[float] | Sequence[Sequence[float]] | np.ndarray,
    score_errors: Sequence[float | None] | None = None,
    outcome_errors: Sequence[float | None] | None = None,
) -> dict[str, Any]:
    """Regresses outcomes on scores with a random effect of the corpus and one of the training run.

    All corpora have the same seeds. For such a balanced design the mixed model's slope is that of
    least squares through the corpora's means, and its interval is Student's t with n - 2 degrees of
    freedom, exact for normal noise.

    Scores have errors, which flatten a line. Regression calibration divides the slope by the
    scores' reliability, 1 - (n - 3) / (n - 1) * (mean squared error) / (variance between corpora);
    the interval also counts, by the delta method, that the reliability is estimated. Where it is
    below 0.9, the end away from zero goes by an exact limit of the reliability instead.

    Args:
        scores: LLM cluster score of each corpus, shape [n].
        outcomes: of the models trained on it, shape [n] or [n, seeds].
        score_errors: standard errors of the scores, shape [n]; None takes them as exact.
        outcome_errors: standard errors over questions (or documents), [n] or [n, seeds].

    Returns:
        `slope` (outcome per unit of score) and `ci95` [low, high], corrected for errors in scores;
        `reliability` of the scores; `p` of no slope; `observed`, the line of least squares itself:
        `slope`, `intercept`, `ci95`, `residual_sd`; `pearson`, `spearman` and their intervals
        `pearson_ci95`, `spearman_ci95`; `sd`: standard deviations of one run's `training` (None
        with one seed), of its `questions`, and of what `corpora` add; `n`, `seeds`. What n or equal
        scores leave undefined is None. Fewer than three corpora have no correlation and no
        interval, and scores that are not told apart from their errors no corrected slope.
    """
    from scipy import stats

    x = np.asarray(scores, float)
    n = len(x)
    runs = np.asarray(outcomes, float).reshape(n, -1) if n else np.zeros((0, 1))
    y = runs.mean(axis=1)
    result: dict[str, Any] = dict.fromkeys(("slope", "ci95", "reliability", "p"))
    result["observed"] = dict.fromkeys(("slope", "intercept", "ci95", "residual_sd"))
    found = pearson(x, y), spearman(x, y)
    result |= {"pearson": found[0].value, "pearson_ci95": found[0].ci95}
    result |= {"spearman": found[1].value, "spearman_ci95": found[1].ci95}
    result |= {"sd": dict.fromkeys(("training", "questions", "corpora"))}
    result |= {"n": n, "seeds": runs.shape[1]}
    if n < 2 or np.ptp(x) == 0:
        return result
    centred = x - x.mean()
    spread = float(np.square(centred).sum())
    slope = float(centred @ y) / spread
    intercept = float(y.mean() - slope * x.mean())
    observed: dict[str, Any] = result["observed"] | {"slope": slope, "intercept": intercept}
    result |= {"slope": slope, "observed": observed}
    if n == 2:
        return result
    residual = math.sqrt(float(np.square(y - intercept - slope * x).sum()) / (n - 2))
    error = residual / math.sqrt(spread)
    flat = np.ptp(y) == 0
    p = 1.0 if flat else float(2 * stats.t.sf(abs(slope) / max(error, 1e-300), n - 2))
    t = float(stats.t.ppf(0.975, n - 2))
    observed["ci95"] = [slope - t * error, slope + t * error]
    observed["residual_sd"] = residual
    known = [one for one in score_errors or () if one is not None]
    error_square = float(np.square(known).mean()) if known else 0.0
    estimated, shown = reliability_of(error_square, spread, n)
    reliability = float(estimated)
    result |= {"reliability": reliability, "p": p}
    result["sd"] = _deviations(runs, outcome_errors, residual)
    if not shown:
        return result | {"slope": None}
    corrected = slope / reliability
    # The relative error of the reliability: that of a variance of n - 1 degrees of freedom.
    doubt = abs(corrected) * (1 - reliability) / reliability * math.sqrt(2 / (n - 1))
    near = far = t * math.hypot(error / reliability, doubt)
    if reliability < _SURE:
        lowest = max(1 - stats.chi2.isf(_DOUBT, n - 1) * error_square / spread, _LEAST)
        beyond = abs(corrected) * (reliability / lowest - 1)
        far = max(far, math.hypot(t * error / reliability, beyond))
    ends = (near, far) if corrected >= 0 else (far, near)
    return result | {"slope": corrected, "ci95": [corrected - ends[0], corrected + ends[1]]}


def reliability_of(
    error_square: float, spread: float | np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The share of the scores' variance that is not their own errors, and whether it suffices.

    The share that a slope is divided by has n - 3 for n - 1, which takes the bias out of the
    quotient. Whether it suffices goes by the share itself, as does the division at n = 3, where
    nothing would be subtracted.

    Args:
        error_square: mean squared error of the scores.
        spread: sums of the squares of the scores about their mean.
        n: corpora, at least three.
    """
    errors = error_square / np.asarray(spread, float)
    share = 1 - (n - 1) * errors
    estimated = 1 - (n - 3) * errors if n > FEWEST else share
    return np.maximum(estimated, 0.0), share >= _RELIABLE


def _deviations(
    runs: np.ndarray, errors: Sequence[float | None] | None, residual: float
) -> dict[str, float | None]:
    """Splits the scatter around the line into what training, questions and corpora add.

    Seeds of one corpus are asked the same questions, whose noise their mean therefore keeps.
    """
    n, seeds = runs.shape
    training = None
    if seeds > 1:
        # What a seed does to all corpora alike moves no slope.
        left = runs - runs.mean(axis=1, keepdims=True) - runs.mean(axis=0) + runs.mean()
        training = math.sqrt(np.square(left).sum() / ((n - 1) * (seeds - 1)))
    known = np.array([e for e in np.ravel(np.array(errors or (), object)) if e is not None], float)
    questions = math.sqrt(np.square(known).mean()) if known.size else None
    explained = (training or 0.0) ** 2 / seeds + (questions or 0.0) ** 2
    return {
        "training": training,
        "questions": questions,
        "corpora": math.sqrt(max(residual**2 - explained, 0.0)),
    }


def slope_difference(
    scores: Sequence[float], first: np.ndarray, second: np.ndarray
) -> dict[str, Any]:
    """Compares two slopes over the same corpora, as of a pre-trained and a tuned model.

    The difference of the outcomes is regressed on the scores, so that what a corpus adds to both
    does not count as noise.

    Args:
        scores: shape [n].
        first, second: outcomes of two models or phases, shape [n] or [n, seeds].

    Returns:
        `difference` of the observed slopes, second less first, its `ci95` and `p`; None below three
        corpora.
    """
    found = regress(scores, np.asarray(second, float) - np.asarray(first, float))
    observed = found["observed"]
    return {"difference": observed["slope"], "ci95": observed["ci95"], "p": found["p"]}


def line_band(
    scores: Sequence[float], fit: dict[str, Any], at: Sequence[float]
) -> tuple[list[float], list[float], list[float]]:
    """Returns the observed line and its pointwise 95% band at `at`: (line, low, high).

    Raises:
        ValueError: the fit has no interval (fewer than three corpora, or equal scores).
    """
    observed = fit["observed"]
    if observed["ci95"] is None:
        raise ValueError("a band needs at least three corpora of different scores")
    from scipy.stats import t

    x, grid = np.asarray(scores, float), np.asarray(at, float)
    line = observed["intercept"] + observed["slope"] * grid
    spread = ((x - x.mean()) ** 2).sum()
    error = observed["residual_sd"] * np.sqrt(1 / len(x) + (grid - x.mean()) ** 2 / spread)
    half = t.ppf(0.975, len(x) - 2) * error
    return line.tolist(), (line - half).tolist(), (line + half).tolist()
