"""The file formats a corpus can come in: the rows of one file, each with its number.

Whatever is wrong with a file is a `UserError` of one line that names the file and the line or row.
"""

import csv
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.corpora.markup import html_rows, wiki_rows
from synthdiv.errors import UserError, first_line
from synthdiv.json_lines import json_lines, text_lines

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

ENDINGS = (".parquet", ".jsonl", ".json", ".txt", ".arrow", ".csv", ".html", ".htm", ".xml")
ARRAY_RECORD = ".array_record"
_DEEPEST = 100  # levels of JSON; what is deeper breaks whoever writes it out again
_BATCH = 1024  # rows turned into Python objects at a time


def ending(path: Path) -> str | None:
    """Returns the ending that says what format a file has, or None where it is of none."""
    if ARRAY_RECORD in path.name:
        return ARRAY_RECORD
    name = path.name.removesuffix(".gz").removesuffix(".zst").removesuffix(".bz2")
    return next((e for e in ENDINGS if name.endswith(e)), None)


def numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yields the rows of one file of a known format, each with its number; see `place`.

    Raises:
        UserError: the file cannot be read as what its name says.
    """
    return _READERS[ending(path) or ".jsonl"](path)


def place(path: Path, number: int) -> str:
    """Says where row `number` of a file stands: in which line of a text, else in which row."""
    return f"{path} {'line' if ending(path) in ('.jsonl', '.txt', '.csv') else 'row'} {number}"


def _paragraphs(path: Path) -> Iterator[tuple[int, Row]]:
    """Texts between blank lines; however lines end, within a text it is by a line feed."""
    lines: list[str] = []
    first = 0
    for number, text in itertools.chain(text_lines(path), [(0, "\n")]):
        for line in io.StringIO(text, newline=None) if "\r" in text else (text,):
            if line.strip():
                first = first if lines else number
                lines.append(line)
            elif lines:
                yield first, {"text": "".join(lines).strip()}
                lines = []


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, row in json_lines(path):
        if _too_deep(row):
            raise UserError(f"{place(path, number)} is nested more than {_DEEPEST} levels deep")
        yield number, row


def _too_deep(row: Row) -> bool:
    level: list[Any] = [row]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The first line names the columns; every value is text."""
    csv.field_size_limit(sys.maxsize)  # of a whole document
    reader = csv.reader((line for _, line in text_lines(path)), strict=True)
    try:
        head = next(reader, [])
        if len(set(head)) < len(head):
            raise UserError(f"{path} has two columns {max(head, key=head.count)!r}")
        number = reader.line_num + 1
        for values in reader:
            if values and len(values) != len(head):
                raise UserError(
                    f"{path} line {number} has {len(values)} values for {len(head)} columns"
                )
            if values:
                yield number, dict(zip(head, values, strict=True))
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} is not CSV: {error}") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow.parquet as pq

    def batches() -> "Iterator[pa.RecordBatch]":
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BATCH)

    return _arrow_batches(path, "Parquet", batches)


def _arrow_rows(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, _BATCH):
                    yield batch.slice(start, _BATCH)

    return _arrow_batches(path, "an Arrow stream", batches)


def _arrow_batches(
    path: Path, what: str, batches: "Callable[[], Iterator[pa.RecordBatch]]"
) -> Iterator[tuple[int, Row]]:
    """Yields the rows of Arrow's batches, which are checked first: broken ones crash a process."""
    import pyarrow as pa

    number = 0
    try:
        for batch in batches():
            batch.validate(full=True)
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        after = f" after row {number:,}" if number else ""
        raise UserError(f"{path} cannot be read as {what}{after}: {first_line(error)}") from error


def _array_record_rows(path: Path) -> Iterator[tuple[int, Row]]:
    from synthdiv.corpora import tfds

    return tfds.file_rows(path)


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Row]]]] = {
    ".parquet": _parquet_rows,
    ".arrow": _arrow_rows,
    ".txt": _paragraphs,
    ".jsonl": _json_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".html": html_rows,
    ".htm": html_rows,
    ".xml": wiki_rows,
    ARRAY_RECORD: _array_record_rows,
}
