"""Corpora out of topic seeds: asks for every text of a plan and writes the documents.

Documents are written in the order of their requests, whatever order the replies come in, so equal
answers make equal corpora. A run can be killed at any moment: finished shards stay, and answers
that are not in a shard yet are in the session's store. A run that a cap has stopped leaves what it
has: a shard that is not full yet, and partial.json, which says so; the next run takes both away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv import __version__, files
from synthdiv.claims import FINGERPRINT, check_claim, claim
from synthdiv.corpora.manifest import METHOD, estimated_tokens
from synthdiv.errors import Paused, UserError
from synthdiv.generation.config import GenerateConfig
from synthdiv.generation.openings import Openings
from synthdiv.generation.plan import CorpusPlan
from synthdiv.generation.writers import Writers, Written
from synthdiv.llm import in_steps
from synthdiv.progress import Progress
from synthdiv.reporting.card import write_card

if TYPE_CHECKING:
    from synthdiv.llm import Plan, Session

PARTIAL = "partial.json"
_FIRST_WAVE = 64  # requests, before it is known how long the texts get
_PLANNED_WHOLE = 2000  # requests; of more, about so many stand for all in a plan
_HOPELESS = 256  # requests without one document, after which no more are sent under a budget


def generate(
    topics: Path | None,
    output: Path,
    config: GenerateConfig,
    session: Session | Sequence[Session],
    sources: files.Corpus | None = None,
) -> dict[str, Any]:
    """Generates a corpus; one that is complete is left alone, an unfinished one goes on.

    Args:
        topics: JSONL of topic seeds; None for a family without topics.
        output: directory of the corpus.
        config: what to generate.
        session: who writes, and where answers are kept; one for each of `config.writers`.
        sources: real documents, for a family that shows them.

    Returns:
        The corpus's manifest.

    Raises:
        UserError: bad seeds or configuration, `output` holds another corpus, or every request
            failed.
        Paused: a cap was reached, and what there is was left marked as partial; or a batch is to be
            answered. The same call goes on from there.
    """
    check_apart(output, topics, sources)
    plan, writers = CorpusPlan(topics, config, sources), writers_of(config, session)
    with claim(Path(output) / FINGERPRINT, plan.fingerprint(writers), "corpus"):
        return _write(plan, Path(output), writers)


def check_apart(output: Path, topics: Path | None, sources: files.Corpus | None) -> None:
    """Refuses to write a corpus where its topics or sources lie; see `files.check_apart`."""
    files.check_apart(output, *(given for given in (topics, sources) if given is not None))


def writers_of(config: GenerateConfig, session: Session | Sequence[Session]) -> Writers:
    sessions = session if isinstance(session, Sequence) else [session]
    return Writers(sessions, list(config.writers.values()))


def _write(plan: CorpusPlan, output: Path, writers: Writers) -> dict[str, Any]:
    """Writes the documents that are not there yet, and the manifest."""
    complete = files.read_manifest(output)
    if complete is not None:
        return complete
    reopen(output)
    writer = files.CorpusWriter(output)
    tally = Tally.of_shards(writer)
    rows: list[dict[str, Any]] = []
    label = f"generating {output.name}"

    step = "generation"
    if plan.config.token_budget:
        step += ", by and by until the token budget is filled"
    with (
        in_steps({step: plan.stages()}),
        leaving(plan, tally, writers, writer, rows, lambda: _left(plan, tally)),
        writers.asking(),
        Progress(len(plan), label, "requests") as progress,
    ):
        progress.update(tally.requests)
        while wave := _wave(plan, tally):
            with contextlib.closing(writers.replies(plan, wave)) as replies:
                for number, written in in_order(replies, tally.requests):
                    if _budget_spent(plan, tally):
                        break
                    if (row := tally.take(plan, number, written)) is not None:
                        rows.append(row)
                    progress.update(1, tokens=f"{tally.tokens:,}", failed=tally.failed)
                    if len(rows) >= plan.config.shard_documents:
                        writer.write(rows, tally.note())
                        rows.clear()
    if rows:
        writer.write(rows, tally.note())
    if not tally.documents:
        raise UserError(f"none of {tally.requests} requests was answered: {tally.failure}")
    manifest = manifest_of(plan, tally, writers, writer.shards)
    write_card(output, manifest, writer.shards)
    writer.close(manifest)
    return files.read_manifest(output) or {}


def plan_generation(
    topics: Path | None,
    config: GenerateConfig,
    session: Session | Sequence[Session],
    output: Path | None = None,
    sources: files.Corpus | None = None,
) -> Plan:
    """What `generate` would take, without sending or writing anything: calls, tokens, money.

    A token budget is left out of account, as nobody knows yet how long the texts will be.

    Raises:
        UserError: bad seeds or configuration, or `output` holds another corpus.
    """
    if output is not None:
        check_apart(output, topics, sources)
    plan, writers = CorpusPlan(topics, config, sources), writers_of(config, session)
    if output is not None:
        check_claim(output / FINGERPRINT, plan.fingerprint(writers), "corpus")
    return examples(plan, writers, len(plan))


def examples(plan: CorpusPlan, writers: Writers, requests: int) -> Plan:
    """What the first requests of a plan would take, of many by examples."""
    step = max(requests // _PLANNED_WHOLE, 1)
    return writers.plan(plan, range(0, requests, step), requests)


@dataclasses.dataclass
class Tally:
    """What a corpus holds so far."""

    requests: int = 0
    documents: int = 0
    words: int = 0
    characters: int = 0
    tokens: int = 0
    failure: str | None = None  # the first one's words

    @classmethod
    def of_shards(cls, writer: files.CorpusWriter) -> Tally:
        """What an earlier run left; requests after its last document are asked again.

        Each shard says what there was with it, so none but the last is opened.
        """
        if (note := writer.note()) is not None:
            return cls(**note)
        tally = cls()
        for shard in writer.shards:
            for document in files.Corpus(shard):
                tally.add(document.text)
                tally.requests = document.provenance["request"] + 1
        return tally

    @property
    def failed(self) -> int:
        return self.requests - self.documents

    def note(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def take(self, plan: CorpusPlan, number: int, written: Written) -> dict[str, Any] | None:
        """Counts the reply to request `number`; returns the document that it becomes, if any."""
        self.requests += 1
        reply = written.reply
        if reply.failure is not None or reply.value is None:
            self.failure = self.failure or reply.failure
            return None
        row = plan.document(number, reply.value, written.model, written.prompt)
        self.add(row["text"])
        return row

    def add(self, text: str) -> None:
        """Counts a document."""
        words = len(text.split())
        self.documents += 1
        self.words += words
        self.characters += len(text)
        self.tokens += estimated_tokens(words)


@contextlib.contextmanager
def leaving(
    plan: CorpusPlan,
    tally: Tally,
    writers: Writers,
    writer: files.CorpusWriter,
    rows: list[dict[str, Any]],
    left: Callable[[], int],
) -> Iterator[None]:
    """Where a cap stops what is done inside, leaves the documents so far, marked as partial.

    Args:
        plan, tally, writers, writer: of the corpus.
        rows: documents that are not in a shard yet.
        left: returns how many calls are still to be made, about.
    """
    try:
        yield
    except Paused as pause:
        if not (writers.capped and tally.documents):
            raise
        flags = writers.enough(pause, left())
        content = manifest_of(plan, tally, writers, writer.shards, rows) | {
            "kind": "partial corpus",
            "reason": str(pause),
            "go_on_with": flags,
            "open_shard": f"shard-{len(writer.shards):05d}.parquet" if rows else None,
        }
        files.write_json(writer.directory / PARTIAL, content)  # first: a kill leaves no odd shard
        if rows:
            writer.write(rows, tally.note())
        raise Paused(
            f"{tally.requests:,} of {len(plan):,} requests are answered, a PARTIAL corpus of"
            f" {tally.documents:,} documents is in {writer.directory}; {pause}",
            flags,
        ) from None


def _left(plan: CorpusPlan, tally: Tally) -> int:
    """Requests that are still to be sent, about."""
    left = len(plan) - tally.requests
    if plan.config.token_budget:
        missing = plan.config.token_budget - tally.tokens
        left = min(left, math.ceil(missing * tally.requests / tally.tokens))
    return left


def reopen(output: Path) -> None:
    """Takes away what marked an earlier run's documents as partial, and its shard that is not full.

    Its answers are in the store, so the shard comes again, and full.
    """
    if (output / PARTIAL).exists():
        shard = files.read_json(output / PARTIAL).get("open_shard")
        if shard:
            (output / shard).unlink(missing_ok=True)
        (output / PARTIAL).unlink()


def _budget_spent(plan: CorpusPlan, tally: Tally) -> bool:
    budget = plan.config.token_budget
    return bool(budget) and tally.tokens >= budget


def _wave(plan: CorpusPlan, tally: Tally) -> range:
    """Which requests to send next: all, or as many as will about fill the token budget.

    What is sent ahead of a budget's end would be paid for and thrown away, so it is foreseen from
    the texts so far, after a first few that show how long they are.
    """
    start, rest = tally.requests, len(plan) - tally.requests
    if _budget_spent(plan, tally):
        return range(0)
    if plan.config.token_budget:
        needed = _FIRST_WAVE
        if tally.documents:
            missing = plan.config.token_budget - tally.tokens
            needed = math.ceil(missing * tally.requests / tally.tokens)
        elif start:
            needed = _FIRST_WAVE if start < _HOPELESS else 0
        rest = min(rest, needed)
    return range(start, start + rest)


def in_order(replies: Iterable[tuple[int, Written]], start: int) -> Iterator[tuple[int, Written]]:
    """Replies in the order of their requests, numbered from `start`; early ones wait their turn."""
    waiting: dict[int, Written] = {}
    turn = 0
    for index, written in replies:
        waiting[index] = written
        while turn in waiting:
            yield start + turn, waiting.pop(turn)
            turn += 1


def manifest_of(
    plan: CorpusPlan,
    tally: Tally,
    writers: Writers,
    shards: Sequence[Path],
    rows: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What there is to know of a corpus of these shards, and of rows that are none yet."""
    fingerprint = plan.fingerprint(writers)
    told = (document.text for shard in shards for document in files.Corpus(shard))
    openings = Openings(chain(told, (row["text"] for row in rows)))
    return {
        "kind": "corpus",
        "documents": tally.documents,
        "requests": {"sent": tally.requests, "planned": len(plan), "failed": tally.failed},
        "first_failure": tally.failure,
        "topics": len(plan.topics),
        "sources": len(plan.documents),
        "generations": plan.config.generations,
        "family": plan.family.name,
        "words": tally.words,
        "characters": tally.characters,
        "openings": openings.found(plan.family.openings),
        "tokens": {"estimated": tally.tokens, "method": METHOD},
        "seed": plan.config.seed,
        "licence": plan.config.licence or _licence(writers.backend),
        "usage": writers.stats | {"paid": {"writers": writers.paid(plan.stages())}},
        "synthdiv_version": __version__,
        **fingerprint,
    }


def _licence(backend: str) -> str:
    if backend == "offline":
        return (
            "written by synthdiv's offline stand-in, not by an LLM; its facts are invented and it "
            "is of use for trying the pipeline only; no rights reserved in the texts"
        )
    return "the terms of the generating model apply; state them with Generate.licence"
