"""What each launcher would submit, to the letter.

`python -m tests.launch.test_golden` writes the files anew after a change that was meant.
"""

import shlex
import sys
from pathlib import Path

import pytest

from tests.launch.in_process import launch

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.txt"))


def printed(file: Path) -> str:
    """The command in a file's first line, and all that it prints, warnings first."""
    line = file.read_text().partition("\n")[0]
    _, _, script, *words = shlex.split(line)
    done = launch(Path(script).stem, "--dry_run", *words)
    assert done.code == 0, done.err
    return f"{line}\n{done.err}{done.out.replace(sys.executable, 'python')}"


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_what_would_be_submitted(file: Path) -> None:
    assert printed(file) == file.read_text()


if __name__ == "__main__":
    for file in GOLDEN:
        file.write_text(printed(file))
