"""What is drawn for a text: numbers that follow from its name alone, the same in any process.

They are the digits of one long number, a hash of the name, in whatever base is asked for next. That
takes a tenth of the time that a random number generator takes to be seeded.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence

_WHOLE = 1 << 32
_SPARE = 1 << 96  # less than this is left alone: what is drawn from little favours some numbers


class Chance:
    """The numbers drawn for one name.

    Args:
        name: what they are drawn for; other names draw others.
    """

    __slots__ = ("_left", "_name", "_times")

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._times = 0
        self._fill()

    def _fill(self) -> None:
        salt = self._times.to_bytes(8, "little")
        self._left = int.from_bytes(hashlib.blake2b(self._name, salt=salt).digest(), "little")
        self._times += 1

    def below(self, number: int) -> int:
        """Draws one of 0, 1, ... number - 1."""
        if self._left < _SPARE:
            self._fill()
        self._left, drawn = divmod(self._left, number)
        return drawn

    def share(self) -> float:
        """Draws a number from 0 up to but not including 1."""
        return self.below(_WHOLE) / _WHOLE

    def among(self, ends: Sequence[float]) -> int:
        """Draws a place in a list by weights, given as their running sums."""
        if self._left < _SPARE:
            self._fill()
        self._left, drawn = divmod(self._left, _WHOLE)  # as `share`
        return bisect_right(ends, drawn / _WHOLE * ends[-1], hi=len(ends) - 1)

    def sample(self, number: int, wanted: int) -> list[int]:
        """Draws `wanted` different ones of 0, 1, ... number - 1; there must be so many."""
        drawn: list[int] = []
        while len(drawn) < wanted:
            if self._left < _SPARE:
                self._fill()
            self._left, one = divmod(self._left, number)  # as `below`
            if one not in drawn:
                drawn.append(one)
        return drawn
