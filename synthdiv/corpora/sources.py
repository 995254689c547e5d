"""Where the rows of a corpus come from: files, a table in memory, a hub's or TFDS's data set."""

import dataclasses
import glob
import os
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from synthdiv.corpora import formats
from synthdiv.corpora.formats import Row
from synthdiv.corpora.names import corpus_name
from synthdiv.errors import UserError, closest
from synthdiv.json_lines import parse_json
from synthdiv.storage import RemoteFile, is_remote

HUB = "hf://"
TFDS = "tfds:"


class ArrowTable(Protocol):
    """A table that hands out its columns in Arrow's form: pandas, polars, pyarrow, DuckDB, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class HubDataset(Protocol):
    """A `datasets.Dataset`, which has no types of its own."""

    def with_format(self, type: str | None = None) -> Any: ...


Data: TypeAlias = (
    "str | Path | Iterable[str | None] | Iterable[Mapping[str, Any]] | ArrowTable | HubDataset"
)

_LONGEST = 200  # characters of a path that a message tells
_BATCH = 1024  # rows of a table that are taken out at once


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows that can be read again and again.

    Attributes:
        origin: what messages call it: the path or address as it was given.
        name: of the corpus.
        rows: starts reading: (where, row), where `where` is what `place` puts into words.
        place: where a row stands, for people.
        shards: the files behind it, in the order in which they are read; none of a table.
        folder: where the manifest of a corpus in a store lies here.
    """

    origin: str
    name: str
    rows: Callable[[], Iterator[tuple[Any, Row]]]
    place: Callable[[Any], str]
    shards: tuple[Path | RemoteFile, ...] = ()
    folder: Path | None = None


def find(data: Data) -> Source:
    """Returns the source that `data` is, or names.

    Args:
        data: a path, a pattern (`runs/*/corpus`), `hf://datasets/ORG/NAME?split=train`,
            `tfds:NAME/CONFIG:VERSION?split=train`, `s3://BUCKET/...`, `gs://BUCKET/...`; or texts,
            dicts, a table.

    Raises:
        UserError: nothing is there, or it is of no known format.
    """
    if isinstance(data, str) and data.startswith(HUB):
        from synthdiv.corpora import huggingface

        return huggingface.find(data)
    if isinstance(data, str) and data.startswith(TFDS):
        from synthdiv.corpora import tfds

        return tfds.find(data)
    if isinstance(data, str) and is_remote(data):
        from synthdiv.corpora import buckets

        return buckets.find(data)
    if isinstance(data, str | Path):
        return _files(str(data))
    return _table(data)


def split_query(address: str, *known: str) -> tuple[str, dict[str, str]]:
    """Splits `NAME?split=train` into the name and what is asked for.

    Raises:
        UserError: something other than `known` is asked for.
    """
    name, _, query = address.partition("?")
    asked: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in known:
            raise UserError(
                f"{address!r} asks for {key!r}{closest(key, known)}; known: {', '.join(known)}"
            )
        asked[key] = urllib.parse.unquote(value)
    return name, asked


def _files(given: str) -> Source:
    path = Path(given)
    if not given:
        raise UserError("'' is no corpus: give a path, or a list of texts")
    if os.path.exists(path):  # Path.exists fails where a name is too long
        shards = find_shards(path)
    elif glob.has_magic(given):
        found = sorted(Path(p) for p in glob.glob(given, recursive=True))
        shards = [shard for p in found for shard in find_shards(p)]
        if not shards:
            raise UserError(f"no corpus matches {_told(given)}")
    else:
        near = path.parent.iterdir() if os.path.isdir(path.parent) else ()
        alike = closest(given, map(str, near)) if len(given) <= _LONGEST else ""
        raise UserError(f"no corpus {_told(given)}{alike}")

    def rows() -> Iterator[tuple[tuple[Path, int], Row]]:
        for shard in shards:
            for number, row in formats.numbered_rows(shard):
                yield (shard, number), row

    name = corpus_name(path if os.path.exists(path) else _before_pattern(path))
    return Source(given, name, rows, lambda where: formats.place(*where), tuple(shards))


def _told(given: str) -> str:
    """A path that is not there, for a message; one like a text may have been meant as one."""
    if len(given) <= _LONGEST and "\n" not in given:
        return repr(given)
    return f"{given[:40]!r}...: if that is a text and no path, give a list of texts"


def _before_pattern(path: Path) -> Path:
    """The directory that all matches of a pattern lie in."""
    fixed = [path] + [p for p in path.parents]
    return next(p for p in fixed if not glob.has_magic(str(p)))


_NOT_DATA = (
    "manifest.json",
    "fingerprint.json",
    "partial.json",
    "dataset_info.json",
    "features.json",
    "metadata.json",
    "state.json",
    "dataset_dict.json",
)


def find_shards(path: Path) -> list[Path]:
    """Returns the files that a corpus on disk consists of, in name order.

    Raises:
        UserError: none of a known format.
    """
    if path.is_file():
        if formats.ending(path) is None:
            raise UserError(
                f"{str(path)!r} is of no known corpus format; known: "
                f"{', '.join(formats.ENDINGS)}, {formats.ARRAY_RECORD}, and .gz, .zst, .bz2"
            )
        return [path]
    splits = _splits(path)
    if len(splits) > 1:
        known = ", ".join(repr(str(path / split)) for split in splits)
        raise UserError(
            f"{str(path)!r} is a DatasetDict and no corpus, but one of these may be: {known}"
        )
    inside = (p.relative_to(path) for p in path.rglob("*") if p.is_file())
    if not (found := choose_shards(inside)):
        raise UserError(f"no documents in {str(path)!r}: no file of a known corpus format")
    return [path / shard for shard in found]


def choose_shards(names: Iterable[Path]) -> list[Path]:
    """Returns which of a directory's files a corpus consists of, in order."""
    found = sorted(
        name
        for name in names
        if formats.ending(name)
        and name.name not in _NOT_DATA
        and not any(part.startswith(".") for part in name.parts)
    )
    # A directory of ours holds more than documents (answers, scores): its shards alone count.
    shards = [p for p in found if p.name.startswith("shard-") and p.suffix == ".parquet"]
    # Tables and pages often lie beside a corpus, and are one only where there is nothing else.
    aside = (".csv", ".html", ".htm", ".xml")
    return shards or [p for p in found if formats.ending(p) not in aside] or found


def _splits(path: Path) -> list[str]:
    """The splits of a DatasetDict that `save_to_disk` left in a directory; none where it is not."""
    listed = path / "dataset_dict.json"
    if not listed.is_file():
        return []
    content = parse_json(listed.read_text(encoding="utf-8"), listed)
    splits = content.get("splits") if isinstance(content, dict) else None
    return [str(split) for split in splits] if isinstance(splits, list) else []


def _table(data: Any) -> Source:
    """Rows in memory, or in the table of whichever library."""
    if hasattr(data, "iloc") and hasattr(data, "columns"):  # of pandas
        return _in_memory(lambda: _frame_rows(data))
    if hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns"):
        return _in_memory(lambda: _arrow_rows(data))
    if hasattr(data, "with_format") and hasattr(data, "iter"):  # of the library `datasets`
        return _in_memory(lambda: dataset_rows(data))
    if isinstance(data, Mapping):  # a DatasetDict, say
        known = ", ".join(map(repr, data))
        raise UserError(f"a {type(data).__name__} is no corpus, but one of these may be: {known}")
    if not isinstance(data, Iterable):
        raise UserError(f"{type(data).__name__} is no corpus: give a path, texts, dicts, a table")
    rows = [{"text": row} if row is None or isinstance(row, str) else row for row in data]
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise UserError(f"row {number} is {type(row).__name__}, neither a text nor a dict")
    return _in_memory(lambda: ({str(name): row[name] for name in row} for row in rows))


def _in_memory(rows: Callable[[], Iterator[Row]]) -> Source:
    name = "corpus"
    return Source(name, name, lambda: enumerate(rows()), lambda number: f"row {number}")


def _arrow_rows(table: Any) -> Iterator[Row]:
    import pyarrow as pa

    arrow = pa.table(table)
    _check_columns(arrow.column_names)
    for batch in arrow.to_batches(max_chunksize=_BATCH):
        yield from batch.to_pylist()


def _frame_rows(frame: Any) -> Iterator[Row]:
    """Rows of a pandas frame, with the levels of its index that have names.

    A column that holds values of several types stays as it is: only the text has to be text.
    """
    names = [str(name) for name in frame.columns]
    _check_columns(names)
    columns = {name: frame.iloc[:, place] for place, name in enumerate(names)}
    for name in frame.index.names:
        if name is not None:
            level = frame.index.get_level_values(name).to_series()
            columns.setdefault(str(name), level)
    batches = {name: _batches(column) for name, column in columns.items()}
    for batch in zip(*batches.values(), strict=True):
        for row in zip(*batch, strict=True):
            yield dict(zip(batches, row, strict=True))


def _batches(column: Any) -> Iterator[list[Any]]:
    """The values of a pandas series, a batch at a time; those of several types as they are."""
    import pyarrow as pa

    try:
        values = pa.array(column, from_pandas=True)
    except pa.ArrowException:
        values = None
    for start in range(0, len(column), _BATCH):
        if values is not None:
            yield values[start : start + _BATCH].to_pylist()
        else:
            part = column.iloc[start : start + _BATCH].astype(object)
            yield part.where(part.notna(), None).tolist()


def _check_columns(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"the table has two columns {name!r}: give each a name of its own")


def dataset_rows(dataset: HubDataset) -> Iterator[Row]:
    """Yields the rows of a data set of the library `datasets`."""
    for batch in dataset.with_format(None).iter(batch_size=1024):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))
