"""Kill -9 in any step and start again: the same score to the last digit, and no call twice."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def command(corpus: Path, output: Path, rounds: int, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "synthdiv.score", f"--input={corpus}", f"--output={output}",
        "--llm=offline", f"--rounds={rounds}", "--bind=Score.criteria_rounds=12",
        "--bind=Score.criteria_sets=4", "--bind=Score.bootstrap=200",
        "--bind=Score.with_baselines=False", "--repeat_fraction=0.2",
        *more,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def answers(store: Path) -> int:
    """Answers in the store; 0 while there is none."""
    if not store.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=5) as connection:
            return connection.execute("SELECT count(*) FROM answers").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def run_until(arguments: list[str], store: Path, wanted: int) -> bool:
    """Starts a run and kills it once the store holds `wanted` answers; tells if it was alive."""
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and answers(store) < wanted:
        time.sleep(0.002)
    alive = process.poll() is None
    if alive:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


def make(path: Path) -> Path:
    with path.open("w") as file:
        for number in range(120):
            words = " ".join(f"word{chr(97 + number % 7)}{chr(97 + k % 11)}" for k in range(30))
            file.write(json.dumps({"text": f"{words} and number {number}"}) + "\n")
    return path


def finished(arguments: list[str]) -> None:
    done = subprocess.run(arguments, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def comparable(directory: Path) -> dict:
    score = json.loads((directory / "score.json").read_text())
    for counted_by_run in ("calls", "tokens"):
        score.pop(counted_by_run)
    return score


@pytest.mark.parametrize("moments", [(3, 13, 60, 200)])
def test_the_same_score_after_kills_in_every_step(tmp_path, moments, more=()):
    corpus = make(tmp_path / "c.jsonl")
    finished(command(corpus, tmp_path / "whole", 150))
    total = answers(tmp_path / "whole/answers.sqlite")
    killed = tmp_path / "killed"
    store = killed / "answers.sqlite"
    survived = [run_until(command(corpus, killed, 150, *more), store, moment) for moment in moments]
    assert any(survived)
    finished(command(corpus, killed, 150))
    assert comparable(killed) == comparable(tmp_path / "whole")
    assert answers(store) == total
    calls = json.loads((killed / "score.json").read_text())["calls"]
    whole = json.loads((tmp_path / "whole/score.json").read_text())["calls"]
    assert calls["sent"] + calls["cached"] == whole["sent"] + whole["cached"]
    assert calls["cached"] > whole["cached"]
    leftovers = [p.name for p in killed.iterdir() if p.name.endswith(".tmp")]
    assert leftovers == []


@pytest.mark.slow
def test_the_same_score_after_many_kills(tmp_path):
    test_the_same_score_after_kills_in_every_step(tmp_path, tuple(range(2, 420, 15)))


@pytest.mark.slow
def test_the_same_score_after_kills_under_a_cap(tmp_path):
    """Under a cap the two steps of a round follow each other; kills do not mind."""
    moments = tuple(range(9, 420, 40))
    test_the_same_score_after_kills_in_every_step(tmp_path, moments, ["--max_calls=1000000"])
