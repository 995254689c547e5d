"""The files of the `batch` backend: requests that appear whole, answers read where they stand."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from synthdiv.errors import UserError
from synthdiv.llm.backends.wire import body_of
from synthdiv.llm.protocol import Transient
from synthdiv.llm.secrets import Secrets


class RequestFiles:
    """The request files of one stage; they appear, whole, when they are finished."""

    def __init__(self, directory: Path, stage: str, lines: int) -> None:
        self.written = 0
        self._directory, self._stage, self._most = directory, stage, lines
        self._parts: list[tuple[Path, Path]] = []  # being written, and what it will be called
        self._file: IO[str] | None = None

    def write(self, line: str) -> None:
        if self.written % self._most == 0:
            self._next()
        assert self._file is not None
        self._file.write(line + "\n")
        self.written += 1

    def finish(self) -> list[Path]:
        """Puts the files in place of those of an earlier run."""
        self._close()
        for old in self._directory.glob(f"batch_{self._stage}_requests*.jsonl"):
            old.unlink()
        for part, path in self._parts:
            os.replace(part, path)
        return [path for _, path in self._parts]

    def abandon(self) -> None:
        self._close()
        for part, _ in self._parts:
            part.unlink(missing_ok=True)

    def _next(self) -> None:
        self._close()
        number = f"_{len(self._parts) + 1}" if self._parts else ""
        path = self._directory / f"batch_{self._stage}_requests{number}.jsonl"
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._parts.append((part, path))
        self._file = part.open("w", encoding="utf-8")

    def _close(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


class AnswerFiles:
    """The answers to one stage's requests, and what became of them.

    Where each stands is known, so that millions of them need not be in memory.

    Args:
        directory: where batch_STAGE_answers*.jsonl are.
        stage: as file names have it.

    Raises:
        UserError: a file cannot be read, or a line is no answer; names both.
    """

    def __init__(self, directory: Path, stage: str) -> None:
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._taken: set[bytes] = set()
        self._failed: set[bytes] = set()
        self._again: dict[bytes, str] = {}  # what is said of those that are asked again
        for path in sorted(directory.glob(f"batch_{stage}_answers*.jsonl")):
            try:
                for number, at, line in _lines(path):
                    try:
                        self._places[bytes.fromhex(body_of(line)["custom_id"])] = (path, at)
                    except (Transient, ValueError, KeyError, TypeError):
                        raise UserError(
                            f"{path}, line {number}: not an answer of an OpenAI Batch file"
                        ) from None
            except OSError as error:
                raise UserError(f"{path} cannot be read: {error.strerror}") from None

    def take(self, key: bytes) -> dict[str, Any] | None:
        """The answer to a call, as its line has it; None where there is none."""
        if key not in self._places:
            return None
        self._taken.add(key)
        path, at = self._places[key]
        with path.open("rb") as file:
            file.seek(at)
            return body_of(file.readline())

    def failed(self, key: bytes) -> None:
        """Remembers that an answer says no, for good."""
        self._failed.add(key)

    def stumbled(self, key: bytes, words: str) -> None:
        """Remembers that an answer is an error after which one asks again."""
        self._again[key] = Secrets.known(None).words(words)

    def odd(self, waiting: bool) -> list[str]:
        """Says what is odd about the answers of each file.

        Args:
            waiting: whether the stage has requests that wait; what is left over counts then alone.
        """
        there, taken, failed = (
            Counter(self._places[key][0] for key in keys)
            for keys in (self._places, self._taken, self._failed)
        )
        again = {self._places[key][0]: words for key, words in self._again.items()}
        stumbled = Counter(self._places[key][0] for key in self._again)
        said = []
        for path, number in there.items():
            if waiting and not taken[path]:
                few = f"none of {number:,} answers in {path} belongs to these requests"
                said.append(f"{few} (those to earlier requests are kept elsewhere)")
            elif waiting and taken[path] < number:
                few = f"only {taken[path]:,} of {number:,} answers in {path}"
                said.append(f"{few} belong to these requests")
            if failed[path]:
                said.append(f"{failed[path]:,} of {number:,} answers in {path} failed for good")
            if stumbled[path]:
                said.append(
                    f"{stumbled[path]:,} of {number:,} answers in {path} are errors and asked again"
                    f" ({again[path] or 'without words'})"
                )
        return said


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, position and content of each line that is not empty."""
    at = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, at, line
            at += len(line)
