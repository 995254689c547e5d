"""Selects the most diverse part of a corpus, and others of the same size to hold it against."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv import __version__, files
from synthdiv.baselines.catalogue import METRICS
from synthdiv.baselines.compute import BaselineConfig, compare_baselines
from synthdiv.claims import FINGERPRINT, check_claim, claim
from synthdiv.config import PathName, settle
from synthdiv.corpora import Corpus
from synthdiv.corpora.manifest import METHOD, TOKENS_PER_WORD, estimated_tokens
from synthdiv.curation.config import FilterConfig
from synthdiv.curation.decisions import Decisions
from synthdiv.curation.filtering import (
    FilterWork,
    chunks_in,
    examined,
    taken_from,
    write_shard,
    written_row,
)
from synthdiv.curation.spread import (
    FIT,
    Rows,
    cells_for,
    centres,
    even_shares,
    near_cells,
    nearest,
    reaches,
)
from synthdiv.diversity.recurring import find_recurring
from synthdiv.errors import UserError
from synthdiv.plans import Plan, text_table
from synthdiv.progress import Progress
from synthdiv.reporting.card import write_card
from synthdiv.reporting.score_data import memberships
from synthdiv.reporting.score_files import ScoreFiles, read_score_files

SELECTED = "diverse"
BASELINES = ("random", "longest", "deduplicated")
SELECTION = "selection.json"
_DUPLICATES = FilterConfig(drop=("duplicate", "near_duplicate"), count=())
_SHARD = 10_000
_EMBEDDED = 2000  # documents of each part whose distances are among its metrics
_TOLD = ("documents", "estimated_tokens", "context_length", "ngram_diversity", "self_repetition",
         "compression_ratio", "near_duplicate_rate", "vendi_score", "mean_pairwise_distance",
         "nearest_neighbour_distance")  # fmt: skip
_LABELS = {"estimated_tokens": "estimated tokens", "context_length": "context_length (words)"}


@dataclass(frozen=True)
class SelectConfig:
    """What to select; gin scope `Select`.

    Attributes:
        documents: so many; 0 where `tokens` says how much.
        tokens: at most so many, estimated as words x 4/3; 0 where `documents` says how many.
        embedding: what distances are taken from: "terms" (TF-IDF), or the name or directory of a
            sentence-transformers model.
        score: directory of a score whose clusters get even shares; "" for none.
        quality_column: column of marks.
        least_quality: a document that is marked lower, or not at all, is not selected; 0: any is.
        seed: of every draw.

    Raises:
        UserError: a value that makes no sense.
    """

    documents: int = 0
    tokens: int = 0
    embedding: str = "terms"
    score: PathName = ""
    quality_column: str = "quality"
    least_quality: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        for name in ("documents", "tokens", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"Select.{name} must not be negative")


@dataclass
class _Pool:
    """What may be selected: numbers of documents, and the words of each."""

    numbers: np.ndarray
    words: np.ndarray
    config: SelectConfig

    def take(self, order: np.ndarray, repeats: np.ndarray | None = None) -> np.ndarray:
        """The first documents of an order up to the wanted size, rising.

        Of tokens there are never more than wanted: a document that no longer fits is passed over.

        Args:
            order: places in the pool.
            repeats: bool; those that stand last, and come in only where all others fit.
        """
        if self.config.documents:
            return np.sort(self.numbers[order[: self.config.documents]])
        left = self.most_words
        taken, full = [], False
        for place in order.tolist():
            if full and repeats is not None and repeats[place]:
                break
            if self.words[place] <= left:
                taken.append(place)
                left -= int(self.words[place])
            else:
                full = True
        return np.sort(self.numbers[taken])

    @property
    def most_words(self) -> int:
        """The words that `tokens` are."""
        return int(self.config.tokens / TOKENS_PER_WORD)


def select(
    corpus: Corpus, output: Path, config: SelectConfig, workers: int | None = None
) -> dict[str, Any]:
    """Writes the most diverse part of a corpus, and baselines of the same size, each a corpus.

    Duplicates and near-duplicates are never selected while there is anything else. Where a score
    is named, each of its clusters gets an even share, and within one the documents go that are
    farthest from each other; else all cells are weighed by how far their documents reach.

    Args:
        corpus: what to select from; read a few times.
        output: directory: `diverse/`, `random/`, `longest/`, `deduplicated/`, selection.json.
        config: how much, and by what.
        workers: processes that look for duplicates.

    Returns:
        What selection.json holds: sizes, and the baseline metrics of each part.

    Raises:
        UserError: the corpus is not larger than what is wanted, `score` is no score of it, or
            `output` is inside it or holds other work.
    """
    files.check_apart(output, corpus)
    fingerprint = _fingerprint(corpus, config)
    with claim(output / FINGERPRINT, fingerprint, "selection"):
        if (output / SELECTION).exists():
            done: dict[str, Any] = files.read_json(output / SELECTION)
            return done
        with chunks_in(output) as chunks:
            decisions = examined(FilterWork(corpus, _DUPLICATES), chunks, workers)
            parts, cells = _parts(corpus, config, decisions)
            _write(corpus, output, parts, decisions.words, config)
            metrics = compare_baselines(
                [Corpus(output / name) for name in parts],
                BaselineConfig(embedding_documents=_EMBEDDED, seed=config.seed),
            )
            where = "clusters of a score" if config.score else "cells"
            told = {
                "kind": "selection",
                "input": {"name": corpus.name, "documents": len(decisions.words)},
                "method": f"farthest-first within {where}",
                "cells": cells,
                "parts": {name: _in_words(own) for name, own in zip(parts, metrics, strict=True)},
                "synthdiv_version": __version__,
                **fingerprint,
            }
            files.write_json(output / SELECTION, told)
        return told


def plan_selection(corpus: Corpus, config: SelectConfig, output: Path | None = None) -> Plan:
    """What `select` would do; writes nothing.

    Raises:
        UserError: as `select`.
    """
    fingerprint = _fingerprint(corpus, config)
    if output is not None:
        files.check_apart(output, corpus)
        check_claim(output / FINGERPRINT, fingerprint, "selection")
    size = (
        f"{config.documents:,} documents"
        if config.documents
        else f"at most {config.tokens:,} estimated tokens"
    )
    facts = {
        "selects": f"{size} of the {len(corpus):,} documents of {corpus.origin}",
        "by": f"clusters of {config.score}" if config.score else f"distances by {config.embedding}",
        "beside": ", ".join(BASELINES),
        "memory": f"about {len(corpus) * 450 / 2**20:,.0f} MB by terms",
    }
    return Plan(facts, {"documents": len(corpus)})


def selection_table(told: dict[str, Any]) -> str:
    """The parts and their baseline metrics, side by side; says which way is more diverse."""
    parts = told["parts"]
    rows = []
    for name in _TOLD:
        values = [metrics.get(name) for metrics in parts.values()]
        if any(value is not None for value in values):
            arrow = (
                {1: "more", -1: "less"}.get(METRICS[name].direction, "") if name in METRICS else ""
            )
            cells = ["" if v is None else f"{v:,.0f}" if v >= 1000 else f"{v:.4g}" for v in values]
            rows.append([_LABELS.get(name, name), *cells, arrow])
    return text_table(["", *parts, "higher is"], rows)


def _in_words(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Baseline metrics, whose tokens are words, with both under their names."""
    words = metrics["tokens"]
    own = {name: value for name, value in metrics.items() if name != "tokens"}
    return own | {"words": words, "estimated_tokens": estimated_tokens(words)}


def _fingerprint(corpus: Corpus, config: SelectConfig) -> dict[str, Any]:
    """All that decides the result; refuses a size that is said twice, or not at all."""
    if bool(config.documents) == bool(config.tokens):
        raise UserError("how much to select is said by `documents` or by `tokens`, one of them")
    rounds = Path(config.score) / "rounds.parquet" if config.score else None
    if rounds:
        _clusters(corpus, config.score)
    return {
        "kind": "selection",
        "corpus": corpus.bytes_sha256,
        "text": corpus.text_template or corpus.text_column,
        "select": asdict(config),
        "score": files.sha256_file(rounds) if rounds else None,
    }


def _clusters(corpus: Corpus, directory: PathName) -> ScoreFiles:
    """The score of a corpus.

    Raises:
        UserError: the directory holds none, a damaged one, or one of another corpus.
    """
    for name in ("score.json", "rounds.parquet"):
        if not (Path(directory) / name).is_file():
            raise UserError(f"{str(directory)!r} is no score: it has no {name}")
    score = read_score_files(directory)
    about = score.score.get("corpus") or {}
    if about.get("sha256") != corpus.sha256:
        told = f", {about['name']!r}" if about.get("name") else ""
        raise UserError(f"{str(directory)!r} is the score of another corpus{told}")
    if not score.clusters or max(max(one.documents) for one in score.clusters) >= len(corpus):
        raise UserError(f"{str(directory)!r} is no whole score: its clusters lack documents")
    return score


def _parts(
    corpus: Corpus, config: SelectConfig, decisions: Decisions
) -> tuple[dict[str, np.ndarray], int]:
    """The documents of each part, rising, and into how many cells they were cut."""
    words, fresh = decisions.words, decisions.reasons < 0
    good = words > 0
    if config.least_quality:
        good &= _marks(corpus, config.quality_column, len(words)) >= config.least_quality
    numbers = np.flatnonzero(good)
    pool = _Pool(numbers, words[numbers], config)
    size = config.documents or int(config.tokens / max(words.mean() * TOKENS_PER_WORD, 1))
    has = len(numbers) if config.documents else int(pool.words.sum() * TOKENS_PER_WORD)
    if has <= (wanted := config.documents or config.tokens):
        unit = "documents" if config.documents else "estimated tokens"
        floor = f" of quality {config.least_quality:g} or more" if config.least_quality else ""
        raise UserError(
            f"{corpus.origin!r} has {has:,} {unit}{floor}, not more than the {wanted:,} asked for"
        )
    if config.tokens and (least := int(pool.words.min())) > pool.most_words:
        raise UserError(
            f"{config.tokens:,} estimated tokens are too few: the shortest document of "
            f"{corpus.origin!r} has {math.ceil(least * TOKENS_PER_WORD):,}"
        )
    rows = _rows(corpus, config, len(words))
    cells = _cells(corpus, rows, numbers, config, size)
    reach = reaches(rows, numbers, cells, config.seed)
    rank = even_shares(cells, reach) if config.score else -reach.astype(np.float64)
    again = ~fresh[numbers]  # what repeats another comes last
    draw = np.random.default_rng([config.seed, 2]).random(len(numbers))
    parts = {
        SELECTED: pool.take(np.lexsort((draw, rank, again)), again),
        "random": pool.take(np.argsort(draw)),
        "longest": pool.take(np.argsort(-pool.words, kind="stable")),
        "deduplicated": pool.take(np.lexsort((draw, again)), again),
    }
    return parts, len(np.unique(cells))


def _rows(corpus: Corpus, config: SelectConfig, documents: int) -> Rows:
    drawn = np.random.default_rng([config.seed, 3]).permutation(documents)[:FIT]
    terms = config.embedding == "terms"
    texts = [document.text for document in corpus.take(drawn.tolist())] if terms else []
    rows = Rows(texts, documents, config.embedding)
    all_texts = (document.text for document in corpus)
    with Progress(documents, "embedding", "documents") as progress:
        while batch := list(itertools.islice(all_texts, 2000 if terms else FIT)):
            rows.add(batch)
            progress.update(len(batch))
    return rows


def _cells(
    corpus: Corpus, rows: Rows, numbers: np.ndarray, config: SelectConfig, size: int
) -> np.ndarray:
    """Cells of near documents, or for each the nearest of the clusters that a score has found."""
    if not config.score:
        return near_cells(rows, numbers, cells_for(len(numbers), size), config.seed)
    score = _clusters(corpus, config.score)
    held = sorted({number for one in score.clusters for number in one.documents})
    documents = dict(zip(held, corpus.take(held), strict=True))
    owners = memberships(score, find_recurring(score.clusters, documents, len(score.clusters)))
    known = list(owners)
    usual = np.array([max(set(owners[n]), key=owners[n].count) for n in known])
    return nearest(rows, numbers, centres(rows.of(np.array(known)), usual))


def _marks(corpus: Corpus, column: str, documents: int) -> np.ndarray:
    if column not in corpus.columns:
        raise UserError(f"{corpus.origin!r} has no column {column!r} for a least quality")
    marks = np.full(documents, -np.inf)
    for number, document in enumerate(corpus):
        mark = document.provenance.get(column)
        if isinstance(mark, int | float):
            marks[number] = mark
    return marks


def _write(
    corpus: Corpus,
    output: Path,
    parts: dict[str, np.ndarray],
    words: np.ndarray,
    config: SelectConfig,
) -> None:
    """Writes all parts in one pass; begins anew what a kill left unfinished."""
    writers: dict[str, files.CorpusWriter] = {}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in parts}
    chosen = np.zeros((len(words), len(parts)), bool)
    for place, (name, numbers) in enumerate(parts.items()):
        shutil.rmtree(output / name, ignore_errors=True)
        writers[name] = files.CorpusWriter(output / name)
        chosen[numbers, place] = True
    for number, (document, row) in enumerate(corpus.rows()):
        for place in np.flatnonzero(chosen[number]).tolist():
            name = list(parts)[place]
            rows[name].append(written_row(corpus, document, row))
            if len(rows[name]) == _SHARD:
                write_shard(writers[name], rows[name])
                rows[name] = []
    for name, numbers in parts.items():
        if rows[name]:
            write_shard(writers[name], rows[name])
        count = int(words[numbers].sum())
        manifest = {
            "kind": "selected corpus",
            "documents": len(numbers),
            "words": count,
            "tokens": {"estimated": estimated_tokens(count), "method": METHOD},
            "selection": name,
            "select": asdict(config),
            **taken_from(corpus, words),
        }
        write_card(
            output / name, manifest, writers[name].shards, name=f"{corpus.name}, {name} part"
        )
        writers[name].close(manifest)
