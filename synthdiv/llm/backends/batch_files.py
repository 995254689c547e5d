"""The files of the `batch` backend: requests that appear whole, answers read where they stand."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


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


def lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, position and content of each line that is not empty."""
    at = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, at, line
            at += len(line)
