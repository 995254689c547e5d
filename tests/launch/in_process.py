"""A launcher run in this process, where one of its own would show nothing more and take longer."""

import contextlib
import copy
import dataclasses
import io
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

LAUNCH = Path(__file__).resolve().parents[2] / "launch"


@dataclasses.dataclass(frozen=True)
class Printed:
    """How a launcher ended, and what it said."""

    code: int
    out: str
    err: str


@contextlib.contextmanager
def fresh(argv: list[str]) -> Iterator[None]:
    """Flags that nobody has defined before, and an environment that says nothing of JAX."""
    known = vars(flags.FLAGS)
    before = {name: copy.copy(value) for name, value in known.items()}
    said, path, arguments = dict(os.environ), list(sys.path), sys.argv
    for name in [name for name in os.environ if name.startswith(("JAX_", "XLA_", "PYTHONUNB"))]:
        del os.environ[name]
    sys.path.insert(0, str(LAUNCH))
    sys.argv = argv
    sys.modules.pop("job", None)
    for name in list(flags.FLAGS):
        delattr(flags.FLAGS, name)
    try:
        yield
    finally:
        known.clear()
        known.update(before)
        os.environ.clear()
        os.environ.update(said)
        sys.path[:], sys.argv = path, arguments
        sys.modules.pop("job", None)


def launch(script: str, *arguments: str) -> Printed:
    """Runs launch/SCRIPT.py with these arguments; it must start nothing."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        fresh([f"launch/{script}.py", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_path(str(LAUNCH / f"{script}.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code
    return Printed(code or 0, out.getvalue(), err.getvalue())


def load(script: str) -> dict[str, Any]:
    """What launch/SCRIPT.py defines."""
    with fresh([script]):
        return runpy.run_path(str(LAUNCH / f"{script}.py"), run_name=script)
