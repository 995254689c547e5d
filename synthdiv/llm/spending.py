"""What a store of answers has cost so far, read without opening it for asking."""

import sqlite3
from pathlib import Path

from synthdiv.errors import UserError
from synthdiv.llm.store import TOTALS, Totals


def spent_in(path: Path) -> Totals:
    """Reads the ledger of a store that no session has open; nothing where there is no store."""
    if not path.exists():
        return Totals(0, 0, 0)
    try:
        kept = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            row = kept.execute(f"SELECT {TOTALS} FROM ledger").fetchone()
        finally:
            kept.close()
    except sqlite3.Error as error:
        raise UserError(f"cannot use the answer store {path}: {error}") from error
    return Totals(*row)
