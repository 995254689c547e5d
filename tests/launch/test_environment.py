"""An environment in which pip was killed is made anew; one in which pip gave up is gone on with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Stands for an environment's python whose pip ends as told; all else goes to the real one.
PYTHON = f"""#!/usr/bin/env bash
case "$*" in
*"pip install"*) {{end}} ;;
*) exec {sys.executable} "$@" ;;
esac
"""


def install(venv: Path, pip: str) -> subprocess.CompletedProcess:
    """Installs with a pip that ends so; making a new environment ends with 7."""
    (venv / "bin" / "python").write_text(PYTHON.format(end=pip))
    (venv / "bin" / "python").chmod(0o755)
    environment = f'source "{ROOT}/launch/environment.sh"; make_venv() {{ exit 7; }}; '
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", environment + "find_python; install quickstart train"],
        env=os.environ | {"SYNTHDIV_VENV": str(venv), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(("end", "left"), [("kill -KILL $$", True), ("exit 1", False)])
def test_an_installation_that_ended_early(tmp_path: Path, end: str, left: bool) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / ".synthdiv").touch()
    (venv / "half-written").touch()
    done = install(venv, end)
    assert done.returncode == 2
    assert "run the same command again" in done.stderr
    assert (venv / ".installing").exists() == left

    again = install(venv, "exit 0")
    assert (venv / "half-written").exists() != left
    assert again.returncode == (7 if left else 0)
