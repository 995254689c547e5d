"""What a store of answers has cost so far, read without opening it for asking."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError
from synthdiv.llm.store import TOTALS, Totals


def spent_in(path: Path) -> Totals:
    """Reads the ledger of a store that no session has open; nothing where there is no store."""
    if not path.exists():
        return Totals(0, 0, 0)
    (row,) = _rows(path, f"SELECT {TOTALS} FROM ledger")
    return Totals(*row)


def paid_in(path: Path, wanted: Callable[[str], bool]) -> tuple[int, int, int, int]:
    """Sums up the answers of some stages, of all runs: calls, tokens in and out, pico-dollars.

    An answer that was asked anew counts once, as it is now.
    """
    sums = "count(*), sum(input), sum(output), sum(cost)"
    rows = _rows(path, f"SELECT stage, {sums} FROM answers GROUP BY stage")
    own = [counts for stage, *counts in rows if wanted(stage)]
    calls, read, written, cost = map(sum, zip((0, 0, 0, 0), *own, strict=True))
    return calls, read, written, cost


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    try:
        kept = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return kept.execute(query).fetchall()
        finally:
            kept.close()
    except sqlite3.Error as error:
        raise UserError(f"cannot use the answer store {path}: {error}") from error
