"""Broken JSON mended by json-repair, within bounds: no reply, however made, holds a run up.

The work is counted in function calls and not in seconds, so that a reply that is mended on one
machine is mended on every other.
"""

import sys
from typing import Any

from synthdiv.json_lines import encodable

_LONGEST = 200_000  # characters
_MOST_STEPS = 3_000_000  # calls inside json-repair: about two seconds; 20,000 characters take 0.4 M


class _TooMuchWork(BaseException):  # json-repair catches no such thing
    pass


def mended(text: str) -> Any:
    """Returns what `text` may have meant, or None where that would take too much work to say.

    The strings in it are such as UTF-8 can hold. To be called outside of the event loop.
    """
    from json_repair import repair_json

    if len(text) > _LONGEST:
        return None
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps > _MOST_STEPS:
            raise _TooMuchWork

    outer = sys.getprofile()
    sys.setprofile(count)  # of this thread alone
    try:
        guess = repair_json(text, return_objects=True)
    except (RecursionError, ValueError, _TooMuchWork):
        return None
    finally:
        sys.setprofile(outer)
    return encodable(guess)
