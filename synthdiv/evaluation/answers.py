"""Keeps what a model answered, so that an evaluation that was killed resumes where it was.

One SQLite file beside the results. A key is a hash of the model's fingerprint and of the request's
tokens, so answers of another checkpoint, or to a question since reworded, are never used. Each
batch of answers is one transaction: after a kill at any moment all of it is there, or none.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from synthdiv.errors import UserError


class AnswerStore:
    """Answers by key, held in memory only if `path` is None.

    Args:
        path: the SQLite file; created if missing.
        fingerprint: identifies the model and how it computes.

    Raises:
        UserError: `path` cannot be written or is not such a file.
    """

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self._prefix = fingerprint.encode()
        self._known: dict[bytes, bytes] = {}
        self._database: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            self._database = sqlite3.connect(path)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer BLOB NOT NULL)"
            )
            self._known = dict(self._database.execute("SELECT key, answer FROM answers"))
        except sqlite3.Error as error:
            raise UserError(f"cannot keep answers in {str(path)!r}: {error}") from None

    def key(self, kind: str, *parts: bytes) -> bytes:
        """Returns the key of one request; `parts` are its tokens and settings."""
        digest = hashlib.sha256(self._prefix)
        for part in (kind.encode(), *parts):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.digest()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Returns the answers that are there."""
        return {key: self._known[key] for key in keys if key in self._known}

    def put(self, answers: Mapping[bytes, bytes]) -> None:
        """Stores answers, all of them or none."""
        self._known.update(answers)
        if self._database is not None:
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?)", answers.items()
                )

    def close(self) -> None:
        """Closes the file."""
        if self._database is not None:
            self._database.close()
            self._database = None


def pack_losses(log_probabilities: np.ndarray, greedy: bool) -> bytes:
    """Returns one scored continuation as bytes: a byte for greedy, then float32 a token."""
    return bytes([greedy]) + np.asarray(log_probabilities, "<f4").tobytes()


def unpack_losses(answer: bytes) -> tuple[np.ndarray, bool]:
    """Returns the log probability of each token (float32) and whether each was the likeliest."""
    return np.frombuffer(answer[1:], "<f4"), bool(answer[0])
