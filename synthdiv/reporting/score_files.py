"""Reads a score directory back: score.json, its rounds and the documents that were in them."""

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

    @property
    def by_codebook(self) -> dict[int, list[Mapping[str, Any]]]:
        """`values` by the place, in score.json, of the codebook that they are of."""
        codebooks = len(self.score.get("codebooks") or ())
        set_of = {one.number: one.criteria_set for one in self.rounds}
        found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for row in self.values:
            found[set_of[row["round"]] % codebooks].append(row)
        return dict(sorted(found.items()))


def read_score_files(score_dir: str | Path, corpus: Corpus | None = None) -> ScoreFiles:
    """Reads a score directory.

    Args:
        score_dir: a directory with score.json and rounds.parquet.
        corpus: where the documents are; by default documents.parquet of the directory, else the
            corpus that score.json names.

    Raises:
        UserError: score.json or rounds.parquet is missing, or a file is not what it must be.
    """
    score_dir = Path(score_dir)
    score = _read_score(score_dir / "score.json")
    coded = bool(score.get("codebooks"))
    rows = _read_rows(score_dir / "rounds.parquet", "round", "indices")
    try:
        rounds = tuple(_round(row, coded) for row in rows)
    except (AttributeError, IndexError, TypeError, ValueError):
        raise UserError(
            f"{score_dir / 'rounds.parquet'} is damaged, or no score wrote it"
        ) from None
    wanted = sorted({index for round_ in rounds for index in round_.indices})
    values: tuple[Mapping[str, Any], ...] = ()
    if coded:
        kept = score_dir / "values.parquet"
        values = tuple(_values(cluster for round_ in rounds for cluster in round_.clusters))
        if kept.exists():
            told, values = values, tuple(_read_rows(kept, "round", "index"))
            if not _same_score(values, told):
                raise UserError(f"{kept} is not of the score whose rounds.parquet is beside it")
    return ScoreFiles(score, rounds, _documents(score_dir, score, corpus, wanted), values)


def _values(clusters: Iterable[Cluster]) -> Iterator[dict[str, Any]]:
    """Rows as values.parquet has them, of documents that were sorted by one value of a codebook."""
    for cluster in clusters:
        levels = {name.replace(": ", "."): value for name, value in cluster.metadata.items()}
        for index in cluster.documents:
            yield {"round": cluster.round, "index": index, **levels}


def _same_score(rows: Iterable[Mapping[str, Any]], told: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows of values.parquet have each document of each round as the clusters have it."""
    of = {
        (row["round"], row["index"]): {beginning(str(value)) for value in row.values()}
        for row in rows
    }
    return of.keys() == {(one["round"], one["index"]) for one in told} and all(
        {str(value) for value in one.values()} <= of[one["round"], one["index"]] for one in told
    )


def _read_score(path: Path) -> dict[str, Any]:
    """Reads score.json; what is there of it is as it must be."""
    score = read_json(path)
    objects = ("corpus", "judge", "config", "rounds", "clusters")
    if not isinstance(score, dict) or not all(
        isinstance(score.get(name) or {}, dict) for name in objects
    ):
        raise UserError(f"{path} is not a score: it must be an object, and so must its parts")
    books = score.get("codebooks") or []
    if not _all(books, lambda book: _all(book.get("facets"), _is_facet) and book["facets"]) or any(
        _levels(book) != _levels(books[0]) for book in books
    ):
        raise UserError(f"{path}: `codebooks` must be a list of codebooks with the same facets")
    return score


def _all(entries: Any, is_one: Callable[[dict[str, Any]], Any]) -> bool:
    """Whether something is a list of objects that are all of a kind."""
    return isinstance(entries, list) and all(isinstance(e, dict) and is_one(e) for e in entries)


def _is_named(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("name"), str)


def _is_facet(entry: Mapping[str, Any]) -> bool:
    return _is_named(entry) and _all(entry.get("levels"), _is_named) and _has_values(entry)


def _has_values(entry: Mapping[str, Any]) -> bool:
    meaning, values = entry.get("meaning") or "", entry.get("values") or []
    return isinstance(meaning, str) and _all(values, lambda v: _is_named(v) and _has_values(v))


def _levels(codebook: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    return [(f["name"], [one["name"] for one in f["levels"]]) for f in codebook["facets"]]


def _read_rows(path: Path, *columns: str) -> list[dict[str, Any]]:
    """Reads a table that must have some columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise UserError(f"no file {str(path)!r}")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    for name in columns:
        if name not in table.column_names:
            raise UserError(f"{path} has no column {name!r}")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _documents(
    score_dir: Path, score: Mapping[str, Any], corpus: Corpus | None, wanted: Sequence[int]
) -> dict[int, Document]:
    kept = score_dir / "documents.parquet"
    if corpus is None and kept.exists():
        return {
            row["index"]: Document(row["id"], row["text"], json.loads(row["provenance"] or "{}"))
            for row in _read_rows(kept, "index", "id", "text", "provenance")
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
