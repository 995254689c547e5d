"""Which stage is done when: one after another, or several side by side in processes of their own.

A study ends where nothing is left that can be done now. A stage that waits for the answers of
language models, or that a cap has stopped, does not keep others from going on.
"""

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from synthdiv.claims import AtWork
from synthdiv.errors import Paused, UserError, needs_extra
from synthdiv.progress import say, silent_for
from synthdiv.study.processes import Ended, Processes
from synthdiv.study.stages import Stage, Stages

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_POLL_S = 2.0  # how often to look whether another process has done what is waited for
_SILENCE_S = 30.0
_DEATHS = 3  # of a stage's process, killed from outside, after which it is not begun again


@dataclass
class _Schedule:
    """What is left of the stages that are wanted."""

    stages: Stages
    wanted: Sequence[Stage]
    paused: dict[str, Paused] = field(default_factory=dict)
    elsewhere: dict[str, tuple[float, str]] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)

    def left(self) -> list[Stage]:
        return [stage for stage in self.wanted if not self.stages.is_done(stage)]

    def ready(self, left: Sequence[Stage], running: Sequence[str]) -> list[Stage]:
        """The stages that can begin now, in their order."""
        missing = {stage.name for stage in left}
        now = time.monotonic()
        return [
            stage
            for stage in left
            if stage.name not in (*running, *self.paused)
            and not missing.intersection(stage.needs)
            and now >= self.elsewhere.get(stage.name, (0.0, ""))[0]
        ]

    def is_stuck(self, left: Sequence[Stage]) -> bool:
        """Whether all that is left is paused or needs what is."""
        blocked = set(self.paused)
        for stage in left:
            if blocked.intersection(stage.needs):
                blocked.add(stage.name)
        return all(stage.name in blocked for stage in left)

    def ended(self, stage: Stage, end: Ended) -> None:
        """Takes note of how a stage ended.

        Raises:
            UserError: it cannot be done.
            Paused: it was told to stop.
        """
        self.elsewhere.pop(stage.name, None)
        if end.kind == "elsewhere":
            self.elsewhere[stage.name] = (time.monotonic() + _POLL_S, end.words)
        elif end.kind == "paused" and stage.run is None:  # others go on; a run was told to stop
            self.paused[stage.name] = Paused(f"{stage.name}: {end.words}", end.flags)
            say(f"paused: {stage.name}: {end.words}")
        elif end.kind in ("paused", "full"):
            raise Paused(f"{stage.name}: {end.words}", end.flags)
        elif end.kind == "mistake":
            raise UserError(f"{stage.name}: {end.words}")
        elif end.kind == "killed":
            self.deaths[stage.name] = self.deaths.get(stage.name, 0) + 1
            again = self.deaths[stage.name] < _DEATHS
            if not again:
                raise UserError(
                    f"{stage.name}: its process was killed {_DEATHS} times ({end.words}), which is "
                    "what a machine without memory left does: take fewer `jobs`"
                )
            say(f"{stage.name}: its process was killed ({end.words}); it is begun again")

    def pause(self) -> Paused:
        """All pauses as one."""
        flags: dict[str, float] = {}
        for one in self.paused.values():
            flags |= {name: max(value, flags.get(name, 0)) for name, value in one.flags.items()}
        return Paused("; ".join(dict.fromkeys(map(str, self.paused.values()))), flags)


def run_stages(stages: Stages, wanted: Sequence[Stage], processes: Processes | None = None) -> None:
    """Does all of `wanted` that is not done.

    Args:
        stages: of the study.
        wanted: some of them, and all that they need, in order.
        processes: does several at once; None: one after another, here.

    Raises:
        UserError: a stage cannot be done; those beside it were stopped, and go on another time.
        Paused: SIGTERM came; or all that is left waits for answers or a higher cap.
    """
    schedule = _Schedule(stages, wanted)
    if processes is None:
        _one_by_one(schedule)
    else:
        with processes:
            _side_by_side(schedule, processes)


def _one_by_one(schedule: _Schedule) -> None:
    while left := schedule.left():
        if schedule.is_stuck(left):
            raise schedule.pause()
        ready = schedule.ready(left, ())
        if not ready:
            _wait(schedule)
            continue
        stage = ready[0]
        with _heard(partial(list, [stage.name])):
            schedule.ended(stage, do_stage(schedule.stages, stage))


def _side_by_side(schedule: _Schedule, processes: Processes) -> None:
    with _heard(lambda: list(processes.running)):
        while left := schedule.left():
            if schedule.is_stuck(left) and not processes.running:
                raise schedule.pause()
            for stage in schedule.ready(left, list(processes.running)):
                asking = any(schedule.stages.by_name[name].asks for name in processes.running)
                if not processes.is_full and not (asking and stage.asks):
                    processes.start(stage.name)
            if not processes.running:
                _wait(schedule)
            for name, end in processes.ended(_POLL_S):
                schedule.ended(schedule.stages.by_name[name], end)


def do_stage(stages: Stages, stage: Stage) -> Ended:
    """Does one stage and tells how it ended; what is nobody's mistake is raised."""
    try:
        stages.do(stage)
    except AtWork as busy:
        return Ended("elsewhere", str(busy))
    except Paused as pause:
        return Ended("paused", str(pause), dict(pause.flags))
    except UserError as mistake:
        return Ended("mistake", str(mistake))
    except ModuleNotFoundError as error:
        lacking = needs_extra(error)
        if lacking is None:
            raise
        return Ended("mistake", str(lacking))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return Ended("full", "no room left on the disk; make some, and run it again")
    return Ended("done")


def _wait(schedule: _Schedule) -> None:
    """Waits for what other processes do."""
    if silent_for() > _SILENCE_S:
        for name, (_, words) in list(schedule.elsewhere.items())[:1]:
            say(f"waiting for {name}: {words}")
    time.sleep(_POLL_S)


@contextlib.contextmanager
def _heard(at_work: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Says what is being done whenever nothing else has said anything for a while."""
    over = threading.Event()
    began = time.monotonic()

    def tell() -> None:
        while not over.wait(_SILENCE_S / 6):
            if silent_for() > _SILENCE_S:
                names = ", ".join(at_work())
                if names:
                    say(f"at work, for {time.monotonic() - began:,.0f} s: {names}")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
