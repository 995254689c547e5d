"""What a run would take, before anything is sent: calls, tokens and money of each stage."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthdiv import plans
from synthdiv.llm.config import LLMConfig
from synthdiv.llm.conversation import first_call
from synthdiv.llm.money import PICO, Price, likely_tokens, most_input_tokens, most_output_tokens
from synthdiv.llm.protocol import Request, Usage
from synthdiv.llm.speed import parse_speed

_GUESSED_SHARE = 0.25  # of max_tokens, for a reply nobody has seen the like of


@dataclass(frozen=True)
class Stage:
    """A stage whose requests are not known yet: examples of them, and how many there will be."""

    examples: Sequence[Request[Any]]
    calls: int


@dataclass(frozen=True)
class StagePlan:
    """One stage: calls to send and found in the store, tokens, USD (None without a price), time.

    `output` and `cost_usd` are likely, `most_output` and `most_cost_usd` cannot be exceeded by the
    calls counted here; a reply that has to be asked for again is not among them.
    """

    stage: str
    calls: int
    cached: int
    input: int
    output: int
    most_output: int
    cost_usd: float | None
    most_cost_usd: float | None
    seen: bool  # whether `output` follows answers of this stage in the store
    seconds: float | None = None  # at the stated speed of the server, and the account's limits


@dataclass(frozen=True)
class Plan(plans.Plan):
    """What all stages would take; printed, it is a table."""

    stages: tuple[StagePlan, ...] = ()

    @property
    def calls(self) -> int:
        return sum(stage.calls for stage in self.stages)

    @property
    def cost_usd(self) -> float | None:
        return _sum(stage.cost_usd for stage in self.stages)

    @property
    def most_cost_usd(self) -> float | None:
        return _sum(stage.most_cost_usd for stage in self.stages)

    @property
    def hours(self) -> float | None:
        """One stage after another; None without a stated speed."""
        seconds = _sum(stage.seconds for stage in self.stages)
        return None if seconds is None or not self.stages else seconds / 3600

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan as JSON would have it."""
        return {
            "stages": [vars(stage) for stage in self.stages],
            "calls": self.calls,
            "cost_usd": self.cost_usd,
            "most_cost_usd": self.most_cost_usd,
            "hours": self.hours,
        }

    def __str__(self) -> str:
        head = ["stage", "calls", "cached", "input tokens", "output tokens", "USD", "USD at most"]
        rows = [
            [
                stage.stage,
                f"{stage.calls:,}",
                f"{stage.cached:,}",
                f"{stage.input:,}",
                f"{'' if stage.seen or not stage.calls else '~'}{stage.output:,}",
                _usd(stage.cost_usd),
                _usd(stage.most_cost_usd),
            ]
            for stage in self.stages
        ]
        if len(rows) > 1:
            rows.append(
                [
                    "all",
                    f"{self.calls:,}",
                    f"{sum(s.cached for s in self.stages):,}",
                    f"{sum(s.input for s in self.stages):,}",
                    f"{sum(s.output for s in self.stages):,}",
                    _usd(self.cost_usd),
                    _usd(self.most_cost_usd),
                ]
            )
        if self.hours is not None:
            head.append("hours")
            spent = [*(stage.seconds for stage in self.stages), 3600 * self.hours]
            for row, seconds in zip(rows, spent, strict=False):
                row.append(f"{(seconds or 0) / 3600:,.2f}")
        return plans.text_table(head, rows)


def make_plan(
    stages: Mapping[str, Sequence[Request[Any]] | Stage],
    asked_of: tuple[object, ...],
    price: Price | None,
    store: Path | None,
    fresh: bool,
    config: LLMConfig,
) -> Plan:
    """Estimates `stages`; a store is read if it is there, and never made."""
    written, kept = {}, None
    if store is not None and store.exists():
        kept = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
        try:
            written = dict(kept.execute("SELECT stage, avg(output) FROM answers GROUP BY stage"))
        except sqlite3.Error:
            kept = None
    planned = []
    for name, stage in stages.items():
        if not isinstance(stage, Stage):
            stage = Stage(stage, len(stage))
        known = None if fresh else kept
        planned.append(_plan_stage(name, stage, asked_of, price, known, written, config))
    if kept is not None:
        kept.close()
    return Plan(stages=tuple(planned))


def _plan_stage(
    name: str,
    stage: Stage,
    asked_of: tuple[object, ...],
    price: Price | None,
    kept: sqlite3.Connection | None,
    written: Mapping[str, float],
    config: LLMConfig,
) -> StagePlan:
    keys: set[bytes] = set()
    more = stage.calls > len(stage.examples)  # the others are like the examples
    cached = calls = prompt = most_prompt = output = most_output = 0
    for request in stage.examples:
        call = first_call(request, asked_of)
        if call.key in keys:
            continue
        keys.add(call.key)
        if kept and kept.execute("SELECT 1 FROM answers WHERE key = ?", (call.key,)).fetchone():
            cached += 1
            if not more:
                continue
        added = sum(len(json.dumps(part)) for part in (call.schema, config.extra) if part)
        text = sum(len(m["content"].encode("utf-8", "replace")) for m in call.messages)
        calls += 1
        prompt += likely_tokens(text + added)
        most_prompt += most_input_tokens(call.messages, added)
        expected = request.expected or _GUESSED_SHARE * call.max_tokens
        likely = written.get(request.stage, expected)
        output += min(round(likely), call.max_tokens)
        most_output += most_output_tokens(call.max_tokens, config.extra)
    if more:
        calls = stage.calls - cached
        factor = calls / max(len(keys), 1)
        prompt, most_prompt, output, most_output = (
            round(n * factor) for n in (prompt, most_prompt, output, most_output)
        )
    return StagePlan(
        stage=name,
        calls=calls,
        cached=cached,
        input=prompt,
        output=output,
        most_output=most_output,
        cost_usd=None if price is None else price.cost(Usage(prompt, 0, output)) / PICO,
        most_cost_usd=None if price is None else price.most(most_prompt, most_output) / PICO,
        seen=name in written,
        seconds=_seconds(config, calls, prompt, output),
    )


def _seconds(config: LLMConfig, calls: int, read: int, written: int) -> float | None:
    """How long a stage takes, by the stated speed or the account's limits; None without any."""
    speed, found = parse_speed(config.speed), []
    if speed:
        found.append(speed.seconds(calls, written, config.concurrency))
    if config.requests_per_minute:
        found.append(60 * calls / config.requests_per_minute)
    if config.tokens_per_minute:
        found.append(60 * (read + written) / config.tokens_per_minute)
    return max(found, default=None)


def _sum(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.2f}"
