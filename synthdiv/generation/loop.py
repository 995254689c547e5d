"""The closed loop: a corpus grows in waves, each scored, until it is diverse enough.

Every wave goes where the bandit expects most new clusters a token; its writers are told of clusters
that are full and of kinds of text that are missing. After it, a judge sorts some rounds of the
corpus, and the loop stops at the target, at a bound, or when waves add nothing. A wave is written
down before its first request is sent and again when it was judged, and every reply is in the store,
so a run that was killed goes on to the same corpus.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv import files
from synthdiv.claims import FINGERPRINT, claim
from synthdiv.diversity.growing import Look, means_by_wave, wave_weights
from synthdiv.errors import UserError
from synthdiv.generation.bandit import Arms, place_wave
from synthdiv.generation.config import GenerateConfig, LoopConfig
from synthdiv.generation.generator import (
    Tally,
    check_apart,
    in_order,
    leaving,
    manifest_of,
    reopen,
    writers_of,
)
from synthdiv.generation.outlook import cheap, growth_work, most_documents
from synthdiv.generation.plan import CorpusPlan
from synthdiv.generation.scout import Scout
from synthdiv.generation.waves import CALLED, Wave, read_waves, wave_lines, wave_rows
from synthdiv.llm import fence, in_steps
from synthdiv.progress import Progress, say
from synthdiv.prompts import Templates
from synthdiv.reporting import charts, pages
from synthdiv.reporting.card import write_card

if TYPE_CHECKING:
    from synthdiv.diversity import ScoreConfig
    from synthdiv.llm import Session

PAGE = "waves.html"


def grow(
    topics: Path | None,
    output: Path,
    config: GenerateConfig,
    loop: LoopConfig,
    score: ScoreConfig,
    session: Session | Sequence[Session],
    judge: Session,
    sources: files.Corpus | None = None,
) -> dict[str, Any]:
    """Grows a corpus until its target is reached; one that has reached it is left alone.

    The target's number, and the bounds on documents and on waves that add nothing, may be others in
    a later run of the same corpus, which then goes on, or finds that there is nothing to do.

    Args:
        topics, output, config, session, sources: as `generate`.
        loop: the target, the bounds and the waves.
        score: how the judge is asked; verification and baselines are left out.
        judge: who scores, which may be the writer's session.

    Returns:
        The corpus's manifest; its `loop` says why it ended.

    Raises:
        UserError, Paused: as `generate`.
    """
    check_apart(output, topics, sources)
    plan, output = CorpusPlan(topics, config, sources), Path(output)
    score = cheap(score)
    most_documents(plan, loop, score)
    work = growth_work(plan, writers_of(config, session), loop, score, judge)
    with claim(output / FINGERPRINT, work, "corpus"):
        sessions = [*session] if isinstance(session, Sequence) else [session]
        growing = _Growing(plan, output, loop, Scout(output, loop, score, judge), sessions)
        return growing.run(work)


class _Growing:
    """One run of the loop over one corpus."""

    def __init__(
        self,
        plan: CorpusPlan,
        output: Path,
        loop: LoopConfig,
        scout: Scout,
        sessions: Sequence[Session],
    ) -> None:
        self.plan, self.output, self.loop, self.scout = plan, output, loop, scout
        self.writers = writers_of(plan.config, sessions)
        self.sessions = list(dict.fromkeys([*sessions, scout.judge]))
        self.waves: list[Wave] = []
        self.tally = Tally()
        self.arm_tokens: Counter[str] = Counter()
        self.documents: list[str] = []  # the arm of each
        self._paid = 0.0  # by this process, as far as a wave's file has it

    def run(self, work: dict[str, Any]) -> dict[str, Any]:
        """Grows the corpus and declares it complete."""
        complete = files.read_manifest(self.output)
        reopen(self.output)
        writer = files.CorpusWriter(self.output)
        self.waves = read_waves(self.output)
        answered = self._count(writer)
        if complete is not None:
            if reason := self._reason():
                say(f"{self.output}: nothing is written: {reason}")
                return complete
            (self.output / files.MANIFEST).unlink()  # it goes on
        rows: list[dict[str, Any]] = []
        with (
            in_steps({"generation": self.plan.stages()} | self.scout.steps),
            leaving(self.plan, self.tally, self.writers, writer, rows, self._calls),
        ):
            while not (reason := self._reason()):
                if not self.waves or self.waves[-1].end is not None:
                    self._place()
                    answered = 0
                self._write(writer, rows, answered)
                self._judge()
        if not self.tally.documents:
            raise UserError(
                f"none of {self.tally.requests} requests was answered: {self.tally.failure}"
            )
        self._show(reason)
        look = self._looks()[-1:]
        told = {
            "reason": reason,
            "target": self.loop.target,
            "measure": self.loop.measure,
            "waves": len(self.waves),
            "reached": look[0].as_json() if look else None,
        }
        manifest = manifest_of(self.plan, self.tally, self.writers, writer.shards)
        written = self.plan.stages()
        judged = self.scout.judge.paid(lambda stage: stage not in written)
        manifest["usage"]["paid"]["judge"] = judged
        write_card(self.output, manifest | work, writer.shards)
        writer.close(manifest | work | {"loop": told})
        say(f"{self.output}: {reason}")
        return files.read_manifest(self.output) or {}

    def _count(self, writer: files.CorpusWriter) -> int:
        """Takes stock of what earlier runs left; returns how far the last wave is answered."""
        under_way = self.waves[-1] if self.waves and self.waves[-1].end is None else None
        place = {number: n for n, number in enumerate(under_way.requests)} if under_way else {}
        answered = 0
        for shard in writer.shards:
            for document in files.Corpus(shard):
                before = self.tally.tokens
                self.tally.add(document.text)
                self._credit(document.provenance["arm"], self.tally.tokens - before)
                if under_way and document.provenance["wave"] == under_way.number:
                    answered = place[document.provenance["request"]] + 1
        done = (len(wave.requests) for wave in self.waves if wave.end is not None)
        self.tally.requests = sum(done) + answered
        return answered

    def _credit(self, arm: str, tokens: int) -> None:
        """Counts a document of an arm."""
        self.documents.append(sys.intern(arm))
        self.arm_tokens[arm] += tokens

    def _looks(self) -> list[Look]:
        return [look for wave in self.waves for look in wave.looks]

    def _reason(self) -> str | None:
        """Why nothing more is to be written; None where something is."""
        if self.waves and self.waves[-1].end is None:
            return None
        loop, looks = self.loop, self._looks()
        called, target = CALLED[loop.measure], loop.target
        if looks and target is not None and looks[-1].low >= target:
            look = looks[-1]
            return (
                f"the target is reached: {called} {look.mean:.2f}, at least {look.low:.2f}, where"
                f" {target:g} was wanted"
            )
        if not self._left():
            return f"the bound is reached: {self.tally.documents:,} documents"
        budget = self.plan.config.token_budget
        if budget and self.tally.tokens >= budget:
            return f"the token budget is spent: about {self.tally.tokens:,} tokens"
        if looks and len(self.waves) > loop.patience:
            rounds = [one for wave in self.waves for one in wave.rounds]
            means = means_by_wave(rounds, [wave.end or 0 for wave in self.waves], loop.measure)
            before, now = means[-1 - loop.patience], means[-1]
            if now <= before * (1 + loop.least_gain):
                waves = f"{loop.patience} waves" if loop.patience > 1 else "a wave"
                return f"{waves} added nothing: {called} {before:.2f} before, {now:.2f} after"
        return None

    def _left(self) -> int:
        """Requests that may still be sent."""
        most = len(self.plan)
        if self.loop.documents:
            most = min(most, self.loop.documents + self.tally.failed)
        return max(most - self.tally.requests, 0)

    @cached_property
    def _arms(self) -> Arms:
        taken = [number for wave in self.waves for number in wave.requests]
        kinds = self.loop.arms if self.loop.steer != "plan" else ()
        return Arms(self.plan, self.writers, kinds, self.loop.depth, taken)

    def _place(self) -> None:
        """Decides what the next wave is made of, and writes it down."""
        loop, arms, number = self.loop, self._arms, len(self.waves)
        count = max(loop.wave, int(loop.growth * self.tally.documents))
        if self.plan.config.token_budget and self.tally.tokens:
            missing = self.plan.config.token_budget - self.tally.tokens
            count = min(count, -(-missing * self.tally.requests // self.tally.tokens))
        count = min(count, self._left())
        requests: list[int] = []
        if loop.steer != "plan":
            rounds = [one for wave in self.waves for one in wave.rounds if one.clusters]
            if loop.steer == "even":
                rounds = []  # nothing is learned of them
            ends = [wave.end or 0 for wave in self.waves]
            weights: list[float] = []
            if rounds:
                each = wave_weights(ends, len(rounds[0].documents))
                have = [sum(one.wave == n for one in rounds) for n in range(len(ends))]
                weights = [each[one.wave] / have[one.wave] for one in rounds]
            counts = Counter(self.documents)
            tokens = {arm: self.arm_tokens[arm] / counts[arm] for arm in counts}
            seed = (self.plan.config.seed, number)
            names = list(dict.fromkeys([*arms.names, *self.documents]))
            placing = place_wave(count, names, self.documents, tokens, rounds, weights, seed)
            with contextlib.suppress(StopIteration):  # no arm that is known has any more
                for arm in placing:
                    while (request := arms.take(arm)) is None:
                        arm = placing.send(True)
                    requests.append(request)
        requests += arms.take_any(count - len(requests))
        full, wanted = self.scout.told(self.waves) if loop.notes else ((), ())
        named = tuple(map(arms.of, requests))
        self.waves.append(Wave(number, tuple(requests), named, full, wanted))
        self.waves[-1].write(self.output)

    def _calls(self) -> int:
        """About how many calls are left of the last wave."""
        begun = sum(len(wave.requests) for wave in self.waves) - self.tally.requests
        return begun + self.loop.rounds * 2**self.loop.batches

    def _write(self, writer: files.CorpusWriter, rows: list[dict[str, Any]], answered: int) -> None:
        """Writes the documents of the last wave that are not there yet."""
        wave, tally, plan = self.waves[-1], self.tally, self.plan
        place = {number: at for at, number in enumerate(wave.requests)}
        templates = Templates(self.loop.notes, True, {"fence": fence}) if self.loop.notes else None

        def note(number: int) -> str:
            if templates is None or not (wave.full or wave.wanted):
                return ""
            at = place[number] % max(len(wave.wanted), 1)
            wanted = wave.wanted[at : at + 1]
            return "\n\n" + templates.render("note", full=wave.full, wanted=wanted)

        with (
            self.writers.asking(),
            Progress(len(wave.requests), f"wave {wave.number + 1}", "requests") as progress,
        ):
            progress.update(answered)
            asked = wave.requests[answered:]
            replies = self.writers.replies(plan, asked, note)
            with contextlib.closing(replies):
                for at, written in in_order(replies, answered):
                    before = tally.tokens
                    row = tally.take(plan, wave.requests[at], written)
                    if row is not None:
                        rows.append(row | {"wave": wave.number, "arm": wave.arms[at]})
                        self._credit(wave.arms[at], tally.tokens - before)
                    progress.update(1, tokens=f"{tally.tokens:,}", failed=tally.failed)
                    if len(rows) >= plan.config.shard_documents:
                        writer.write(rows)
                        rows.clear()
        if rows:
            writer.write(rows)
            rows.clear()

    def _judge(self) -> None:
        """Looks at the corpus after a wave, and writes down what was seen."""
        wave = self.waves[-1]
        ended = dataclasses.replace(wave, end=self.tally.documents, tokens=self.tally.tokens)
        looks, rounds = self.scout.look([*self.waves[:-1], ended])
        before = self.waves[-2].cost_usd if wave.number else 0.0
        costs = [one.stats for one in self.sessions]
        known = [s["cost_usd"] + s["kept"]["cost_usd"] for s in costs if s["cost_usd"] is not None]
        cost = None
        if len(known) == len(costs) and before is not None:
            cost = round(before + sum(known) - self._paid, 9)
            self._paid = sum(known)
        self.waves[-1] = dataclasses.replace(ended, looks=looks, rounds=rounds, cost_usd=cost)
        self.waves[-1].write(self.output)
        if looks:
            look, wanted = looks[-1], self.loop.target
            say(
                f"wave {wave.number + 1}: {ended.end:,} documents, {CALLED[self.loop.measure]}"
                f" {look.mean:.2f} [{look.low:.2f}, {look.high:.2f}]"
                + (f", wanted {wanted:g}" if wanted is not None else "")
            )

    def _show(self, reason: str) -> None:
        """Writes the page of the waves."""
        from markupsafe import Markup

        loop, against = self.loop, ("end", "tokens", "cost_usd")
        drawn = [wave_lines(self.waves, loop.measure, loop.target, by) for by in against]
        head, rows = wave_rows(self.waves, loop.measure)
        page = pages.render(
            "waves_page",
            name=self.output.name,
            reason=reason,
            figures=[Markup(charts.svg(figure)) for figure in drawn if figure],
            head=head,
            rows=rows,
            counted=loop.measure == "effective_clusters",
        )
        files.write_text(self.output / PAGE, page)
