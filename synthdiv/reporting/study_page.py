"""The page of a study and its figures, made of `study.json` and the fitted lines."""

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Point, Scatter, Series
from synthdiv.reporting.outcomes import Outcome, outcome_named
from synthdiv.reporting.pages import Metric
from synthdiv.reporting.study_statistics import PHASES, statistics_tables

Fits = Mapping[tuple[str, str, str], Series]


def write_study_page(
    workdir: Path, study: Mapping[str, Any], fits: Fits, metrics: Mapping[str, Metric]
) -> Path:
    """Writes `report.html` and `figures/*.svg` beside `study.json`.

    Args:
        workdir: the study's directory.
        study: the content of `study.json`.
        fits: the fitted line, as shown, of each (model, phase, outcome) that has one.
        metrics: the baselines that are known, by their names in `study.json`.

    Returns:
        The page's path. It is self-contained and opens without a network.
    """
    from markupsafe import Markup

    figures = files.output_dir(workdir / "figures")
    groups: dict[str, list[dict[str, Any]]] = {}
    for (model, phase, name), panel in study_panels(study, fits).items():
        svg = charts.svg(panel)
        file = re.sub(r"[^A-Za-z0-9.]+", "_", f"{model} {PHASES[phase]} {name}")
        files.write_text(figures / f"{file}.svg", _standalone(svg))
        shown = {"title": panel.title, "svg": Markup(svg), "says": panel.description}
        groups.setdefault(name, []).append(shown)
    page = pages.render(
        "study_page",
        study=study,
        models=list(study["regression"]),
        groups=[(outcome_named(name), panels) for name, panels in groups.items()],
        table=study_table(study),
        outcomes=_outcomes(study),
        baselines=_baselines(study, metrics),
        statistics=statistics_tables(study, metrics),
        seeds=study["seeds"],
        notices=study["notices"],
    )
    files.write_text(workdir / "report.html", page)
    return workdir / "report.html"


def _standalone(svg: str) -> str:
    """A chart of the page as an SVG file of its own, on a background that its colours need."""
    opening = '<svg class="chart"'
    root = '<svg xmlns="http://www.w3.org/2000/svg" class="chart" style="background: var(--card)"'
    rest = svg.removeprefix(opening)
    head, _, body = rest.partition(">")
    return f"{root}{head}><style>{escape(pages.stylesheet(), quote=False)}</style>{body}\n"


def study_panels(study: Mapping[str, Any], fits: Fits) -> dict[tuple[str, str, str], Scatter]:
    """Returns the panels of Figure 1 by (model, phase, outcome): score against outcome."""
    outcomes = study["outcomes"]
    names = {name: None for phases in outcomes.values() for fit in phases.values() for name in fit}
    return {
        (model, phase, name): _panel(study, model, phase, name, fits.get((model, phase, name)))
        for name in names
        for model, phases in outcomes.items()
        for phase in phases
        if name in phases[phase]
    }


def _panel(
    study: Mapping[str, Any], model: str, phase: str, name: str, fit: Series | None
) -> Scatter:
    outcome = outcome_named(name)
    found = study["outcomes"][model][phase][name]
    points = []
    tokens = [cell["corpus"]["tokens"] for cell in study["cells"]]
    for cell, figure in zip(study["cells"], found["figures"], strict=True):
        value, error = outcome.times * figure["value"], figure["stderr"]
        half = None if error is None else 1.96 * outcome.times * error
        low, high = cell["score"]["ci95"]
        points.append(
            Point(
                x=cell["score"]["mean"],
                y=value,
                label=cell["corpus"]["name"],
                x_interval=None if low is None or high is None else (low, high),
                y_interval=None if half is None else (value - half, value + half),
                size=cell["corpus"]["tokens"] / (sum(tokens) / len(tokens)),
            )
        )
    chance = found["chance"]
    return Scatter(
        points,
        title=f"{model}, {PHASES[phase]}",
        x_label="LLM cluster score",
        y_label=outcome.title + (f", {outcome.unit}" if outcome.unit else ""),
        description=_says(found, outcome),
        fit=fit,
        chance=None if chance is None else outcome.times * chance,
    )


def _says(fit: Mapping[str, Any], outcome: Outcome) -> str:
    """The regression in a sentence that claims no more than the interval allows."""
    n = fit["n"]
    if n == 2:
        return "Two points make no correlation: any two lie on a line. It takes three corpora."
    if fit["observed"]["slope"] is None:
        return f"No line can be fitted through {n} corpora of these scores."
    if fit["pearson"] is None:
        return f"All {n} corpora led to the same {outcome.title}."
    if fit["slope"] is None:
        return f"The {n} scores differ by no more than their own errors: they have no slope."
    of = f"points of {outcome.title}" if outcome.unit == "%" else outcome.title
    low, high = fit["ci95"]
    verdict = (
        "The interval holds zero: these corpora do not show that the two go together."
        if low <= 0 <= high
        else "The interval excludes zero."
    )
    return (
        f"{outcome.text(fit['slope'], '+')} {of} per unit of score, 95% interval "
        f"{outcome.text(low, '+')} to {outcome.text(high, '+')}; "
        f"Pearson {fit['pearson']:.2f}, {n} corpora. {verdict}"
    )


def study_table(study: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Rows like the paper's Table 6: a corpus, its score, what each model made of it."""
    head = ["Corpus", "Topics", "Generations", "Documents", "Tokens", "Score", "95% interval"]
    for model, phases in study["regression"].items():
        for phase in phases:
            head += [f"{model} {PHASES[phase]}", "bits per byte"]
    rows = []
    for cell in study["cells"]:
        corpus, score = cell["corpus"], cell["score"]
        row = [corpus["name"]]
        row += [_whole(corpus[k]) for k in ("topics", "generations", "documents", "tokens")]
        ends = [_figure(end, 2) for end in score["ci95"]]
        row += [_figure(score["mean"], 2), " to ".join(ends)]
        for model, phases in study["regression"].items():
            for phase in phases:
                outcome = cell["models"][model][phase]
                accuracy = _figure(outcome["accuracy"], 1, 100)
                row.append(f"{accuracy} \u00b1 {_figure(outcome['stderr'], 1, 100)}")
                row.append(_figure(outcome["bits_per_byte"], 3))
        rows.append(row)
    return {"head": head, "rows": rows + _chance_row(study, len(head))}


def _chance_row(study: Mapping[str, Any], columns: int) -> list[list[Any]]:
    """What guessing gives of accuracy, below the corpora, where that is known."""
    levels = [
        phases[phase].get("accuracy", {}).get("chance")
        for phases in study["outcomes"].values()
        for phase in phases
    ]
    if set(levels) <= {None}:
        return []
    ends = [text for level in levels for text in (_figure(level, 1, 100), "")]
    return [["chance", *[""] * (columns - 1 - len(ends)), *ends]]


def _outcomes(study: Mapping[str, Any]) -> dict[str, list[Any]]:
    """One corpus a row, every outcome of every model a column, and what guessing gives."""
    head, columns = ["Corpus"], []
    names = [cell["corpus"]["name"] for cell in study["cells"]]
    for model, phases in study["outcomes"].items():
        for phase, found in phases.items():
            for name, fit in found.items():
                outcome = outcome_named(name)
                unit = f", {outcome.unit}" if outcome.unit else ""
                head.append(f"{model} {PHASES[phase]}: {outcome.title}{unit}")
                values = [
                    f"{outcome.text(one['value'])} \u00b1 {outcome.text(one['stderr'])}"
                    for one in fit["figures"]
                ]
                columns.append([*values, outcome.text(fit["chance"])])
    rows = [list(row) for row in zip([*names, "chance"], *columns, strict=True)]
    return {"head": head, "rows": rows}


def _baselines(study: Mapping[str, Any], metrics: Mapping[str, Metric]) -> dict[str, list[Any]]:
    """One metric a row, its value for each corpus a column."""
    cells = study["cells"]
    rows = [["LLM cluster score", *(charts.number(cell["score"]["mean"]) for cell in cells)]]
    for name, metric in metrics.items():
        values = [cell["baselines"].get(name) for cell in cells]
        if None not in values:
            rows.append([metric.title, *map(charts.number, values)])
    return {"head": ["Metric", *(cell["corpus"]["name"] for cell in cells)], "rows": rows}


def _figure(value: float | None, digits: int, times: float = 1) -> str:
    return "-" if value is None else f"{times * value:.{digits}f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
