"""Special tokens in text: those that a template writes are tokens, those that a user types are not.

Text that users wrote is protected before a template sees it: every special token spelled out in it
is put between two private-use characters, which nobody types and which are removed before encoding.
"""

import functools
import re
from collections.abc import Mapping

_OPEN, _CLOSE = "\ue0fe", "\ue0ff"


def protect(text: str, specials: Mapping[str, int]) -> str:
    """Returns text in which no special token is one any more."""
    text = text.replace(_OPEN, "").replace(_CLOSE, "")
    if not specials:
        return text
    return _pattern(tuple(specials)).sub(lambda found: f"{_OPEN}{found[0]}{_CLOSE}", text)


def is_protected(text: str) -> bool:
    """Returns whether `protect` found something in the text, or in a part of it."""
    return _OPEN in text


def unprotect(text: str) -> str:
    """Returns the text as the user wrote it."""
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def runs(text: str, specials: Mapping[str, int]) -> list[str | int]:
    """Cuts text into runs of plain text and, between them, the ids of unprotected tokens."""
    found: list[str | int] = []
    plain = ""
    for index, part in enumerate(re.split(f"{_OPEN}(.*?){_CLOSE}", text, flags=re.DOTALL)):
        if index % 2:
            plain += part  # was protected
            continue
        at = 0
        for special in _pattern(tuple(specials)).finditer(part) if specials else ():
            found += [plain + part[at : special.start()], specials[special[0]]]
            plain, at = "", special.end()
        plain += part[at:]
    return [*found, plain]


@functools.lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))
