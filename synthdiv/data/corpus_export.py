"""Writes a corpus as others read it: TFDS, Hugging Face `datasets`, JSON lines, Parquet."""

import itertools
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from synthdiv.corpora import Corpus, tfds
from synthdiv.errors import UserError
from synthdiv.files import atomic_path, check_apart, output_dir
from synthdiv.plans import Plan
from synthdiv.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("tfds", "jsonl", "hf", "parquet")
_BATCH = 1000
_SHARD_DOCUMENTS = 100_000

Row = dict[str, Any]


def export_corpus(corpus: Corpus, format: str, output: str | Path) -> Path:
    """Writes a corpus into a directory, in one of `FORMATS`; nothing is there until all of it is.

    Args:
        corpus: what to write: its columns, with `id` and `text`.
        format: `tfds` for `OUTPUT/NAME/1.0.0`, which `tfds.data_source(NAME, data_dir=OUTPUT)`
            reads; `jsonl` for `OUTPUT/NAME.jsonl`; `hf` for `OUTPUT/NAME`, which
            `datasets.load_from_disk` reads; `parquet` for shards in `OUTPUT/NAME`.
        output: the directory.

    Returns:
        The file or directory written.

    Raises:
        UserError: it is there already, `output` is where the corpus lies, the library is not
            installed, or a column holds values of kinds that do not go together.
    """
    name = re.sub(r"\W+", "_", corpus.name).strip("_").lower() if format == "tfds" else corpus.name
    check_apart(output, corpus)
    target = output_dir(output) / (f"{name}.jsonl" if format == "jsonl" else name)
    if target.exists():
        raise UserError(f"{str(target)!r} is there already: remove it or choose another `output`")
    if format == "jsonl":
        _write_jsonl(corpus, target)
        return target
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as scratch:
        whole = Path(scratch) / name
        if format == "tfds":
            _write_tfds(corpus, name, whole)
        elif format == "parquet":
            _write_parquet(corpus, whole)
        else:
            _write_hf(corpus, whole)
        whole.rename(target)
    return target


def _batches(corpus: Corpus) -> Iterator[list[Row]]:
    rows = ({"id": d.id, "text": d.text, **d.provenance} for d in corpus)
    with Progress(None, f"exporting {corpus.name}", "documents") as progress:
        while batch := list(itertools.islice(rows, _BATCH)):
            yield batch
            progress.update(len(batch))


def plan_corpus_export(corpus: Corpus, format: str, output: str | Path) -> Plan:
    """Returns what `export_corpus` would write.

    Raises:
        UserError: `output` is where the corpus lies.
    """
    check_apart(output, corpus)
    facts = {corpus.name: f"{len(corpus):,} documents as {format}"}
    return Plan(facts, {"documents": len(corpus)})


def _write_jsonl(corpus: Corpus, target: Path) -> None:
    # Half a surrogate pair cannot be written but as JSON's own escape, which Python's is too.
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        for batch in _batches(corpus):
            for row in batch:
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _table(rows: list[Row], corpus: Corpus, schema: "pa.Schema | None" = None) -> "pa.Table":
    import pyarrow as pa

    names = schema.names if schema else dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        try:
            kind = schema.field(name).type if schema else None
            columns[name] = pa.array([row.get(name) for row in rows], kind)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise UserError(f"column {name!r} of {corpus.origin!r}: {error}") from None
    return pa.table(columns)


def _schema(corpus: Corpus) -> "tuple[pa.Schema, set[str]]":
    """The columns' types, and the names of those that are null somewhere; reads everything."""
    import pyarrow as pa

    schema, with_nulls, seen = pa.schema([]), set[str](), 0
    for batch in _batches(corpus):
        table = _table(batch, corpus)
        with_nulls |= {name for name in table.column_names if _has_nulls(table[name])}
        with_nulls |= set(table.column_names) ^ set(schema.names) if seen else set()
        seen += len(batch)
        try:
            schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise UserError(f"a column of {corpus.origin!r} changes its kind: {error}") from None
    return schema, with_nulls


def _has_nulls(column: "pa.ChunkedArray") -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    inside = pa.types.is_list(column.type) and pc.list_flatten(column).null_count
    return bool(column.null_count or inside)


def _write_parquet(corpus: Corpus, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, _ = _schema(corpus)
    target.mkdir()
    batches = _batches(corpus)
    for number in itertools.count():
        shard = list(itertools.islice(batches, _SHARD_DOCUMENTS // _BATCH))
        if not shard:
            return
        table = pa.concat_tables(_table(batch, corpus, schema) for batch in shard)
        pq.write_table(table, target / f"{number:05d}.parquet", compression="zstd")


def _write_hf(corpus: Corpus, target: Path) -> None:
    import pyarrow as pa

    try:
        import datasets
    except ImportError:
        raise UserError("format 'hf' needs datasets: pip install 'synthdiv[hub]'") from None
    schema, _ = _schema(corpus)
    stream = target.with_suffix(".arrow")
    with pa.ipc.new_stream(stream, schema) as writer:
        for batch in _batches(corpus):
            writer.write_table(_table(batch, corpus, schema))
    datasets.disable_progress_bars()
    datasets.Dataset.from_file(str(stream)).save_to_disk(target)


def _write_tfds(corpus: Corpus, name: str, target: Path) -> None:
    """Writes one split `train`. What TFDS has no type for is text of JSON, named in metadata.json.

    Its own float is of 32 bits, so that floats are written as the bytes of 64.
    """
    library = tfds.library("format 'tfds'")
    kinds, as_json = _tfds_features(library, *_schema(corpus))
    directory = target / "1.0.0"
    directory.mkdir(parents=True)
    identity = library.core.dataset_info.DatasetIdentity(
        name=name,
        version=library.core.Version(directory.name),
        data_dir=str(directory),
        module_name=__name__,
    )
    info = library.core.DatasetInfo(
        builder=identity,
        description=f"The corpus {corpus.name}, written by synthdiv.",
        features=library.features.FeaturesDict(kinds),
        metadata=library.core.MetadataDict({tfds.JSON_COLUMNS: sorted(as_json)}),
    )
    writer = library.core.SequentialWriter(info, _SHARD_DOCUMENTS, file_format="array_record")
    writer.initialize_splits(["train"])
    for batch in _batches(corpus):
        rows = [{column: row.get(column) for column in kinds} for row in batch]
        for row in rows:
            row |= {c: json.dumps(row[c], ensure_ascii=False, default=str) for c in as_json}
        writer.add_examples({"train": rows})
    writer.close_all()


def _tfds_features(
    library: ModuleType, schema: "pa.Schema", with_nulls: set[str]
) -> tuple[dict[str, Any], set[str]]:
    """TFDS's feature of each column, and which columns are written as JSON."""
    import numpy as np
    import pyarrow as pa

    known = {
        pa.string(): library.features.Text,
        pa.bool_(): lambda: library.features.Scalar(np.bool_),
        pa.list_(pa.string()): lambda: library.features.Sequence(library.features.Text()),
        pa.int64(): lambda: library.features.Scalar(np.int64),
        pa.float64(): lambda: library.features.Tensor(
            shape=(), dtype=np.float64, encoding=library.features.Encoding.BYTES
        ),
    }
    as_json = {field.name for field in schema if field.type not in known} | with_nulls
    kinds = {
        field.name: library.features.Text() if field.name in as_json else known[field.type]()
        for field in schema
    }
    return kinds, as_json
