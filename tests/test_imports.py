"""The floors of the house: import-linter's contracts in pyproject.toml are kept."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_LINT = """
import sys
from importlinter import cli

sys.exit(cli.lint_imports(config_filename="pyproject.toml", no_cache=True))
"""


def test_imports_go_down_the_floors() -> None:
    pytest.importorskip("importlinter")
    # Not in this process: it now and then closes the file that pytest keeps stderr in.
    ran = subprocess.run([sys.executable, "-c", _LINT], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Contracts: " in ran.stdout, ran.stdout
