"""The study's report: the page and its figures, made of `study.json` and nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthdiv.baselines.catalogue import METRICS
from synthdiv.plans import text_table
from synthdiv.reporting.figures import Series
from synthdiv.reporting.outcomes import outcome_named
from synthdiv.reporting.plots import plot
from synthdiv.reporting.study_figures import study_panels
from synthdiv.reporting.study_page import write_study_page
from synthdiv.reporting.study_tables import results
from synthdiv.study.regression import line_band

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


def write_report(workdir: Path, study: dict[str, Any]) -> Path:
    """Writes `report.html`, `figures/` and `tables/` beside `study.json`; returns the page's path.

    Args:
        workdir: the study's directory.
        study: the content of `study.json`.
    """
    return write_study_page(workdir, study, _fits(study), METRICS)


def plot_study(study: dict[str, Any]) -> "MatplotlibFigure":
    """Returns Figure 1, each outcome against score by model and phase, through matplotlib.

    Args:
        study: the content of `study.json`.

    Raises:
        UserError: matplotlib is not installed.
    """
    return plot(list(study_panels(study, _fits(study)).values()))


def _fits(study: dict[str, Any]) -> dict[tuple[str, str, str], Series]:
    """The fitted line of each (model, phase, outcome) that has an interval."""
    return {
        (model, phase, name): _fitted_line(study, fit, name)
        for model, phases in study["outcomes"].items()
        for phase, fits in phases.items()
        for name, fit in fits.items()
        if fit["observed"]["ci95"] is not None
    }


def _fitted_line(study: dict[str, Any], fit: dict[str, Any], name: str) -> Series:
    """The regression line and its band as shown, a little beyond the scores on both sides."""
    times = outcome_named(name).times
    scores = [cell["score"]["mean"] for cell in study["cells"]]
    grid = np.linspace(min(scores) - 0.5, max(scores) + 0.5, 60).tolist()
    band = line_band(scores, fit, grid)
    line, low, high = ([times * value for value in values] for values in band)
    return Series("least squares", grid, line, low, high)


def results_table(study: dict[str, Any]) -> str:
    """The main table as plain text, for the terminal."""
    table = results(study)
    head = [column.title for column in table.head]
    return text_table(head, [[cell.text for cell in row] for row in table.rows], rule=True)
