"""The file formats a corpus can come in: which files a path holds, and the rows of one file.

Used by `files.Corpus`, which is what everything else should use.
"""

import gzip
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError

_ENDINGS = (".parquet", ".jsonl", ".json", ".txt", ".arrow")
_NOT_DATA = (
    "manifest.json",
    "fingerprint.json",
    "partial.json",
    "dataset_info.json",
    "features.json",
    "state.json",
    "dataset_dict.json",
)


def find_shards(path: Path) -> list[Path]:
    """Returns the files that a corpus consists of, in name order.

    Raises:
        UserError: none of a known format.
    """
    if path.is_file():
        if _ending(path) is None and ".array_record" not in path.name:
            raise UserError(
                f"{str(path)!r} is of no known corpus format; known: {', '.join(_ENDINGS)}, "
                ".array_record, and .gz or .zst of them"
            )
        return [path]
    found = sorted(
        p
        for p in path.rglob("*")
        if p.is_file()
        and (_ending(p) or ".array_record" in p.name)
        and p.name not in _NOT_DATA
        and not any(part.startswith(".") for part in p.relative_to(path).parts)
    )
    # A directory of ours holds more than documents (answers, scores): its shards alone count.
    shards = [p for p in found if p.name.startswith("shard-") and p.suffix == ".parquet"]
    if not found:
        raise UserError(f"no documents in {str(path)!r}: no file of a known corpus format")
    return shards or found


def _ending(path: Path) -> str | None:
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    return next((e for e in _ENDINGS if name.endswith(e)), None)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of one file as dicts.

    Raises:
        UserError: the file cannot be read as what its name says; names the line where it can.
    """
    if ".array_record" in path.name:
        return _array_record_rows(path)
    reader = {
        ".parquet": _parquet_rows,
        ".arrow": _arrow_rows,
        ".txt": _paragraphs,
        ".jsonl": _json_rows,
        ".json": _json_rows,
    }[_ending(path)]
    return reader(path)


def open_text(path: str | Path, errors: str = "strict") -> io.TextIOBase:
    """Opens a UTF-8 text file to read, through gzip or zstd where its name says so."""
    path = Path(path)
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors=errors)
    if path.suffix == ".zst":
        import zstandard

        stream = zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), closefd=True)  # noqa: SIM115
        return io.TextIOWrapper(stream, encoding="utf-8", errors=errors)
    return open(path, encoding="utf-8", errors=errors)


def _unreadable(path: Path, error: Exception) -> UserError:
    """What to say of a text file that cannot be read; of bytes that are no text, in which line."""
    if isinstance(error, UnicodeDecodeError):
        with open_text(path, "surrogateescape") as file:
            for number, line in enumerate(file, start=1):
                if not line.isascii() and any("\udc80" <= c <= "\udcff" for c in line):
                    return UserError(f"{path} line {number} is not UTF-8 text")
    return UserError(f"{path} cannot be read: {error}")


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from None


def _arrow_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid as error:
            raise UserError(f"{path} cannot be read as an Arrow stream: {error}") from None
        for batch in reader:
            for start in range(0, batch.num_rows, 1024):
                yield from batch.slice(start, 1024).to_pylist()


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_text(path) as file:
            head = file.readline()
            if head.lstrip().startswith("["):
                yield from _checked_array(path, head + file.read())
                return
            for number, line in enumerate(itertools.chain([head], file), start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{path} line {number} is not JSON: {error.msg}") from None
                if not isinstance(row, dict):
                    raise UserError(f"{path} line {number} is not a JSON object")
                yield row
    except (UnicodeDecodeError, EOFError, OSError) as error:
        raise _unreadable(path, error) from None


def _checked_array(path: Path, text: str) -> Iterator[dict[str, Any]]:
    try:
        array = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path} line {error.lineno} is not JSON: {error.msg}") from None
    for number, row in enumerate(array):
        if not isinstance(row, dict):
            raise UserError(f"{path}: element {number} is not a JSON object")
        yield row


def _paragraphs(path: Path) -> Iterator[dict[str, Any]]:
    lines: list[str] = []
    try:
        with open_text(path) as file:
            for line in itertools.chain(file, [""]):
                if line.strip():
                    lines.append(line)
                elif lines:
                    yield {"text": "".join(lines).strip()}
                    lines = []
    except (UnicodeDecodeError, EOFError, OSError) as error:
        raise _unreadable(path, error) from None


def _array_record_rows(path: Path) -> Iterator[dict[str, Any]]:
    """TFDS writes each example as a serialized `tf.train.Example`."""
    try:
        from array_record.python import array_record_module
    except ImportError:
        raise UserError(f"{path} needs array_record: pip install 'synthdiv[train]'") from None
    from synthdiv.tf_example import parse_example

    reader = array_record_module.ArrayRecordReader(str(path))
    try:
        for start in range(0, reader.num_records(), 1024):
            for record in reader.read(start, min(start + 1024, reader.num_records())):
                yield parse_example(record)
    finally:
        reader.close()
