"""Rules of the house that no linter knows."""

import re
from pathlib import Path

import pytest

from synthdiv.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("synthdiv", "launch", "tests", "benchmarks", "third_party")
MODULES = [
    path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))
]
MAX_LINES = 400
MAX_COMMAND_LINES = 80


def test_no_junk_drawers() -> None:
    names = {"util", "utils", "helper", "helpers", "common", "misc"}
    assert [str(path) for path in MODULES if path.stem in names] == []


def test_modules_are_one_thing() -> None:
    lengths = {
        str(path): len((ROOT / path).read_text().splitlines())
        for path in MODULES
        if path.parts[0] != "tests"
    }
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_short(command: str) -> None:
    module = ROOT / "synthdiv" / f"{command}.py"
    if not module.exists():  # the study's lives in its room
        module = ROOT / "synthdiv" / command / "__main__.py"
    assert len(module.read_text().splitlines()) < MAX_COMMAND_LINES


def test_modules_say_what_they_are_for() -> None:
    silent = [
        str(path)
        for path in MODULES
        if (text := (ROOT / path).read_text()).strip() and not text.startswith('"""')
    ]
    assert silent == []


def test_no_promises_in_the_code() -> None:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|NotImplemented" + r"Error)\b")
    promises = [str(path) for path in MODULES if words.search((ROOT / path).read_text())]
    assert promises == []


def test_no_paths_of_one_machine() -> None:
    """A path outside the project means that something works on its author's machine only."""
    own = re.compile(r"(?<![\w.])/(work|root|home/\w+|tmp/bash_jobs[\w.]*)/")
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in (*FOLDERS, "configs", "docs", ".ci")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".sh", ".gin", ".md", ".toml", ".jinja") or path.name == "run"
        if path.is_file()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if own.search(line)
    ]
    assert named == []
