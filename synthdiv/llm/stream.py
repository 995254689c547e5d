"""One stream of requests between the caller's thread and the session's event loop."""

import asyncio
import queue

from synthdiv.errors import Paused
from synthdiv.llm.conversation import Check, Conversation, Manners
from synthdiv.llm.exchange import Exchange
from synthdiv.llm.protocol import Deferred, Reply, Request

PART = 64  # requests handed to the event loop, and replies handed back, at a time
_HAND_BACK_S = 0.02


class Stream:
    """Requests on their way.

    `admit`, `finished` and `cancel` belong to the caller's thread, the rest to the event loop's.
    """

    def __init__(
        self,
        exchange: Exchange,
        loop: asyncio.AbstractEventLoop,
        check: Check | None,
        manners: Manners,
    ) -> None:
        self.outstanding = 0  # admitted and not yet handed back
        self.deferred = 0
        self.stopped: Paused | None = None
        self._exchange, self._loop, self._check, self._manners = exchange, loop, check, manners
        self._queue: queue.SimpleQueue[list[tuple[int, Reply | BaseException]]] = (
            queue.SimpleQueue()
        )
        self._tasks: set[asyncio.Task] = set()
        self._done: list[tuple[int, Reply | BaseException]] = []
        self._handing_back: asyncio.TimerHandle | None = None

    def admit(self, part: list[tuple[int, Request]]) -> None:
        """Starts asking; returns at once."""
        if part:
            self.outstanding += len(part)
            self._loop.call_soon_threadsafe(self._begin, part)

    def finished(self) -> list[tuple[int, Reply]]:
        """Waits for replies and returns what has come.

        Raises:
            what a conversation raised, but for pauses, which are noted in `stopped`, and deferred
            calls, which are counted.
        """
        came = self._queue.get()
        while not self._queue.empty():
            came += self._queue.get()
        self.outstanding -= len(came)
        replies = []
        for index, reply in came:
            if isinstance(reply, Deferred):
                self.deferred += 1
            elif isinstance(reply, Paused):
                self.stopped = self.stopped or reply
            elif isinstance(reply, BaseException):
                raise reply
            else:
                replies.append((index, reply))
        return replies

    def cancel(self) -> None:
        """Gives up what is still being asked, and waits until that is done."""
        if self.outstanding:
            asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()
            self.outstanding = 0

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, part: list[tuple[int, Request]]) -> None:
        for index, request in part:
            task = self._loop.create_task(self._one(index, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, index: int, request: Request) -> None:
        conversation = Conversation(self._exchange, request, self._check, self._manners)
        try:
            reply: Reply | BaseException = await conversation.reply()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            reply = error
        self._done.append((index, reply))
        if len(self._done) >= PART or len(self._tasks) <= 1:
            self._hand_back()
        elif self._handing_back is None:
            self._handing_back = self._loop.call_later(_HAND_BACK_S, self._hand_back)

    def _hand_back(self) -> None:
        if self._handing_back is not None:
            self._handing_back.cancel()
            self._handing_back = None
        if self._done:
            self._queue.put(self._done)
            self._done = []
