"""The Dockerfiles, as far as they can be checked without building them."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "launch" / "docker").glob("*.Dockerfile"))
EACH = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def instructions(file: Path) -> list[tuple[str, str]]:
    """[(instruction, its arguments), ...], continued lines joined."""
    text = file.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def arguments(file: Path, name: str) -> list[str]:
    return [rest for instruction, rest in instructions(file) if instruction == name]


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [file.name.partition(".")[0] for file in FILES] == ["cpu", "cuda", "tpu"]


@EACH
def test_its_base_is_pinned_and_its_lock_is_of_that_python(file: Path) -> None:
    (base,) = arguments(file, "FROM")
    found = re.fullmatch(r"python:3\.(\d+)\.\d+-slim-[a-z]+", base)
    assert found, base
    (install,) = (run for run in arguments(file, "RUN") if "pip install" in run)
    assert f"-c third_party/locks/py3{found[1]}.txt" in install


@EACH
def test_it_installs_extras_that_there_are(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict = {}
    monkeypatch.setattr("setuptools.setup", lambda **given: kept.update(given))
    runpy.run_path(str(ROOT / "setup.py"))
    (install,) = (run for run in arguments(file, "RUN") if "pip install" in run)
    extras = re.search(r"'\.\[([\w,]+)\]'", install)
    assert extras and set(extras[1].split(",")) <= set(kept["extras_require"])
    accelerator = file.name.partition(".")[0].replace("cpu", "train")
    assert accelerator in extras[1].split(",")


@EACH
def test_it_copies_what_the_installation_reads(file: Path) -> None:
    copied = [word for line in arguments(file, "COPY") for word in line.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied)
    assert {"setup.py", "pyproject.toml", "README.md", "synthdiv", "configs"} <= set(copied)


@EACH
def test_it_runs_as_the_user_that_buckets_are_mounted_for(file: Path) -> None:
    user = re.search(r"^USER = (\d+)", (ROOT / "launch" / "gke.py").read_text(), re.MULTILINE)
    assert user and instructions(file)[-1] == ("USER", f"{user[1]}:{user[1]}")
    assert f"--uid {user[1]} " in " ".join(arguments(file, "RUN"))


@EACH
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
