"""How accuracy depends on score over the corpora of a study: the line of the paper's Figure 1.

With a handful of corpora the interval is wide, and it is shown.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def regress(scores: Sequence[float], accuracies: Sequence[float]) -> dict[str, Any]:
    """Ordinary least squares of accuracy on score.

    The 95% interval of the slope is Student's t with n - 2 degrees of freedom. Each corpus is one
    observation and scores are taken as exact.

    Args:
        scores: LLM cluster score of each corpus, shape [n].
        accuracies: accuracy of the model trained on it, shape [n], from 0 to 1.

    Returns:
        `slope` and `intercept` (accuracy per unit of score), `ci95` [low, high] of the slope,
        `residual_sd`, `pearson`, `spearman`, `n`. What n or equal scores leave undefined is None.
    """
    from scipy import stats

    x, y = np.asarray(scores, float), np.asarray(accuracies, float)
    result: dict[str, Any] = dict.fromkeys(
        ("slope", "intercept", "ci95", "residual_sd", "pearson", "spearman")
    ) | {"n": len(x)}
    if len(x) < 2 or np.ptp(x) == 0:
        return result
    fit = stats.linregress(x, y)
    result |= {"slope": float(fit.slope), "intercept": float(fit.intercept)}
    if np.ptp(y) > 0:
        result["pearson"] = float(fit.rvalue)
    result["spearman"] = _spearman(x, y)
    freedom = len(x) - 2
    if freedom:
        error = float(fit.stderr)
        half = float(stats.t.ppf(0.975, freedom)) * error
        result["ci95"] = [result["slope"] - half, result["slope"] + half]
        result["residual_sd"] = error * float(np.sqrt(((x - x.mean()) ** 2).sum()))
    return result


def rank_correlations(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Correlates the ranks that the score and each baseline give corpora with their accuracies.

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
                phase: _spearman(values, [c["models"][model][phase]["accuracy"] for c in cells])
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
    """Returns the fitted line and its pointwise 95% band at the scores `at`: (line, low, high).

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


def _spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float | None:
    """Spearman's correlation, or None where one side is constant."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    from scipy import stats

    return float(stats.spearmanr(x, y).statistic)
