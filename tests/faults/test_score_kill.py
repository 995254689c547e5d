"""Kill -9 in any step and start again: the same score to the last digit, and no call twice."""

import asyncio
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from synthdiv.llm.backends.wire import call_of, completion_of
from synthdiv.offline.backend import OfflineBackend

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
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "OPENBLAS_NUM_THREADS": "1",
        "OPENAI_API_KEY": "none",
    }


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
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


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
    for of_the_run in ("calls", "tokens", "made"):
        score.pop(of_the_run)
    return score


@pytest.mark.parametrize("moments", [(200,)])
def test_the_same_score_after_kills_in_every_step(tmp_path, moments, more=()):
    corpus = make(tmp_path / "c.jsonl")
    finished(command(corpus, tmp_path / "whole", 150))
    total = answers(tmp_path / "whole/answers.sqlite")
    killed = tmp_path / "killed"
    store = killed / "answers.sqlite"
    again = command(corpus, killed, 150, *more)
    while not any([run_until(again, store, moment) for moment in moments]):
        shutil.rmtree(killed)  # on a busy machine it may end before anybody looks: once more
    finished(command(corpus, killed, 150))
    assert comparable(killed) == comparable(tmp_path / "whole")
    assert answers(store) == total
    calls = json.loads((killed / "score.json").read_text())["calls"]
    whole = json.loads((tmp_path / "whole/score.json").read_text())["calls"]
    assert calls["sent"] + calls["cached"] == whole["sent"] + whole["cached"]
    assert calls["cached"] > whole["cached"]
    leftovers = [p.name for p in killed.iterdir() if p.name.endswith(".tmp")]
    assert leftovers == []


class Judge(ThreadingHTTPServer):
    """The offline judge behind HTTP; remembers every question in the order they came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # noqa: N802  the name that http.server calls
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) < size:  # who asked was killed in the middle of the question
            self.close_connection = True
            return
        self.server.asked.append(hashlib.sha256(body).hexdigest())
        asked = json.loads(body)
        answer = asyncio.run(OfflineBackend().complete(call_of(asked)))
        content = json.dumps(completion_of(answer, asked["model"])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked was killed
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _killed_at_random(tmp_path: Path, rounds: int, kills: int, kills_while_writing: int) -> None:
    """Kills runs that ask a server at random moments, some of them after the last answer."""
    concurrency, draw = 4, random.Random(5)
    corpus, judge = make(tmp_path / "c.jsonl"), Judge()

    def arguments(output: str) -> list[str]:
        told = [a for a in command(corpus, tmp_path / output, rounds) if a != "--llm=offline"]
        return [
            *told, "--llm=openai", "--model=judge", f"--base_url={judge.url}",
            f"--concurrency={concurrency}", "--bind=Score.control_rounds=200",
        ]  # fmt: skip

    finished(arguments("whole"))
    total = len(judge.asked)
    assert len(set(judge.asked)) == total
    judge.asked.clear()
    doubtful: set[str] = set()
    for number in range(kills + kills_while_writing):
        process = subprocess.Popen(
            arguments("killed"),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        target = len(judge.asked) + draw.randint(0, round(1.2 * total / kills))
        if number >= kills:
            target = total
        while process.poll() is None and len(judge.asked) < target:
            time.sleep(0.002)
        time.sleep(draw.random() * (0.03 if number < kills else 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.05)  # what the server was reading
        doubtful.update(judge.asked[-2 * concurrency :])  # on their way to the judge or the disk
    finished(arguments("killed"))
    assert comparable(tmp_path / "killed") == comparable(tmp_path / "whole")
    counts = collections.Counter(judge.asked)
    twice = {question for question, count in counts.items() if count > 1}
    assert len(counts) == total
    assert twice <= doubtful
    assert len(judge.asked) <= total + concurrency * kills
    store = tmp_path / "killed/answers.sqlite"
    assert answers(store) == answers(tmp_path / "whole/answers.sqlite")
    judge.shutdown()
    judge.server_close()


@pytest.mark.slow
def test_killed_at_thirty_random_moments_no_answer_is_asked_for_again(tmp_path):
    _killed_at_random(tmp_path, 150, 25, 5)


@pytest.mark.slow
def test_the_same_score_after_many_kills(tmp_path):
    test_the_same_score_after_kills_in_every_step(tmp_path, tuple(range(2, 420, 15)))


@pytest.mark.slow
def test_the_same_score_after_kills_under_a_cap(tmp_path):
    """Under a cap the two steps of a round follow each other; kills do not mind."""
    moments = tuple(range(9, 420, 40))
    test_the_same_score_after_kills_in_every_step(tmp_path, moments, ["--max_calls=1000000"])
