"""Reads tokens: any packed sequence of a directory of ArrayRecord shards, by its number."""

from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.data.packing import Sequences, decode_records, token_dtype
from synthdiv.errors import UserError
from synthdiv.files import MANIFEST, read_manifest

FORMAT = "synthdiv-tokens-1"
PLAN = "plan.json"  # what an unfinished directory will hold


class TokenSource:
    """The sequences of a directory of tokens, by number.

    Args:
        directory: what `tokenize_corpus` wrote.

    Raises:
        UserError: no such directory, not tokens, or not complete.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise UserError(f"no tokens {str(directory)!r}: make them with synthdiv tokenize")
        manifest = read_manifest(self.directory)
        if manifest is None:
            if (self.directory / PLAN).exists():
                raise UserError(
                    f"the tokens in {str(directory)!r} are not complete: "
                    "run the same synthdiv tokenize again"
                )
            raise UserError(f"{str(directory)!r} holds no tokens ({MANIFEST} is missing)")
        if manifest.get("format") != FORMAT:
            raise UserError(f"{str(directory)!r} is not a directory of tokens ({FORMAT})")
        self.manifest = manifest
        self.sequence_length: int = self.manifest["sequence_length"]
        self._dtype = token_dtype(self.manifest["vocab_size"])
        self._firsts = np.cumsum([0] + [n["sequences"] for n in self.manifest["shards"]])
        self._readers: dict[int, Any] = {}

    def __len__(self) -> int:
        return self.manifest["sequences"]

    @property
    def content(self) -> str:
        """The SHA-256 of the corpus that the tokens were made from."""
        return self.manifest["corpus_sha256"]

    @property
    def tokens(self) -> int:
        """Targets in one epoch."""
        return self.manifest["tokens"]

    @property
    def max_segments(self) -> int:
        """The most segments that any sequence has; 0 where the manifest does not say."""
        return self.manifest.get("most_documents", 0)

    def read(self, indices: np.ndarray) -> Sequences:
        """Returns the sequences numbered `indices`, in that order."""
        shards = np.searchsorted(self._firsts, indices, side="right") - 1
        records: list[bytes] = [b""] * len(indices)
        for shard in np.unique(shards).tolist():
            rows = np.flatnonzero(shards == shard)
            found = self._reader(shard).read((indices[rows] - self._firsts[shard]).tolist())
            for row, record in zip(rows.tolist(), found, strict=True):
                records[row] = record
        return decode_records(records, self.sequence_length, self._dtype)

    def _reader(self, shard: int) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        if shard not in self._readers:
            path = self.directory / self.manifest["shards"][shard]["name"]
            if not path.exists():
                raise UserError(f"the tokens in {str(self.directory)!r} lack {path.name}")
            # No reading ahead and no threads, because sequences are read in random order.
            self._readers[shard] = ArrayRecordReader(
                str(path),
                "readahead_buffer_size:0,max_parallelism:0",
                file_reader_buffer_size=1 << 15,
            )
        return self._readers[shard]
