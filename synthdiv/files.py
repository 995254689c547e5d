"""Files that are whole or absent: atomic writes, manifests, and corpora written.

A file that matters is written under a temporary name, fsynced and renamed. A directory is complete
when its `manifest.json` is there, which is always written last. Formats: docs/formats.md.
"""

import contextlib
import glob
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.corpora import Corpus, Document
from synthdiv.errors import UserError
from synthdiv.json_lines import encodable, parse_json
from synthdiv.storage import is_copy

__all__ = [
    "MANIFEST",
    "Corpus",
    "CorpusWriter",
    "Document",
    "atomic_path",
    "check_apart",
    "check_dir",
    "check_file",
    "output_dir",
    "read_json",
    "read_manifest",
    "sha256_file",
    "sha256_text",
    "write_json",
    "write_manifest",
    "write_text",
]

MANIFEST = "manifest.json"
_ADDRESS = re.compile(r"(s3|gs|hf):/")


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
        UserError: the file is missing, cannot be read or is not JSON; names file and line.
    """
    try:
        return encodable(parse_json(Path(path).read_text(encoding="utf-8"), path))
    except FileNotFoundError:
        raise UserError(f"no file {str(path)!r}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deep") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def write_manifest(directory: str | Path, content: Mapping[str, Any]) -> None:
    """Declares a directory complete."""
    write_json(Path(directory) / MANIFEST, content)


def read_manifest(directory: str | Path) -> dict[str, Any] | None:
    """Returns a complete directory's manifest; None of any other directory, and of a file."""
    path = Path(directory) / MANIFEST
    content = read_json(path) if path.exists() else None
    return content if isinstance(content, dict) else None


def check_dir(path: str | Path) -> Path:
    """Returns the path of a directory to write into; makes nothing.

    Raises:
        UserError: a file is in its place, or in that of a directory above it.
    """
    path = Path(path)
    if _ADDRESS.match(str(path)):
        raise UserError(
            f"{str(path)!r} is an address, where a directory is meant: give it to a command, or "
            "write to the directory that synthdiv.storage.workspace gives for it"
        )
    if is_copy(path):
        raise UserError(f"{str(path)!r} is a copy of what lies in a store: name an output")
    for part in (path, *path.parents):
        if os.path.exists(part) and not os.path.isdir(part):
            raise UserError(f"{str(part)!r} is a file, not a directory")
    return path


def check_file(path: str | Path) -> Path:
    """Returns the path of a file to write; makes nothing.

    Raises:
        UserError: a directory is in its place, or a file in that of a directory above it.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise UserError(f"{str(path)!r} is a directory, not a file")
    check_dir(path.parent)
    return path


def check_apart(output: str | Path, *inputs: Corpus | str | Path) -> None:
    """Refuses to write where an input lies: it would be overwritten, or read with what is written.

    Args:
        output: the directory or file to write.
        inputs: corpora, or paths and patterns.

    Raises:
        UserError: `output` is one of them, or inside it, or holds it.
    """
    own = Path(output).resolve()
    for given in inputs:
        matched = map(Path, glob.glob(str(given), recursive=True))
        for path in given.places if isinstance(given, Corpus) else (Path(given), *matched):
            there = path.resolve()
            if own == there:
                where = "is"
            elif own.is_relative_to(there):
                where = "is inside"
            elif there.is_relative_to(own):
                where = "holds"
            else:
                continue
            raise UserError(f"output {str(output)!r} {where} the input, {str(path)!r}")


def output_dir(path: str | Path) -> Path:
    """Makes a directory to write into.

    Raises:
        UserError: it cannot be made or written.
    """
    path = check_dir(path)
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


_NOTE = b"synthdiv"


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

    def write(
        self, rows: Sequence[Mapping[str, Any]], note: Mapping[str, Any] | None = None
    ) -> Path:
        """Writes documents as the next shard.

        Args:
            rows: each with at least `id` and `text`.
            note: what the corpus has come to with this shard, for whoever goes on after it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.directory / f"shard-{len(self.shards):05d}.parquet"
        table = pa.Table.from_pylist(list(rows))
        if note is not None:
            table = table.replace_schema_metadata({_NOTE: json.dumps(note)})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        self.shards.append(path)
        return path

    def note(self) -> dict[str, Any] | None:
        """The note of the last shard; None where there is none."""
        import pyarrow.parquet as pq

        if not self.shards:
            return None
        told = (pq.read_schema(self.shards[-1]).metadata or {}).get(_NOTE)
        return None if told is None else dict(json.loads(told))

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest: the corpus is complete, and what kills left half written is gone."""
        for half_written in self.directory.glob(".*.tmp"):
            half_written.unlink(missing_ok=True)
        write_manifest(self.directory, dict(manifest) | {"shards": [p.name for p in self.shards]})
