"""The two ways in which work stops on purpose: the user's mistake, and a pause."""

import difflib
from collections.abc import Iterable, Mapping


class UserError(Exception):
    """The user's mistake. The message is one line saying what to change; commands exit with 2."""


class Paused(Exception):
    """Work stopped cleanly and goes on when the same command is run again; commands exit with 75.

    75 is EX_TEMPFAIL of sysexits.h, the code that launchers requeue on. The message says what is
    awaited (the answers of a batch file, more budget, the machine's return) and how to go on.

    Args:
        message: that.
        flags: flags of a command and the values with which it would get further, to be told to
            whoever gave the command.
    """

    def __init__(self, message: str, flags: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.flags = dict(flags or {})


def closest(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for the known name nearest to `name`, or "" if none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""
