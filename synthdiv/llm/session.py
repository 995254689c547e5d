"""A session: where callers ask. One store, one backend, one set of limits, any number of requests.

A session is used from ordinary, synchronous code (also inside a notebook's running event loop):
its own event loop lives in a thread, and nothing is started or written before the first question.
"""

import contextlib
import itertools
import math
import tempfile
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from synthdiv.engine import LOCAL, Engine
from synthdiv.errors import Paused, UserError
from synthdiv.llm.backends import make_backend
from synthdiv.llm.config import LLMConfig
from synthdiv.llm.conversation import converse
from synthdiv.llm.exchange import Counts, Exchange, asked_of
from synthdiv.llm.money import FREE, PICO, Price, higher, price_of
from synthdiv.llm.pauses import Awaiting
from synthdiv.llm.plan import Plan, Stage, make_plan
from synthdiv.llm.protocol import Backend, Deferred, Reply, Request
from synthdiv.llm.shown import Shown
from synthdiv.llm.spending import paid_in
from synthdiv.llm.store import Store
from synthdiv.llm.tasks import PART, LoopThread, Tasks

T = TypeVar("T")
R = TypeVar("R")

_MARGIN = 1.2  # calls are not all alike, and some are asked again


def open_session(
    config: LLMConfig,
    store: Path | None,
    fresh: bool = False,
    asking: bool = True,
    engine: Engine = LOCAL,
) -> "Session":
    """Opens a session; use it as a context manager.

    Args:
        config: who answers and on what terms.
        store: the SQLite file of answers; batch files are written beside it. None keeps them only
            as long as the session.
        fresh: ask again what the store has answers to.
        asking: False for a session that only plans, which needs neither key nor SDK.
        engine: where calls are sent from. The store, the caps and the limits are always here.

    Raises:
        UserError: an unknown backend, no model or key for one that needs them, no price for a
            model whose cost is capped, no cluster.
    """
    backend = make_backend(config, store.parent if store else None)
    if asking:
        if engine.name == "ray" and config.backend != "batch":  # which sends nothing
            from synthdiv.llm.callers import Callers

            backend = Callers(backend, config, engine)
        backend.prepare()
    price = _price(config)
    if config.max_cost_usd is not None and price is None:
        raise UserError(
            f"`max_cost_usd` needs the price of {backend.model!r}, which configs/prices.json does"
            " not have; name a table that has it in LLM.prices, or cap `max_calls`"
        )
    return Session(config, backend, price, store, fresh, engine)


def _price(config: LLMConfig) -> Price | None:
    from synthdiv.config import find

    if config.backend == "offline":
        return FREE
    files = [find("configs/prices.json")]
    if config.prices:
        files.append(find(config.prices))
    return price_of(config.model or "", files, "batch" if config.backend == "batch" else None)


class Session:
    """Asks language models. Made by `open_session`.

    Attributes:
        backend: the backend's name.
        model: the model's name, as it belongs in results.
        engine: where its calls are sent from, and its callers have work done, too.
    """

    def __init__(
        self,
        config: LLMConfig,
        backend: Backend,
        price: Price | None,
        store: Path | None,
        fresh: bool = False,
        engine: Engine = LOCAL,
    ) -> None:
        self.config, self.engine = config, engine
        self.backend, self.model = backend.name, backend.model
        self._answers_by, self._price = backend, price
        self._path, self._fresh = store, fresh
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._exchange: Exchange | None = None
        self._thread: LoopThread | None = None
        self._starting = threading.Lock()
        self._under_way: set[Tasks[Any, Any]] = set()
        self._holding = 0  # how many `one_pause` are open
        self._waiting: dict[str, bool] = {}  # as Awaiting.stages

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def stats(self) -> dict[str, Any]:
        """What this session has done: calls, the tokens it paid for, and their cost.

        `cost_usd` is None where the model has no price. `sent` counts calls and not their retries;
        `repaired` replies that were mended or asked for again before they fit; `failed` replies
        that never did. `kept` has what the answers took that were there already, at today's price.
        """
        counts = self._exchange.counts if self._exchange else Counts()
        return {
            "calls": {
                name: getattr(counts, name)
                for name in ("sent", "cached", "retried", "repaired", "failed")
            },
            "tokens": {"input": counts.usage.input, "output": counts.usage.output},
            "cost_usd": None if self._price is None else counts.spent / PICO,
            "kept": {
                "input": counts.kept.input,
                "output": counts.kept.output,
                "cost_usd": 0.0 if self._price is None else self._price.cost(counts.kept) / PICO,
            },
        }

    def paid(self, wanted: Callable[[str], bool]) -> dict[str, Any]:
        """What the answers of some stages took that its store holds, of all runs, not just this.

        `cost_usd` is at the price of each run, and None where the model has no price now.
        """
        path, counts = self._path, (0, 0, 0, 0)
        if self._temporary is not None:
            path = Path(self._temporary.name) / "answers.sqlite"
        if path is not None and path.exists():
            counts = paid_in(path, wanted)
        calls, read, written, cost = counts
        known = None if self._price is None else cost / PICO
        return {"calls": calls, "input": read, "output": written, "cost_usd": known}

    async def ask(self, request: Request[T]) -> Reply[T]:
        """Asks one question; to be awaited in a coroutine that `map` runs.

        Every answer is kept, so a coroutine that starts over gets back to where it was without
        sending a call twice. Anything else it does will happen again.

        Raises:
            Paused: a cap was reached, or the server is away.
            Deferred: the question waits in a batch file.
            UserError: the server refuses everything, or the store cannot be written.
        """
        if self._exchange is None:
            raise RuntimeError("Session.ask is awaited in a coroutine that Session.map runs")
        try:
            return await converse(self._exchange, request)
        except Deferred as wait:
            again = self._waiting.get(request.stage, True)
            self._waiting[request.stage] = again and wait.again
            raise

    async def ask_from_elsewhere(self, request: Request[T]) -> Reply[T]:
        """Asks one question in a coroutine that another session's `map` runs; see `ask`."""
        return await self._start()[1].awaited(self.ask(request))

    def map(
        self,
        work: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T],
        label: str = "",
        total: int | None = None,
        unit: str = "replies",
        at_once: int | None = None,
        so_far: Callable[[], Mapping[str, object]] | None = None,
    ) -> Generator[tuple[int, R], None, None]:
        """Runs a coroutine for every item, many at a time; yields (index, result) as they finish.

        Memory stays flat over any number of items, which are taken a little ahead of the results.
        Where calls are written to batch files, every coroutine runs to its first unanswered call
        before the pause is raised.

        Args:
            work: a coroutine function; it asks with `await session.ask(request)`.
            items: what to call it with, in order.
            label: what is being done, a few words, shown with the progress; "" shows nothing.
            total: how many items there are, where that is known.
            unit: what an item is called there, plural.
            at_once: coroutines under way at most; by default a few times `concurrency`.
            so_far: figures of what has been yielded, shown with the progress.

        Raises:
            Paused: a batch file was written (`Awaiting`), a cap was reached, or the server is away;
                by then all results that there are have been yielded.
            UserError: the server refuses everything, or the store cannot be written.
        """
        exchange, thread = self._start()
        if not self._under_way:
            exchange.resume()
        tasks = Tasks(thread, work)
        self._under_way.add(tasks)
        ahead = at_once or max(4 * self.config.concurrency, 2 * PART)
        numbered = enumerate(items)
        pause: Paused | None = None
        deferred = False
        with Shown(exchange, self._price, label, total, unit, so_far) as shown:
            try:
                while True:
                    while pause is None and tasks.outstanding < ahead:
                        room = min(PART, ahead - tasks.outstanding)
                        part = list(itertools.islice(numbered, room))
                        if not part:
                            break
                        tasks.start(part)
                    if not tasks.outstanding:
                        break
                    finished = tasks.finished()
                    for index, result in finished:
                        if isinstance(result, Deferred):
                            deferred = True
                        elif isinstance(result, Paused):
                            pause = pause or result
                        elif isinstance(result, BaseException):
                            raise result
                        else:
                            yield index, result
                    shown.update(len(finished))
            finally:
                tasks.cancel()
                self._under_way.discard(tasks)
        if deferred:
            raise self._awaiting([pause] if pause else [])
        if pause:
            raise pause

    def ask_all(self, requests: Sequence[Request[T]], label: str = "") -> list[Reply[T]]:
        """Asks all of `requests` and returns their replies in the same order.

        Args:
            requests: the questions; equal ones are sent once.
            label: what they are for, as in `map`.

        Raises:
            Paused, UserError: as `map`; what was answered is kept.
        """
        replies = dict(self.map(self.ask, requests, label, len(requests)))
        return [replies[index] for index in range(len(requests))]

    @property
    def capped(self) -> bool:
        """Whether asking may end at any call, so that what is begun had better be ended soon."""
        caps = (self.config.max_cost_usd, self.config.max_calls)
        return self.backend != "batch" and caps != (None, None)

    def enough(self, pause: Paused, calls: int) -> Paused:
        """Returns `pause` with caps that about `calls` more calls will fit under."""
        flags, stats = dict(pause.flags), self.stats
        sent = stats["calls"]["sent"] + stats["calls"]["retried"]
        if "max_calls" in flags:
            flags["max_calls"] -= (self.config.max_calls or 0) - math.ceil(_MARGIN * calls) - 1
        if "max_cost_usd" in flags and sent:
            used = flags["max_cost_usd"] - (self.config.max_cost_usd or 0.0)
            needed = _MARGIN * (calls + 1) * stats["cost_usd"] / sent
            flags["max_cost_usd"] = higher(max(used, 0.0) + needed)
        return Paused(str(pause), flags)

    def plan(self, stages: Mapping[str, Sequence[Request[Any]] | Stage]) -> Plan:
        """Estimates calls, tokens and money of each stage without sending or writing anything.

        Args:
            stages: for each stage its requests, or a `Stage` with an example or two and a number.
        """
        whom = asked_of(self._answers_by, self.config)
        return make_plan(stages, whom, self._price, self._path, self._fresh, self.config)

    def close(self) -> None:
        """Ends the session; calls in flight are given up."""
        if self._thread is not None and self._exchange is not None:
            for tasks in tuple(self._under_way):  # a map that was left in the middle
                tasks.cancel()
            self._thread.run(self._exchange.close())
            self._thread.close()
            self._thread = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _awaiting(self, pauses: Sequence[Paused]) -> Awaiting:
        """Says what waits in batch files, unless a `one_pause` around it will say it."""
        said = [] if self._holding else [self._said()]
        return _together(said, pauses)

    def _said(self) -> Awaiting:
        """Finishes the batch files and says what is to be done with them."""
        words, waiting = self._answers_by.deferred() or "", self._waiting
        self._waiting = {}
        return Awaiting(words, stages=waiting)

    def _start(self) -> tuple[Exchange, LoopThread]:
        """Opens the store and starts the event loop, once."""
        with self._starting:
            if self._exchange is None:
                store = self._open_store()
                self._thread = LoopThread("synthdiv-llm")
                self._exchange = self._thread.run(self._make_exchange(store))
            if self._thread is None:
                raise RuntimeError("the session is closed")
            return self._exchange, self._thread

    async def _make_exchange(self, store: Store) -> Exchange:
        return Exchange(self._answers_by, store, self.config, self._price)

    def _open_store(self) -> Store:
        path = self._path
        if path is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="synthdiv-")
            path = Path(self._temporary.name) / "answers.sqlite"
        cap = self.config.max_cost_usd
        return Store(
            path, self._fresh, None if cap is None else int(cap * PICO), self.config.max_calls
        )


@contextlib.contextmanager
def one_pause(*sessions: Session | None) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Lets several pieces of work wait for the answers of batch files together.

        with one_pause(session) as piece:
            for corpus in corpora:
                with piece():
                    ask(corpus)

    A piece that awaits answers ends, and the next one begins; a stage has one file for all of them,
    and the pause is raised at the end of the block. May be nested: the outermost one says it.

    Args:
        *sessions: those that the pieces ask.

    Raises:
        Awaiting: one piece or several wait for answers.
    """
    asked = [session for session in sessions if session is not None]
    waits: list[Paused] = []

    @contextlib.contextmanager
    def piece() -> Iterator[None]:
        try:
            yield
        except Awaiting as pause:
            waits.append(pause)

    for session in asked:
        session._holding += 1
    try:
        with piece():
            yield piece
    finally:
        for session in asked:
            session._holding -= 1
    if waits:
        raise _together([s._said() for s in asked if not s._holding], waits)


def _together(said: Sequence[Awaiting], pauses: Sequence[Paused]) -> Awaiting:
    """One sentence for what waits in the files of several sessions, and what else was paused."""
    files = "; ".join(filter(None, map(str, said)))
    words = [f"{files}; then run the same command again"] if files else []
    words += filter(None, map(str, pauses))
    return Awaiting(
        "; ".join(dict.fromkeys(words)),
        {flag: value for pause in pauses for flag, value in pause.flags.items()},
        {stage: again for one in said for stage, again in one.stages.items()},
    )
