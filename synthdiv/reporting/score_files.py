"""Reads a score directory back: score.json, its rounds and the documents that were in them."""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError
from synthdiv.files import Corpus, Document, read_json
from synthdiv.reporting.sources import beginning

_REASON = 1000  # characters of a judge's reason that are shown


@dataclasses.dataclass(frozen=True)
class Cluster:
    """One cluster of one round, as rounds.parquet has it.

    Attributes:
        round: number of the round.
        name, reason: the judge's words.
        documents: indices in the corpus.
        valid: what self-verification said.
        metadata: its value in each criterion; where documents got values, the value at each level
            down to the headline's.
        coded: whether it stands for a value of a codebook.
    """

    round: int
    name: str
    reason: str
    documents: tuple[int, ...]
    valid: bool
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    coded: bool = False

    @property
    def within(self) -> tuple[str, ...]:
        """The broader values that a value belongs to, broadest first; none is called like it."""
        if not self.coded:
            return ()
        return tuple(value for value in self.metadata.values() if value != self.name)


@dataclasses.dataclass(frozen=True)
class Round:
    """One row of rounds.parquet; figures that the file leaves out are 0.

    Attributes:
        number: of the round.
        criteria_set: number of the criteria set that it was judged under.
        indices: its documents in the corpus.
        clusters: none where the round failed.
        C: accepted clusters.
        S: mean documents in an accepted cluster.
        score: of the round.
        repaired: whether the judge's clustering had to be completed or corrected.
        failed: whether the round counts for nothing.
    """

    number: int
    criteria_set: int
    indices: tuple[int, ...]
    clusters: tuple[Cluster, ...]
    C: float
    S: float
    score: float
    repaired: bool
    failed: bool


@dataclasses.dataclass(frozen=True)
class ScoreFiles:
    """What a score directory holds.

    Attributes:
        score: the content of score.json.
        rounds: all rows of rounds.parquet.
        documents: by index; empty where neither the directory nor the corpus can tell.
        values: what values.parquet has of each document of each round, or as much of it as the
            clusters tell; none where there is no codebook.
    """

    score: Mapping[str, Any]
    rounds: tuple[Round, ...]
    documents: Mapping[int, Document]
    values: tuple[Mapping[str, Any], ...] = ()

    @property
    def clusters(self) -> list[Cluster]:
        """The clusters of all rounds, in order."""
        return [cluster for round_ in self.rounds for cluster in round_.clusters]


def read_score_files(score_dir: str | Path, corpus: Corpus | None = None) -> ScoreFiles:
    """Reads a score directory.

    Args:
        score_dir: a directory with score.json and rounds.parquet.
        corpus: where the documents are; by default documents.parquet of the directory, else the
            corpus that score.json names.

    Raises:
        UserError: score.json or rounds.parquet is missing.
    """
    score_dir = Path(score_dir)
    score = read_json(score_dir / "score.json")
    coded = bool(score.get("codebooks"))
    rows = _read_rows(score_dir / "rounds.parquet")
    rounds = tuple(_round(row, coded) for row in rows)
    wanted = sorted({index for round_ in rounds for index in round_.indices})
    values: tuple[Mapping[str, Any], ...] = ()
    if coded and (score_dir / "values.parquet").exists():
        values = tuple(_read_rows(score_dir / "values.parquet"))
    elif coded:
        values = tuple(_values(cluster for round_ in rounds for cluster in round_.clusters))
    return ScoreFiles(score, rounds, _documents(score_dir, score, corpus, wanted), values)


def _values(clusters: Iterable[Cluster]) -> Iterator[dict[str, Any]]:
    """Rows as values.parquet has them, of documents that were sorted by one value of a codebook."""
    for cluster in clusters:
        levels = {name.replace(": ", "."): value for name, value in cluster.metadata.items()}
        for index in cluster.documents:
            yield {"round": cluster.round, "index": index, **levels}


def _read_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    if not path.exists():
        raise UserError(f"no file {str(path)!r}")
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _documents(
    score_dir: Path, score: Mapping[str, Any], corpus: Corpus | None, wanted: Sequence[int]
) -> dict[int, Document]:
    kept = score_dir / "documents.parquet"
    if corpus is None and kept.exists():
        return {
            row["index"]: Document(row["id"], row["text"], json.loads(row["provenance"] or "{}"))
            for row in _read_rows(kept)
        }
    if corpus is None:
        about = score.get("corpus", {})
        path = about.get("path")
        if not path or not Path(path).exists():
            return {}
        corpus = Corpus(path, about.get("text_column", "text"))
    return dict(zip(wanted, corpus.take(wanted), strict=True))


def _round(row: Mapping[str, Any], coded: bool) -> Round:
    failed = bool(row.get("failed"))
    return Round(
        number=row["round"],
        criteria_set=int(_figure(row, "criteria_set")),
        indices=tuple(row.get("indices") or ()),
        clusters=() if failed else _clusters(row, coded),
        C=_figure(row, "C"),
        S=_figure(row, "S"),
        score=_figure(row, "score"),
        repaired=bool(row.get("repaired")),
        failed=failed,
    )


def _figure(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return value if value is not None and math.isfinite(value) else 0


def _clusters(row: Mapping[str, Any], coded: bool) -> tuple[Cluster, ...]:
    """The clusters of a row; names, reasons and verdicts may be shorter lists or missing."""
    places = row.get("clusters") or []

    def described(column: str, otherwise: Any) -> list[Any]:
        values = list(row.get(column) or [])[: len(places)]
        return values + [otherwise] * (len(places) - len(values))

    columns = zip(
        places,
        described("names", ""),
        described("reasons", ""),
        described("verdicts", True),
        described("metadata", ""),
        strict=True,
    )
    return tuple(
        Cluster(
            round=row["round"],
            name=beginning(name or ""),
            reason=beginning(reason or "", _REASON),
            documents=tuple(row["indices"][place] for place in members),
            valid=bool(valid),
            metadata=_metadata(metadata),
            coded=coded,
        )
        for members, name, reason, valid, metadata in columns
    )


def _metadata(words: str | None) -> dict[str, str]:
    found = json.loads(words) if words else {}
    return {str(name): beginning(str(value)) for name, value in found.items()}
