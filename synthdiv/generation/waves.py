"""What is kept of each wave of a growing corpus: its plan, what was judged, and what came of it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.diversity.growing import Look, Measure, WaveRound
from synthdiv.reporting.figures import Lines, Series

DIRECTORY = "waves"
CALLED: dict[Measure, str] = {"score": "score", "effective_clusters": "effective clusters"}


@dataclasses.dataclass(frozen=True)
class Wave:
    """One wave.

    Attributes:
        number: from 0.
        requests: of the plan, in the order in which they are sent.
        arms: the arm of each.
        full: clusters that its writers are told are full.
        wanted: gaps that they are told of, each prompt of one in turn.
        end: documents of the corpus after it; None as long as it is under way, as in all below.
        tokens: of the corpus after it, estimated.
        cost_usd: of all calls so far, of writers and judge; None also where a model has no price.
        looks: at the corpus after it.
        rounds: that were judged after it.
    """

    number: int
    requests: tuple[int, ...]
    arms: tuple[str, ...]
    full: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    end: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    looks: tuple[Look, ...] = ()
    rounds: tuple[WaveRound, ...] = ()

    def write(self, corpus: Path) -> None:
        """Writes the wave's file, whole or not at all."""
        content = dataclasses.asdict(self) | {"looks": [look.as_json() for look in self.looks]}
        path = files.output_dir(corpus / DIRECTORY) / f"{self.number:05d}.json"
        files.write_json(path, content)

    @classmethod
    def read(cls, path: Path) -> Wave:
        """Reads a wave's file."""
        row: dict[str, Any] = files.read_json(path)
        row |= {name: tuple(row[name]) for name in ("requests", "arms", "full", "wanted")}
        row["looks"] = tuple(map(Look.of_json, row["looks"]))
        row["rounds"] = tuple(map(WaveRound.of_json, row["rounds"]))
        return cls(**row)


def read_waves(corpus: Path) -> list[Wave]:
    """Reads the waves of a corpus, in order."""
    return [Wave.read(path) for path in sorted((corpus / DIRECTORY).glob("[0-9]*.json"))]


def wave_rows(waves: list[Wave], measure: Measure) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the names of the columns, and what each wave brought, in words."""
    rows: list[tuple[str, ...]] = []
    judged = 0
    for wave in waves:
        judged += len(wave.rounds)
        look = wave.looks[-1] if wave.looks else None
        arm, count = Counter(wave.arms).most_common(1)[0]
        rows.append(
            (
                str(wave.number + 1),
                f"{wave.end or 0:,}",
                f"{wave.tokens or 0:,}",
                "?" if wave.cost_usd is None else f"{wave.cost_usd:,.2f}",
                f"{judged:,}",
                f"{look.mean:.2f}" if look else "?",
                f"{look.low:.2f} to {look.high:.2f}" if look else "?",
                f"{arm} ({count})",
            )
        )
    head = ("wave", "documents", "tokens", "dollars", "rounds", CALLED[measure], "interval")
    return (*head, "most went to"), rows


def wave_lines(waves: list[Wave], measure: Measure, target: float | None, by: str) -> Lines | None:
    """Returns the measure against documents ("end"), "tokens" or money ("cost_usd").

    None where fewer than two waves were measured, or nothing tells what they are held against.
    """
    seen = [wave for wave in waves if wave.looks and getattr(wave, by) is not None]
    xs = [float(getattr(wave, by)) for wave in seen]
    if len(set(xs)) < 2:
        return None
    looks = [wave.looks[-1] for wave in seen]
    ys = [look.mean for look in looks]
    reach = 2 * max(*ys, target or 0.0)
    low = [max(look.low, 0.0) for look in looks]
    high = [min(look.high, reach) for look in looks]
    series = [Series(CALLED[measure], xs, ys, low, high)]
    if target is not None:
        series.append(Series("target", [xs[0], xs[-1]], [target, target], group=1, dashed=True))
    against = {"end": "documents", "tokens": "tokens", "cost_usd": "dollars"}[by]
    return Lines(
        series,
        title=f"{CALLED[measure].capitalize()} against {against}",
        description=f"{len(seen)} waves, from {ys[0]:.2f} to {ys[-1]:.2f}.",
        x_label=against,
        y_label=CALLED[measure],
    )
