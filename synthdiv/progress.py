"""How long work tells what it is doing: a bar on a terminal, plain lines anywhere else."""

import sys
import time
from typing import TextIO

_INTERVAL_S = 10.0
_last = time.monotonic()  # when something was shown


def silent_for() -> float:
    """Seconds since this process has shown anything."""
    return time.monotonic() - _last


def _shown() -> None:
    global _last
    _last = time.monotonic()


def say(text: str) -> None:
    """Prints one plain line to stderr, above a bar if one is showing."""
    _shown()
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


class Progress:
    """Counts work done out of `total` (None where it is not known) and shows it.

    On a terminal this is a tqdm bar. Elsewhere it is one plain line every ten seconds and one at
    the end, if the work lasted that long, so that logs stay short and quick work stays silent.

    Args:
        total: how many units of work there are.
        label: what is being done, a few words.
        unit: what is counted, plural ("documents").
        stream: where to write; stderr, so that a command's output can be piped.
    """

    def __init__(
        self, total: int | None, label: str, unit: str = "", stream: TextIO | None = None
    ) -> None:
        self.total = total
        self.label = label
        self.unit = unit
        self.done = 0
        self._stream = stream or sys.stderr
        self._start = time.monotonic()
        self._said = self._start
        self._said_done = 0
        self._figures: dict[str, object] = {}
        self._bar = None
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=label, unit=f" {unit}" if unit else "it", file=self._stream
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif time.monotonic() - self._start >= _INTERVAL_S and self.done > self._said_done:
            self._line()

    def update(self, n: int = 1, **figures: object) -> None:
        """Adds `n` units of work; `figures` are shown beside the count (loss=2.1, cost="$3")."""
        self.done += n
        self._figures.update(figures)
        if self._bar is not None:
            _shown()
            if figures:
                self._bar.set_postfix(self._figures, refresh=False)
            self._bar.update(n)
        elif time.monotonic() - self._said >= _INTERVAL_S:
            self._line()

    def note(self, text: str) -> None:
        """Prints a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def _line(self) -> None:
        self._said, self._said_done = time.monotonic(), self.done
        seconds = self._said - self._start
        rate = self.done / seconds if seconds > 0 else 0.0
        words = [f"{self.label}: {self.done:,}"]
        if self.total is not None:
            words.append(f"of {self.total:,}")
        words.append(self.unit)
        words.append(f"({rate:,.1f}/s")
        if self.total is not None and rate > 0 and self.done < self.total:
            words.append(f"about {(self.total - self.done) / rate:,.0f} s left")
        line = " ".join(w for w in words if w).replace(" (", " (") + ")"
        if self._figures:
            line += "  " + " ".join(f"{k}={v}" for k, v in self._figures.items())
        _shown()
        print(line, file=self._stream, flush=True)
