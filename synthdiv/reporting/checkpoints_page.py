"""The page of several checkpoints: how each differs from the first on the same questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.files import write_text
from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Intervals


def write_checkpoints_page(
    path: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]], confidence: float
) -> None:
    """Writes the page.

    Args:
        path: of the HTML file.
        names: of the checkpoints; the others are compared with the first.
        rows: one a task: `task`, `metric`, `questions`, `values` (one a name) and `differences`
            (one a name but the first: `difference`, `ci`), all as shares.
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
    """How one checkpoint differs from the first: a chart and a table, in percentage points."""
    from markupsafe import Markup

    table, intervals = [], []
    for row in rows:
        found = row["differences"][place]
        low, high = (100 * end for end in found["ci"])
        difference = 100 * found["difference"]
        intervals.append((row["task"], difference, low, high))
        table.append(
            {
                "task": row["task"],
                "metric": row["metric"],
                "questions": row["questions"],
                "first": f"{100 * row['values'][0]:.2f}",
                "this": f"{100 * row['values'][place + 1]:.2f}",
                "difference": f"{difference:+.2f}",
                "interval": f"{low:+.2f} to {high:+.2f}",
                "certain": not low <= 0 <= high,
            }
        )
    said = "; ".join(f"{row['task']} {row['difference']}" for row in table)
    figure = Intervals(
        intervals,
        title=f"{name} less {first}",
        x_label="difference, percentage points",
        description=said,
        mark=0.0,
    )
    return {"name": name, "chart": Markup(charts.svg(figure)), "rows": table}
