"""Every locked package has its licence on file, and none binds the users of this project."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted((ROOT / "third_party" / "locks").glob("py*.txt"))
LICENCES = json.loads((ROOT / "third_party" / "licences.json").read_text())

PERMISSIVE = {
    "0BSD",
    "AFL-2.1",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "LLVM-exception",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "PSF-2.0",
    "Zlib",
}


def pins(lock: Path) -> dict[str, str]:
    lines = [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def minor(lock: Path) -> str:
    return re.sub(r"py3(\d+)", r"python3.\1", lock.stem)


def requirements(*extras: str) -> list[Requirement]:
    """The requirements of setup.py, executed with a setup() that only keeps them."""
    source = (ROOT / "setup.py").read_text().split("\nsetup(")[0]
    namespace = {"__file__": str(ROOT / "setup.py"), "__name__": "setup"}
    exec(compile(source, "setup.py", "exec"), namespace)
    kept = {"base": namespace["BASE"]}
    names = ("train", "eval", "gemini", "parity", "embeddings", "wandb", "ray", "dev")
    kept |= {name: namespace[name.upper()] for name in names}
    return [Requirement(line) for extra in extras for line in kept[extra]]


def test_each_supported_python_has_a_lock() -> None:
    assert [lock.stem for lock in LOCKS] == ["py311", "py312", "py313", "py314"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_locked_package_has_its_licence(lock: Path) -> None:
    listed = {name: entry["version"] for name, entry in LICENCES[minor(lock)].items()}
    assert listed == pins(lock)
    assert not [name for name, entry in LICENCES[minor(lock)].items() if not entry["licence"]]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_licences_are_permissive_or_looked_at(lock: Path) -> None:
    table = (ROOT / "third_party" / "README.md").read_text()
    looked_at = dict(re.findall(r"^\| ([\w*-]+) \| ([\w.\- ]+) \| \S", table, re.MULTILINE))
    for name, entry in LICENCES[minor(lock)].items():
        words = set(re.findall(r"[\w.\-]+", entry["licence"])) - {"AND", "OR", "WITH"}
        if words - PERMISSIVE:
            row = "nvidia-*" if name.startswith("nvidia-") else name
            assert looked_at.get(row) == entry["licence"], f"{name}: {entry['licence']}"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_the_lock_pins_what_setup_py_asks_for(lock: Path) -> None:
    pinned = pins(lock)
    for requirement in requirements("base", "gemini", "parity", "dev"):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is not locked"
        assert requirement.specifier.contains(pinned[name], prereleases=True), requirement


def test_every_import_is_declared() -> None:
    """A package that some module imports is a requirement of some extra, not a passenger."""
    import_names = {
        "absl-py": "absl",
        "gin-config": "gin",
        "google-genai": "google",
        "lm-eval": "lm_eval",
        "orbax-checkpoint": "orbax",
        "pyyaml": "yaml",
        "scikit-learn": "sklearn",
        "import-linter": "importlinter",
    }
    declared = {
        import_names.get(canonicalize_name(r.name), canonicalize_name(r.name).replace("-", "_"))
        for r in requirements("base", "gemini", "parity", "embeddings", "wandb", "ray", "dev")
    }
    undeclared = {}
    for path in sorted((ROOT / "synthdiv").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for name in {module.split(".")[0] for module in modules}:
                if name not in sys.stdlib_module_names and name.lower() not in declared:
                    undeclared.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    undeclared.pop("synthdiv", None)
    assert undeclared == {}


def test_no_package_index_is_named() -> None:
    """Which index serves the packages is the user's pip configuration, never ours."""
    words = re.compile(r"--(extra-)?index-url|--find-links|pypi\.org|pythonhosted|/simple/", re.I)
    named = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("launch", "third_party", ".ci", "docs", "configs")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix not in (".pyc", ".png", ".jsonl")
        for line in path.read_text().splitlines()
        if words.search(line)
    ]
    assert not named
