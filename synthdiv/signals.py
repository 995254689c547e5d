"""How a command is told to stop: Ctrl-C, and the SIGTERM of schedulers and of `kill`."""

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what Ctrl-C leaves in order, this does."""


def hear_signals() -> None:
    """Makes Ctrl-C and SIGTERM arrive even while JAX collects garbage and drops exceptions."""
    raises: dict[int, type[KeyboardInterrupt]] = {}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        raises[signal.SIGINT] = KeyboardInterrupt  # else deaf on purpose, as behind a shell's `&`
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        raises[signal.SIGTERM] = Terminated
    last: list[type[KeyboardInterrupt]] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number in raises:
            last[:] = [raises[number]]
        if frame is not None and frame.f_code.co_name == "_xla_gc_callback":
            signal.setitimer(signal.ITIMER_REAL, 0.02)  # again in a moment
            return
        raise last[0]

    for number in (*raises, signal.SIGALRM):
        signal.signal(number, interrupt)
