"""How fast a server answers, as somebody states it: hours of a plan follow from it."""

import math
import re
from dataclasses import dataclass

from synthdiv.errors import UserError

UNITS = ("requests/s", "tokens/s", "s/call")


@dataclass(frozen=True)
class Speed:
    """What one or more servers do together.

    Attributes:
        number: of the unit.
        unit: "requests/s"; "tokens/s", written, whatever they read beside; or "s/call", the
            seconds that one call takes, of which as many go at once as the concurrency says.
    """

    number: float
    unit: str

    def seconds(self, calls: int, written: int, concurrency: int) -> float:
        """Returns how long so many calls take that write so many tokens in all."""
        if self.unit == "s/call":
            return math.ceil(calls / concurrency) * self.number
        return (calls if self.unit == "requests/s" else written) / self.number


def parse_speed(text: str) -> Speed | None:
    """Returns the speed that a user states, as "9000 tokens/s"; None for "".

    Raises:
        UserError: it is none; says what one looks like.
    """
    if not text:
        return None
    found = re.fullmatch(r"\s*([\d.,_]+(?:e[+-]?\d+)?)\s*(\S+)\s*", text)
    try:
        number = float(found[1].replace(",", "").replace("_", "")) if found else 0.0
    except ValueError:
        number = 0.0
    if found is None or found[2] not in UNITS or not 0 < number < math.inf:
        raise UserError(
            f"`speed={text}` is no speed of a server: it is '50 requests/s', '9000 tokens/s' "
            "(written) or '12 s/call'"
        )
    return Speed(number, found[2])
