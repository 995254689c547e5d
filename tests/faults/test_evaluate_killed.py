"""A killed evaluation goes on: nothing answered is asked again, and all results are the same."""

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation import small

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, runpy, signal, sys
from synthdiv.evaluation.answers import AnswerStore

wanted, put = float(sys.argv.pop(1)), AnswerStore.put

def put_or_die(self, answers):
    put(self, answers)
    if len(self._known) >= wanted:  # whoever looks from outside may look too late
        os.kill(os.getpid(), signal.SIGKILL)

AnswerStore.put = put_or_die
runpy.run_module("synthdiv.evaluate", run_name="__main__")
"""
TASKS = "arc_easy,hellaswag,boolq,piqa"


def _arguments(folder: Path, output: Path) -> list[str]:
    return [
        f"--checkpoint={folder / 'model'}", f"--tasks={TASKS}", f"--data_dir={folder / 'suite'}",
        f"--output={output}", f"--corpus={folder / 'pages.jsonl'}",
        "--bind=Evaluate.batch_tokens=320",
    ]  # fmt: skip


def _rows(output: Path) -> dict[bytes, tuple[int, bytes]]:
    """What is in the store: key -> (row id, answer). A row that is written again gets a new id."""
    path = output.with_name(output.name + ".answers.sqlite")
    if not path.exists():
        return {}
    with sqlite3.connect(path) as database:
        try:
            found = database.execute("SELECT key, rowid, answer FROM answers").fetchall()
        except sqlite3.OperationalError:  # not made yet
            return {}
    return {key: (number, answer) for key, number, answer in found}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    tokenizer = small.write_tokenizer(folder)
    small.write_checkpoint(folder / "model", tokenizer)
    small.write_suite(folder / "suite", questions=120)
    return folder


def _evaluate(*arguments: str) -> subprocess.CompletedProcess:
    """Runs the command, or a program around it, in a process of its own: the last bits hang on
    what else a process has done to JAX."""
    return subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    )


@pytest.mark.slow  # tests/evaluation resumes from a store in one process
def test_a_killed_evaluation_goes_on_from_its_answers(folder):
    whole, killed = folder / "whole.json", folder / "killed.json"
    ended = _evaluate("-m", "synthdiv.evaluate", *_arguments(folder, whole))
    assert ended.returncode == 0, ended.stdout
    total = len(_rows(whole))

    ended = _evaluate("-c", KILLED, str(0.3 * total), *_arguments(folder, killed))
    assert ended.returncode == -signal.SIGKILL, ended.stdout
    assert not killed.exists()
    before = _rows(killed)
    assert 0.3 * total <= len(before) < total

    ended = _evaluate("-m", "synthdiv.evaluate", *_arguments(folder, killed))
    assert ended.returncode == 0, ended.stdout
    after = _rows(killed)
    assert {key: after[key] for key in before} == before, "an answered batch was run again"
    assert {k: a for k, (_, a) in after.items()} == {k: a for k, (_, a) in _rows(whole).items()}
    results = [json.loads(path.read_text()) for path in (whole, killed)]
    for key in ("tasks", "questions", "accuracy", "stderr", "bits_per_byte", "corpora"):
        assert results[0][key] == results[1][key]
