"""The page of several corpora: comparison.json to read, with a link to each one's own page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.files import read_json, write_text
from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Intervals
from synthdiv.reporting.findings import headline_level, plural
from synthdiv.reporting.pages import DIRECTIONS, Metric
from synthdiv.reporting.plots import plot
from synthdiv.reporting.score_figures import score_range
from synthdiv.reporting.verdicts import OWN, Shared, holm, only_in, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

_GROUPS = 20  # in the table of those that corpora share


def write_comparison_page(
    directory: str | Path, metrics: Mapping[str, Metric], groups: Sequence[Shared] = ()
) -> Path:
    """Writes `report.html` beside the comparison.json of a directory and returns its path.

    Args:
        directory: where comparison.json is; each corpus's own page lies in a folder of its name.
        metrics: the baselines that are known, by their names in comparison.json.
        groups: of all corpora together, largest share first; none where they were not judged alike.

    Raises:
        UserError: comparison.json is missing.
    """
    from markupsafe import Markup

    directory = Path(directory)
    content = read_json(directory / "comparison.json")
    corpora, matched = content["corpora"], content.get("matched_baselines")
    names = list(corpora)
    figures = (
        matched["corpora"]
        if matched
        else {name: one.get("baselines") or {} for name, one in corpora.items()}
    )
    page = pages.render(
        "comparison_page",
        content=content,
        verdict=verdict(content, groups),
        scores=Markup(charts.svg(score_intervals(corpora))),
        matched=matched,
        names=names,
        what=plural(headline_level(content).partition(".")[2] or "cluster"),
        kmeans=next((one["kmeans_k"] for one in figures.values() if one.get("kmeans_k")), None),
        differences=_differences(content.get("differences") or ()),
        levels=_levels(content),
        at_levels=_at_levels(content.get("level_differences") or ()),
        groups=groups[:_GROUPS],
        more_groups=max(len(groups) - _GROUPS, 0),
        own=[(name, only_in(groups, place)) for place, name in enumerate(names)],
        own_share=OWN,
        baselines=_rows(figures, metrics, names, _most_diverse(corpora)),
        reports={
            name: f"{name}/report.html"
            for name in names
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
    """Returns the scores of the `corpora` of comparison.json with their intervals.

    The axis is the whole range that a score can have, where the rounds tell.
    """
    rows = [
        (name, one["score"]["mean"], *(one["score"].get("ci95") or (None, None)))
        for name, one in corpora.items()
    ]
    said = "; ".join(f"{name} {mean:.2f}" for name, mean, *_ in rows)
    ranges = [ends for one in corpora.values() if (ends := score_range(one))]
    return Intervals(
        rows,
        title="Scores",
        x_label="LLM cluster score",
        description=said,
        x_range=(min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None,
        decimals=2,
    )


def _differences(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each difference with its p-value corrected for their number, the higher score first."""
    corrected = holm([one["p_value"] for one in found])
    return [{**_upward(one), "corrected": p} for one, p in zip(found, corrected, strict=True)]


def _upward(one: Mapping[str, Any]) -> dict[str, Any]:
    """A difference from the higher score to the lower, so that it is not negative."""
    if one["difference"] >= 0:
        return dict(one)
    ends = [None if end is None else -end for end in reversed(one["ci95"])]
    corpora = list(reversed(one["corpora"]))
    return {**one, "corpora": corpora, "difference": -one["difference"], "ci95": ends}


def _at_levels(found: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By facet and level, the differences there; p-values corrected for all levels and corpora."""
    by_level: dict[str, list[dict[str, Any]]] = {}
    for one in _differences(found):
        by_level.setdefault(one["level"].replace(".", ": "), []).append(one)
    return by_level


def _levels(content: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any] | None]]]:
    """(facet and level, its figures in each corpus), where documents got values."""
    by_name = [
        {
            f"{one['facet']}: {one['level']}": {**one, "what": plural(one["level"])}
            for one in corpus.get("levels") or ()
        }
        for corpus in content["corpora"].values()
    ]
    names = dict.fromkeys(name for levels in by_name for name in levels)
    return [(name, [levels.get(name) for levels in by_name]) for name in names]


def _most_diverse(corpora: Mapping[str, Any]) -> str:
    return max(corpora, key=lambda name: corpora[name]["score"]["mean"])


def _rows(
    figures: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, Metric],
    names: Sequence[str],
    judged: str,
) -> list[dict[str, Any]]:
    """A row a metric that any corpus has, with the corpus it favours.

    Args:
        figures: of each corpus, its metrics by name.
        metrics: those that are known.
        names: of the corpora, in order.
        judged: the corpus with the highest score, to say whether a metric agrees.
    """
    rows = []
    for name, metric in metrics.items():
        values = {one: figures.get(one, {}).get(name) for one in names}
        known = {one: v for one, v in values.items() if isinstance(v, (int, float))}
        if not known:
            continue
        favoured = None
        if metric.direction and len(set(known.values())) > 1:
            favoured = max(known, key=lambda one: metric.direction * known[one])
        rows.append(
            {
                "title": metric.title,
                "direction": metric.direction,
                "more_diverse_when": DIRECTIONS[metric.direction],
                "favoured": favoured,
                "agrees": favoured == judged,
                "values": list(values.items()),
            }
        )
    return rows
