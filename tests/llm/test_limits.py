"""Concurrency, rates and the breaker, each by itself, by a clock that goes on when nobody works."""

import asyncio
import selectors
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from synthdiv.llm import limits
from synthdiv.llm.limits import Breaker, Concurrency, Outage, Rate

R = TypeVar("R")


class Clock(selectors.DefaultSelector):
    """Where an event loop would wait, time passes at once: no machine is too slow for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def run_by(clock: Clock, work: Coroutine[Any, Any, R]) -> R:
    """Runs a coroutine in an event loop with this clock."""

    def loop() -> asyncio.AbstractEventLoop:
        made = asyncio.SelectorEventLoop(clock)
        made.time = lambda: clock.now  # type: ignore[method-assign]
        return made

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


def test_concurrency_is_bounded_and_first_come_first_served() -> None:
    async def run() -> tuple[int, list[int]]:
        places, inside, most, order = Concurrency(4), 0, 0, []

        async def one(number: int) -> None:
            nonlocal inside, most
            await places.enter()
            inside += 1
            most = max(most, inside)
            order.append(number)
            await asyncio.sleep(0.001)
            inside -= 1
            places.leave()

        await asyncio.gather(*(one(i) for i in range(50)))
        assert places.used == 0
        return most, order

    most, order = asyncio.run(run())
    assert most == 4
    assert order == list(range(50))


def test_overload_halves_once_a_burst_and_success_grows_again() -> None:
    async def run() -> list[float]:
        places = Concurrency(32)
        entered = [await places.enter() for _ in range(32)]
        for at in entered:
            places.overloaded(at)
        limits = [places.limit]
        assert places.over()
        for _ in range(16 * 4):
            places.succeeded()
        limits.append(places.limit)
        return limits

    halved, grown = asyncio.run(run())
    assert halved == 16
    assert 18 < grown < 21  # one place a round of successes


def test_a_cancelled_wait_leaves_no_hole() -> None:
    async def run() -> None:
        places = Concurrency(1)
        await places.enter()
        waiting = asyncio.create_task(places.enter())
        await asyncio.sleep(0)
        places.leave()  # the place is given to `waiting`, which is cancelled before it runs
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(1):
            await places.enter()

    asyncio.run(run())


def test_a_rate_is_kept_over_any_second(clock: Clock) -> None:
    async def run() -> list[float]:
        rate, times = Rate(60 * 100), []

        async def one() -> None:
            await rate.take(1)
            times.append(clock.now)

        await asyncio.gather(*(one() for _ in range(250)))
        return times

    times = run_by(clock, run())
    assert times[-1] == pytest.approx(1.5, abs=0.01)  # 250 at 100 a second, 100 of them at once
    for start in times:
        assert sum(start <= t < start + 1 for t in times) <= 201


def test_a_rate_makes_up_for_what_a_call_took_more(clock: Clock) -> None:
    async def run() -> float:
        rate = Rate(60 * 1000)
        await rate.take(500)
        rate.correct(1000)  # it took three times as much
        await rate.take(500)
        return clock.now

    assert run_by(clock, run()) == pytest.approx(1.0, abs=0.01)


def test_the_breaker_opens_lets_one_probe_through_and_closes(clock: Clock) -> None:
    async def run() -> None:
        breaker = Breaker(patience=60, threshold=3)
        for _ in range(3):
            await breaker.passage()
            breaker.failed("500 no")
        assert breaker.open
        passed: list[float] = []

        async def one() -> None:
            await breaker.passage()
            passed.append(clock.now)

        waiting = [asyncio.create_task(one()) for _ in range(20)]
        await asyncio.sleep(1.5)
        assert passed == pytest.approx([1.0])
        breaker.succeeded()
        await asyncio.gather(*waiting)
        assert len(passed) == 20

    run_by(clock, run())


def test_the_breaker_gives_up_at_last(clock: Clock) -> None:
    async def run() -> None:
        breaker = Breaker(patience=0.3, threshold=1)
        breaker.failed("503 gone fishing")
        await breaker.passage()

    with pytest.raises(Outage, match="gone fishing"):
        run_by(clock, run())
