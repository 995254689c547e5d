"""Pauses for the answers of batch files, and which step of the work they belong to."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from synthdiv.errors import Paused

Steps = Mapping[str, Sequence[str]]  # steps in their order, and the stages that each asks


class Awaiting(Paused):
    """Calls were written to batch files, to be answered outside of this run.

    Args:
        message, flags: as `Paused`.
        stages: those that wait, and of each whether nothing but replies that had a fault does.
    """

    def __init__(
        self,
        message: str,
        flags: Mapping[str, float] | None = None,
        stages: Mapping[str, bool] | None = None,
    ) -> None:
        super().__init__(message, flags)
        self.stages = dict(stages or {})


@contextlib.contextmanager
def in_steps(*ways: Steps) -> Iterator[None]:
    """Has a pause for batch files say which step it is, of how many, and what is still to come.

    Args:
        *ways: the steps of what is asked inside; several where work of several kinds waits
            together.
    """
    try:
        yield
    except Awaiting as pause:
        places = [words for steps in ways if (words := _place(steps, pause.stages))]
        if not places:  # a `one_pause` around this one will say what waits
            raise
        message = f"{', and '.join(places)}: {pause}"
        raise Awaiting(message, pause.flags, pause.stages) from None


def _place(steps: Steps, waiting: Mapping[str, bool]) -> str | None:
    """The first step that waits, in words; None where none does."""
    for number, (name, stages) in enumerate(steps.items(), 1):
        here = [again for stage, again in waiting.items() if stage in stages]
        if not here:
            continue
        *others, last = list(steps)[number - 1 :]
        later = f"then {_listed([*others[1:], last])}" if others else "the last"
        if not all(here):
            later += "" if others else ", but for replies that have to be asked for again"
            return f"step {number} of {len(steps)}, {name} ({later})"
        return f"step {number} of {len(steps)}, {name}, replies asked for again ({later})"
    return None


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
