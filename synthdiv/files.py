"""Files that are whole or absent: atomic writes, manifests, and corpora read and written.

A file that matters is written under a temporary name, fsynced and renamed. A directory is complete
when its `manifest.json` is there, which is always written last. Formats: docs/formats.md.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError, closest

MANIFEST = "manifest.json"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is fsynced and renamed to `path`.

    After an error, or a kill at any moment, `path` is as it was before.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON atomically, indented, for people and programs; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads JSON.

    Raises:
        UserError: the file is missing or is not JSON; names file and line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no file {str(path)!r}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None


def write_manifest(directory: str | Path, content: Mapping[str, Any]) -> None:
    """Declares a directory complete."""
    write_json(Path(directory) / MANIFEST, content)


def read_manifest(directory: str | Path) -> dict[str, Any] | None:
    """Returns a complete directory's manifest, or None where the directory is not complete."""
    path = Path(directory) / MANIFEST
    return read_json(path) if path.exists() else None


def output_dir(path: str | Path) -> Path:
    """Makes a directory to write into.

    Raises:
        UserError: it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {str(path)!r}: {error.strerror}") from None
    return path


def sha256_file(path: str | Path) -> str:
    """Returns the hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Returns the hex SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclasses.dataclass(frozen=True)
class Document:
    """One text of a corpus, with where it came from."""

    id: str
    text: str
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Corpus:
    """Documents on disk, read as a stream; nothing is held in memory.

    Reads a directory of Parquet shards (ours), `.parquet`, `.jsonl`/`.json` (one object a line, or
    one array), `.txt` (paragraphs between blank lines) - each also as `.gz` or `.zst` -, a Hugging
    Face `datasets` directory (`.arrow`), a TFDS dataset prepared as array_record, or a directory of
    such files.

    Args:
        path: the file or directory.
        text_column: the column or key that holds the text.

    Raises:
        UserError: there is nothing at `path`, it is of no known format, it has no such column, or
            it has no documents.
    """

    def __init__(self, path: str | Path, text_column: str = "text") -> None:
        from synthdiv import corpus_formats

        self.path = Path(path)
        self.text_column = text_column
        if not self.path.exists():
            near = self.path.parent.iterdir() if self.path.parent.is_dir() else ()
            raise UserError(f"no corpus {str(path)!r}{closest(str(path), map(str, near))}")
        self.shards = corpus_formats.find_shards(self.path)
        first = next(self._rows(), None)
        if first is None:
            raise UserError(f"corpus {str(path)!r} is empty")
        self.columns = tuple(first)
        if text_column not in first:
            names = ", ".join(map(repr, first))
            raise UserError(
                f"corpus {str(path)!r} has no column {text_column!r}; it has {names}: "
                "name the one that holds the text with --text_column"
            )

    @property
    def name(self) -> str:
        """The file's or directory's name without its endings."""
        return self.path.resolve().name.split(".")[0]

    def _rows(self) -> Iterator[dict[str, Any]]:
        from synthdiv import corpus_formats

        for shard in self.shards:
            yield from corpus_formats.rows(shard)

    def __iter__(self) -> Iterator[Document]:
        for index, row in enumerate(self._rows()):
            text = row.get(self.text_column)
            if not isinstance(text, str):
                if text is not None:
                    raise UserError(
                        f"document {index} of {str(self.path)!r}: {self.text_column!r} is "
                        f"{type(text).__name__}, not text"
                    )
                text = ""
            provenance = {k: v for k, v in row.items() if k not in ("id", self.text_column)}
            yield Document(str(row.get("id", index)), text, provenance)

    @cached_property
    def _scan(self) -> tuple[int, str]:
        """Number of documents and the SHA-256 of their texts, in one pass."""
        count, digest = 0, hashlib.sha256()
        for document in self:
            encoded = document.text.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
            count += 1
        return count, digest.hexdigest()

    def __len__(self) -> int:
        return self._scan[0]

    @property
    def sha256(self) -> str:
        """SHA-256 over the documents' texts with their lengths: equal texts, equal hash."""
        return self._scan[1]

    def take(self, indices: Sequence[int]) -> list[Document]:
        """Returns the documents at `indices`, in that order, in one pass over the corpus."""
        wanted = set(map(int, indices))
        found: dict[int, Document] = {}
        last = max(wanted, default=-1)
        for index, document in enumerate(self):
            if index in wanted:
                found[index] = document
            if index >= last:
                break
        return [found[int(i)] for i in indices]


class CorpusWriter:
    """Writes a corpus directory: Parquet shards (zstd), then the manifest.

    Every `write` is one shard, which is whole or absent; a writer opened on a directory that was
    left unfinished goes on after the shards that are there.

    Args:
        directory: where to write; made if it is not there.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = output_dir(directory)
        self.shards = sorted(self.directory.glob("shard-*.parquet"))

    def write(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Writes documents as the next shard; each row has at least `id` and `text`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.directory / f"shard-{len(self.shards):05d}.parquet"
        with atomic_path(path) as temporary:
            pq.write_table(pa.Table.from_pylist(list(rows)), temporary, compression="zstd")
        self.shards.append(path)
        return path

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest: the corpus is complete, and what kills left half written is gone."""
        for half_written in self.directory.glob(".*.tmp"):
            half_written.unlink(missing_ok=True)
        write_manifest(self.directory, dict(manifest) | {"shards": [p.name for p in self.shards]})
