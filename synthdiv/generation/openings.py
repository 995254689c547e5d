"""First words of texts: the stock ones that writers are asked to avoid, and those that recur."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from synthdiv.json_lines import text_lines

_COUNTED = 100_000  # texts: enough to see what recurs, and memory stays flat
_WORDS = 3  # of a text are its opening
_TOLD = 10  # of the commonest openings


def read_openings(path: str | Path) -> list[str]:
    """Reads stock openings, first words of texts, one a line; empty lines and # lines are none.

    Raises:
        UserError: the file cannot be read.
    """
    lines = (line.strip() for _, line in text_lines(path))
    return [line for line in lines if line and not line.startswith("#")]


class Openings:
    """How texts open.

    Args:
        texts: of which the first 100,000 are read.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._counts = Counter(_opening(text) for text in islice(texts, _COUNTED))

    def found(self, stock: Sequence[str]) -> dict[str, Any]:
        """Returns `texts` counted, the share that is `distinct`, `stock` ones, and the `commonest`.

        Args:
            stock: openings that were to be avoided.
        """
        worn = tuple(" ".join(_words(opening, 99)) for opening in stock)
        commonest = sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_TOLD]
        return {
            "texts": self._counts.total(),
            "distinct": len(self._counts) / max(self._counts.total(), 1),
            "stock": sum(n for words, n in self._counts.items() if _begins(words, worn)),
            "commonest": [list(pair) for pair in commonest],
        }


def _begins(opening: str, worn: Sequence[str]) -> bool:
    """Whether an opening is the beginning of a stock one, or the other way round."""
    return any(f"{opening} ".startswith(f"{w} ") or f"{w} ".startswith(f"{opening} ") for w in worn)


def _opening(text: str) -> str:
    """The first words of a text; a title is none of them."""
    title, _, rest = text.partition("\n\n")
    titled = rest and "\n" not in title and not re.search(r"[.!?:]\W*$", title)
    return " ".join(_words(rest if titled else text, _WORDS))


def _words(text: str, most: int) -> list[str]:
    return re.findall(r"[\w'\u2019-]+", text[:200].lower())[:most]
