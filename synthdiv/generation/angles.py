"""An angle of its own for every text on a topic, so that ten texts are not one told ten times.

An angle is one value of each of several lists: a question to answer, a depth, an order, an opening
and, as its focus, one of the topic's keywords. The lists are data (angles.json). Which angle a text
gets follows from the topic and the text's number alone, and no angle comes twice until all were
had.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from synthdiv.errors import UserError, closest
from synthdiv.json_lines import parse_json

FOCUS = "focus"  # the list that every topic has of its own: its keywords


def read_angles(path: Path) -> dict[str, list[str]]:
    """Reads the lists that angles are made of, by name.

    Raises:
        UserError: the file is no JSON object of lists of texts, or names a value twice.
    """
    try:
        lists = parse_json(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(lists, dict) or FOCUS in lists:
        raise UserError(f"{path}: angles are lists of texts by name, and {FOCUS!r} is none of them")
    for name, values in lists.items():
        if not isinstance(values, list) or not values or len(set(map(str, values))) < len(values):
            raise UserError(f"{path}: {name!r} is no list of texts that differ")
    return lists


class _Turn(NamedTuple):
    """How a list is gone through; `values` is empty where they are the keywords."""

    name: str
    values: Sequence[str]
    size: int
    steps: list[int]  # in which it can be gone through
    ways: int  # how many these are
    whole: int  # numbers after which it and those before it have had everything
    together: int  # those after which all of them, gone through at once, come round


class Angles:
    """The angles of one family.

    Args:
        lists: what there is to choose from, by name.
        names: the lists that the family uses; `FOCUS` is the keywords'.

    Raises:
        UserError: there is no list of such a name.
    """

    def __init__(self, lists: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
        for name in names:
            if name not in (known := (*lists, FOCUS)):
                raise UserError(f"there is no list of angles {name!r}{closest(name, known)}")
        self._lists = {name: lists.get(name, ()) for name in names}
        self._known: dict[int, list[_Turn]] = {}  # by the number of keywords

    def __len__(self) -> int:
        """How many angles there are, but for the focus."""
        return math.prod(len(values) for name, values in self._lists.items() if name != FOCUS)

    def of(self, key: str, number: int, keywords: Sequence[str] = ()) -> dict[str, str]:
        """Returns the angle of a text: the value of each list, by name.

        Args:
            key: the topic, and whatever else another order of its angles hangs on.
            number: how many texts on the topic came before.
            keywords: the topic's, one of which is the focus.
        """
        turns = self._known.get(len(keywords))
        if turns is None:
            turns = self._known[len(keywords)] = self._turns(len(keywords))
        # An order of each list that is the topic's own: every so-manieth value, from some place.
        draw = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=32).digest(), "little")
        angle = {}
        for name, values, size, steps, ways, whole, together in turns:
            draw, step = divmod(draw, ways)
            draw, start = divmod(draw, size)
            # All lists move on with every number, and no values come together twice: with sizes
            # that have a factor in common, all would come round too early, so a list is moved on
            # by one more whenever it and those before it come round.
            turn = number % whole
            place = turn + turn // together
            angle[name] = (values or keywords)[(start + place * steps[step]) % size]
        return angle

    def _turns(self, keywords: int) -> list[_Turn]:
        """What there is to know of the lists of a topic that has so many keywords."""
        turns: list[_Turn] = []
        before = 1
        for name, values in self._lists.items():
            if size := keywords if name == FOCUS else len(values):
                steps = [step for step in range(1, size + 1) if math.gcd(step, size) == 1]
                whole, together = before * size, math.lcm(before, size)
                turns.append(_Turn(name, values, size, steps, len(steps), whole, together))
                before = whole
        return turns
