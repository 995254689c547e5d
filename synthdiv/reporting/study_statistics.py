"""A study's statistics as tables: slopes, contrasts, confounds, and metrics beside the score."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synthdiv.reporting.outcomes import Outcome, outcome_named
from synthdiv.reporting.pages import Metric

PHASES = {"pretrain": "pre-trained", "sft": "fine-tuned"}
_CONFOUNDS = {
    "tokens": "tokens",
    "epochs": "epochs",
    "document_length": "document length",
    "perplexity": "perplexity",
    "all": "all of these",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: its heading.
        note: how to read it.
        head: names of the columns; the first is of the rows.
        rows: a text for every column.
        folded: shown when it is opened.
    """

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


def statistics_tables(study: Mapping[str, Any], metrics: Mapping[str, Metric]) -> list[Table]:
    """Returns the tables that have rows."""
    tables = [_slopes(study), _contrasts(study), _given(study), *_metrics(study, metrics)]
    return [table for table in tables if table.rows]


def _fits(study: Mapping[str, Any]) -> Iterator[tuple[str, Outcome, Mapping[str, Any]]]:
    """Each fit with the name of its row and its outcome."""
    for model, phases in study["outcomes"].items():
        for phase, found in phases.items():
            for name, fit in found.items():
                outcome = outcome_named(name)
                yield f"{model} {PHASES[phase]}: {outcome.title}", outcome, fit


def _slopes(study: Mapping[str, Any]) -> Table:
    rows = []
    for name, outcome, fit in _fits(study):
        sd = [outcome.text(fit["sd"][key]) for key in ("training", "questions", "corpora")]
        rows.append(
            [
                f"{name}{', ' + outcome.unit if outcome.unit else ''}",
                outcome.text(fit["slope"] if fit["n"] > 2 else None, "+"),
                _ends(fit["ci95"], outcome),
                _p(fit["p_holm"]),
                _of_one(fit["pearson"]),
                _ends(fit["pearson_ci95"]),
                _of_one(fit["spearman"]),
                _ends(fit["spearman_ci95"]),
                "-" if fit["reliability"] is None else f"{fit['reliability']:.2f}",
                *sd,
            ]
        )
    return Table(
        "Slopes and correlations",
        "Slopes are per unit of score, corrected for the scores' own errors (reliability is the "
        "share of the scores' variance that is not error). p is that of no slope, corrected by "
        "Holm's method for all rows. The last columns are standard deviations: of one training "
        "run, of the sample of questions or documents, and of what else corpora do. Spearman has "
        "an interval from ten corpora on.",
        ["Outcome", "Slope", "95% interval", "p, Holm", "Pearson", "95% interval"]
        + ["Spearman", "95% interval", "Reliability", "Training", "Questions", "Corpora"],
        rows,
    )


def _contrasts(study: Mapping[str, Any]) -> Table:
    rows = []
    for one in study["contrasts"]:
        outcome = outcome_named(one["outcome"])
        first, second = (
            f"{model} {PHASES[phase]}" for model, phase in (one["first"], one["second"])
        )
        if one["ci95"] is not None:
            rows.append(
                [
                    f"{second} less {first}: {outcome.title}",
                    outcome.text(one["difference"], "+"),
                    _ends(one["ci95"], outcome),
                    _p(one["p_holm"]),
                ]
            )
    return Table(
        "Does the slope depend on the phase or the model?",
        "Differences between slopes over the same corpora; p corrected for all rows.",
        ["Slopes", "Difference", "95% interval", "p, Holm"],
        rows,
    )


def _given(study: Mapping[str, Any]) -> Table:
    rows = []
    for name, outcome, fit in _fits(study):
        for key, found in fit["given"].items():
            if found["pearson"] is not None:
                rows.append(
                    [
                        f"{name}, given {_CONFOUNDS[key]}",
                        _of_one(found["pearson"]),
                        _ends(found["pearson_ci95"]),
                        outcome.text(found["slope"], "+"),
                        _ends(found["ci95"], outcome),
                    ]
                )
    return Table(
        "With what else differs held fixed",
        "Partial correlation of score and outcome, and the slope of the score beside the other "
        "variables. What these corpora are too few for is left out.",
        ["Outcome", "Pearson", "95% interval", "Slope", "95% interval"],
        rows,
        folded=True,
    )


def _metrics(study: Mapping[str, Any], metrics: Mapping[str, Metric]) -> Iterator[Table]:
    """A table for each outcome: how baselines go with it, and how much better the score does."""
    for name, _, fit in _fits(study):
        rows = [
            [
                metrics[key].title,
                _of_one(found["pearson"]),
                _ends(found["pearson_ci95"]),
                _of_one(found["spearman"]),
                _p(found["p_holm"]),
                _of_one(found["score_better_by"]),
                _ends(found["score_better_by_ci95"]),
            ]
            for key, found in fit["metrics"].items()
            if key in metrics and found["pearson"] is not None
        ]
        yield Table(
            f"Other metrics with {name}",
            f"The LLM cluster score's own Pearson correlation is {_of_one(fit['pearson'])}. It is "
            "better by the difference of the correlations, all turned so that more diverse and "
            "better are up.",
            ["Metric", "Pearson", "95% interval", "Spearman", "p, Holm"]
            + ["Score better by", "95% interval"],
            rows,
            folded=True,
        )


def _ends(ci95: Sequence[float] | None, outcome: Outcome | None = None) -> str:
    if ci95 is None:
        return "-"
    texts = [outcome.text(end, "+") if outcome else f"{end:+.2f}" for end in ci95]
    return " to ".join(texts)


def _of_one(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _p(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
