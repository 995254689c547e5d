"""Compares checkpoints that answered the same questions: paired bootstrap, table, HTML page."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv import files
from synthdiv.corpora.names import tell_apart
from synthdiv.errors import UserError
from synthdiv.plans import text_table
from synthdiv.reporting.checkpoints_page import write_checkpoints_page
from synthdiv.reporting.outcomes import OUTCOMES, Outcome

_AT_ONCE = 10_000_000  # counts of questions that are held in memory while drawing


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """How to compare. Gin name `Compare`.

    Attributes:
        draws: of the bootstrap.
        confidence: of the intervals.
        seed: of the draws.
    """

    draws: int = 10_000
    confidence: float = 0.95
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        names: of the results; the others are compared with the first.
        rows: one per task and then "average", of accuracy and then of every measure of
            `OUTCOMES` that all results have: task, measure, metric, questions, chance (what
            guessing gives, or None), values (one per name), and differences (one per name but the
            first): difference, ci (lo, hi), and `against`, the share of draws in which the
            difference has the other sign (a one-sided p-value).
        confidence: of the intervals.
    """

    names: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    confidence: float

    def table(self) -> str:
        """Returns a plain-text table."""
        head = ["task", "metric", "n", "chance", self.names[0]]
        head += [f"{name} (difference)" for name in self.names[1:]]
        lines = []
        for row in self.rows:
            outcome = OUTCOMES[row["measure"]]

            def text(value: float, sign: str = "", outcome: Outcome = outcome) -> str:
                return outcome.text(value, sign) + outcome.unit

            chance = "" if row["chance"] is None else text(row["chance"])
            cells = [row["task"], row["metric"], str(row["questions"]), chance]
            cells.append(text(row["values"][0]))
            for value, d in zip(row["values"][1:], row["differences"], strict=True):
                lo, hi = (text(end, "+") for end in d["ci"])
                cells.append(f"{text(value)} ({text(d['difference'], '+')} [{lo}, {hi}])")
            lines.append(cells)
        return text_table(head, lines, left=2)


def compare(
    results: Sequence[str | Path], output: str | Path | None, config: CompareConfig | None = None
) -> Comparison:
    """Compares results of `evaluate`, question by question.

    A draw takes as many questions as a task has, with replacement, the same for all checkpoints;
    the average is over tasks, each drawn by itself.

    Args:
        results: JSON files that `evaluate` wrote; two or more.
        output: directory for comparison.json and comparison.html; None writes nothing.
        config: how.

    Raises:
        UserError: fewer than two, not results of `evaluate`, no task in common, or a task whose
            questions or metric differ.
    """
    config = config or CompareConfig()
    if len(results) < 2:
        raise UserError("a comparison takes the results of at least two evaluations")
    if config.draws < 1 or not 0 < config.confidence < 1:
        raise UserError("Compare.draws must be at least 1 and Compare.confidence between 0 and 1")
    if config.seed < 0:
        raise UserError(f"Compare.seed must not be negative, as {config.seed} is")
    read = [_questions(Path(path)) for path in results]
    common = [task for task in read[0] if all(task in other for other in read)]
    if not common:
        raise UserError("the results have no task in common")
    random = np.random.default_rng(config.seed)
    compared: dict[str, list[_Compared]] = {}
    for task in common:
        asked = [other[task] for other in read]
        for path, other in zip(results, asked, strict=True):
            if other["metric"] != asked[0]["metric"]:
                raise UserError(f"{path}: task {task!r} has metric {other['metric']!r}")
            if other["hashes"] != asked[0]["hashes"]:
                raise UserError(
                    f"{path}: task {task!r} was asked other questions than in {results[0]}"
                )
        for one in _compare_task(task, asked, config.draws, random):
            compared.setdefault(one.measure, []).append(one)
    rows = []
    for measure, each in compared.items():
        rows += [_row(one, config) for one in (*each, *_mean_of_tasks(measure, each))]
    named = [Path(path).with_suffix("") for path in results]
    comparison = Comparison(tuple(tell_apart(named)), tuple(rows), config.confidence)
    if output is not None:
        directory = files.output_dir(output)
        write_checkpoints_page(
            directory / "comparison.html",
            comparison.names,
            comparison.rows,
            comparison.confidence,
        )
        files.write_json(directory / "comparison.json", dataclasses.asdict(comparison))
    return comparison


def _questions(path: Path) -> dict[str, Any]:
    found = files.read_json(path)
    if not isinstance(found, dict) or not found.get("questions"):
        raise UserError(f"{path} has no scored questions: it is not the result of an evaluation")
    return found["questions"]


@dataclasses.dataclass(frozen=True)
class _Compared:
    """One measure of one task: its mean of each checkpoint, [n], and of each draw, [draws, n]."""

    task: str
    measure: str
    metric: str
    questions: int
    chance: float | None
    means: np.ndarray
    drawn: np.ndarray


def _compare_task(
    task: str, asked: Sequence[dict[str, Any]], draws: int, random: np.random.Generator
) -> list[_Compared]:
    """Accuracy and the measures that all have, each drawn with the same questions."""
    first = asked[0]
    columns = {"accuracy": [one["scores"] for one in asked]}
    # Results of earlier versions have scores alone.
    for name in first.get("measures", {}):
        if all(name in one.get("measures", {}) for one in asked):
            columns[name] = [one["measures"][name] for one in asked]
    values = np.array(list(columns.values()))  # [measures, checkpoints, questions]
    flat = values.reshape(-1, values.shape[-1])
    drawn = _draw(flat, draws, random).reshape(draws, *values.shape[:2])
    return [
        _Compared(
            task,
            name,
            first["metric"] if name == "accuracy" else name,
            values.shape[-1],
            first.get("chance", {}).get(name),
            values[place].mean(axis=-1),
            drawn[:, place],
        )
        for place, name in enumerate(columns)
    ]


def _mean_of_tasks(measure: str, each: Sequence[_Compared]) -> list[_Compared]:
    """The average over tasks, where there are several."""
    if len(each) < 2:
        return []
    levels = [one.chance for one in each if one.chance is not None]
    return [
        _Compared(
            "average",
            measure,
            "mean of tasks" if measure == "accuracy" else measure,
            sum(one.questions for one in each),
            float(np.mean(levels)) if len(levels) == len(each) else None,
            np.mean([one.means for one in each], axis=0),
            np.mean([one.drawn for one in each], axis=0),
        )
    ]


def _draw(scores: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """Returns bootstrap means, (draws, rows of `scores`).

    Questions with the same scores everywhere are one kind; a draw is how many of each kind.
    """
    kinds, count = np.unique(scores, axis=1, return_counts=True)
    n = scores.shape[1]
    at_once = max(_AT_ONCE // len(count), 1)
    parts = [
        random.multinomial(n, count / n, size=min(at_once, draws - start)) @ kinds.T / n
        for start in range(0, draws, at_once)
    ]
    return np.concatenate(parts)


def _row(one: _Compared, config: CompareConfig) -> dict[str, Any]:
    tail = (1 - config.confidence) / 2
    mean, drawn = one.means, one.drawn
    differences = []
    for i in range(1, len(mean)):
        d = drawn[:, i] - drawn[:, 0]
        difference = float(mean[i] - mean[0])
        against = (d <= 0 if difference >= 0 else d >= 0).mean()
        differences.append(
            {
                "difference": difference,
                "ci": [float(q) for q in np.quantile(d, [tail, 1 - tail])],
                "against": float(against),
            }
        )
    return {
        "task": one.task,
        "measure": one.measure,
        "metric": one.metric,
        "questions": one.questions,
        "chance": one.chance,
        "values": [float(v) for v in mean],
        "differences": differences,
    }
