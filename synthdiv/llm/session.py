"""A session: where callers ask. One store, one backend, one set of limits, any number of requests.

A session is used from ordinary, synchronous code (also inside a notebook's running event loop):
its own event loop lives in a thread, and nothing is started or written before the first question.
"""

import asyncio
import itertools
import math
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthdiv.errors import Paused, UserError
from synthdiv.llm.conversation import Check, Manners
from synthdiv.llm.exchange import Counts, Exchange, Terms
from synthdiv.llm.money import FREE, PICO, Price, higher, price_of
from synthdiv.llm.plan import Plan, Stage, make_plan
from synthdiv.llm.protocol import Backend, Reply, Request
from synthdiv.llm.store import Store
from synthdiv.llm.stream import PART, Stream
from synthdiv.progress import Progress

_MARGIN = 1.2  # calls are not all alike, and some are asked again


@dataclass(frozen=True)
class LLMConfig:
    """Who answers, how fast, and for how much.

    Args:
        backend: "offline" (a stand-in that is no LLM), "openai" (any compatible server), "gemini",
            or "batch" (writes a batch file and pauses).
        model: its name at the server; the offline stand-in has its own.
        base_url: the server, "http://host:port/v1"; None is OpenAI's.
        concurrency: calls in flight at most; fewer when the server asks for less.
        max_cost_usd: the store's whole cost, over all runs, never exceeds this.
        max_calls: nor its number of calls, retries included, this.
        requests_per_minute: a limit of the account.
        tokens_per_minute: a limit of the account, prompts and replies together.
        timeout: seconds for one call.
        retries: attempts after the first for what may pass.
        patience: seconds without any success until the run is paused.
        reasks: times that a reply with a fault is asked for again, with the fault quoted.
        more_room: a reply that was cut off is asked for with up to so many times its max_tokens.
        json_mode: how a server is told the schema: "schema" (response_format json_schema),
            "object" (any JSON object, the schema in words), "off" (in words only), or "auto": the
            first of these that it takes.
        extra: further body parameters of an OpenAI-compatible server ({"top_k": 40}).
        prices: a price table added to configs/prices.json.
        batch_lines: requests in one batch file at most.
    """

    backend: str = "offline"
    model: str | None = None
    base_url: str | None = None
    concurrency: int = 64
    max_cost_usd: float | None = None
    max_calls: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 120.0
    retries: int = 8
    patience: float = 300.0
    reasks: int = 1
    more_room: int = 4
    json_mode: str = "auto"
    extra: dict[str, Any] | None = None
    prices: str | None = None
    batch_lines: int = 50_000

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError("concurrency takes a number of calls from 1 on")
        if self.json_mode not in ("auto", "schema", "object", "off"):
            raise ValueError(f"json_mode is auto, schema, object or off, not {self.json_mode!r}")


class PausedAsking(Paused):
    """Asking stopped; `replies` holds what was answered, and None where nothing was."""

    def __init__(self, pause: Paused, replies: list[Reply | None]) -> None:
        super().__init__(str(pause), pause.flags)
        self.replies = replies


def open_session(config: LLMConfig, store: Path | None, fresh: bool = False) -> "Session":
    """Opens a session; use it as a context manager.

    Args:
        config: who answers and on what terms.
        store: the SQLite file of answers; batch files are written beside it. None keeps them only
            as long as the session.
        fresh: ask again what the store has answers to.

    Raises:
        UserError: an unknown backend, no model or key for one that needs them, no price for a
            model whose cost is capped.
    """
    from synthdiv.llm.backends import make_backend

    backend = make_backend(config, store.parent if store else None)
    price = _price(config)
    if config.max_cost_usd is not None and price is None:
        raise UserError(
            f"--max_cost_usd needs the price of {backend.model!r}, which configs/prices.json does"
            " not have; name a table that has it in LLM.prices, or cap --max_calls"
        )
    return Session(config, backend, price, store, fresh)


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
    """

    def __init__(
        self,
        config: LLMConfig,
        backend: Backend,
        price: Price | None,
        store: Path | None,
        fresh: bool = False,
    ) -> None:
        self.config = config
        self.backend, self.model = backend.name, backend.model
        self._answers_by, self._price = backend, price
        self._path, self._fresh = store, fresh
        self._temporary: tempfile.TemporaryDirectory | None = None
        self._manners = Manners(
            (backend.name, backend.model, *([config.extra] if config.extra else [])),
            config.reasks,
            config.more_room,
        )
        self._exchange: Exchange | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._streams: set[Stream] = set()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def stats(self) -> dict[str, Any]:
        """What this session has done: calls, the tokens it paid for, and their cost.

        `cost_usd` is None where the model has no price. `sent` counts calls and not their retries;
        `repaired` replies that were mended or asked for again before they fit; `failed` replies
        that never did.
        """
        counts = self._exchange.counts if self._exchange else Counts()
        return {
            "calls": {
                name: getattr(counts, name)
                for name in ("sent", "cached", "retried", "repaired", "failed")
            },
            "tokens": {"input": counts.usage.input, "output": counts.usage.output},
            "cost_usd": None if self._price is None else counts.spent / PICO,
        }

    def ask_all(
        self, requests: Sequence[Request], label: str = "", check: Check | None = None
    ) -> list[Reply]:
        """Asks all of `requests` and returns their replies in the same order.

        Args:
            requests: the questions; equal ones are sent once.
            label: what they are for, a few words, shown with the progress; "" shows nothing.
            check: called with a request and its value (the text, for a request without a schema);
                returns a fault in words, which is quoted to the model once, or None.

        Raises:
            PausedAsking: a batch file was written, a cap was reached, or the server is away.
            UserError: the server refuses everything, or the store cannot be written.
        """
        replies: list[Reply | None] = [None] * len(requests)
        try:
            for index, reply in self.iter(requests, label, check, len(requests)):
                replies[index] = reply
        except Paused as pause:
            raise PausedAsking(pause, replies) from None
        return replies  # type: ignore[return-value]

    def iter(
        self,
        requests: Iterable[Request | None],
        label: str = "",
        check: Check | None = None,
        total: int | None = None,
    ) -> Iterator[tuple[int, Reply]]:
        """Asks a stream of requests and yields (index, reply) as they finish.

        Memory stays flat over any number of them: a few times `concurrency` are taken from
        `requests` ahead of the replies, so making a request must not wait for a reply; a None among
        them (which has no index) says that the next one needs a reply that is still on its way.

        Args, raises: as `ask_all`; before it raises Paused, all that was answered is yielded.
        """
        exchange = self._start()
        run = Stream(exchange, self._loop, check, self._manners)
        if not self._streams:
            exchange.resume()
        self._streams.add(run)
        ahead = max(4 * self.config.concurrency, 2 * PART)
        source, given = iter(requests), itertools.count()
        with _Shown(self, label, total) as shown:
            try:
                more = True
                while more or run.outstanding:
                    waits = False
                    while more and not (waits or run.stopped) and run.outstanding < ahead:
                        part = []
                        for request in itertools.islice(source, min(PART, ahead - run.outstanding)):
                            if waits := request is None:
                                break
                            part.append((next(given), request))
                        more = waits or bool(part)
                        run.admit(part)
                    assert not waits or run.outstanding, "None means that a reply is on its way"
                    more = more and not run.stopped
                    if run.outstanding:
                        finished = run.finished()
                        yield from finished
                        shown.update(len(finished))
            finally:
                run.cancel()
                self._streams.discard(run)
        if run.deferred:
            words = (self._answers_by.deferred(), str(run.stopped or ""))
            raise Paused(" ".join(filter(None, words)), run.stopped and run.stopped.flags)
        if run.stopped:
            raise run.stopped

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

    def plan(self, stages: Mapping[str, Sequence[Request] | Stage]) -> Plan:
        """Estimates calls, tokens and money of each stage without sending or writing anything.

        Args:
            stages: for each stage its requests, or a `Stage` with an example or two and a number.
        """
        return make_plan(stages, self._manners, self._price, self._path, self._fresh)

    def close(self) -> None:
        """Ends the session; calls in flight are given up."""
        if self._loop is not None:
            for stream in tuple(self._streams):  # one that was left in the middle
                stream.cancel()
            self._run(self._exchange.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _start(self) -> Exchange:
        """Opens the store and starts the event loop, once."""
        with self._starting:
            if self._loop is None:
                if self._exchange is not None:
                    raise RuntimeError("the session is closed")
                store = self._open_store()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="synthdiv-llm", daemon=True
                )
                self._thread.start()
                self._exchange = self._run(self._make_exchange(store))
        return self._exchange

    def _open_store(self) -> Store:
        path = self._path
        if path is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="synthdiv-")
            path = Path(self._temporary.name) / "answers.sqlite"
        cap = self.config.max_cost_usd
        return Store(
            path, self._fresh, None if cap is None else int(cap * PICO), self.config.max_calls
        )

    async def _make_exchange(self, store: Store) -> Exchange:
        config = self.config
        terms = Terms(
            concurrency=config.concurrency,
            timeout=config.timeout,
            retries=config.retries,
            patience=config.patience,
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
            max_cost_usd=config.max_cost_usd,
            max_calls=config.max_calls,
            price=self._price,
        )
        return Exchange(self._answers_by, store, terms)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@dataclass
class _Shown:
    """Progress of one stream: calls, tokens a second, and what it costs and will have cost."""

    session: Session
    label: str
    total: int | None
    done: int = 0
    start: float = field(default_factory=time.monotonic)

    def __enter__(self) -> "_Shown":
        counts = self.session._exchange.counts
        self.tokens = counts.usage.input + counts.usage.output
        self.spent = counts.spent
        self.progress = Progress(self.total, self.label, "replies") if self.label else None
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress is not None:
            self.progress.__exit__(*exception)

    def update(self, replies: int) -> None:
        if self.progress is None:
            return
        self.done += replies
        counts = self.session._exchange.counts
        tokens = counts.usage.input + counts.usage.output - self.tokens
        figures: dict[str, object] = {
            "tokens/s": f"{tokens / max(time.monotonic() - self.start, 1e-3):,.0f}"
        }
        if self.session._price not in (None, FREE):
            spent = (counts.spent - self.spent) / PICO
            figures["cost"] = f"${spent:.2f}"
            if self.total and self.done:
                figures["projected"] = f"${spent * self.total / self.done:.2f}"
        if counts.failed:
            figures["failed"] = counts.failed
        self.progress.update(replies, **figures)
