"""Every command that the pages print is one that the program takes: flags, bindings, files, paths.

Here no command does its work: tests/test_documented_runs.py and tests/end_to_end/test_study.py run
them.
"""

import ast
import copy
import importlib
import re
import shlex
import types
from pathlib import Path

import pytest

from synthdiv import cli
from synthdiv.config import Config
from tests.launch.in_process import launch

ROOT = Path(__file__).resolve().parents[1]
# The decisions, the diary and the changelog tell of commands as they were.
PAGES = [
    page
    for page in sorted(
        [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("third_party/*.md")]
    )
    if page.name not in ("CHANGELOG.md", "decisions.md", "diary.md")
]


def commands(*starts: str) -> list[tuple[str, str]]:
    """Page and line of all commands in blocks, lines that go on joined, comments taken off."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        shell = "".join(block for language, block in blocks if language in ("", "bash"))
        for line in shell.replace("\\\n", " ").splitlines():
            if line.startswith(starts):
                words = shlex.split(line, comments=True)
                found.append(
                    (page.name, shlex.join(words[: words.index("&")] if "&" in words else words))
                )
    return found


class Understood(Exception):
    """The command line was read to its end."""


def understand(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a command read its flags, files and bindings, and stops it there."""
    name, *arguments = words
    module = importlib.import_module(f"synthdiv.{name}" + (".__main__" * (name == "study")))
    flags = copy.deepcopy(module.FLAGS)
    assert flags([name, *arguments])[1:] == []
    if flags.help:
        return
    load = cli.load

    def load_and_stop(values: object, *targets: type) -> Config:
        read = load(flags, *targets)
        for target in targets:
            read.get(target)
        raise Understood

    monkeypatch.setattr(cli, "load", load_and_stop)
    monkeypatch.setattr(module, "FLAGS", flags)
    with pytest.raises(Understood):
        module.main()


@pytest.mark.parametrize(("page", "line"), commands("synthdiv ", "python -m synthdiv."))
def test_commands(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("jax", "lm_eval"):
        pytest.importorskip(module)
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)
    words = (
        words[1:] if words[0] == "synthdiv" else [words[2].removeprefix("synthdiv."), *words[3:]]
    )
    if words[0] in cli.COMMANDS:
        understand(words, monkeypatch)
    else:  # a program inside a room, such as `python -m synthdiv.offline.answer`
        assert importlib.util.find_spec(f"synthdiv.{words[0]}")


@pytest.mark.parametrize(("page", "line"), commands("python launch/"))
def test_launchers(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    script, *words = shlex.split(line)[1:]
    monkeypatch.chdir(ROOT)
    printed = launch(Path(script).stem, "--dry_run", *words)
    assert printed.code == 0, printed.err
    start = next(i for i, word in enumerate(words) if word in cli.COMMANDS)
    understand(words[start:], monkeypatch)


def test_programs_and_paths_in_the_text() -> None:
    """Scripts of `benchmarks/` have the flags that are shown; what pytest is given is there."""
    wrong = []
    for page in PAGES:
        for line in re.findall(
            r"(?:python benchmarks/|pytest |bash launch/)[^`\n]*", page.read_text()
        ):
            _, *words = shlex.split(line.partition(" #")[0])
            paths = [
                word for word in words if re.match(r"(tests|benchmarks|launch)/[\w./]+$", word)
            ]
            wrong += [f"{page.name}: {path}" for path in paths if not (ROOT / path).exists()]
            if line.startswith("python benchmarks/") and not wrong:
                source = (ROOT / paths[0]).read_text()
                flags = [word.split("=")[0] for word in words if word.startswith("--")]
                wrong += [f"{page.name}: {flag}" for flag in flags if f'"{flag}"' not in source]
    assert wrong == []


def python_blocks() -> list[tuple[str, str]]:
    """Page and code of all Python that the pages show."""
    pages = [*PAGES, *sorted(ROOT.glob("docs/reference/*.md"))]
    shown = [(page, page.read_text(encoding="utf-8")) for page in pages]
    blocks = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [(page.name, code) for page, text in shown for code in blocks.findall(text)]


@pytest.mark.parametrize(("page", "code"), python_blocks())
def test_python(page: str, code: str) -> None:
    """What it imports is there, and so is what it takes from a module."""
    pytest.importorskip("jax")
    names: dict[str, object] = {}
    tree = ast.parse(code)
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), page, "exec"), names)
    for part in ast.walk(tree):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            owner = names.get(part.value.id)
            assert not isinstance(owner, types.ModuleType) or hasattr(owner, part.attr)
