"""A study's corpora and models as tables: what was trained on what, and what came of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from synthdiv.reporting.outcomes import OUTCOMES, outcome_named
from synthdiv.reporting.pages import Metric
from synthdiv.reporting.study_statistics import phase_name
from synthdiv.reporting.tables import (
    ERROR,
    INTERVAL,
    Cell,
    Column,
    Table,
    figure,
    interval,
    with_error,
    words,
)

Study = Mapping[str, Any]


def report_of(cell: Mapping[str, Any]) -> str:
    """The address of a corpus's score report, beside the study's page."""
    return f"{cell['corpus']['name']}/score/report.html"


def corpus_tables(study: Study, metrics: Mapping[str, Metric]) -> dict[str, Table]:
    """Returns the tables that have one corpus a row, or one metric, by name."""
    tables = [results(study), _trained_on(study), _tasks(study), _outcomes(study)]
    tables.append(_baselines(study, metrics))
    return {table.name: table for table in tables if table.rows}


def results(study: Study) -> Table:
    """Rows like the paper's Table 6: a corpus, its score, what each model made of it."""
    head = [Column("Corpus", words=True), Column("Score"), Column("95% interval", INTERVAL)]
    columns = []
    for model, phase in _trainings(study):
        found = [cell["models"][model][phase] for cell in study["cells"]]
        called = phase_name(model, phase)
        if any(one["accuracy"] is not None for one in found):
            head.append(Column(f"{called}: accuracy, %", ERROR))
            cells = [with_error(one["accuracy"], one["stderr"], 1, 100) for one in found]
            columns.append([*cells, figure(_chance(study, model, phase), 1, "", 100)])
        if any(one["bits_per_byte"] is not None for one in found):
            head.append(Column(f"{called}: bits per byte"))
            columns.append([*(figure(one["bits_per_byte"], 3) for one in found), words("")])
    rows = [
        [
            words(cell["corpus"]["name"], report_of(cell)),
            figure(cell["score"]["mean"]),
            interval(cell["score"]["ci95"]),
            *(column[place] for column in columns),
        ]
        for place, cell in enumerate(study["cells"])
    ]
    if any(_chance(study, *one) is not None for one in _trainings(study)):
        rows.append([words("chance"), words(""), words(""), *(column[-1] for column in columns)])
    return Table(
        "results",
        "Scores and outcomes",
        "Accuracy over all tasks with its standard error over questions; bits per byte of the "
        "first held-out text, lower is better. A corpus's name leads to the report of its score.",
        head,
        rows,
    )


def _trainings(study: Study) -> Iterator[tuple[str, str]]:
    for model, phases in study["cells"][0]["models"].items():
        for phase in phases:
            yield model, phase


def _chance(study: Study, model: str, phase: str) -> float | None:
    found: float | None = study["cells"][0]["models"][model][phase].get("chance")
    return found


def _trained_on(study: Study) -> Table:
    """What each corpus is, and how often the models read it."""
    trained = study.get("trained") or {}
    reads = {name: one["synthetic_tokens"] for name, one in trained.items()}
    head = [
        Column("Corpus", words=True),
        Column("Written by", words=True),
        *(Column(one) for one in ("Topics", "Generations", "Documents", "Tokens")),
        Column("Tokens a document"),
    ]
    head += [Column(f"Epochs{f' of {name}' if len(reads) > 1 else ''}") for name in reads or ("",)]
    rows = []
    for cell in study["cells"]:
        corpus = cell["corpus"]
        epochs = [one / max(corpus["tokens"], 1) for one in reads.values()]
        rows.append(
            [
                words(corpus["name"], report_of(cell)),
                words((cell.get("origin") or {}).get("written_by")),
                *(figure(corpus[key], 0) for key in ("topics", "generations", "documents")),
                figure(corpus["tokens"], 0),
                figure(corpus["tokens"] / max(corpus["documents"], 1), 1),
                *(figure(one) for one in epochs or [corpus.get("epochs")]),
            ]
        )
    said = [
        f"{name}: {one['parameters']:,} parameters, {one['synthetic_tokens']:,.0f} tokens of its "
        f"corpus and {one['real_tokens']:,.0f} of real text"
        for name, one in trained.items()
    ]
    seeds = study["seeds"]
    said.append(
        f"each trained with seeds {', '.join(map(str, seeds))}"
        if len(seeds) > 1
        else f"each trained once, with seed {seeds[0]}"
    )
    tasks = _task_names(study)
    said.append(f"asked: {', '.join(tasks)}" if tasks else "asked no questions")
    texts = list(dict.fromkeys(text for one in _trainings(study) for text in _texts(study, *one)))
    if texts:
        said.append(f"held-out texts, the first one first: {', '.join(texts)}")
    return Table("trained_on", "What was trained on what", "; ".join(said) + ".", head, rows)


def _texts(study: Study, model: str, phase: str) -> list[str]:
    return list(study["cells"][0]["models"][model][phase].get("texts") or ())


def _task_names(study: Study) -> list[str]:
    return list(
        dict.fromkeys(
            task
            for model, phase in _trainings(study)
            for task in study["cells"][0]["models"][model][phase]["tasks"]
        )
    )


def _tasks(study: Study) -> Table:
    """Rows like the paper's tables of benchmarks: a trained model, the accuracy of every task."""
    tasks = _task_names(study)
    rows: list[list[Cell]] = []
    for model, phase in _trainings(study):
        called = phase_name(model, phase)
        each = [(cell, cell["models"][model][phase]) for cell in study["cells"]]
        for cell, found in each:
            rows.append(
                [words(cell["corpus"]["name"], report_of(cell)), words(called)]
                + [_of_task(found["tasks"].get(task)) for task in tasks]
                + [with_error(found["accuracy"], found["stderr"], 1, 100)]
            )
        first = each[0][1]
        levels = [(first["tasks"].get(task) or {}).get("chance") for task in tasks]
        if any(level is not None for level in (*levels, first.get("chance"))):
            rows.append(
                [words("chance"), words(called)]
                + [figure(level, 1, "", 100) for level in (*levels, first.get("chance"))]
            )
    head = [Column("Corpus", words=True), Column("Model", words=True)]
    head += [Column(f"{task}, %", ERROR) for task in tasks] + [Column("Mean, %", ERROR)]
    return Table(
        "tasks",
        "Accuracy by task",
        "In percent with standard errors over questions, the mean of the training runs.",
        head,
        rows if tasks else [],
    )


def _of_task(found: Mapping[str, Any] | None) -> Cell:
    return with_error(found["value"], found["stderr"], 1, 100) if found else words("")


def _outcomes(study: Study) -> Table:
    """One corpus a row, every outcome of every model a column, and what guessing gives."""
    head, columns = [Column("Corpus", words=True)], []
    for model, phases in study["outcomes"].items():
        for phase, found in phases.items():
            for name, fit in found.items():
                outcome = outcome_named(name)
                head.append(Column(f"{phase_name(model, phase)}: {outcome.label}", ERROR))
                cells = [
                    with_error(one["value"], one["stderr"], outcome.digits, outcome.times)
                    for one in fit["figures"]
                ]
                level = figure(fit["chance"], outcome.digits, "", outcome.times)
                columns.append([*cells, level])
    names = [words(cell["corpus"]["name"], report_of(cell)) for cell in study["cells"]]
    rows = [list(row) for row in zip([*names, words("chance")], *columns, strict=True)]
    lower = [one.title for one in OUTCOMES.values() if not one.higher_is_better]
    return Table(
        "outcomes",
        "All outcomes",
        "With standard errors over questions, or over documents of held-out text. Chance is what a "
        "model has that finds all options equally likely, from the questions' own numbers of "
        f"options. Lower is better of {', '.join(lower)}.",
        head,
        rows if columns else [],
        folded=True,
    )


def _baselines(study: Study, metrics: Mapping[str, Metric]) -> Table:
    """One corpus a row, and a metric a column: the figures of the paper's Figures 4, 6 and 8."""
    cells = study["cells"]
    known = {
        name: metric
        for name, metric in metrics.items()
        if all(isinstance(cell["baselines"].get(name), int | float) for cell in cells)
    }
    head = [Column("Corpus", words=True), Column("LLM cluster score")]
    head += [Column(metric.title) for metric in known.values()]
    rows = [
        [words(cell["corpus"]["name"], report_of(cell)), figure(cell["score"]["mean"])]
        + [_metric(cell["baselines"][name]) for name in known]
        for cell in cells
    ]
    return Table(
        "metrics",
        "What every metric says of the same corpora",
        "What each metric measures and what it confounds stands in a corpus's own report.",
        head,
        rows,
    )


def _metric(value: float) -> Cell:
    from synthdiv.reporting.charts import number

    return Cell(number(value), (float(value),))
