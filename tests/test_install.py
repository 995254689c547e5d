"""What an installation brings along, and how little importing the light half of it loads."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from synthdiv.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("jax", "jaxlib", "flax", "torch", "tensorflow", "lm_eval", "sklearn", "transformers")
IMPORT_SECONDS = 0.5


def tree(*names: str) -> set[str]:
    """Paths of the files in folders of the checkout, caches left out."""
    return {
        str(path.relative_to(ROOT))
        for name in names
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the checkout, so that nothing is left in it."""
    pytest.importorskip("setuptools")
    copy = tmp_path_factory.mktemp("wheel") / "tree"
    copy.mkdir()
    for name in ("synthdiv", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    where = copy.parent / "dist"
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(where), str(copy)]
    subprocess.run(built, check=True, capture_output=True)
    (found,) = where.glob("synthdiv-*.whl")
    return found


def test_the_wheel_has_every_module_config_and_prompt(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"synthdiv/{path}" for path in tree("configs")}
    assert any(path.endswith(".jinja") for path in configs)
    assert tree("synthdiv") | configs <= packed
    assert not [path for path in packed if path.startswith(("tests/", "launch/"))]


def test_an_installed_package_finds_its_configs(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    code = (
        "import json, synthdiv, synthdiv.config as c; print(json.dumps([synthdiv.__file__, "
        "str(c.configs_dir()), str(c.find('configs/study/quickstart.gin'))]))"
    )
    output = subprocess.check_output(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)}
    )
    package, configs, quickstart = json.loads(output)
    assert Path(package).parent == target / "synthdiv"
    assert Path(configs) == target / "synthdiv" / "configs"
    assert Path(quickstart) == target / "synthdiv" / "configs" / "study" / "quickstart.gin"
    scripts = zipfile.ZipFile(wheel).read(
        next(n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("entry_points.txt"))
    )
    assert b"synthdiv = synthdiv.cli:main" in scripts


def loaded(module: str) -> tuple[list[str], float]:
    """Heavy packages that a fresh process has after importing `module`, and its CPU seconds."""
    code = (
        f"import sys, time, json, {module}; "
        f"print(json.dumps([[m for m in {HEAVY!r} if m in sys.modules], time.process_time()]))"
    )
    heavy, seconds = json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT))
    return heavy, seconds


def test_importing_score_is_light_and_quick() -> None:
    results = [loaded("synthdiv.score") for _ in range(3)]
    assert [heavy for heavy, _ in results] == [[], [], []]
    assert min(seconds for _, seconds in results) < IMPORT_SECONDS


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_heavy_packages_before_it_starts(command: str) -> None:
    assert loaded(f"synthdiv.{command}")[0] == []


@pytest.mark.parametrize("room", ["llm", "diversity", "generation"])
def test_scoring_and_generation_never_need_jax(room: str) -> None:
    assert loaded(f"synthdiv.{room}")[0] == []
