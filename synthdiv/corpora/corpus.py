"""A corpus: documents read as a stream, whatever they are kept in."""

import copy
import dataclasses
import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from synthdiv.corpora import sources
from synthdiv.corpora.text import RowText
from synthdiv.errors import UserError, closest
from synthdiv.progress import say
from synthdiv.storage import Passage, RemoteFile

_HEAD = 1 << 16  # bytes


@dataclasses.dataclass(frozen=True)
class Document:
    """One text of a corpus, with where it came from."""

    id: str
    text: str
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Corpus:
    """Documents read as a stream; of what lies on disk, nothing is held in memory.

    Reads files and directories of Parquet, JSON lines, CSV, text and Arrow, data sets of the
    Hugging Face hub and of TFDS (docs/formats.md has the list), and what is in memory already: a
    list of texts or of dicts, a pandas or polars frame, a pyarrow table, a `datasets.Dataset`.

    Args:
        data: the path, pattern or address; or the texts, dicts or table.
        text_column: the column or key that holds the text; a number where columns have numbers.
        text_template: makes the text out of several columns instead, `{instruction}\\n{output}`.
        name: what it is called; None for the name of its file or directory.

    Raises:
        UserError: there is nothing there, it is of no known format, it has no such column, or it
            has no documents.
    """

    def __init__(
        self,
        data: sources.Data,
        text_column: str | int = "text",
        *,
        text_template: str | None = None,
        name: str | None = None,
    ) -> None:
        self._source = sources.find(data)
        self.text_column = text_column = str(text_column)
        self.text_template = text_template
        self.name = name or self._source.name
        self._text = RowText(text_column, text_template)
        self._nulls_said = False
        first = next(self._source.rows(), None)
        if first is None:
            raise UserError(f"corpus {self.origin!r} is empty")
        self.columns = tuple(first[1])
        for column in self._text.columns:
            if column not in self.columns:
                names = ", ".join(map(repr, self.columns))
                raise UserError(
                    f"corpus {self.origin!r} has no column {column!r}; it has {names}: "
                    "name the one that holds the text with `text_column`, or several "
                    "with `text_template`"
                )

    @classmethod
    def of(
        cls,
        data: "sources.Data | Corpus",
        text_column: str | int = "text",
        *,
        text_template: str | None = None,
        name: str | None = None,
    ) -> "Corpus":
        """Returns `data` as a corpus, see the class; one that is one already, under `name`."""
        if isinstance(data, Corpus):
            named = copy.copy(data)
            named.name = name or data.name
            return named
        return cls(data, text_column, text_template=text_template, name=name)

    @property
    def origin(self) -> str:
        """Where the documents come from, for people."""
        return self._source.origin

    @property
    def path(self) -> Path:
        """Where a corpus that is on disk lies; of one in a store, where its manifest does."""
        return self._source.folder or Path(self._source.origin)

    @property
    def places(self) -> list[Path]:
        """The directories and files that the corpus is read from, as they were given first."""
        if not self._source.shards:
            return []
        given = [self.path] if os.path.exists(self.path) else []
        shards = [shard for shard in self._source.shards if isinstance(shard, Path)]
        return [*given, *map(Path, glob.glob(self.origin, recursive=True)), *shards]

    def __repr__(self) -> str:
        return f"Corpus({self.origin!r}, columns={list(self.columns)})"

    def __iter__(self) -> Iterator[Document]:
        return (document for document, _ in self.rows())

    def rows(self) -> Iterator[tuple[Document, Mapping[str, Any]]]:
        """Yields every document with the row that it is made of, all columns as they are."""
        used = {"id", *self._text.columns}
        nulls = index = 0
        for index, (where, row) in enumerate(self._source.rows(), start=1):
            try:
                text, null = self._text(row)
            except KeyError as error:
                place, known = self._source.place(where), closest(error.args[0], row)
                raise UserError(f"{place} has no {error.args[0]!r}{known}") from None
            except ValueError as error:
                raise UserError(f"{self._source.place(where)}: {error}") from None
            nulls += null
            provenance = {k: v for k, v in row.items() if k not in used}
            own = row.get("id")
            yield Document(str(index - 1 if own is None else own), text, provenance), row
        if nulls and not self._nulls_said:
            self._nulls_said = True
            columns = " and ".join(map(repr, self._text.columns))
            say(f"{self.origin}: {nulls:,} of {index:,} documents are empty: {columns} is null")

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

    @cached_property
    def fingerprint(self) -> str:
        """Tells corpora apart by their files' names, sizes and first bytes, without reading them.

        A template counts too; of a corpus that is not files, the texts do. A file that was changed
        in its middle passes; `bytes_sha256` tells.
        """
        if not self._source.shards:
            return self.sha256
        digest = hashlib.sha256()
        for shard in self._source.shards:
            digest.update(repr((shard.name, *_beginning(shard))).encode())
        if self.text_template is not None:
            digest.update(self.text_template.encode())
        return digest.hexdigest()

    @cached_property
    def bytes_sha256(self) -> str:
        """SHA-256 over all bytes of the files, or the texts of a corpus that is not files.

        A gigabyte takes a second or two, where decoding it takes a minute.
        """
        if not self._source.shards:
            return self.sha256
        digest = hashlib.sha256()
        for shard in self._source.shards:
            digest.update(_sha256(shard))
        return digest.hexdigest()

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


def _beginning(shard: Path | RemoteFile) -> tuple[int, bytes]:
    """A file's size and first bytes."""
    if isinstance(shard, RemoteFile):
        return shard.size, shard.head(_HEAD)
    with shard.open("rb") as file:
        return shard.stat().st_size, file.read(_HEAD)


def _sha256(shard: Path | RemoteFile) -> bytes:
    """Of a file's bytes; of one in a store as its writer says, which whoever reads it verifies."""
    if isinstance(shard, RemoteFile):
        if shard.sha256 is not None:
            return bytes.fromhex(shard.sha256)
        with Passage(keep=False).reading(shard) as path:
            return _sha256(path)
    with shard.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
