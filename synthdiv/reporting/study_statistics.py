"""A study's statistics as tables: slopes, contrasts, confounds, and metrics beside the score."""

from collections.abc import Iterator, Mapping
from typing import Any

from synthdiv.reporting.outcomes import Outcome, outcome_named
from synthdiv.reporting.pages import Metric
from synthdiv.reporting.tables import (
    INTERVAL,
    SIGNIFICANT,
    Cell,
    Column,
    Table,
    figure,
    interval,
    p_value,
    words,
)

PHASES = {"pretrain": "pre-trained", "sft": "fine-tuned"}
CONFOUNDS = {
    "tokens": "tokens",
    "epochs": "epochs",
    "document_length": "document length",
    "perplexity": "perplexity",
    "all": "all of these",
}
FEWEST = 3  # corpora that can have a correlation

Fit = Mapping[str, Any]


def phase_name(model: str, phase: str) -> str:
    """What a trained model is called."""
    return f"{model} {PHASES.get(phase, phase)}"


def too_few(corpora: int) -> str:
    """Says that so few corpora make no correlation; "" where they can."""
    if corpora >= FEWEST:
        return ""
    few = {1: "One corpus makes", 2: "Two corpora make"}[corpora]
    why = ": any two points lie on a line" if corpora == 2 else ""
    return (
        f"{few} no correlation{why}. It takes three, and many more for an answer: --power tells "
        "how many."
    )


def fits_of(study: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Fit]]:
    """(model, phase, outcome, fit) of every line of a study."""
    for model, phases in study["outcomes"].items():
        for phase, found in phases.items():
            for name, fit in found.items():
                yield model, phase, name, fit


def statistics_tables(study: Mapping[str, Any], metrics: Mapping[str, Metric]) -> list[Table]:
    """Returns the tables that have rows."""
    tables = [_slopes(study), _contrasts(study), _given(study), _metrics(study, metrics)]
    return [table for table in tables if table.rows]


def _lines(study: Mapping[str, Any]) -> Iterator[tuple[str, Outcome, Fit]]:
    for model, phase, name, fit in fits_of(study):
        yield phase_name(model, phase), outcome_named(name), fit


def _of(outcome: Outcome, value: float | None, sign: str = "+", strong: bool = False) -> Cell:
    return figure(value, outcome.digits, sign, outcome.times, strong)


def _ends(outcome: Outcome, ci95: Any) -> Cell:
    return interval(ci95, outcome.digits, "+", outcome.times)


def _slopes(study: Mapping[str, Any]) -> Table:
    rows = []
    for who, outcome, fit in _lines(study):
        certain = fit["p_holm"] is not None and fit["p_holm"] < SIGNIFICANT
        slope = fit["slope"] if fit["n"] >= FEWEST else None
        rows.append(
            [
                words(f"{who}: {outcome.label}"),
                _of(outcome, slope, strong=certain),
                _ends(outcome, fit["ci95"]),
                p_value(fit["p_holm"]),
                figure(fit["pearson"], 2, "+"),
                interval(fit["pearson_ci95"], 2, "+"),
                figure(fit["spearman"], 2, "+"),
                interval(fit["spearman_ci95"], 2, "+"),
                figure(fit["reliability"]),
                *(_of(outcome, fit["sd"][key], "") for key in ("training", "questions", "corpora")),
            ]
        )
    return Table(
        "slopes",
        "Slopes and correlations",
        "Slopes are per unit of score, corrected for the scores' own errors (reliability is the "
        "share of the scores' variance that is not error). p is that of no slope, corrected by "
        f"Holm's method for all rows; in bold, below {SIGNIFICANT:g}. The last columns are "
        "standard deviations: of one training run, of the sample of questions or documents, and of "
        "what else corpora do. Spearman has an interval from ten corpora on.",
        [
            Column("Outcome", words=True),
            Column("Slope"),
            Column("Slope, 95% interval", INTERVAL),
            Column("p, Holm"),
            Column("Pearson"),
            Column("Pearson, 95% interval", INTERVAL),
            Column("Spearman"),
            Column("Spearman, 95% interval", INTERVAL),
            *(Column(one) for one in ("Reliability", "Training", "Questions", "Corpora")),
        ],
        rows,
    )


def _contrasts(study: Mapping[str, Any]) -> Table:
    rows = []
    for one in study["contrasts"]:
        outcome = outcome_named(one["outcome"])
        first, second = phase_name(*one["first"]), phase_name(*one["second"])
        if one["ci95"] is not None:
            certain = one["p_holm"] is not None and one["p_holm"] < SIGNIFICANT
            rows.append(
                [
                    words(f"{second} less {first}: {outcome.title}"),
                    _of(outcome, one["difference"], strong=certain),
                    _ends(outcome, one["ci95"]),
                    p_value(one["p_holm"]),
                ]
            )
    return Table(
        "contrasts",
        "Does the slope depend on the phase or the model?",
        "Differences between slopes over the same corpora; p corrected for all rows, in bold below "
        f"{SIGNIFICANT:g}.",
        [
            Column("Slopes", words=True),
            Column("Difference"),
            Column("95% interval", INTERVAL),
            Column("p, Holm"),
        ],
        rows,
    )


def _given(study: Mapping[str, Any]) -> Table:
    rows = []
    for who, outcome, fit in _lines(study):
        for key, found in fit["given"].items():
            if found["pearson"] is not None:
                rows.append(
                    [
                        words(f"{who}: {outcome.title}, given {CONFOUNDS[key]}"),
                        figure(found["pearson"], 2, "+"),
                        interval(found["pearson_ci95"], 2, "+"),
                        _of(outcome, found["slope"]),
                        _ends(outcome, found["ci95"]),
                    ]
                )
    return Table(
        "confounds",
        "With what else differs held fixed, for every outcome",
        "Partial correlation of score and outcome, and the slope of the score beside the other "
        "variables. What these corpora are too few for is left out.",
        [
            Column("Outcome", words=True),
            Column("Pearson"),
            Column("Pearson, 95% interval", INTERVAL),
            Column("Slope"),
            Column("Slope, 95% interval", INTERVAL),
        ],
        rows,
        folded=True,
    )


def _metrics(study: Mapping[str, Any], metrics: Mapping[str, Metric]) -> Table:
    """How baselines go with every outcome, and how much better the score does."""
    rows = [
        [
            words(metrics[key].title),
            words(f"{who}: {outcome.title}"),
            figure(found["pearson"], 2, "+"),
            interval(found["pearson_ci95"], 2, "+"),
            figure(found["spearman"], 2, "+"),
            p_value(found["p_holm"]),
            figure(found["score_better_by"], 2, "+"),
            interval(found["score_better_by_ci95"], 2, "+"),
        ]
        for who, outcome, fit in _lines(study)
        for key, found in fit["metrics"].items()
        if key in metrics and found["pearson"] is not None
    ]
    return Table(
        "metrics_and_outcomes",
        "Other metrics with each outcome",
        "The LLM cluster score is better than a metric by the difference of the two correlations, "
        "all turned so that more diverse and better are up. p is corrected over an outcome's "
        f"metrics; in bold, below {SIGNIFICANT:g}.",
        [
            Column("Metric", words=True),
            Column("Outcome", words=True),
            Column("Pearson"),
            Column("Pearson, 95% interval", INTERVAL),
            Column("Spearman"),
            Column("p, Holm"),
            Column("Score better by"),
            Column("Better by, 95% interval", INTERVAL),
        ],
        rows,
        folded=True,
    )
