"""Workers on this machine: threads of this process for the first pieces, then processes."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from synthdiv.engine.crew import Crew, P, R
from synthdiv.processes import worker_pool

_work: Callable[[Any], Any] | None = None


def _start_worker(work: bytes) -> None:
    global _work
    _work = alone(work)


def alone(work: bytes) -> Any:
    """Unpickles work in a worker that is one of many, so that libraries start no threads for it."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"
    return pickle.loads(work)


def _do(piece: Any) -> Any:
    assert _work is not None, "the worker was not started by _start_worker"
    return _work(piece)


class LocalCrew(Crew[P, R]):
    """See `crew.crew`, which makes it."""

    def __init__(
        self, work: Callable[[P], R], processes: int | None, threads: int, here: float
    ) -> None:
        self._work, self._threads = work, threads
        self._processes = (os.cpu_count() or 1) if processes is None else processes
        self._left_here = here if self._processes else math.inf
        self._here: ThreadPoolExecutor | None = None
        self._others: ProcessPoolExecutor | None = None

    @property
    def ahead(self) -> int:
        return self._threads + 1 if self._others is None else 2 * self._processes

    def begin(self, piece: P) -> Callable[[], R]:
        if self._left_here > 0:
            self._left_here -= 1
            if self._here is None:
                self._here = ThreadPoolExecutor(self._threads)
            return self._here.submit(self._work, piece).result
        if self._others is None:
            self._others = worker_pool(self._processes, _start_worker, pickle.dumps(self._work))
        return self._others.submit(_do, piece).result

    def close(self) -> None:
        for pool in (self._here, self._others):
            if pool is not None:
                pool.shutdown(cancel_futures=True)
