"""Which study a directory holds, and which of its stages are done: each is done once."""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from synthdiv import files
from synthdiv.claims import FINGERPRINT
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
        """Calls `work` unless an earlier run finished it; interrupted work is done again."""
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
    r"|timeout|retries|patience|prices|batch_lines)"
)


def fingerprint(
    settings: str, inputs: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Returns what makes a study the study that it is.

    Caps on cost and calls, and how fast models are asked, may change between two runs of one study.

    Args:
        settings: every binding in force, as a gin file; of two bindings of one name, the later.
        inputs: a hash of each file, directory or data set that it reads; None where only the
            settings are known, as of a study of an earlier version.

    Returns:
        {"settings": {name of the binding: its value as gin text}, "inputs": `inputs`}.
    """
    lines = re.sub(r"\s*\\?\n[ \t]+", " ", settings).splitlines()  # a value may take several lines
    pairs = (line.split(" = ", 1) for line in lines if line and not line.startswith("#"))
    found = {"settings": {name: value for name, value in pairs if not _FREE.fullmatch(name)}}
    return found if inputs is None else found | {"inputs": dict(inputs)}


def record_of(workdir: Path) -> Path:
    """Returns the file that says which study a directory holds.

    A study begun before there was such a file has its settings in study.gin alone: it gets one.
    """
    record = workdir / FINGERPRINT
    old = workdir / "study.gin"
    if old.exists() and not record.exists():
        files.write_json(record, fingerprint(old.read_text(encoding="utf-8")))
    return record
