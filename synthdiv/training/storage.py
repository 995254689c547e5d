"""A disk that takes no more, told in one line instead of everything that broke on it."""

import contextlib
import errno
import gc
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthdiv.errors import Paused

_FULL = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}


@contextlib.contextmanager
def told_in_one_line(workdir: Path) -> Iterator[None]:
    """Turns everything that a full disk makes of what happens inside into one line.

    Raises:
        Paused: there is no room for more in `workdir`. What was saved before is whole.
    """
    absl, loops = logging.getLogger("absl"), logging.getLogger("asyncio")
    level, hook = absl.level, sys.unraisablehook
    absl.setLevel(logging.CRITICAL)  # Orbax logs the errors that it raises, too

    def unless_late(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    # Writes that end after the one that failed find nobody to tell; this stays after a failure.
    sys.unraisablehook = unless_late
    loops.addFilter(_unless_never_retrieved)
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            sys.unraisablehook = hook
            loops.removeFilter(_unless_never_retrieved)
            raise
        _forget(error)
        raise Paused(
            f"no room left on the disk ({workdir}); what was saved before is whole: make some, and "
            "run the same command again"
        ) from None
    else:
        sys.unraisablehook = hook
        loops.removeFilter(_unless_never_retrieved)
    finally:
        absl.setLevel(level)


def _unless_never_retrieved(record: logging.LogRecord) -> bool:
    """Returns whether a record of asyncio tells more than a write that failed after the first."""
    return "exception was never retrieved" not in record.getMessage()


def _is_full(error: BaseException) -> bool:
    """Returns whether a full disk is behind an error."""
    return any(
        (isinstance(each, OSError) and each.errno in _FULL)
        or any(words in str(each) for words in _FULL.values())  # TensorStore raises ValueError
        for each in _chain(error)
    )


def _chain(error: BaseException) -> list[BaseException]:
    """Returns an error and all that it came from, each once."""
    found: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and each not in found:
            found.append(each)
            pending += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return found


def _forget(error: BaseException) -> None:
    """Lets go of what an error holds: writes that were under way would complain one by one."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for each in _chain(error):
                traceback.clear_frames(each.__traceback__)
            gc.collect()
    finally:
        sys.unraisablehook = hook
