"""Which stages of a study are done: each is done once, whatever happens in between."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from synthdiv import files
from synthdiv.errors import UserError
from synthdiv.progress import say


class Stages:
    """The log of a study's finished stages, `stages.json` in its directory: name -> seconds.

    Args:
        workdir: the study's directory.
        total: how many stages the study has, for what is shown.
    """

    def __init__(self, workdir: Path, total: int) -> None:
        self._path = workdir / "stages.json"
        self._seconds: dict[str, float] = files.read_json(self._path) if self._path.exists() else {}
        self._total = total
        self._reached = 0

    @property
    def seconds(self) -> float:
        """Time that all finished stages took, over all runs."""
        return sum(self._seconds.values())

    def run(self, name: str, work: Callable[[], object]) -> None:
        """Does `work` unless an earlier run finished it. Work cut short is called again."""
        self._reached += 1
        if name in self._seconds:
            return
        say(f"[{self._reached}/{self._total}] {name}")
        start = time.monotonic()
        work()
        self._seconds[name] = round(time.monotonic() - start, 2)
        files.write_json(self._path, self._seconds)


# Bindings that say where and how fast models are asked, and for how much, but not what they reply.
_FREE = re.compile(
    r"(\S+/)?LLM\.(base_url|concurrency|max_cost_usd|max_calls|requests_per_minute|tokens_per_minute"
    r"|timeout|retries|patience|prices|batch_lines) = "
)


def _what_counts(settings: str) -> list[str]:
    """The lines of gin text that make a study what it is; comments but gin's own count."""
    return [
        line
        for line in settings.splitlines()
        if line and not line.startswith(("# Parameters for ", "# ====")) and not _FREE.match(line)
    ]


def claim(workdir: Path, settings: str) -> Path:
    """Makes a study's directory, or takes it up again if it is of the same study.

    Args:
        workdir: the directory.
        settings: every binding in force, as a gin file. Caps on cost and calls, and how fast
            models are asked, may change between two runs of one study.

    Raises:
        UserError: the directory holds a study of other settings; names the first difference.
    """
    workdir = files.output_dir(workdir)
    path = workdir / "study.gin"
    if not path.exists():
        files.write_text(path, settings)
        return workdir
    kept = path.read_text()
    before, now = _what_counts(kept), _what_counts(settings)
    if before != now:
        other = sorted(set(now) ^ set(before))[0]
        raise UserError(
            f"{str(workdir)!r} holds a study of other settings (see {other!r}): "
            "take another --workdir, or remove that one"
        )
    if settings != kept:
        files.write_text(path, settings)
    return workdir
