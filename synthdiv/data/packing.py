"""Packed sequences: what one holds, how it is stored, and how several become a batch.

The documents of a shard are one stream of tokens, `eot d1 ... dn eot e1 ... em ... eot`:
end-of-text begins each document and is the last target of the one before. Sequence k reads the
stream's tokens [kL, kL + L) and predicts [kL + 1, kL + L + 1), so each token is read once and
predicted once, whether or not its document goes on into the next sequence. The last sequence of a
shard is padded.
"""

import dataclasses
from typing import Any

import numpy as np

_HEADER = np.dtype([("targets", "<u4"), ("bytes", "<u4")])


@dataclasses.dataclass(frozen=True)
class Sequences:
    """N packed sequences of L inputs, in memory.

    Attributes:
        tokens: [N, L + 1]; inputs, and targets shifted by one; 0 beyond `targets`.
        starts: bool [N, L]; where a document begins.
        targets: [N]; how many inputs have a target, from the first on; the rest is padding.
        bytes: [N]; UTF-8 bytes of text that the targets stand for.
        answer: bool [N, L] or None; which targets count, where not all do (SFT).
    """

    tokens: np.ndarray
    starts: np.ndarray
    targets: np.ndarray
    bytes: np.ndarray
    answer: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: np.ndarray | slice) -> "Sequences":
        columns: list[Any] = [getattr(self, f.name) for f in dataclasses.fields(self)]
        chosen: list[Any] = [None if c is None else c[index] for c in columns]
        return Sequences(*chosen)

    @classmethod
    def concatenate(cls, parts: "list[Sequences]") -> "Sequences":
        columns = [[getattr(p, f.name) for p in parts] for f in dataclasses.fields(cls)]
        joined: list[Any] = [None if c[0] is None else np.concatenate(c) for c in columns]
        return cls(*joined)

    @property
    def max_segments(self) -> int:
        """The most segments in any sequence, counting padding as one; 0 if there are none."""
        if not len(self):
            return 0
        padded = self.targets < self.starts.shape[1]
        return int((self.starts[:, 1:].sum(axis=1) + 1 + padded).max())

    def batch(self, source: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the batch that synthdiv.data describes; `source`: int [N]."""
        length = self.starts.shape[1]
        column = np.arange(length, dtype=np.int32)
        real = column < self.targets[:, None]
        starts = self.starts.copy()
        starts[:, 0] = True  # also where a document continues from the sequence before
        segment_ids = np.cumsum(starts, axis=1, dtype=np.int32)
        first = np.maximum.accumulate(np.where(starts, column, 0), axis=1)
        counts = real if self.answer is None else real & self.answer
        batch = {
            "tokens": self.tokens[:, :-1].astype(np.int32),
            "targets": self.tokens[:, 1:].astype(np.int32),
            "segment_ids": segment_ids,
            "positions": column - first,
        }
        if not real.all():  # most batches have no padding, and this would be half of the work
            for array in batch.values():
                array *= real
        return batch | {
            "loss_mask": counts.astype(np.float32),
            "source": np.asarray(source, np.int32),
            "bytes": self.bytes.astype(np.int32),
        }


def token_dtype(vocab_size: int) -> np.dtype:
    """Returns the smallest type that holds the ids of a vocabulary."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def encode_records(sequences: Sequences, dtype: np.dtype) -> list[bytes]:
    """Returns one record a sequence.

    A record is `targets` and `bytes` (two uint32), `starts` (L bits in whole bytes, the first is
    the lowest bit of the first byte) and `tokens` (L + 1 of `dtype`); all little-endian.
    """
    header = np.empty(len(sequences), _HEADER)
    header["targets"], header["bytes"] = sequences.targets, sequences.bytes
    starts = np.packbits(sequences.starts, axis=1, bitorder="little")
    tokens = np.ascontiguousarray(sequences.tokens, dtype)
    rows = np.concatenate(
        [header.view(np.uint8).reshape(len(header), -1), starts, tokens.view(np.uint8)], axis=1
    )
    return [row.tobytes() for row in rows]


def decode_records(records: list[bytes], sequence_length: int, dtype: np.dtype) -> Sequences:
    """Returns the sequences of records that `encode_records` made."""
    rows = np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1)
    at = _HEADER.itemsize
    header = np.ascontiguousarray(rows[:, :at]).view(_HEADER)[:, 0]
    bits = -(-sequence_length // 8)
    starts = np.unpackbits(
        rows[:, at : at + bits], axis=1, count=sequence_length, bitorder="little"
    )
    tokens = np.ascontiguousarray(rows[:, at + bits :]).view(dtype)
    return Sequences(tokens, starts.astype(bool), header["targets"], header["bytes"])


class StreamPacker:
    """Cuts a shard's stream of documents into sequences; holds at most one unfinished sequence.

    Args:
        sequence_length: inputs a sequence, L.
        eot_id: end-of-text.
        dtype: of the tokens kept.
    """

    def __init__(self, sequence_length: int, eot_id: int, dtype: np.dtype) -> None:
        self.length, self.eot_id, self.dtype = sequence_length, eot_id, dtype
        self._tokens = np.empty(0, dtype)
        self._starts = np.empty(0, bool)
        self._marks = _ByteMarks()

    def add(self, tokens: np.ndarray, lengths: np.ndarray, sizes: np.ndarray) -> Sequences | None:
        """Adds documents.

        Args:
            tokens: [sum of lengths], without end-of-text.
            lengths: [documents], tokens of each.
            sizes: [documents], UTF-8 bytes of each.

        Returns:
            The sequences that are full now, or None.
        """
        firsts = np.concatenate([[0], np.cumsum(lengths[:-1] + 1)]).astype(np.int64)
        total = int(lengths.sum()) + len(lengths)
        stream = np.empty(total, self.dtype)
        starts = np.zeros(total, bool)
        starts[firsts] = True
        stream[firsts] = self.eot_id
        stream[~starts] = tokens
        self._marks.add(firsts + len(self._tokens), lengths, sizes)
        self._tokens = np.concatenate([self._tokens, stream])
        self._starts = np.concatenate([self._starts, starts])
        full = (len(self._tokens) - 1) // self.length
        return self._cut(full) if full > 0 else None

    def finish(self) -> Sequences | None:
        """Ends the shard: returns what is left, the last sequence padded, or None if nothing is."""
        if not len(self._tokens):
            return None
        targets = len(self._tokens)
        number = -(-targets // self.length)
        pad = number * self.length + 1 - targets
        self._tokens = np.concatenate(
            [self._tokens, np.array([self.eot_id], self.dtype), np.zeros(pad - 1, self.dtype)]
        )
        self._starts = np.concatenate([self._starts, np.zeros(pad, bool)])
        sequences = self._cut(number)
        sequences.targets[-1] = targets - (number - 1) * self.length
        self._tokens, self._starts = self._tokens[:0], self._starts[:0]
        return sequences

    def _cut(self, number: int) -> Sequences:
        length = self.length
        end = number * length
        windows = np.lib.stride_tricks.sliding_window_view(self._tokens[: end + 1], length + 1)
        sequences = Sequences(
            windows[::length].copy(),
            self._starts[:end].reshape(number, length).copy(),
            np.full(number, length, np.uint32),
            self._marks.between(length, number),
        )
        self._tokens, self._starts = self._tokens[end:], self._starts[end:]
        return sequences


class _ByteMarks:
    """Counts the bytes of text that stretches of a stream stand for.

    A document's bytes are shared among its parts in proportion to their tokens; the sum is exact.
    """

    def __init__(self) -> None:
        self._firsts = np.empty(0, np.int64)
        self._lengths = np.empty(0, np.int64)
        self._sizes = np.empty(0, np.int64)

    def add(self, firsts: np.ndarray, lengths: np.ndarray, sizes: np.ndarray) -> None:
        self._firsts = np.concatenate([self._firsts, firsts])
        self._lengths = np.concatenate([self._lengths, lengths])
        self._sizes = np.concatenate([self._sizes, sizes])

    def between(self, length: int, number: int) -> np.ndarray:
        """Returns the bytes of the next `number` windows' targets, uint32, and forgets them."""
        edges = np.arange(number + 1, dtype=np.int64) * length + 1
        at = np.searchsorted(self._firsts, edges) - 1  # the document of the token before an edge
        before = np.concatenate([[0], np.cumsum(self._sizes)])
        inside = np.minimum(edges - 1 - self._firsts[at], self._lengths[at])
        part = self._sizes[at] * inside // np.maximum(self._lengths[at], 1)
        upto = before[at] + part
        keep = at[-1]
        self._firsts = self._firsts[keep:] - number * length
        self._lengths, self._sizes = self._lengths[keep:], self._sizes[keep:]
        return np.diff(upto).astype(np.uint32)
