"""Real documents as the source of texts: any of them, and any part of it, by number.

A corpus is read once, in order, into a temporary file that is then mapped into memory: a request
can be made from its number alone, and memory stays flat over any number of documents.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.errors import UserError

if TYPE_CHECKING:
    from synthdiv.files import Corpus

_BATCH = 256  # documents
_BEGINNING = 300  # characters


@dataclass(frozen=True)
class Source:
    """A document, or a part of one, as a writer is shown it.

    Attributes:
        id: the document's.
        text: of the part.
        start: its first character in the document, which had its outer white space taken off.
        begins: how the document begins, where this is a later part, which may not say what it is
            about; "" for a first part.
    """

    id: str
    text: str
    start: int
    begins: str = ""


class Sources:
    """The documents of a corpus that hold any text, by number.

    Args:
        corpus: what to read.
        characters: of a document are shown at most; longer ones are cut into parts, at the end of
            a paragraph or sentence.

    Attributes:
        sha256: of all ids and texts.

    Raises:
        UserError: no document holds any text.
    """

    def __init__(self, corpus: Corpus, characters: int) -> None:
        import pyarrow as pa

        self._characters = characters
        digest = hashlib.sha256()
        schema = pa.schema([("id", pa.large_string()), ("text", pa.large_string())])
        handle, name = tempfile.mkstemp(prefix="synthdiv-sources-")
        try:
            with os.fdopen(handle, "wb") as file, pa.ipc.new_file(file, schema) as writer:
                for batch in _batches(corpus, digest):
                    writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
            self._file: Any = pa.ipc.open_file(pa.memory_map(name))
        finally:
            Path(name).unlink()  # what is mapped stays readable until it is closed
        batches = self._file.num_record_batches
        last = self._file.get_batch(batches - 1).num_rows if batches else 0
        self._number = max(batches - 1, 0) * _BATCH + last
        if not self._number:
            raise UserError(f"no document of {corpus.origin!r} holds any text")
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        return self._number

    def parts(self, number: int) -> int:
        """Into how many parts document `number` is cut."""
        return self._parts(self._read(number)[1])

    def part(self, number: int, place: int) -> Source:
        """Returns a part of document `number`; `place` counts on from the first part again."""
        name, text = self._read(number)
        parts = self._parts(text)
        place %= parts
        start, end = (self._cut(text, which * len(text) // parts) for which in (place, place + 1))
        found = text[start:end]
        begins = text[: self._cut(text, min(_BEGINNING, start))].strip()
        return Source(name, found.strip(), start + len(found) - len(found.lstrip()), begins)

    def _parts(self, text: str) -> int:
        if len(text) <= self._characters:
            return 1
        return math.ceil(len(text) / (self._characters - self._characters // 3))

    def _read(self, number: int) -> tuple[str, str]:
        batch, row = divmod(number, _BATCH)
        found = self._file.get_batch(batch)
        return found.column(0)[row].as_py(), found.column(1)[row].as_py()

    def _cut(self, text: str, near: int) -> int:
        """The end of a paragraph, sentence or word at most a third of a part before `near`."""
        if near in (0, len(text)):
            return near
        least = max(near - self._characters // 3, 0)
        for end in ("\n\n", "\n", ". ", " "):
            found = text.rfind(end, least, near)
            if found >= 0:
                return found + len(end)
        return near


def _batches(corpus: Corpus, digest: Any) -> Iterator[list[dict[str, str]]]:
    batch: list[dict[str, str]] = []
    for document in corpus:
        text = document.text.strip()
        if not text:
            continue
        for part in (document.id, text):
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        batch.append({"id": document.id, "text": text})
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
