"""Coroutines in an event loop of its own thread, and their results' way back to the caller's."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar, overload

from synthdiv.errors import Paused
from synthdiv.llm.protocol import Deferred

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")

PART = 64  # items handed to the event loop, and results handed back, at a time
_HAND_BACK_S = 0.02


class LoopThread:
    """An event loop that runs in a thread, so that code inside another loop may use it, too."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Runs a coroutine there and returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def awaited(self, work: Coroutine[Any, Any, R]) -> R:
        """Runs a coroutine there and waits for its result in another event loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Tasks(Generic[T, R]):
    """One coroutine an item, many at a time.

    `start`, `finished` and `cancel` belong to the caller's thread, the rest to the event loop's.

    Args:
        thread: where the coroutines run.
        work: makes the coroutine of an item.
    """

    def __init__(self, thread: LoopThread, work: Callable[[T], Coroutine[Any, Any, R]]) -> None:
        self.outstanding = 0  # started, and their results not yet handed back
        self._thread, self._work = thread, work
        self._queue: queue.SimpleQueue[list[tuple[int, R | BaseException]]] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: list[tuple[int, R | BaseException]] = []
        self._handing_back: asyncio.TimerHandle | None = None

    def start(self, part: Sequence[tuple[int, T]]) -> None:
        """Begins the work on numbered items; returns at once."""
        if part:
            self.outstanding += len(part)
            self._thread.loop.call_soon_threadsafe(self._begin, part)

    def finished(self) -> list[tuple[int, R | BaseException]]:
        """Waits for results and returns what has come: results, and what was raised instead."""
        came = self._queue.get()
        while not self._queue.empty():
            came += self._queue.get()
        self.outstanding -= len(came)
        return came

    def cancel(self) -> None:
        """Gives up what is still under way, and waits until that is done."""
        if self.outstanding:
            self._thread.run(self._cancel())
            self.outstanding = 0

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, part: Sequence[tuple[int, T]]) -> None:
        for index, item in part:
            task = self._thread.loop.create_task(self._one(index, item))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, index: int, item: T) -> None:
        try:
            result: R | BaseException = await self._work(item)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            result = error
        self._done.append((index, result))
        if len(self._done) >= PART or len(self._tasks) <= 1:
            self._hand_back()
        elif self._handing_back is None:
            self._handing_back = self._thread.loop.call_later(_HAND_BACK_S, self._hand_back)

    def _hand_back(self) -> None:
        if self._handing_back is not None:
            self._handing_back.cancel()
            self._handing_back = None
        if self._done:
            self._queue.put(self._done)
            self._done = []


@overload
async def together(first: Awaitable[A], second: Awaitable[B], /) -> tuple[A, B]: ...
@overload
async def together(*work: Awaitable[R]) -> Sequence[R]: ...
async def together(*work: Awaitable[Any]) -> Sequence[Any]:
    """Awaits everything in `work` at once and returns the results in order.

    What was raised is raised when all have ended, so that one call that waits for a batch's answers
    does not keep the others out of the batch: an error before a pause, a pause before a wait.
    """
    results = await asyncio.gather(*work, return_exceptions=True)
    raised = [result for result in results if isinstance(result, BaseException)]
    if raised:
        raise min(raised, key=lambda e: isinstance(e, Paused) + 2 * isinstance(e, Deferred))
    return tuple(results)
