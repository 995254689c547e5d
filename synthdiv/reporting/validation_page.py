"""The page of a validated judge: validation.json to read, trials side by side and one by one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthdiv.files import read_json, write_text
from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Lines, Series


def write_validation_page(directory: str | Path) -> Path:
    """Writes `report.html` beside the validation.json of a directory and returns its path.

    Raises:
        UserError: validation.json is missing.
    """
    from markupsafe import Markup

    directory = Path(directory)
    content = read_json(directory / "validation.json")
    figures = [
        {column: Markup(charts.svg(score_lines(trial, column))) for column in trial["labels"]}
        for trial in content["trials"]
    ]
    page = pages.render("validation_page", content=content, figures=figures)
    write_text(directory / "report.html", page)
    return directory / "report.html"


def score_lines(trial: Mapping[str, Any], column: str) -> Lines:
    """Returns the scores of a column's mixtures beside those of a perfect judge, with intervals."""
    mixtures = [
        one for one in trial["labels"][column][trial["headline"]]["mixtures"] if one["score"]
    ]
    series = [
        Series(
            label,
            [one["classes"] for one in mixtures],
            [one[key]["mean"] for one in mixtures],
            [_end(one[key], 0) for one in mixtures],
            [_end(one[key], 1) for one in mixtures],
            group=group,
            dashed=bool(group),
        )
        for group, (key, label) in enumerate(
            {"score": "this judge", "perfect_judge": "perfect judge"}.items()
        )
    ]
    said = "; ".join(
        f"{one['classes']} classes {charts.number(one['score']['mean'])}" for one in mixtures
    )
    return Lines(
        series,
        title=f"Score by number of classes of {column}",
        description=said,
        x_label="classes in the mixture",
        y_label="score",
    )


def _end(figure: Mapping[str, Any], place: int) -> float:
    """One end of an interval; the mean where it is not known."""
    end = figure["ci95"][place]
    return figure["mean"] if end is None else end
