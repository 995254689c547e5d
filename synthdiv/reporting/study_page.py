"""The page of a study, with its figures and tables as files: of `study.json` and the fitted lines.

It says first what was found, in a sentence computed from the figures, and what that cannot tell.
Then come the figures, with chance where there is such a level, the statistics, and who wrote,
judged and was trained on what.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.reporting import charts, pages, study_findings
from synthdiv.reporting.figures import Figure
from synthdiv.reporting.outcomes import outcome_named
from synthdiv.reporting.pages import Metric
from synthdiv.reporting.study_figures import Fits, by_corpus, confounds, densities, study_panels
from synthdiv.reporting.study_statistics import FEWEST, statistics_tables
from synthdiv.reporting.study_tables import corpus_tables
from synthdiv.reporting.tables import Table, to_csv, to_latex


def write_study_page(
    workdir: Path, study: Mapping[str, Any], fits: Fits, metrics: Mapping[str, Metric]
) -> Path:
    """Writes `report.html`, `figures/*.svg` and `tables/*.csv` and `*.tex` beside `study.json`.

    Args:
        workdir: the study's directory.
        study: the content of `study.json`.
        fits: the fitted line, as shown, of each (model, phase, outcome) that has one.
        metrics: the baselines that are known, by their names in `study.json`.

    Returns:
        The page's path. It is self-contained and opens without a network.
    """
    shown = _Shown(files.output_dir(workdir / "figures"))
    line = study_findings.primary(study)
    panels = study_panels(study, fits)
    groups: dict[str, list[dict[str, Any]]] = {}
    for (_, _, name), panel in panels.items():
        groups.setdefault(name, []).append(shown.figure(panel, f"{panel.title} {name}"))
    beside = confounds(study)
    enough = len(study["cells"]) >= FEWEST
    tables = corpus_tables(study, metrics)
    statistics = statistics_tables(study, metrics) if enough else []
    findings = study_findings.findings(study, metrics)
    for table in (*tables.values(), *statistics):
        _write_table(workdir / "tables", table)
    page = pages.render(
        "study_page",
        script="study_page.js",
        study=study,
        findings=findings,
        limits=study_findings.limits(study),
        notices=[one for one in study["notices"] if one not in findings],
        outcome=outcome_named(line[2]) if line else None,
        main=groups.get(line[2], []) if line else [],
        confounds=shown.figure(beside, "confounds") if beside else None,
        groups=[
            (outcome_named(name), some)
            for name, some in groups.items()
            if not line or name != line[2]
        ],
        corpora=[shown.figure(one, f"corpora {one.title}") for one in by_corpus(study)],
        densities=[shown.figure(one, one.title) for one in densities(study, workdir)],
        tables=tables,
        statistics=statistics,
    )
    files.write_text(workdir / "report.html", page)
    return workdir / "report.html"


class _Shown:
    """Draws figures for the page, and as files of their own with names that are not taken."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._taken: set[str] = set()

    def figure(self, figure: Figure, name: str) -> dict[str, Any]:
        from markupsafe import Markup

        file = next(one for one in _names(name) if one not in self._taken)
        self._taken.add(file)
        svg = charts.svg(figure)
        files.write_text(self._directory / f"{file}.svg", pages.standalone(svg))
        return {
            "title": figure.title,
            "svg": Markup(svg),
            "says": figure.description,
            "file": file,
        }


def _names(name: str) -> Iterator[str]:
    """File names for something, the plain one first."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_")
    yield plain
    number = 2
    while True:
        yield f"{plain}_{number}"
        number += 1


def _write_table(directory: Path, table: Table) -> None:
    files.output_dir(directory)
    files.write_text(directory / f"{table.name}.csv", to_csv(table))
    files.write_text(directory / f"{table.name}.tex", to_latex(table))
