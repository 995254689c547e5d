"""Concurrency, rates and the breaker, each by itself and in real time."""

import asyncio
import time

import pytest

from synthdiv.llm.limits import Breaker, Concurrency, Outage, Rate


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


def test_a_rate_is_kept_over_any_second() -> None:
    async def run() -> list[float]:
        rate, times = Rate(60 * 100), []

        async def one() -> None:
            await rate.take(1)
            times.append(time.monotonic())

        await asyncio.gather(*(one() for _ in range(250)))
        return times

    times = sorted(asyncio.run(run()))
    assert times[-1] - times[0] > 1.4  # 250 at 100 a second, of which one second's worth at once
    for start in times:
        assert sum(start <= t < start + 1 for t in times) <= 205


def test_a_rate_makes_up_for_what_a_call_took_more() -> None:
    async def run() -> float:
        rate = Rate(60 * 1000)
        await rate.take(500)
        rate.correct(1000)  # it took three times as much
        start = time.monotonic()
        await rate.take(500)
        return time.monotonic() - start

    assert 0.9 < asyncio.run(run()) < 2


def test_the_breaker_opens_lets_one_probe_through_and_closes() -> None:
    async def run() -> None:
        breaker = Breaker(patience=60, threshold=3)
        for _ in range(3):
            await breaker.passage()
            breaker.failed("500 no")
        assert breaker.open
        passed: list[float] = []

        async def one() -> None:
            await breaker.passage()
            passed.append(time.monotonic())

        start = time.monotonic()
        waiting = [asyncio.create_task(one()) for _ in range(20)]
        await asyncio.sleep(1.5)
        assert len(passed) == 1 and passed[0] - start >= 0.9
        breaker.succeeded()
        await asyncio.gather(*waiting)
        assert len(passed) == 20

    asyncio.run(run())


def test_the_breaker_gives_up_at_last() -> None:
    async def run() -> None:
        breaker = Breaker(patience=0.3, threshold=1)
        breaker.failed("503 gone fishing")
        await breaker.passage()

    with pytest.raises(Outage, match="gone fishing"):
        asyncio.run(run())
