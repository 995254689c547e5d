"""The page of several corpora: comparison.json to read, with a link to each one's own page."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.files import read_json, write_text
from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Intervals
from synthdiv.reporting.pages import DIRECTIONS, Metric
from synthdiv.reporting.plots import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


def write_comparison_page(directory: str | Path, metrics: Mapping[str, Metric]) -> Path:
    """Writes `report.html` beside the comparison.json of a directory and returns its path.

    Args:
        directory: where comparison.json is; each corpus's own page lies in a folder of its name.
        metrics: the baselines that are known, by their names in comparison.json.

    Raises:
        UserError: comparison.json is missing.
    """
    from markupsafe import Markup

    directory = Path(directory)
    content = read_json(directory / "comparison.json")
    matched = content.get("matched_baselines")
    figures = (
        matched["corpora"]
        if matched
        else {name: one["baselines"] for name, one in content["corpora"].items()}
    )
    page = pages.render(
        "comparison_page",
        content=content,
        scores=Markup(charts.svg(score_intervals(content["corpora"]))),
        matched=matched,
        names=list(content["corpora"]),
        baselines=_rows(figures, metrics),
        reports={
            name: f"{name}/report.html"
            for name in content["corpora"]
            if (directory / name / "report.html").exists()
        },
    )
    write_text(directory / "report.html", page)
    return directory / "report.html"


def plot_comparison(directory: str | Path) -> "MatplotlibFigure":
    """Returns the scores of a comparison's directory with their intervals, through matplotlib.

    Raises:
        UserError: comparison.json is missing, or matplotlib is not installed.
    """
    return plot([score_intervals(read_json(Path(directory) / "comparison.json")["corpora"])])


def score_intervals(corpora: Mapping[str, Any]) -> Intervals:
    """Returns the scores of the `corpora` of comparison.json with their intervals."""
    rows = [
        (name, one["score"]["mean"], *(one["score"].get("ci95") or (None, None)))
        for name, one in corpora.items()
    ]
    said = "; ".join(f"{name} {charts.number(mean)}" for name, mean, *_ in rows)
    return Intervals(rows, title="Scores", x_label="LLM cluster score", description=said)


def _rows(
    figures: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Metric]
) -> list[dict[str, Any]]:
    """A row a metric that any corpus has, with the values in the order of the corpora."""
    return [
        {
            "title": metric.title,
            "direction": DIRECTIONS[metric.direction],
            "values": [one.get(name) for one in figures.values()],
        }
        for name, metric in metrics.items()
        if any(isinstance(one.get(name), (int, float)) for one in figures.values())
    ]
