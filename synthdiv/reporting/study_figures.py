"""The figures of a study: every outcome against score, and corpora beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.reporting.figures import Intervals, Lines, Point, Scatter, Series
from synthdiv.reporting.outcomes import Outcome, outcome_named
from synthdiv.reporting.study_findings import primary
from synthdiv.reporting.study_statistics import CONFOUNDS, Fit, fits_of, phase_name, too_few
from synthdiv.reporting.study_tables import report_of

Study = Mapping[str, Any]
Fits = Mapping[tuple[str, str, str], Series]


def study_panels(study: Study, fits: Fits) -> dict[tuple[str, str, str], Scatter]:
    """Returns the panels of Figure 1 by (model, phase, outcome): score against outcome."""
    lines = list(fits_of(study))
    names = dict.fromkeys(name for _, _, name, _ in lines)
    return {
        (model, phase, name): _panel(study, model, phase, name, fit, fits.get((model, phase, name)))
        for wanted in names
        for model, phase, name, fit in lines
        if name == wanted
    }


def _panel(
    study: Study, model: str, phase: str, name: str, found: Fit, fit: Series | None
) -> Scatter:
    outcome = outcome_named(name)
    points = []
    tokens = [cell["corpus"]["tokens"] for cell in study["cells"]]
    for cell, figure in zip(study["cells"], found["figures"], strict=True):
        value, half = outcome.times * figure["value"], _half(found, figure, outcome)
        low, high = cell["score"]["ci95"]
        points.append(
            Point(
                x=cell["score"]["mean"],
                y=value,
                label=cell["corpus"]["name"],
                x_interval=None if low is None or high is None else (low, high),
                y_interval=None if half is None else (value - half, value + half),
                size=cell["corpus"]["tokens"] / (sum(tokens) / len(tokens)),
                link=report_of(cell),
            )
        )
    chance = found["chance"]
    return Scatter(
        points,
        title=phase_name(model, phase),
        x_label="LLM cluster score",
        y_label=outcome.label,
        description=_says(found, outcome),
        fit=fit,
        chance=None if chance is None else outcome.times * chance,
    )


def _half(fit: Fit, figure: Mapping[str, Any], outcome: Outcome) -> float | None:
    """Half of a point's interval: of its training runs, or where there is one, of questions.

    All models are asked the same questions and read the same documents, so that how hard these are
    moves no point against another.
    """
    error, training = figure["stderr"], fit["sd"]["training"]
    if training is not None:
        error = training / fit["seeds"] ** 0.5
    return None if error is None else 1.96 * outcome.times * error


def _says(fit: Fit, outcome: Outcome) -> str:
    """The regression in a sentence that claims no more than the interval allows."""
    n = fit["n"]
    if few := too_few(n):
        return few
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


def confounds(study: Study) -> Intervals | None:
    """The correlation of score and outcome beside what is left of it with confounds held fixed."""
    line = primary(study)
    if line is None or line[3]["pearson"] is None:
        return None
    model, phase, name, fit = line
    rows = [("score and outcome", fit["pearson"], *(fit["pearson_ci95"] or (None, None)))]
    rows += [
        (f"given {CONFOUNDS[key]}", one["pearson"], *(one["pearson_ci95"] or (None, None)))
        for key, one in fit["given"].items()
        if one["pearson"] is not None
    ]
    return Intervals(
        rows,
        title=f"{phase_name(model, phase)}: {outcome_named(name).title}",
        x_label="Pearson correlation with the score",
        description="; ".join(f"{label} {value:+.2f}" for label, value, *_ in rows),
        mark=0.0,
        x_range=(-1.0, 1.0),
        decimals=2,
    )


def by_corpus(study: Study) -> list[Intervals]:
    """Scores and outcomes of the corpora beside each other: the paper's Figures 4 to 9."""
    names = [cell["corpus"]["name"] for cell in study["cells"]]
    scores = [
        (name, cell["score"]["mean"], *cell["score"]["ci95"])
        for name, cell in zip(names, study["cells"], strict=True)
    ]
    found = [_rows("LLM cluster score", "LLM cluster score", scores)]
    for model, phase, name, fit in fits_of(study):
        outcome, rows = outcome_named(name), []
        for label, one in zip(names, fit["figures"], strict=True):
            value, half = outcome.times * one["value"], _half(fit, one, outcome)
            ends = (None, None) if half is None else (value - half, value + half)
            rows.append((label, value, *ends))
        chance = None if fit["chance"] is None else outcome.times * fit["chance"]
        title = f"{phase_name(model, phase)}: {outcome.title}"
        found.append(_rows(title, outcome.label, rows, chance))
    return found


def _rows(
    title: str,
    label: str,
    rows: list[tuple[str, float, float | None, float | None]],
    chance: float | None = None,
) -> Intervals:
    said = "; ".join(f"{name} {value:.4g}" for name, value, *_ in rows)
    if chance is not None:
        said += f". The dotted line is chance, {chance:.4g}"
    return Intervals(rows, title=title, x_label=label, description=f"{said}.", mark=chance)


def densities(study: Study, workdir: Path) -> list[Lines]:
    """Returns the paper's Figure 10 for all corpora: how C and S are distributed over the rounds.

    Corpora whose rounds are not beside the study are left out.
    """
    import pyarrow.parquet as parquet

    rounds = {}
    for cell in study["cells"]:
        name = cell["corpus"]["name"]
        path = workdir / name / "score" / "rounds.parquet"
        if path.exists():
            rows = parquet.read_table(path, columns=["C", "S", "failed"]).to_pylist()
            rounds[name] = [row for row in rows if not row["failed"]]
    if not any(rounds.values()):
        return []
    clusters = {name: [row["C"] for row in some] for name, some in rounds.items()}
    sizes = {name: [row["S"] for row in some if row["S"]] for name, some in rounds.items()}
    return [
        _density("Clusters in a round (C)", clusters, 1.0),
        _density("Mean documents in a cluster (S)", sizes, 0.25),
    ]


def _density(title: str, values: Mapping[str, Sequence[float]], width: float) -> Lines:
    """Shares of rounds in bins from one up, a line a corpus; colours come round with dashes."""
    most = max((max(some) for some in values.values() if some), default=1.0)
    count = int((most - 1) / width + 0.5) + 1
    series = []
    for place, (name, some) in enumerate(values.items()):
        shares = [0.0] * count
        for value in some:
            shares[max(int((value - 1) / width + 0.5), 0)] += 1 / len(some)
        xs = [1 + width * bin_ for bin_ in range(count)]
        series.append(Series(name, xs, shares, group=place % 6, dashed=place >= 6))
    return Lines(series, title=title, x_label=title, y_label="share of rounds")
