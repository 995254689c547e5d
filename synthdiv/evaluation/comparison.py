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
        rows: one per task, then "average": task, metric, questions, values (one per name), and
            differences (one per name but the first): difference, ci (lo, hi), and `against`, the
            share of draws in which the difference has the other sign (a one-sided p-value).
        confidence: of the intervals.
    """

    names: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    confidence: float

    def table(self) -> str:
        """Returns a plain-text table, in per cent."""
        head = ["task", "metric", "n", self.names[0]]
        head += [f"{name} (difference)" for name in self.names[1:]]
        lines = []
        for row in self.rows:
            cells = [row["task"], row["metric"], str(row["questions"]), f"{row['values'][0]:.2%}"]
            for value, d in zip(row["values"][1:], row["differences"], strict=True):
                lo, hi = d["ci"]
                cells.append(f"{value:.2%} ({d['difference']:+.2%} [{lo:+.2%}, {hi:+.2%}])")
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
    rows, means, draws = [], [], []
    for task in common:
        first = read[0][task]
        for path, other in zip(results, read, strict=True):
            if other[task]["metric"] != first["metric"]:
                raise UserError(f"{path}: task {task!r} has metric {other[task]['metric']!r}")
            if other[task]["hashes"] != first["hashes"]:
                raise UserError(
                    f"{path}: task {task!r} was asked other questions than in {results[0]}"
                )
        scores = np.array([other[task]["scores"] for other in read])
        drawn = _draw(scores, config.draws, random)
        means.append(scores.mean(axis=1))
        draws.append(drawn)
        rows.append(_row(task, first["metric"], scores.shape[1], means[-1], drawn, config))
    if len(common) > 1:
        total = sum(row["questions"] for row in rows)
        mean, drawn = np.mean(means, axis=0), np.mean(draws, axis=0)
        rows.append(_row("average", "mean of tasks", total, mean, drawn, config))
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


def _draw(scores: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """Returns bootstrap means, (draws, checkpoints).

    Questions with the same scores everywhere are one kind; a draw is how many of each kind.
    """
    kinds, count = np.unique(scores, axis=1, return_counts=True)
    n = scores.shape[1]
    return random.multinomial(n, count / n, size=draws) @ kinds.T / n


def _row(
    task: str, metric: str, n: int, mean: np.ndarray, drawn: np.ndarray, config: CompareConfig
) -> dict[str, Any]:
    tail = (1 - config.confidence) / 2
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
        "task": task,
        "metric": metric,
        "questions": n,
        "values": [float(v) for v in mean],
        "differences": differences,
    }
