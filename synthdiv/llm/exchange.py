"""One call's way to its answer: from the store, or claimed, sent, retried, and kept before use.

Everything here runs in the session's event loop, except the store's writes (see group_commit.py).
"""

import asyncio
import contextlib
import copy
import json
import random
import time
from dataclasses import dataclass, field

from synthdiv.errors import Paused, UserError
from synthdiv.llm import store as ledger
from synthdiv.llm.config import LLMConfig
from synthdiv.llm.door import Door
from synthdiv.llm.group_commit import GroupCommit
from synthdiv.llm.limits import Breaker, Concurrency, Outage, Rate
from synthdiv.llm.money import (
    FREE,
    PICO,
    Price,
    higher,
    likely_tokens,
    most_input_tokens,
    most_output_tokens,
)
from synthdiv.llm.protocol import (
    Again,
    Answer,
    Backend,
    Call,
    Deferred,
    Permanent,
    Transient,
    Usage,
)
from synthdiv.llm.secrets import Secrets
from synthdiv.llm.store import Claim, Commit, PutDown, Release, Store, Unstorable
from synthdiv.progress import say

_BACKOFF_S = 0.5
_BACKOFF_MOST_S = 60.0
_LONG_WAIT_S = 10.0  # people are told of longer ones
_POLL_S = (0.05, 1.0)  # how often to look whether another process has the answer
_REFUSALS_OF_ALL = 20  # calls refused in a row, with none ever answered: the set-up is at fault
_BARRED = 3  # calls in a row whose refusal concerns all others: the key expired on the way


def asked_of(backend: Backend, config: LLMConfig) -> tuple[object, ...]:
    """Returns who is asked, as it is part of every key: backend, model, extra parameters."""
    return (backend.name, backend.model, *([config.extra] if config.extra else []))


class CallFailed(Exception):
    """A call has no answer and will have none in this run; the message says why."""


@dataclass
class Counts:
    """What a session has done so far. Pico-dollars; `lost` may have been paid for nothing.

    `usage` is that of answers it paid for, `kept` that of answers which were there already.
    """

    sent: int = 0
    cached: int = 0
    retried: int = 0
    repaired: int = 0
    failed: int = 0
    usage: Usage = field(default_factory=Usage)
    kept: Usage = field(default_factory=Usage)
    spent: int = 0
    lost: int = 0


class Exchange:
    """Answers calls; one to a session, made inside its event loop.

    Args:
        backend: who answers.
        store: where answers are kept.
        config: how fast, how patiently and for how much.
        price: of the model; None where nobody knows it.
    """

    def __init__(
        self, backend: Backend, store: Store, config: LLMConfig, price: Price | None
    ) -> None:
        self.counts = Counts()
        self.config = config
        self.asked_of = asked_of(backend, config)
        self._backend, self._store, self._price = backend, store, price
        self._door = Door(backend, Secrets.known(config.base_url))
        self._writes = GroupCommit(store, self._halt)
        self._places = Concurrency(config.concurrency)
        self._breaker = Breaker(config.patience)
        self._requests = Rate(config.requests_per_minute)
        self._tokens = Rate(config.tokens_per_minute)
        self._capped = config.max_cost_usd is not None or config.max_calls is not None
        self._asking: dict[bytes, asyncio.Future[Answer]] = {}
        self._deferring = False
        self._unreached = self._waiting = False  # said already
        self._written = (0, 0)  # output tokens and answers so far, to guess the next by
        self._room = asyncio.Event()
        self._halted: Paused | UserError | None = None
        self._beating = asyncio.create_task(self._writes.beat())

    async def answer(self, call: Call) -> tuple[Answer, bool]:
        """Returns the answer to `call`, and whether it was there already.

        Raises:
            CallFailed: there is none, after all retries.
            Deferred: it will be answered outside this run.
            Paused: a cap is reached, or the server has been away for too long.
            UserError: the server refuses everything, or the store cannot be written.
        """
        kept = self._store.get(call.key)
        if kept is None and (other := self._asking.get(call.key)):
            kept = await asyncio.shield(other)
        if kept is not None:
            return self._kept(kept)
        asking = self._asking[call.key] = asyncio.get_running_loop().create_future()
        try:
            answer, cached = await self._obtain(call)
        except BaseException as error:
            asking.set_exception(
                error if isinstance(error, Exception) else CallFailed("it was interrupted")
            )
            asking.exception()
            raise
        else:
            asking.set_result(answer)
            return answer, cached
        finally:
            del self._asking[call.key]

    def resume(self) -> None:
        """Begins anew after a halt."""
        self._halted = None

    async def close(self) -> None:
        self._beating.cancel()
        await self._writes.close()
        await self._backend.close()

    async def _obtain(self, call: Call) -> tuple[Answer, bool]:
        """Claims the call and sends it, or waits for whoever has claimed it."""
        attempt = _Attempt(call, reserved := self._most(call))
        poll = _POLL_S[0]
        again = False
        while True:
            attempt.entered = await self._places.enter(again)
            room = self._room
            try:
                self._go_on()
                outcome = await self._claim(call.key, reserved)
                if outcome == ledger.GRANTED:
                    answer = await self._send(attempt)
                    if answer is not None:
                        return answer, False
                    again = True
                    continue
            finally:
                self._places.leave()
            if outcome == ledger.SPENT or (outcome == ledger.NO_ROOM and self._deferring):
                raise self._halt(await self._spent())
            if outcome == ledger.NO_ROOM:
                with contextlib.suppress(TimeoutError):  # another process may end a call, too
                    async with asyncio.timeout(0.5):
                        await room.wait()
                continue
            if outcome == ledger.HELD:
                await asyncio.sleep(poll)
                poll = min(2 * poll, _POLL_S[1])
            kept = self._store.get(call.key)
            if kept is not None:
                return self._kept(kept)

    def _kept(self, answer: Answer) -> tuple[Answer, bool]:
        """Counts an answer that was there already."""
        self.counts.cached += 1
        self.counts.kept += answer.usage
        return answer, True

    async def _send(self, attempt: "_Attempt") -> Answer | None:
        """Sends a claimed call once; None if it must be claimed, and sent, once more."""
        call = attempt.call
        claimed = True
        try:
            await self._breaker.passage()
            await self._requests.take(1)
            guess = self._guess(call)
            await self._tokens.take(guess)
            self._go_on()
            attempt.calls += 1
            attempt.tried += 1
            if attempt.tried == 1:
                self.counts.sent += 1
            else:
                self.counts.retried += 1
            attempt.in_flight = True
            try:
                async with asyncio.timeout(self.config.timeout):
                    answer = await self._door.complete(call)
            except TimeoutError:
                attempt.in_flight = False
                words = f"no answer within {self.config.timeout:g} s"
                await self._after(Transient(words, lost=True), attempt)
            except Transient as failure:
                attempt.in_flight = False
                await self._after(failure, attempt)
            except Again:
                attempt.in_flight = False
            else:
                attempt.in_flight = False
                claimed = False
                return await self._keep(attempt, answer, guess)
            # It is claimed anew, so that what was sent in vain is in the ledger before more is.
            return None
        except Deferred:
            self._deferring = True
            attempt.calls -= 1
            self.counts.sent -= 1
            claimed = False  # its cost stays reserved until the session ends
            self._writes.put(PutDown(call.key))
            raise
        except Permanent as refusal:
            attempt.in_flight = False
            raise self._refused(refusal) from None
        except Outage as outage:
            kept = "every answer so far is kept, run the same command again"
            raise self._halt(Paused(f"{self._who()}: {outage}; {kept}")) from None
        finally:
            if claimed:
                self._give_up(attempt)

    def _refused(self, refusal: Permanent) -> Exception:
        """A refused call is a failure; when all are refused, the run ends instead."""
        breaker = self._breaker
        breaker.refused(refusal.everywhere)
        words = f"{self._who()} refuses: {refusal}"
        if not breaker.succeeded_ever:
            if refusal.everywhere or breaker.refused_in_a_row >= _REFUSALS_OF_ALL:
                return self._halt(UserError(words))
        elif breaker.barred_in_a_row >= _BARRED:
            kept = "every answer so far is kept, run again once that is right"
            return self._halt(Paused(f"{words}; {kept}"))
        return CallFailed(str(refusal))

    async def _after(self, error: Transient, attempt: "_Attempt") -> None:
        """Waits as long as a failed attempt asks for, or gives the call up."""
        if error.overloaded:
            self._places.overloaded(attempt.entered)
        if error.lost:
            attempt.lost += attempt.reserved
        if not (error.reached or self._breaker.succeeded_ever or self._unreached):
            self._unreached = True
            say(f"{self._who()}: {error}; trying on for {self.config.patience:g} s")
        was_open = self._breaker.open
        self._breaker.failed(str(error))
        if not was_open:
            attempt.failures += 1
            if self._breaker.open:
                patience = f"{self.config.patience:g} s"
                say(f"{self._who()}: every call fails ({error}); trying on for {patience}")
        if attempt.failures > self.config.retries:
            raise CallFailed(f"{error} ({attempt.failures} attempts)")
        asked = min(error.retry_after, self.config.patience)
        if error.retry_after > _LONG_WAIT_S and not self._waiting:
            self._waiting = True
            say(
                f"{self._who()} asks to wait {error.retry_after:g} s ({error}); waiting"
                f" {asked:.0f} s, from now on without saying so (LLM.patience is the most)"
            )
        backoff = min(_BACKOFF_MOST_S, _BACKOFF_S * 2 ** (attempt.failures - 1))
        jittered = backoff * random.uniform(0.5, 1.0)
        await asyncio.sleep(max(jittered, asked * random.uniform(1.0, 1.1)))

    async def _keep(self, attempt: "_Attempt", answer: Answer, guess: float) -> Answer:
        """Commits an answer; it may be used once this returns."""
        call, counts = attempt.call, self.counts
        self._places.succeeded()
        self._breaker.succeeded()
        self._tokens.correct(answer.usage.input + answer.usage.output - guess)
        self._written = (self._written[0] + answer.usage.output, self._written[1] + 1)
        price = self._price
        if price is None:
            cost = 0
        elif answer.counted:
            cost = price.cost(answer.usage)
        else:
            cost = attempt.reserved  # the server does not count: the most it can have been
        counts.usage += answer.usage
        counts.spent += cost
        counts.lost += attempt.lost
        commit = Commit(call.key, answer, call.stage, cost, attempt.lost, attempt.calls)
        attempt.calls = attempt.lost = 0
        try:
            kept = await asyncio.shield(self._writes.put(commit))
        except Unstorable as error:
            attempt.lost, attempt.calls = commit.lost + cost, commit.calls
            self._give_up(attempt)
            raise CallFailed(f"its answer cannot be kept: {error}") from None
        finally:
            self._make_room()
        return answer if kept else self._store.get(call.key) or answer

    def _give_up(self, attempt: "_Attempt") -> None:
        """Gives the claim back and settles what the attempts may have cost."""
        if attempt.in_flight:  # cancelled with the call on its way
            attempt.lost += attempt.reserved
            attempt.in_flight = False
        self.counts.lost += attempt.lost
        self._writes.put(Release(attempt.call.key, attempt.lost, attempt.calls))
        attempt.calls = attempt.lost = 0
        self._make_room()

    def _make_room(self) -> None:
        """Wakes those who wait for a call in flight to end."""
        self._room.set()
        self._room = asyncio.Event()

    async def _claim(self, key: bytes, reserved: int) -> object:
        try:
            return await self._writes.put(Claim(key, reserved))
        except asyncio.CancelledError:
            self._writes.put(Release(key, 0, 0))  # it may be granted all the same
            raise

    def _most(self, call: Call) -> int:
        """The most that a call can cost, in pico-dollars."""
        price = self._price
        if not price or price == FREE:
            return 0
        extra = self.config.extra
        added = sum(len(json.dumps(part)) for part in (call.schema, extra) if part)
        prompt = most_input_tokens(call.messages, added)
        return price.most(prompt, most_output_tokens(call.max_tokens, extra))

    def _halt(self, reason: Paused | UserError) -> Paused | UserError:
        """Sends nothing more until `resume`; calls in flight are waited for."""
        if not isinstance(self._halted, UserError):
            self._halted = reason
        return reason

    def _go_on(self) -> None:
        """Raises what has halted the exchange, if anything has."""
        if self._halted is not None:
            raise copy.copy(self._halted)

    def _guess(self, call: Call) -> float:
        """About how many tokens the call will take, for the limit a minute."""
        if self.config.tokens_per_minute is None:
            return 0
        tokens, answers = self._written
        output = tokens / answers if answers >= 8 else call.max_tokens / 4
        return likely_tokens(sum(len(m["content"]) for m in call.messages)) + output

    def _who(self) -> str:
        return f"{self._backend.name} ({self._backend.model})"

    async def _spent(self) -> Paused:
        """Says what was spent and what a cap leaves, and by which caps a run would get further."""
        ever, counted = await self._writes.totals()
        caps, behind, left, flags = [], [f"{counted.calls:,} calls"], [], {}
        if (most := self.config.max_cost_usd) is not None:
            used = (counted.spent + counted.lost) / PICO
            caps.append(f"`max_cost_usd={most:g}`")
            behind.append(f"${used:.4f}")
            left.append(f"${max(most - used, 0):.4f}")
            flags["max_cost_usd"] = higher((ever.spent + ever.lost) / PICO + max(most, used))
        if (most := self.config.max_calls) is not None:
            caps.append(f"`max_calls={most}`")
            left.append(f"{max(most - counted.calls, 0):,} calls")
            flags["max_calls"] = ever.calls + max(most, counted.calls, 1)
        return Paused(
            f"the next call could exceed {' or '.join(caps)} ({' and '.join(behind)} are behind"
            f" {self._store.path}, {' and '.join(left)} left);"
            " run the same command again with a higher limit to go on",
            flags,
        )


@dataclass
class _Attempt:
    """A call on its way: what was tried, and what may have been paid in vain."""

    call: Call
    reserved: int  # the most that one attempt can cost
    entered: float = field(default_factory=time.monotonic)
    tried: int = 0  # attempts in all
    failures: int = 0  # of them, those that count against the retries
    calls: int = 0  # sent since the ledger was last told
    lost: int = 0  # pico-dollars that failed attempts may have cost, since then
    in_flight: bool = False
