"""Stages side by side: each in a process of its own, with its share of the machine.

A process ends with the one that started it, however that ends, and everything it says is shown
under the name of its stage.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from synthdiv.errors import Paused
from synthdiv.processes import end_with_parent
from synthdiv.progress import say

_GRACE_S = 120.0  # to save a checkpoint in


@dataclass(frozen=True)
class Ended:
    """How a stage ended: done, paused, full (disk), elsewhere (others do it), mistake, killed."""

    kind: str
    words: str = ""
    flags: dict[str, float] = field(default_factory=dict)


@dataclass
class _Running:
    process: BaseProcess
    result: Connection
    slot: int
    shown: threading.Thread


class Processes:
    """Up to `jobs` stages at once; a context manager, at whose end none is at work any more.

    Args:
        do: called with a stage's name in a process of its own; tells how it ended.
        jobs: processes, which share cores and accelerators out among them.
    """

    def __init__(self, do: Callable[[str], Ended], jobs: int) -> None:
        self._do, self._jobs = do, jobs
        self._context = multiprocessing.get_context("spawn")
        self.running: dict[str, _Running] = {}
        self._before: Any = None

    @property
    def is_full(self) -> bool:
        """Whether no further stage can begin."""
        return len(self.running) >= self._jobs

    def start(self, name: str) -> None:
        """Begins a stage."""
        taken = {one.slot for one in self.running.values()}
        slot = next(number for number in range(self._jobs) if number not in taken)
        result, ours = self._context.Pipe(duplex=False)
        said, words = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(self._do, name, slot, self._jobs, ours, words), name=name
        )
        process.start()
        ours.close()
        words.close()
        shown = threading.Thread(target=_show, args=(name, said), daemon=True)
        shown.start()
        self.running[name] = _Running(process, result, slot, shown)

    def ended(self, timeout: float) -> Iterator[tuple[str, Ended]]:
        """Yields stages that have ended, after waiting for one at most `timeout` seconds.

        Raises:
            Exception: what a stage met that is nobody's mistake.
        """
        sentinels = {one.process.sentinel: name for name, one in self.running.items()}
        for sentinel in multiprocessing.connection.wait(list(sentinels), timeout):
            name = sentinels[sentinel]  # type: ignore[index]
            one = self.running.pop(name)
            one.process.join()
            one.shown.join()
            yield name, self._end(name, one)

    def _end(self, name: str, one: _Running) -> Ended:
        with contextlib.suppress(EOFError, OSError):
            if one.result.poll():
                return one.result.recv()
        code = one.process.exitcode or 0
        if code < 0:
            return Ended("killed", signal.Signals(-code).name)
        raise RuntimeError(f"{name} ended with exit code {code}; its traceback is above")

    def __enter__(self) -> "Processes":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, _terminated)
        return self

    def __exit__(self, *exception: object) -> None:
        for one in self.running.values():
            one.process.terminate()
        for one in self.running.values():
            one.process.join(_GRACE_S)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.shown.join(1.0)
        self.running.clear()
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


def _terminated(_: int, frame: FrameType | None) -> None:
    raise Paused("SIGTERM came; what was at work is saved: run the same command again to go on")


def _show(name: str, said: Connection) -> None:
    """Shows what a process says, line by line, until it has ended."""
    with open(os.dup(said.fileno()), encoding="utf-8", errors="replace") as lines:
        said.close()
        for line in lines:
            if line.strip():
                numbered = line.startswith("[")  # the line that names the stage itself
                say(line.rstrip() if numbered else f"{name} | {line.rstrip()}")


def _work(
    do: Callable[[str], Ended],
    name: str,
    slot: int,
    jobs: int,
    result: Connection,
    said: Connection,
) -> None:
    """What a process does: one stage."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one hears it
    for stream in (1, 2):
        os.dup2(said.fileno(), stream)
    said.close()
    end_with_parent()
    _take_share(slot, jobs)
    try:
        end = do(name)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    result.send(end)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of libraries are not waited for


def _take_share(slot: int, jobs: int) -> None:
    """Leaves this process its share of the machine's cores and accelerators."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        each = max(len(cores) // jobs, 1)  # as many for all: the last bits of sums hang on it
        os.sched_setaffinity(0, [cores[(slot * each + n) % len(cores)] for n in range(each)])
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        devices = [one for one in given.split(",") if one]
    else:
        found = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
        devices = sorted(found, key=lambda number: (len(number), number))
    if devices:
        mine = devices[slot::jobs] or [devices[slot % len(devices)]]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        beside = -(-jobs // len(devices))  # processes on one device
        if beside > 1:
            os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / beside:.2f}")
