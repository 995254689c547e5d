"""Reads data sets of tensorflow-datasets without TensorFlow, through its data sources.

A data set by name, built first where it is not there yet; one in a directory; or a single
array_record file of `tf.train.Example`, with or without the description of its features beside it.
"""

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from synthdiv.corpora.formats import Row
from synthdiv.corpora.sources import TFDS, Source, split_query
from synthdiv.errors import UserError, first_line
from synthdiv.progress import say

JSON_COLUMNS = "json_columns"  # in metadata.json: columns that TFDS has no type for
_FEATURES = "features.json"
_BATCH = 1024


def library(what: str) -> ModuleType:
    """Returns tensorflow_datasets.

    Raises:
        UserError: it is not installed; says what needs it.
    """
    try:
        import tensorflow_datasets
    except ImportError:
        raise UserError(
            f"{what} needs tensorflow-datasets: pip install 'synthdiv[train]'"
        ) from None
    return tensorflow_datasets


def find(address: str) -> Source:
    """Finds `tfds:NAME/CONFIG:VERSION?split=train&data_dir=DIR` or `tfds:DIRECTORY?split=...`.

    Raises:
        UserError: there is none, it cannot be built or read, or it has several splits and none is
            named.
    """
    named, asked = split_query(address, "split", "data_dir")
    name = named.removeprefix(TFDS)
    tfds = library(address)
    with _silent(tfds):
        try:
            if (Path(name) / "dataset_info.json").exists():
                builder = tfds.builder_from_directory(name)
                found = builder.as_data_source(split=asked.get("split"))
            else:
                where = {"data_dir": asked.get("data_dir")}
                if not tfds.builder(name, file_format="array_record", **where).is_prepared():
                    say(f"{address} is not there yet: it is downloaded and built first")
                found = tfds.data_source(name, split=asked.get("split"), **where)
        except Exception as error:  # of a hundred kinds: the network's, the builder's own, ...
            raise UserError(f"{address}: {first_line(error)}") from error
    if isinstance(found, dict):
        if len(found) != 1:
            raise UserError(
                f"{address} has the splits {', '.join(map(repr, found))}: name one with ?split="
            )
        found = next(iter(found.values()))
    as_json = _json_columns(found.dataset_info.metadata or {})

    def rows() -> Iterator[tuple[int, Row]]:
        for start in range(0, len(found), _BATCH):
            with _readable(address):
                batch = found.__getitems__(list(range(start, min(start + _BATCH, len(found)))))
            for number, row in enumerate(batch, start=start + 1):
                yield number, _plain_row(row, as_json)

    name = found.dataset_info.name
    return Source(address, name, rows, lambda number: f"{address} row {number}")


@contextlib.contextmanager
def _silent(tfds: ModuleType) -> Iterator[None]:
    """Keeps what TFDS tells of its own doings out of what a command prints."""
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3")]
    levels = [logger.level for logger in loggers]
    tfds.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def file_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yields the numbered rows of one array_record file of `tf.train.Example`.

    With TFDS's features.json beside it the rows have the types that it says. Without, a feature of
    one value is that value, of several a list.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    try:
        from array_record.python import array_record_module
    except ImportError:
        raise UserError(f"{path} needs array_record: pip install 'synthdiv[train]'") from None
    tfds = library(str(path))
    features, as_json = None, frozenset[str]()
    if (path.parent / _FEATURES).exists():
        with _readable(str(path.parent / _FEATURES)):
            info = tfds.builder_from_directory(path.parent).info
            features, as_json = info.features, _json_columns(info.metadata or {})
    with _readable(str(path)):
        reader = array_record_module.ArrayRecordReader(str(path))
    try:
        if not reader.ok():
            raise UserError(f"{path} cannot be read: it is cut off, or no array_record file")
        count = reader.num_records()
        for start in range(0, count, _BATCH):
            with _readable(str(path)):
                rows = [
                    _example(record)
                    if features is None
                    else _plain_row(features.deserialize_example_np(record), as_json)
                    for record in reader.read(start, min(start + _BATCH, count))
                ]
            yield from enumerate(rows, start=start + 1)
    finally:
        with contextlib.suppress(RuntimeError):  # a broken file's second complaint
            reader.close()


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """Whatever the libraries raise over damaged bytes is the user's to know, in one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} cannot be read: {first_line(error)}") from error


def _json_columns(metadata: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(metadata.get(JSON_COLUMNS, ()))


def _example(record: bytes) -> Row:
    from tensorflow_datasets.proto import tf_example_pb2

    row = {}
    for name, feature in sorted(tf_example_pb2.Example.FromString(record).features.feature.items()):
        kind = feature.WhichOneof("kind")
        values = [_plain(value) for value in getattr(feature, kind).value] if kind else []
        row[name] = values[0] if len(values) == 1 else values
    return row


def _plain_row(row: Mapping[str, Any], as_json: frozenset[str]) -> Row:
    plain = {name: _plain(value) for name, value in row.items()}
    return plain | {name: json.loads(plain[name]) for name in as_json}


def _plain(value: Any) -> Any:
    """NumPy's values as Python's own; bytes that are UTF-8 as text."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    if hasattr(value, "tolist"):  # an array, or one of NumPy's numbers
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value
