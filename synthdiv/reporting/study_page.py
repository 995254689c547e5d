"""The page of a study and its figures, made of `study.json` and the fitted lines."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Point, Scatter, Series
from synthdiv.reporting.pages import Metric

PHASES = {"pretrain": "pre-trained", "sft": "fine-tuned"}
Fits = Mapping[tuple[str, str], Series]


def write_study_page(
    workdir: Path, study: Mapping[str, Any], fits: Fits, metrics: Mapping[str, Metric]
) -> Path:
    """Writes `report.html` and `figures/*.svg` beside `study.json`.

    Args:
        workdir: the study's directory.
        study: the content of `study.json`.
        fits: the fitted line, in per cent of accuracy, of each (model, phase) that has one.
        metrics: the baselines that are known, by their names in `study.json`.

    Returns:
        The page's path. It is self-contained and opens without a network.
    """
    from markupsafe import Markup

    panels = study_panels(study, fits)
    figures = files.output_dir(workdir / "figures")
    shown = []
    for (model, phase), panel in panels.items():
        svg = charts.svg(panel)
        name = f"{model}_{PHASES[phase]}".replace(" ", "_").replace("-", "_")
        files.write_text(figures / f"{name}.svg", _standalone(svg))
        shown.append({"title": panel.title, "svg": Markup(svg), "says": panel.description})
    page = pages.render(
        "study_page",
        study=study,
        models=list(study["regression"]),
        panels=shown,
        table=study_table(study),
        baselines=_baselines(study, metrics),
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


def study_panels(study: Mapping[str, Any], fits: Fits) -> dict[tuple[str, str], Scatter]:
    """Returns the panels of Figure 1 by (model, phase): all corpora, score against accuracy."""
    return {
        (model, phase): _panel(study, model, phase, fits.get((model, phase)))
        for model in study["regression"]
        for phase in PHASES
    }


def _panel(study: Mapping[str, Any], model: str, phase: str, fit: Series | None) -> Scatter:
    points = []
    tokens = [cell["corpus"]["tokens"] for cell in study["cells"]]
    for cell in study["cells"]:
        outcome = cell["models"][model][phase]
        accuracy, error = 100 * outcome["accuracy"], outcome["stderr"]
        low, high = cell["score"]["ci95"]
        points.append(
            Point(
                x=cell["score"]["mean"],
                y=accuracy,
                label=cell["corpus"]["name"],
                x_interval=None if low is None or high is None else (low, high),
                y_interval=None
                if error is None
                else (accuracy - 196 * error, accuracy + 196 * error),
                size=cell["corpus"]["tokens"] / (sum(tokens) / len(tokens)),
            )
        )
    return Scatter(
        points,
        title=f"{model}, {PHASES[phase]}",
        x_label="LLM cluster score",
        y_label="accuracy, %",
        description=_says(study["regression"][model][phase]),
        fit=fit,
    )


def _says(fit: Mapping[str, Any]) -> str:
    """The regression in a sentence that claims no more than the interval allows."""
    if fit["slope"] is None:
        return f"No line can be fitted through {fit['n']} corpora of these scores."
    if fit["pearson"] is None:
        return f"All {fit['n']} corpora led to the same accuracy."
    slope = f"{100 * fit['slope']:+.2f} points of accuracy per unit of score"
    if fit["ci95"] is None:
        return f"{slope}, over {fit['n']} corpora: too few for an interval."
    low, high = (100 * bound for bound in fit["ci95"])
    verdict = (
        "The interval holds zero: these corpora do not show that the two go together."
        if low <= 0 <= high
        else "The interval excludes zero."
    )
    return (
        f"{slope}, 95% interval {low:+.2f} to {high:+.2f}; Pearson {fit['pearson']:.2f}, "
        f"{fit['n']} corpora. {verdict}"
    )


def study_table(study: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Rows like the paper's Table 6: a corpus, its score, what each model made of it."""
    head = ["Corpus", "Topics", "Generations", "Documents", "Tokens", "Score", "95% interval"]
    for model in study["regression"]:
        for words in PHASES.values():
            head += [f"{model} {words}", "bits per byte"]
    rows = []
    for cell in study["cells"]:
        corpus, score = cell["corpus"], cell["score"]
        row = [corpus["name"]]
        row += [_whole(corpus[k]) for k in ("topics", "generations", "documents", "tokens")]
        ends = [_figure(end, 2) for end in score["ci95"]]
        row += [_figure(score["mean"], 2), " to ".join(ends)]
        for model in study["regression"]:
            for phase in PHASES:
                outcome = cell["models"][model][phase]
                accuracy = _figure(outcome["accuracy"], 1, 100)
                row.append(f"{accuracy} \u00b1 {_figure(outcome['stderr'], 1, 100)}")
                row.append(_figure(outcome["bits_per_byte"], 3))
        rows.append(row)
    return {"head": head, "rows": rows}


def _baselines(study: Mapping[str, Any], metrics: Mapping[str, Metric]) -> dict[str, list[Any]]:
    """One metric a row: its value for each corpus, and how it ranks them beside their accuracy."""
    cells, ranks = study["cells"], study["rank_correlations"]
    titles = {"score": "LLM cluster score"} | {name: m.title for name, m in metrics.items()}
    phases = [(model, phase) for model in study["regression"] for phase in PHASES]
    rows = []
    for name, title in titles.items():
        if name not in ranks:
            continue
        values = [c["score"]["mean"] if name == "score" else c["baselines"][name] for c in cells]
        found = [ranks[name][model][phase] for model, phase in phases]
        shown = ["-" if rank is None else f"{rank:+.2f}" for rank in found]
        rows.append([title, *map(charts.number, values), *shown])
    columns = [f"with {model} {PHASES[phase]}" for model, phase in phases]
    return {"head": ["Metric", *(c["corpus"]["name"] for c in cells), *columns], "rows": rows}


def _figure(value: float | None, digits: int, times: float = 1) -> str:
    return "-" if value is None else f"{times * value:.{digits}f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
