"""A killed evaluation goes on: nothing answered is asked again, and all results are the same."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.evaluation import small

TASKS = "arc_easy,hellaswag,boolq,piqa"


def _start(folder: Path, output: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "synthdiv.evaluate", f"--checkpoint={folder / 'model'}"]
    command += [f"--tasks={TASKS}", f"--data_dir={folder / 'suite'}", f"--output={output}"]
    command += [f"--corpus={folder / 'pages.jsonl'}", "--bind=Evaluate.batch_tokens=320"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path.cwd()
    )


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


def test_a_killed_evaluation_goes_on_from_its_answers(folder):
    whole, killed = folder / "whole.json", folder / "killed.json"
    uninterrupted = _start(folder, whole)
    said = uninterrupted.communicate(timeout=300)[0]
    assert uninterrupted.returncode == 0, said
    total = len(_rows(whole))

    process = _start(folder, killed)
    until = time.monotonic() + 300
    while len(_rows(killed)) < 0.3 * total and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert not killed.exists()
    before = _rows(killed)
    assert 0.3 * total <= len(before) < total

    last = _start(folder, killed)
    said = last.communicate(timeout=300)[0]
    assert last.returncode == 0, said
    after = _rows(killed)
    assert {key: after[key] for key in before} == before, "an answered batch was run again"
    assert {k: a for k, (_, a) in after.items()} == {k: a for k, (_, a) in _rows(whole).items()}
    results = [json.loads(path.read_text()) for path in (whole, killed)]
    for key in ("tasks", "questions", "accuracy", "stderr", "bits_per_byte", "corpora"):
        assert results[0][key] == results[1][key]
