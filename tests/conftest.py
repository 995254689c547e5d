"""What several tests share: the real data beside the project, and quiet, reproducible processes."""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


# What a process of its own is told, so that JAX compiles small programs without most optimizations.
QUICKLY_COMPILED = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

# Rooms and files, so that no worker ends with one.
LONGEST = ("end_to_end", "faults", "training", "test_documented_runs.py", "parity")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, which then go to the workers first, each file to one."""
    rank = {name: place for place, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> int:
        names = (item.path.parent.name, item.path.name)
        return min(rank.get(name, len(rank)) for name in names)

    items.sort(key=place)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text, labels and evaluation sets that lies beside a full checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared/data with real texts is not beside this checkout")
    return SHARED


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run_command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Runs `synthdiv ARGUMENTS` in this process, with flags that nobody has parsed before.

    A process of its own takes seconds to import what a command needs; where one would show nothing
    more, this does.
    """

    def run(*arguments: str) -> Ended:
        from synthdiv import cli

        modules = [f"synthdiv.{name}{end}" for name in cli.COMMANDS for end in ("", ".__main__")]
        for module in modules:
            if hasattr(sys.modules.get(module), "FLAGS"):
                monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "argv", ["synthdiv", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        for module in modules:  # its flags are parsed now, and the next test wants them as new
            if hasattr(sys.modules.get(module), "FLAGS"):
                del sys.modules[module]
        said = capfd.readouterr()
        return Ended(end.value.code, said.out, said.err)

    return run
