"""How accuracy goes with score over the corpora of a study, with honest intervals.

The line of the paper's Figure 1. With a handful of corpora the interval is wide, and it is shown.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def regress(scores: Sequence[float], accuracies: Sequence[float]) -> dict[str, Any]:
    """Ordinary least squares of accuracy on score.

    The 95% interval of the slope is Student's t with n - 2 degrees of freedom: it takes each
    corpus as one observation and the scores as exact, so it needs no bootstrap over few points.

    Args:
        scores: LLM cluster score of each corpus, shape [n].
        accuracies: accuracy of the model trained on it, shape [n], from 0 to 1.

    Returns:
        `slope` and `intercept` (accuracy per unit of score), `ci95` [low, high] of the slope,
        `residual_sd`, `pearson`, `spearman`, `n`. What n or equal scores leave undefined is None.
    """
    x, y = np.asarray(scores, float), np.asarray(accuracies, float)
    n = len(x)
    result: dict[str, Any] = dict.fromkeys(
        ("slope", "intercept", "ci95", "residual_sd", "pearson", "spearman")
    ) | {"n": n}
    spread = float(((x - x.mean()) ** 2).sum()) if n else 0.0
    if n < 2 or spread == 0:
        return result
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    intercept = float(y.mean() - slope * x.mean())
    result |= {"slope": slope, "intercept": intercept}
    result["pearson"] = _correlation(x, y)
    result["spearman"] = _correlation(_ranks(x), _ranks(y))
    if n > 2:
        from scipy.stats import t

        residuals = y - intercept - slope * x
        residual_sd = math.sqrt(float((residuals**2).sum()) / (n - 2))
        half = float(t.ppf(0.975, n - 2)) * residual_sd / math.sqrt(spread)
        result |= {"ci95": [slope - half, slope + half], "residual_sd": residual_sd}
    return result


def rank_correlations(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How the score and each baseline rank the corpora beside each model's accuracy.

    Args:
        cells: as in `study.json`.

    Returns:
        {metric: {model: {phase: Spearman's correlation, or None where it is not defined}}}, for
        `score` and every baseline that all cells have.
    """
    columns: dict[str, list[Any]] = {"score": [cell["score"]["mean"] for cell in cells]}
    for name, value in cells[0]["baselines"].items():
        if isinstance(value, int | float):
            columns[name] = [cell["baselines"].get(name) for cell in cells]
    models = cells[0]["models"]
    return {
        name: {
            model: {
                phase: _correlation(
                    _ranks(np.asarray(values, float)),
                    _ranks(np.asarray([c["models"][model][phase]["accuracy"] for c in cells])),
                )
                for phase in models[model]
            }
            for model in models
        }
        for name, values in columns.items()
        if None not in values
    }


def line_band(
    scores: Sequence[float], fit: dict[str, Any], at: Sequence[float]
) -> tuple[list[float], list[float], list[float]]:
    """The fitted line and its pointwise 95% band at the scores `at`: (line, low, high).

    Raises:
        ValueError: the fit has no interval (fewer than three corpora, or equal scores).
    """
    if fit["ci95"] is None:
        raise ValueError("a band needs at least three corpora of different scores")
    from scipy.stats import t

    x, grid = np.asarray(scores, float), np.asarray(at, float)
    line = fit["intercept"] + fit["slope"] * grid
    spread = ((x - x.mean()) ** 2).sum()
    error = fit["residual_sd"] * np.sqrt(1 / len(x) + (grid - x.mean()) ** 2 / spread)
    half = t.ppf(0.975, len(x) - 2) * error
    return line.tolist(), (line - half).tolist(), (line + half).tolist()


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties sharing their mean rank."""
    from scipy.stats import rankdata

    return rankdata(values)


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    if x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
