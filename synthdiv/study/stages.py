"""Stages: pieces of a study that are done once, and again when something they depend on changed.

A stage's fingerprint is made of its own settings and of the fingerprints of the stages that it
needs. `stages/NAME.json` in the study's directory says what a stage was last begun with, and, once
it is done, in how many seconds. What an outdated stage had made is put aside in `replaced/`, and
taken from there again when its settings come back. Any number of processes, on one machine or on
several that share a file system, may work in one directory: a stage has a lock.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.claims import differences, locked, plain
from synthdiv.errors import UserError
from synthdiv.progress import say

_RESULTS = ("score.json", "manifest.json")  # in an output directory
_SHORT = 12  # digits of a fingerprint in a folder's name


@dataclass(frozen=True)
class Stage:
    """One piece of a study.

    Attributes:
        name: unique in the study.
        work: does it, or goes on with it.
        settings: of its own, all that decides what comes out.
        needs: names of the stages that have to be done before.
        outputs: what it makes, relative to the study's directory.
        asks: whether it asks language models whose cost or rate is limited: one such stage is at
            work at a time.
        run: number of its training run; None for what several runs share.
        formerly: what versions before the graph called it.
    """

    name: str
    work: Callable[[], object]
    settings: Mapping[str, Any]
    needs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    asks: bool = False
    run: int | None = None
    formerly: str = ""

    @property
    def file(self) -> str:
        """The name of its record."""
        return re.sub(r"[: /]+", ".", self.name) + ".json"


@dataclass(frozen=True)
class State:
    """What is known of a stage: done, new, or to be done again, and why."""

    done: bool
    why: str = ""


@dataclass
class Stages:
    """The stages of a study, in an order in which they can be done, and what is done of them.

    Args:
        workdir: the study's directory.
        stages: none before one that it needs.
    """

    workdir: Path
    stages: Sequence[Stage]
    fingerprints: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = {stage.name: stage for stage in self.stages}
        self.fingerprints = {}
        for stage in self.stages:
            words = json.dumps([plain(stage.settings), self._needed(stage)], sort_keys=True)
            self.fingerprints[stage.name] = files.sha256_text(words)

    def _needed(self, stage: Stage) -> dict[str, str]:
        return {name: self.fingerprints[name] for name in stage.needs}

    def _path(self, stage: Stage) -> Path:
        return self.workdir / "stages" / stage.file

    def record(self, stage: Stage) -> dict[str, Any] | None:
        """What the stage was last begun with; None if it never was."""
        path = self._path(stage)
        if not path.exists():
            return None
        try:
            record = files.read_json(path)
        except UserError as error:
            raise UserError(f"{error}: remove it, and {stage.name!r} is done again") from None
        if not isinstance(record, dict) or "fingerprint" not in record:
            raise UserError(f"{path} is no record: remove it, and {stage.name!r} is done again")
        return record

    def is_done(self, stage: Stage) -> bool:
        """Whether it was finished with the settings of now."""
        record = self.record(stage)
        same = record is not None and record["fingerprint"] == self.fingerprints[stage.name]
        return same and record is not None and record["seconds"] is not None

    def state(self, stage: Stage) -> State:
        """Whether a stage is done, and why it is not."""
        record = self.record(stage)
        if record is None:
            return State(False)
        if record["fingerprint"] == self.fingerprints[stage.name]:
            return State(record["seconds"] is not None)
        changed = differences(record["settings"], stage.settings)
        if not changed:
            now = self._needed(stage)
            changed = [name for name in now if record["needs"].get(name) != now[name]]
        return State(False, "; ".join(changed[:3]) or "a stage that it needed is gone")

    @property
    def seconds(self) -> float:
        """Time that all finished stages took, over all runs."""
        records = [self.record(stage) for stage in self.stages]
        return sum(record["seconds"] or 0.0 for record in records if record)

    def do(self, stage: Stage) -> None:
        """Does a stage that is not done; interrupted work goes on or is done again.

        Raises:
            AtWork: another process does it, or, of stages that ask language models, another one.
        """
        files.output_dir(self.workdir / "stages")
        with contextlib.ExitStack() as held:
            held.enter_context(self._lock(stage.file))
            if self.is_done(stage):  # another process was faster
                return
            if stage.asks:
                held.enter_context(self._lock("asking"))
            self._make_room(stage)
            if self.is_done(stage):  # it was put aside once, and is back
                return
            number = list(self.by_name).index(stage.name) + 1
            say(f"[{number}/{len(self.stages)}] {stage.name}")
            self._write(stage, None)
            start = time.monotonic()
            stage.work()
            self._write(stage, round(time.monotonic() - start, 2))

    def check_results(self) -> None:
        """Refuses results of finished stages that are not as the stage left them.

        Records of earlier versions have no digests; what they lack is not checked.

        Raises:
            UserError: names the file and how to go on.
        """
        for stage in self.stages:
            record = self.record(stage)
            if record is None or not self.is_done(stage):
                continue
            for name, digest in (record.get("results") or {}).items():
                path = self.workdir / name
                if path.exists() and files.sha256_file(path) != digest:
                    raise UserError(
                        f"{path} is not as {stage.name!r} left it: bring back what it was, or "
                        "remove it to have it made again"
                    )

    def _results(self, stage: Stage) -> dict[str, str]:
        """A digest of each result of a stage that study.json is made of."""
        found = {}
        for output in stage.outputs:
            for name in (output, *(f"{output}/{one}" for one in _RESULTS)):
                path = self.workdir / name
                if path.suffix == ".json" and path.is_file():
                    found[name] = files.sha256_file(path)
        return found

    def _lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        return locked(self.workdir / "stages" / f".{name}.lock", self.workdir)

    def _write(self, stage: Stage, seconds: float | None) -> None:
        record = {
            "stage": stage.name,
            "fingerprint": self.fingerprints[stage.name],
            "seconds": seconds,
            "settings": plain(stage.settings),
            "needs": self._needed(stage),
        }
        if seconds is not None:
            record["results"] = self._results(stage)
        files.write_json(self._path(stage), record)

    def _make_room(self, stage: Stage) -> None:
        """Puts aside what other settings made, and takes back what these ones made before."""
        record = self.record(stage)
        fingerprint = self.fingerprints[stage.name]
        if record is not None and record["fingerprint"] != fingerprint:
            aside = files.output_dir(self._aside(stage, record["fingerprint"]))
            if not (aside / "stage.json").exists():
                files.write_json(aside / "stage.json", record)
            files.write_json(self._path(stage), record | {"seconds": None})  # it is not whole now
            self._move(stage, self.workdir, aside)
            self._path(stage).unlink()
        aside = self._aside(stage, fingerprint)
        if (aside / "stage.json").exists():
            before = files.read_json(aside / "stage.json")
            self._write(stage, None)
            self._move(stage, aside, self.workdir)
            self._write(stage, before["seconds"])
            (aside / "stage.json").unlink()

    def _aside(self, stage: Stage, fingerprint: str) -> Path:
        return self.workdir / "replaced" / f"{Path(stage.file).stem}-{fingerprint[:_SHORT]}"

    def _move(self, stage: Stage, source: Path, target: Path) -> None:
        """Moves a stage's outputs, but for answers of language models, which serve any settings."""
        for output in stage.outputs:
            for path in _parts(source / output):
                place = target / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                path.rename(place)

    def forget_lost(self) -> None:
        """Has a stage done again whose outputs somebody has removed."""
        for stage in self.stages:
            if self.is_done(stage):
                made = [*stage.outputs, *((self.record(stage) or {}).get("results") or {})]
                gone = [one for one in made if not (self.workdir / one).exists()]
                if gone:
                    say(f"{stage.name} is to do again: {gone[0]} is gone")
                    self._write(stage, None)

    def adopt(self, before: Mapping[str, float]) -> None:
        """Takes over what a version before the graph had done of the same study.

        Args:
            before: its log: seconds of each stage that was finished, by the name it had then.
        """
        files.output_dir(self.workdir / "stages")
        for stage in self.stages:
            seconds = before.get(stage.formerly or stage.name)
            made = all((self.workdir / output).exists() for output in stage.outputs)
            if seconds is not None and made and self.record(stage) is None:
                self._write(stage, seconds)


_ANSWERS = ("answers.sqlite", "batch_")  # beginnings of the names of files that hold some


def _parts(output: Path) -> Iterator[Path]:
    """What of an output is moved: a file, or what is in a directory, but for answers."""
    if output.is_dir():
        yield from [path for path in output.iterdir() if not path.name.startswith(_ANSWERS)]
    elif output.exists():
        yield output


# Bindings that say where and how fast models are asked, and for how much, but not what they reply.
_FREE = re.compile(
    r"(\S+/)?LLM\.(base_url|concurrency|max_cost_usd|max_calls|requests_per_minute|tokens_per_minute"
    r"|timeout|retries|patience|prices|batch_lines)"
)


def bindings_of(settings: str) -> dict[str, str]:
    """Returns the bindings of a gin text that decide what a study is, by name.

    Caps on cost and calls, and how fast models are asked, are not among them.

    Args:
        settings: every binding in force, as a gin file; of two bindings of one name, the later.
    """
    lines = re.sub(r"\s*\\?\n[ \t]+", " ", settings).splitlines()  # a value may take several lines
    pairs = (line.split(" = ", 1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs if not _FREE.fullmatch(name)}
