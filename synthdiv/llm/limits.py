"""How fast to ask: concurrency that adapts, requests and tokens a minute, and a circuit breaker.

All of it lives in one event loop, so nothing here takes a lock.
"""

import asyncio
import time
from collections import deque

_ROUND_S = 1.0  # the shortest time between two halvings of concurrency
_PROBE_S = 1.0  # first wait of an open breaker; doubles up to
_PROBE_MOST_S = 30.0


class Concurrency:
    """Bounds the calls in flight: the bound grows while all is well and halves on overload.

    Additive increase, multiplicative decrease, as in TCP: until the first overload every success
    adds one place, afterwards every full round of successes does. Refusals of the same burst count
    once, and so do bursts within one second: where calls take milliseconds, a few refusals in a
    hundred would otherwise leave no concurrency at all.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(most, 32))
        self.used = 0
        self._rising = True
        self._shrunk = -_ROUND_S
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, again: bool = False) -> float:
        """Waits for a place and returns when it was granted; whoever comes `again` is first."""
        if self.used >= int(self.limit) or (self._waiting and not again):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if again:
                self._waiting.appendleft(place)
            else:
                self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.leave()
                raise
        else:
            self.used += 1
        return time.monotonic()

    def leave(self) -> None:
        """Gives the place back."""
        self.used -= 1
        self._admit()

    def succeeded(self) -> None:
        """Adds room after an answer if the present room was used."""
        if self.limit < self.most and self.used >= int(self.limit) - 1:
            self.limit = min(self.most, self.limit + (1.0 if self._rising else 1.0 / self.limit))
            self._admit()

    def overloaded(self, entered: float) -> None:
        """Halves the room, once for all calls that were in flight when it was last halved."""
        now = time.monotonic()
        if entered >= self._shrunk and now - self._shrunk >= _ROUND_S:
            self._shrunk = now
            self._rising = False
            self.limit = max(1.0, self.limit / 2)

    def over(self) -> bool:
        """Whether more calls are in flight than there is room for, since the room shrank."""
        return self.used > int(self.limit)

    def _admit(self) -> None:
        while self._waiting and self.used < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.used += 1
                place.set_result(None)


class Rate:
    """At most `per_minute` units a minute, with bursts of one second's worth.

    What a call takes may be corrected once it is known; a debt makes the next ones wait.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._per_second = None if per_minute is None else per_minute / 60.0
        self._burst = max(1.0, self._per_second or 0.0)
        self._room = self._burst
        self._at = time.monotonic()

    async def take(self, units: float) -> None:
        """Waits until `units` may be used. More than a burst is let through once it is full."""
        while self._per_second is not None:
            self._refill()
            needed = min(units, self._burst)
            if self._room >= needed:
                break
            await asyncio.sleep(max((needed - self._room) / self._per_second, 0.001))
        self._room -= units

    def correct(self, units: float) -> None:
        """Takes `units` more (or gives them back, if negative), without waiting."""
        self._room -= units

    def _refill(self) -> None:
        now = time.monotonic()
        assert self._per_second is not None
        self._room = min(self._burst, self._room + (now - self._at) * self._per_second)
        self._at = now


class Outage(Exception):
    """No call has succeeded for as long as the breaker may wait; the message has the last error."""


class Breaker:
    """Stops the calls when everything fails, lets one through now and then, and finally gives up.

    Args:
        patience: seconds without one success, after opening, until `Outage` is raised.
        threshold: failed attempts in a row, across all calls, that open it.
    """

    def __init__(self, patience: float, threshold: int = 10) -> None:
        self.patience = patience
        self.threshold = threshold
        self.succeeded_ever = False
        self.refused_in_a_row = 0  # calls that failed for good, in a row
        self.barred_in_a_row = 0  # of them, those that say that every other call would fail too
        self._failed_in_a_row = 0
        self._opened: float | None = None
        self._probe_after = 0.0
        self._wait = _PROBE_S
        self._words = ""
        self._closed = asyncio.Event()
        self._closed.set()

    @property
    def open(self) -> bool:
        return self._opened is not None

    async def passage(self) -> None:
        """Waits until a call may be tried.

        Raises:
            Outage: there was no success for `patience` seconds.
        """
        while self._opened is not None:
            now = time.monotonic()
            if now - self._opened > self.patience:
                raise Outage(
                    f"no call has succeeded for {now - self._opened:.0f} s; last: {self._words}"
                )
            if now >= self._probe_after:
                self._probe_after = now + self._wait  # this caller is the probe
                self._wait = min(2 * self._wait, _PROBE_MOST_S)
                return
            left = min(self._probe_after - now, self._opened + self.patience - now)
            try:
                async with asyncio.timeout(max(left, 0.01)):
                    await self._closed.wait()
            except TimeoutError:
                continue

    def failed(self, words: str) -> None:
        """Counts an attempt that may yet pass."""
        self._words = words
        self._failed_in_a_row += 1
        if self._opened is None and self._failed_in_a_row >= self.threshold:
            self._opened = time.monotonic()
            self._wait = _PROBE_S
            self._probe_after = self._opened + self._wait
            self._closed.clear()

    def refused(self, everywhere: bool) -> None:
        """Counts a call that will never pass; the server is there, so the breaker closes."""
        self.refused_in_a_row += 1
        self.barred_in_a_row += everywhere
        self._close()

    def succeeded(self) -> None:
        """Counts an answer; closes the breaker."""
        self.succeeded_ever = True
        self.refused_in_a_row = self.barred_in_a_row = 0
        self._close()

    def _close(self) -> None:
        self._failed_in_a_row = 0
        self._opened = None
        self._closed.set()
