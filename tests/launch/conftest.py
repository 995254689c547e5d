"""Stand-ins for the programs that launchers hand jobs to: they write down what they were given."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RECORDER = """#!{python} -IS
import json, os, sys
words = sys.argv[1:]
calls = {calls!r}
number = len(open(calls).readlines()) if os.path.exists(calls) else 0
with open(calls, "a") as log:
    text = "" if {ignore_input} else sys.stdin.read()
    log.write(json.dumps({{"words": words, "input": text}}) + "\\n")
answers = json.load(open({answers!r}))
for pattern, outputs in answers.items():
    if pattern in " ".join(words):
        # the last answer is given for ever
        output, code = outputs.pop(0) if len(outputs) > 1 else outputs[0]
        json.dump(answers, open({answers!r}, "w"))
        print(output)
        sys.exit(code)
"""


class Cluster:
    """A directory of stand-in programs at the front of PATH, and what they were called with."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.directory = directory
        # nothing else of this machine is on the PATH: a real sbatch must not be reached
        for name in ("git", "gzip", "sh", "env"):
            (self.bin / name).symlink_to(shutil.which(name))

    def install(
        self, name: str, answers: dict[str, list[tuple[str, int]]] | None = None, reads: bool = True
    ) -> None:
        """Adds a program that prints and returns `answers` for calls which contain their key."""
        given = self.directory / f"{name}.answers"
        given.write_text(json.dumps(answers or {}))
        program = self.bin / name
        program.write_text(
            RECORDER.format(
                python=sys.executable,
                calls=str(self.directory / f"{name}.calls"),
                answers=str(given),
                ignore_input=not reads,
            )
        )
        program.chmod(program.stat().st_mode | stat.S_IEXEC)

    def calls(self, name: str) -> list[dict]:
        """[{"words": arguments, "input": standard input}, ...] of each call so far."""
        path = self.directory / f"{name}.calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def launch(self, script: str, *arguments: str) -> subprocess.CompletedProcess:
        """Runs launch/SCRIPT.py with the stand-ins on its PATH."""
        return subprocess.run(
            [sys.executable, str(ROOT / "launch" / f"{script}.py"), *arguments],
            env={**os.environ, "PATH": str(self.bin), "PYTHONPATH": str(ROOT)},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)
