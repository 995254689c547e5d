"""Filters a corpus: every document is examined, compared with the others, and kept or dropped.

Documents are examined in chunks by several workers; what a chunk shows goes to disk. Then the
whole corpus's duplicates are found from signatures, and a second pass over the corpus writes what
stays. Memory holds a signature a document, and no texts but those of the chunks under way. Killed
at any moment, the same call goes on after the chunks and shards that are there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv import __version__, files
from synthdiv.claims import FINGERPRINT, check_claim, claim
from synthdiv.config import find
from synthdiv.corpora import Corpus, Document
from synthdiv.corpora.manifest import METHOD, estimated_tokens
from synthdiv.curation.config import FilterConfig
from synthdiv.curation.decisions import Decisions, decide, evidence
from synthdiv.curation.examine import Examiner, examine_chunks
from synthdiv.curation.items import Item, file_items, prompt_items, task_items
from synthdiv.curation.judging import FACTUALITY, QUALITY, Judge, Marks
from synthdiv.curation.language import check_languages, main_language
from synthdiv.curation.overlap import Overlap
from synthdiv.curation.phrases import read_phrases
from synthdiv.engine import LOCAL, Engine
from synthdiv.errors import UserError, first_line
from synthdiv.json_lines import encodable
from synthdiv.plans import Plan
from synthdiv.progress import Progress
from synthdiv.reporting.card import write_card

DROPPED = "dropped.jsonl"
CHUNKS = ".chunks"
_LOOKED_AT = 200  # documents by which the corpus's language is told


@dataclass(frozen=True)
class Against:
    """What documents must not hold.

    Attributes:
        data_dir: data files of evaluation tasks; None for none.
        tasks: names; () for all that have a file there.
        files: whatever a corpus can be read from; every text of a row counts.
    """

    data_dir: Path | None = None
    tasks: Sequence[str] = ()
    files: Sequence[str | Path] = ()

    def items(self) -> Iterator[Item]:
        """Yields the texts.

        Raises:
            UserError: there are none of a task, or a file has a fault.
        """
        if self.data_dir is not None:
            yield from task_items(self.data_dir, self.tasks)
        elif self.tasks:
            raise UserError("`tasks` needs `data_dir`, with their questions in it")
        for path in self.files:
            yield from file_items(path)


@dataclass
class FilterWork:
    """A corpus to be filtered, and by what.

    Attributes:
        corpus: what to filter.
        config: what to look for.
        against: what documents must not hold.
        judge: who marks their quality; None marks nothing.

    Raises:
        UserError: a bound on marks without a judge.
    """

    corpus: Corpus
    config: FilterConfig
    against: Against = field(default_factory=Against)
    judge: Judge | None = None

    def __post_init__(self) -> None:
        bounds = (self.config.least_quality, self.config.least_factuality)
        if self.judge is None and any(bounds):
            raise UserError(
                "Filter.least_quality and Filter.least_factuality need a judge: `backend` names one"
            )

    @cached_property
    def tasks(self) -> Overlap | None:
        """The texts that documents must not hold; None where none are looked for."""
        config = self.config
        if not config.wants("contaminated", "contaminated_fuzzy"):
            return None
        fuzzy = config.fuzzy_words if config.wants("contaminated_fuzzy") else 0
        found = Overlap(
            self.against.items(), config.ngram, config.most_items, fuzzy, config.fuzzy_share
        )
        return found if found.items else None

    @cached_property
    def prompts(self) -> Overlap | None:
        """The words of prompts; None where they are not looked for."""
        if not self.config.wants("leaked_prompt"):
            return None
        return Overlap(prompt_items(self.config.prompts), self.config.ngram, most_items=2**31)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages that documents may be in; () where none is looked for."""
        if not self.config.wants("language"):
            return ()
        if self.config.languages:
            return self.config.languages
        beginning = zip(self.corpus, range(_LOOKED_AT), strict=False)
        return (main_language(document.text for document, _ in beginning),)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All that decides the result.

        Raises:
            UserError: a file of phrases, prompts or tasks is missing or has a fault.
        """
        read_phrases(self.config)
        if self.config.languages:
            check_languages(self.config.languages)
        return {
            "kind": "filtered corpus",
            "corpus": self.corpus.bytes_sha256,
            "text": self.corpus.text_template or self.corpus.text_column,
            "filter": asdict(self.config),
            "phrases": files.sha256_file(find(self.config.phrases)),
            "openings": files.sha256_file(find(self.config.openings)),
            "prompts": self.prompts.sha256 if self.prompts else None,
            "tasks": self.tasks.sha256 if self.tasks else None,
            "judge": self.judge.fingerprint if self.judge else None,
        }


def filter_corpus(
    work: FilterWork, output: Path, workers: int | None = None, engine: Engine = LOCAL
) -> dict[str, Any]:
    """Filters a corpus into a directory; a complete one is left alone, an unfinished one goes on.

    Writes the documents that stay, `dropped.jsonl` with the reason and the evidence for each other
    one, and the manifest.

    Args:
        work: what to filter, and by what.
        output: the directory.
        workers: processes; 0 for none, None for one a core.
        engine: where documents are examined.

    Returns:
        The manifest.

    Raises:
        UserError: a fault in a file, `output` holds other work, or no document stays.
    """
    files.check_apart(output, work.corpus)
    with claim(output / FINGERPRINT, work.fingerprint, "filtered corpus"):
        complete = files.read_manifest(output)
        if complete is not None:
            return complete
        with chunks_in(output) as chunks:
            decisions = examined(work, chunks, workers, engine)
            marks = _judge(work, decisions)
            if (decisions.reasons >= 0).all():
                went = ", ".join(f"{n:,} {name}" for name, n in decisions.dropped.items())
                raise UserError(f"no document stays of {work.corpus.origin!r}: {went}")
            writer = _write(work, decisions, marks, output)
            manifest = _manifest(work, decisions, marks)
            write_card(output, manifest, writer.shards)
            writer.close(manifest)
        return files.read_manifest(output) or {}


@contextlib.contextmanager
def chunks_in(output: Path) -> Iterator[Path]:
    """A directory for the findings of chunks, which stays after a kill and a pause only."""
    chunks = output / CHUNKS
    chunks.mkdir(exist_ok=True)
    try:
        yield chunks
    except UserError:
        shutil.rmtree(chunks)
        (output / DROPPED).unlink(missing_ok=True)
        raise
    shutil.rmtree(chunks)


def plan_filter(work: FilterWork, output: Path | None = None) -> Plan:
    """Returns what `filter_corpus` would do; writes nothing.

    Raises:
        UserError: as `filter_corpus`.
    """
    fingerprint = work.fingerprint
    if output is not None:
        files.check_apart(output, work.corpus)
        check_claim(output / FINGERPRINT, fingerprint, "filtered corpus")
    documents = len(work.corpus)
    tasks = work.tasks
    facts = {
        "documents": f"{documents:,} in {work.corpus.origin}",
        "drops": ", ".join(work.config.drop) or "nothing",
        "counts": ", ".join(work.config.count) or "nothing more",
        "languages": ", ".join(work.languages) or "any",
        "against": f"{len(tasks.items):,} texts, {tasks.too_short:,} of them too short to be found"
        if tasks
        else "nothing: give data_dir or against",
        "memory": f"about {documents * (work.config.permutations * 2 + 64) / 2**20:,.0f} MB "
        "for signatures",
    }
    figures = {"documents": documents, "items": len(tasks.items) if tasks else 0}
    parts = {"judge, at most": work.judge.plan(work.corpus, documents)} if work.judge else {}
    return Plan(facts, figures, parts)


def examined(
    work: FilterWork, directory: Path, workers: int | None, engine: Engine = LOCAL
) -> Decisions:
    """Examines the chunks of a corpus that are not examined yet, and decides on its documents.

    Args:
        work: what to look at, and for what.
        directory: of the chunks' findings.
        workers: processes; 0 for none, None for one a core.
        engine: where documents are examined.
    """
    phrases = read_phrases(work.config)
    examiner = Examiner(work.config, work.languages, work.tasks, work.prompts, phrases)
    texts = (document.text for document in work.corpus)
    with Progress(None, f"examining {work.corpus.name}", "documents") as progress:
        count = examine_chunks(examiner, texts, directory, progress, workers, engine)
    return decide(directory, count, work.config)


def _judge(work: FilterWork, decisions: Decisions) -> Marks | None:
    """Has what stays marked, and drops what is marked too low."""
    if work.judge is None:
        return None
    marks = work.judge.mark(work.corpus, decisions.reasons < 0)
    for name in (QUALITY, FACTUALITY):
        low = getattr(marks, name) < getattr(work.config, f"least_{name}")  # NaN is not
        if low.any():
            decisions.found[f"low_{name}"] = int(low.sum())
        if f"low_{name}" in work.config.drop:
            for number in np.flatnonzero(low & (decisions.reasons < 0)).tolist():
                decisions.drop(number, f"low_{name}")
    return marks


def _write(
    work: FilterWork, decisions: Decisions, marks: Marks | None, output: Path
) -> files.CorpusWriter:
    """Writes what stays, after the shards that are there, and the list of what goes."""
    writer = files.CorpusWriter(output)
    size = work.config.shard_documents
    written = len(writer.shards) * size
    rows: list[dict[str, Any]] = []
    twins = set(decisions.twins.of[decisions.twins.of >= 0].tolist())
    ids: dict[int, str] = {}
    kept = 0
    label = f"writing {output.name}"
    with (
        files.atomic_path(output / DROPPED) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as dropped,
        Progress(len(decisions.reasons), label, "documents") as progress,
    ):
        for number, (document, row) in enumerate(work.corpus.rows()):
            progress.update()
            if number in twins:
                ids[number] = document.id
            reason = decisions.reason(number)
            if reason is not None:
                twin = ids.get(int(decisions.twins.of[number]))
                told = {"id": document.id, "index": number}
                told |= dict(evidence(decisions, number, reason, twin))
                if marks and number in marks.reasons:
                    told["evidence"] = marks.reasons[number]
                dropped.write(json.dumps(told, ensure_ascii=False) + "\n")
                continue
            kept += 1
            if kept > written:
                own = marks.columns(number) if marks else {}
                rows.append(written_row(work.corpus, document, row) | own)
                if len(rows) == size:
                    write_shard(writer, rows)
                    rows = []
    if rows:
        write_shard(writer, rows)
    return writer


def written_row(corpus: Corpus, document: Document, row: Mapping[str, Any]) -> dict[str, Any]:
    """A document as it is written: `id`, `text`, and the columns of its row."""
    used = {"id", "text"} if corpus.text_template else {"id", "text", corpus.text_column}
    own = {name: value for name, value in row.items() if name not in used}
    return {"id": document.id, "text": document.text, **own}


def write_shard(writer: files.CorpusWriter, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows of any corpus as the next shard; what one lacks that another has is null.

    Raises:
        UserError: a column holds values of kinds that do not go together.
    """
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    alike = [{name: row.get(name) for name in names} for row in rows]
    try:
        try:
            writer.write(alike)
        except UnicodeEncodeError:  # half a surrogate pair, which Parquet has no place for
            writer.write(encodable(alike))
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise UserError(f"{_mixed(alike, names)}: {first_line(error)}") from None


def _mixed(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> str:
    """Which column cannot be written, in words."""
    import pyarrow as pa

    for name in names:
        try:
            pa.array([row[name] for row in rows])
        except (pa.ArrowException, ValueError, OverflowError):
            return f"column {name!r} holds values of several kinds"
    return "documents cannot be written as Parquet"


def _manifest(work: FilterWork, decisions: Decisions, marks: Marks | None) -> dict[str, Any]:
    kept = decisions.reasons < 0
    words, dropped = int(decisions.words[kept].sum()), decisions.dropped
    tasks = work.tasks
    return {
        "kind": "filtered corpus",
        "documents": int(kept.sum()),
        "words": words,
        "tokens": {"estimated": estimated_tokens(words), "method": METHOD},
        "dropped": {"documents": int((~kept).sum()), "by_reason": dropped},
        "found": dict(decisions.found),
        "contamination": {
            "texts": len(tasks.items) if tasks else 0,
            "too_short": tasks.too_short if tasks else 0,
            "documents_by_source": dict(decisions.items.most_common()),
        },
        "duplicates": {
            "pairs_compared": decisions.twins.compared,
            "full_buckets": decisions.twins.full_buckets,
        },
        "languages": list(work.languages),
        "marks": _marks(work, marks, kept),
        **taken_from(work.corpus, decisions.words),
        **work.fingerprint,
    }


def taken_from(corpus: Corpus, words: np.ndarray) -> dict[str, Any]:
    """What a manifest says of the corpus that documents were taken from, of so many words each."""
    before = files.read_manifest(corpus.path)
    told = {"name": corpus.name, "documents": len(words), "words": int(words.sum())}
    return {
        "input": told | {"manifest": before},
        "licence": (before or {}).get("licence", "that of the corpus it was taken from"),
        "synthdiv_version": __version__,
    }


def _marks(work: FilterWork, marks: Marks | None, kept: np.ndarray) -> dict[str, Any] | None:
    """Means of the marks of what stays, and what they took."""
    if marks is None or work.judge is None:
        return None
    told: dict[str, Any] = {"failed": marks.failed, "usage": work.judge.session.stats}
    for name in (QUALITY, FACTUALITY):
        of_kept = getattr(marks, name)[kept]
        known = of_kept[~np.isnan(of_kept)]
        told[name] = {"documents": len(known), "mean": float(known.mean()) if len(known) else None}
    return told
