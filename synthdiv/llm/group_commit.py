"""The store's writes, off the event loop and many to a transaction."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from synthdiv.errors import UserError
from synthdiv.llm.store import Op, Store, Totals, Unstorable

_BEAT_S = 15.0


class GroupCommit:
    """Writes to the store in a thread of its own.

    Args:
        store: where to.
        failed: told of a write that failed for what is wrong with the file or the disk.

    Whatever has gathered while one transaction was written goes into the next: under load that is
    dozens of answers for one fsync, and an answer alone waits for nobody.
    """

    def __init__(self, store: Store, failed: Callable[[UserError], object]) -> None:
        self._store, self._failed = store, failed
        self._thread = ThreadPoolExecutor(1, "synthdiv-store")
        self._waiting: list[tuple[Op, asyncio.Future]] = []
        self._writing: asyncio.Task | None = None

    def put(self, op: Op) -> asyncio.Future:
        """Returns what `Store.apply` will return for `op`, once it is on disk."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((op, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return done

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = [(op, done) for op, done in self._waiting if not done.cancelled()]
            self._waiting = []
            try:
                ops = [op for op, _ in batch]
                results = await loop.run_in_executor(self._thread, self._apply, ops)
            except BaseException as error:
                if isinstance(error, UserError):
                    self._failed(error)
                for _, done in batch:
                    _raise_in(done, error)
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, done), result in zip(batch, results, strict=True):
                if isinstance(result, Unstorable):
                    _raise_in(done, result)
                elif not done.done():
                    done.set_result(result)
        self._writing = None

    def _apply(self, ops: Sequence[Op]) -> list[object]:
        """All of `ops` in one transaction; where one cannot be stored, each in one of its own."""
        try:
            return self._store.apply(ops)
        except Unstorable as error:
            if len(ops) == 1:
                return [error]
            return [result for op in ops for result in self._apply([op])]

    async def beat(self) -> None:
        """Keeps the lease; runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_BEAT_S)
            await loop.run_in_executor(self._thread, self._store.beat)

    async def totals(self) -> tuple[Totals, Totals]:
        """Returns the ledger's totals: of all time, and those that count against the caps."""
        loop = asyncio.get_running_loop()
        ever = await loop.run_in_executor(self._thread, self._store.totals)
        return ever, ever.since(self._store.start)

    async def close(self) -> None:
        """Writes what is waiting and closes the store."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._store.close)
        self._thread.shutdown()


def _raise_in(done: asyncio.Future, error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
        done.exception()  # retrieved: asyncio would complain if nobody waited
