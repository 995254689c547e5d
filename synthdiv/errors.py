"""The two ways in which work stops on purpose: the user's mistake, and a pause."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping

_ALIKE = 0.6  # the least share of two names, as difflib counts, that is the same


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
    """Returns "; did you mean 'x'?" for the known name nearest to `name`, or "" if none is alike.

    The directory, scope or ending that two names have in common makes them no more alike.
    """
    best, likeness = "", 0.0
    for other in known:
        found = _likeness(name, other, max(likeness, _ALIKE))
        if found > likeness:
            best, likeness = other, found
    return f"; did you mean {best!r}?" if best else ""


def _likeness(name: str, other: str, least: float) -> float:
    """The share of two names that is the same; 0 where that is less than `least`."""
    if "/" not in name:
        other = other.rpartition("/")[2]
    common = os.path.commonprefix([name, other])
    start = max(common.rfind(mark) for mark in "/.") + 1
    name, other = (text[start:].lstrip("-").lower() for text in (name, other))
    (stem, ending), (other_stem, other_ending) = os.path.splitext(name), os.path.splitext(other)
    if ending == other_ending:
        name, other = stem, other_stem
    matcher = difflib.SequenceMatcher(None, name, other)
    if min(matcher.real_quick_ratio(), matcher.quick_ratio()) < least:  # never below the ratio
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= least else 0.0


def first_line(error: BaseException) -> str:
    """Returns the first line of what an exception says, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def needs_extra(error: ModuleNotFoundError) -> UserError | None:
    """Returns what to install for a package that the base installation goes without.

    None where the missing module is of no extra: then the error is a fault of ours.
    """
    import importlib.metadata

    module = (error.name or "").partition(".")[0].lower()
    try:
        requirements = importlib.metadata.requires(__package__) or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []  # run from a checkout that was never installed
    for requirement in requirements:
        package, _, condition = requirement.partition(";")
        name = re.split(r"[^\w.-]", package, maxsplit=1)[0].lower().replace("-", "_")
        extra = re.search(r"extra == ['\"](\w+)", condition)
        if extra and module and (name == module or name.startswith(f"{module}_")):
            return UserError(
                f"this needs {module}, which the base installation goes without: "
                f"pip install 'synthdiv[{extra[1]}]'"
            )
    return None
