"""The figures of one score: how rounds are distributed, and where the score is on its scale."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.reporting import charts
from synthdiv.reporting.figures import Figure, Histogram, Intervals, Lines, Series
from synthdiv.reporting.plots import plot
from synthdiv.reporting.score_files import Round, read_score_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

_PLOTTED = 400  # points of the running mean


def plot_score(score_dir: str | Path) -> "MatplotlibFigure":
    """Returns the running mean and the distributions of a score directory through matplotlib.

    Raises:
        UserError: score.json or rounds.parquet is missing, or matplotlib is not installed.
    """
    rounds = read_score_files(score_dir).rounds
    running = running_mean(rounds)
    return plot([*([running] if running else []), *distributions(rounds)], columns=3)


def distributions(rounds: Sequence[Round]) -> list[Figure]:
    """Returns Figure 10 of the paper: how C and S are distributed over the rounds."""
    done = [round_ for round_ in rounds if not round_.failed]
    if not done:
        return []
    size = max(len(round_.indices) for round_ in done)
    clusters = [round_.C for round_ in done]
    sizes = [round_.S for round_ in done if round_.S]
    figures: list[Figure] = []
    for group, (values, label, width) in enumerate(
        (
            (clusters, "clusters in a round (C)", 1.0),
            (sizes, "mean documents in a cluster (S)", size / 20),
        )
    ):
        if not values:
            continue
        mean = sum(values) / len(values)
        figures.append(
            Histogram(
                values,
                title=f"Distribution of {label}",
                description=f"{len(values)} rounds, mean {charts.number(mean)}.",
                x_label=label,
                low=0.0,
                high=float(size),
                width=width,
                group=group,
                mark=mean,
            )
        )
    return figures


def running_mean(rounds: Sequence[Round]) -> Lines | None:
    """Returns the mean of the first n rounds against n, or None for fewer than two rounds.

    The band is 1.96 standard errors of independent rounds.
    """
    scores = [round_.score for round_ in rounds if not round_.failed]
    if len(scores) < 2:
        return None
    total = squares = 0.0
    xs, ys, low, high = [], [], [], []
    step = max(len(scores) // _PLOTTED, 1)
    for count, value in enumerate(scores, 1):
        total += value
        squares += value * value
        if count >= 2 and (count % step == 0 or count == len(scores)):
            mean = total / count
            variance = max(squares - count * mean * mean, 0.0) / (count - 1)
            error = 1.96 * math.sqrt(variance / count)
            xs.append(count)
            ys.append(mean)
            low.append(mean - error)
            high.append(mean + error)
    # The first few rounds' band would flatten everything after them.
    settled = [i for i, x in enumerate(xs) if x >= min(10, len(scores) / 2)]
    floor, ceiling = min(low[i] for i in settled), max(high[i] for i in settled)
    pad = (ceiling - floor) * 0.06 or 0.1
    return Lines(
        [Series("running mean", xs, ys, low, high)],
        title="Running mean of the score",
        description=f"After {len(scores)} rounds the mean is {ys[-1]:.2f}.",
        x_label="rounds",
        y_label="mean score so far",
        y_range=(floor - pad, ceiling + pad),
    )


def score_range(score: Mapping[str, Any]) -> tuple[float, float] | None:
    """From where to where a score can go: all alike, all different; None where nothing tells."""
    size = (score.get("rounds") or {}).get("documents_per_round")
    return (1 / size, float(size)) if size else None


def on_the_scale(score: Mapping[str, Any]) -> Intervals | None:
    """The score, and where there are levels the score at each, over all that it could be."""
    ends = score_range(score)
    if ends is None:
        return None
    found = score["score"]
    rows = [
        (f"{one['facet']}: {one['level']}", one["mean"], *(one["ci95"] or (None, None)))
        for one in score.get("levels") or ()
    ] or [("score", found["mean"], *(found.get("ci95") or (None, None)))]
    said = "; ".join(f"{name} {mean:.2f}" for name, mean, *_ in rows)
    return Intervals(
        rows,
        title="The score on its scale",
        description=said,
        x_label="score: from all alike to all different",
        x_range=ends,
        decimals=2,
    )
