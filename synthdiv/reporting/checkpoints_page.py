"""The page of several checkpoints: how each differs from the first on the same questions."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from synthdiv.files import write_text
from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Intervals
from synthdiv.reporting.outcomes import OUTCOMES


def write_checkpoints_page(
    path: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]], confidence: float
) -> None:
    """Writes the page.

    Args:
        path: of the HTML file.
        names: of the checkpoints; the others are compared with the first.
        rows: one a task and measure: `task`, `measure` (of `OUTCOMES`), `metric`, `questions`,
            `chance`, `values` (one a name) and `differences` (one a name but the first:
            `difference`, `ci`), in order of their measures.
        confidence: of the intervals.
    """
    sections = [_section(names[0], name, place, rows) for place, name in enumerate(names[1:])]
    page = pages.render(
        "checkpoints_page", names=names, sections=sections, confidence=f"{100 * confidence:g}%"
    )
    write_text(path, page)


def _section(
    first: str, name: str, place: int, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How one checkpoint differs from the first: a chart and a table for each measure."""
    parts = [
        _part(first, name, place, measure, list(each))
        for measure, each in groupby(rows, lambda row: str(row["measure"]))
    ]
    return {"name": name, "parts": parts}


def _part(
    first: str, name: str, place: int, measure: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    from markupsafe import Markup

    outcome = OUTCOMES[measure]
    table, intervals = [], []
    for row in rows:
        found = row["differences"][place]
        low, high = found["ci"]
        shown = (outcome.times * value for value in (found["difference"], low, high))
        intervals.append((row["task"], *shown))
        table.append(
            {
                "task": row["task"],
                "metric": row["metric"],
                "questions": row["questions"],
                "chance": outcome.text(row["chance"]),
                "first": outcome.text(row["values"][0]),
                "this": outcome.text(row["values"][place + 1]),
                "difference": outcome.text(found["difference"], "+"),
                "interval": f"{outcome.text(low, '+')} to {outcome.text(high, '+')}",
                "certain": not low <= 0 <= high,
            }
        )
    unit = f", {outcome.of_differences}" if outcome.unit else ""
    figure = Intervals(
        intervals,
        title=f"{outcome.title}: {name} less {first}",
        x_label=f"difference{unit}",
        description="; ".join(f"{row['task']} {row['difference']}" for row in table),
        mark=0.0,
    )
    better = "higher" if outcome.higher_is_better else "lower"
    return {
        "title": outcome.title,
        "unit": outcome.unit,
        "better": better,
        "chart": Markup(charts.svg(figure)),
        "rows": table,
    }
