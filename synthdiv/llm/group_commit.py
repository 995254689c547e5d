"""The store's writes, off the event loop and many to a transaction."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from synthdiv.llm.store import Op, Store, Totals

_BEAT_S = 15.0


class GroupCommit:
    """Writes to the store in a thread of its own.

    Whatever has gathered while one transaction was written goes into the next: under load that is
    dozens of answers for one fsync, and an answer alone waits for nobody.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
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
                results = await loop.run_in_executor(self._thread, self._store.apply, ops)
            except BaseException as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                        done.exception()  # retrieved: asyncio would complain if nobody waited
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)
        self._writing = None

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
