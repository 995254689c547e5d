"""What a study found: every outcome against score and baselines, with its confounds."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from synthdiv.baselines.catalogue import METRICS
from synthdiv.reporting.outcomes import outcome_named
from synthdiv.study.correlations import difference, holm, partial, pearson, spearman
from synthdiv.study.outcomes import figures
from synthdiv.study.regression import regress, slope_difference

Cells = Sequence[Mapping[str, Any]]

_LINE = ("slope", "ci95", "p", "reliability", "observed", "pearson", "spearman", "n", "seeds")


def analyse(cells: Cells) -> dict[str, Any]:
    """Relates every outcome that all cells have to their scores and baselines.

    Args:
        cells: as in `study.json`.

    Returns:
        `outcomes`, {model: {phase: {outcome: what `regress` returns, `p_holm`, `chance`, `figures`
        (a cell each), `given` (partial correlations), `metrics` (the baselines)}}}; `regression`,
        the lines of accuracy alone; `contrasts`, differences between slopes of phases and models.
        p-values are corrected over all slopes, over all contrasts, and over an outcome's metrics.
    """
    scores = [cell["score"]["mean"] for cell in cells]
    errors = [cell["score"]["standard_error"] for cell in cells]
    confounds, metrics = _confounds(cells), _metrics(cells)
    outcomes: dict[str, Any] = {}
    for model, phase in _trained(cells):
        found: dict[str, Any] = {}
        for name, runs in _runs(cells, model, phase).items():
            each = [figures(cell["models"][model][phase])[name] for cell in cells]
            y = runs.mean(axis=1)
            found[name] = regress(scores, runs, errors, [one["stderr"] for one in each]) | {
                "chance": each[0]["chance"],
                "figures": each,
                "given": {key: partial(scores, y, z) for key, z in confounds.items()},
                "metrics": _beside(scores, y, metrics, outcome_named(name).higher_is_better),
            }
        outcomes.setdefault(model, {})[phase] = found
    fits = [
        fit for phases in outcomes.values() for some in phases.values() for fit in some.values()
    ]
    for fit, p in zip(fits, holm([fit["p"] for fit in fits]), strict=True):
        fit["p_holm"] = p
    regression = {
        model: {
            phase: {key: found["accuracy"][key] for key in _LINE}
            for phase, found in phases.items()
            if "accuracy" in found
        }
        for model, phases in outcomes.items()
    }
    return {
        "outcomes": outcomes,
        "regression": regression,
        "contrasts": _contrasts(cells, scores),
    }


def _trained(cells: Cells) -> Iterator[tuple[str, str]]:
    for model, phases in cells[0]["models"].items():
        for phase in phases:
            yield model, phase


def _runs(cells: Cells, model: str, phase: str) -> dict[str, np.ndarray]:
    """The values of each outcome that all runs of all cells have, [cells, seeds]."""
    found = []
    for cell in cells:
        mean = cell["models"][model][phase]
        found.append([figures(run) for run in mean.get("runs") or [mean]])
    names = [name for name in found[0][0] if all(name in run for runs in found for run in runs)]
    return {
        name: np.array([[run[name]["value"] for run in runs] for runs in found]) for name in names
    }


def _contrasts(cells: Cells, scores: Sequence[float]) -> list[dict[str, Any]]:
    """Slopes of two phases of one model, and of two models in one phase."""
    found: list[dict[str, Any]] = []
    for first, second in combinations(_trained(cells), 2):
        if first[0] != second[0] and first[1] != second[1]:
            continue
        ours, theirs = _runs(cells, *first), _runs(cells, *second)
        for name in (name for name in ours if name in theirs):
            about = {"outcome": name, "first": list(first), "second": list(second)}
            found.append(about | slope_difference(scores, ours[name], theirs[name]))
    for one, p in zip(found, holm([one["p"] for one in found]), strict=True):
        one["p_holm"] = p
    return found


def _confounds(cells: Cells) -> dict[str, list[list[float]]]:
    """What else differs between the corpora, each by itself and all of them at once."""
    corpora = [cell["corpus"] for cell in cells]
    columns = {
        "tokens": [corpus["tokens"] for corpus in corpora],
        "epochs": [corpus.get("epochs") for corpus in corpora],
        "document_length": [corpus["tokens"] / max(corpus["documents"], 1) for corpus in corpora],
        "perplexity": [cell["baselines"].get("perplexity") for cell in cells],
    }
    differing = {
        name: [[float(value) for value in values]]
        for name, values in columns.items()
        if None not in values and np.ptp(values) > 0
    }
    if len(differing) > 1:
        differing["all"] = [values for (values,) in differing.values()]
    return differing


def _metrics(cells: Cells) -> dict[str, list[float]]:
    """The baselines that all cells have as numbers, by name."""
    columns = {name: [cell["baselines"].get(name) for cell in cells] for name in METRICS}
    return {
        name: values
        for name, values in columns.items()
        if all(isinstance(value, int | float) for value in values)
    }


def _beside(
    scores: Sequence[float],
    outcome: np.ndarray,
    metrics: Mapping[str, Sequence[float]],
    higher_is_better: bool,
) -> dict[str, dict[str, Any]]:
    """How each metric goes with an outcome, and how much better the score does.

    For the difference, metrics are turned so that higher means more diverse, and outcomes so that
    higher means better.
    """
    good = outcome if higher_is_better else -outcome
    found: dict[str, dict[str, Any]] = {}
    for name, values in metrics.items():
        turned = np.asarray(values, float) * (METRICS[name].direction or 1)
        straight, ranks = pearson(values, outcome), spearman(values, outcome)
        less = difference(good, scores, turned)
        found[name] = {
            "pearson": straight.value,
            "pearson_ci95": straight.ci95,
            "p": straight.p,
            "spearman": ranks.value,
            "score_better_by": less["difference"],
            "score_better_by_ci95": less["ci95"],
        }
    for one, p in zip(found.values(), holm([m["p"] for m in found.values()]), strict=True):
        one["p_holm"] = p
    return found
