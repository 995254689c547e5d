"""Kill -9 while a corpus is generated over HTTP: the same shards to the byte, none paid twice."""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synthdiv import files

ROOT = Path(__file__).resolve().parents[2]
CONCURRENCY = 8


@contextlib.contextmanager
def writer(latency: float) -> Iterator[str]:
    """A server in another process that writes what the offline writer writes."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/end_to_end/llm_server.py"), str(latency)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it complains of clients that are gone
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def asked(url: str) -> Any:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def start(url: str, output: Path, topics: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-m", "synthdiv.generate", f"--output={output}", "--llm=openai",
            "--model=test", f"--base_url={url}/v1", f"--concurrency={CONCURRENCY}",
            "--family=topic_styles_persona", f"--bind=Generate.topics={topics}",
            "--bind=Generate.generations=5", "--bind=Generate.shard_documents=7",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def settle(url: str) -> None:
    """Waits until all that a killed process had sent is read: its connections are closed."""
    while asked(url + "/connections") > 1:  # one is that which asks
        time.sleep(0.01)


def finished(process: subprocess.Popen[str]) -> None:
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error


def answers(store: Path) -> int:
    if not store.exists():
        return 0
    with contextlib.closing(sqlite3.connect(store, timeout=30)) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return connection.execute("SELECT count(*) FROM answers").fetchone()[0] if tables else 0


def shards(corpus: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.glob("shard-*")}


def _kill_and_finish(tmp_path: Path, topics: int, kills: int) -> dict[str, int]:
    draw = random.Random(11)
    calls = 5 * topics
    killed, store = tmp_path / "killed", tmp_path / "killed" / "answers.sqlite"
    with writer(latency=0.01) as url:
        begun = survived = seen = kept = 0
        while begun < kills or survived < kills / 2:
            begun += 1
            process = start(url, killed, topics)
            target = seen + draw.randint(0, round(1.2 * calls / kills))
            while sum(asked(url).values()) < target and process.poll() is None:
                time.sleep(0.002)
            # Half of the kills wait for a shard, and meet its renaming or what comes after it.
            if draw.random() < 0.5:
                count = len(shards(killed))
                patience = time.monotonic() + 1.0
                while len(shards(killed)) == count and process.poll() is None:
                    if time.monotonic() > patience:
                        break
            else:
                time.sleep(draw.random() * 0.03)
            process.send_signal(signal.SIGKILL)
            _, error = process.communicate()
            survived += process.returncode == -signal.SIGKILL
            settle(url)
            now, have = sum(asked(url).values()), answers(store)
            # All that this run asked is in the store, but for what was in flight.
            assert (now - seen) - (have - kept) <= CONCURRENCY
            assert have <= calls
            seen, kept = now, have
            if process.returncode == 0:  # it ended before it was killed: again from the beginning
                shutil.rmtree(killed)
                kept = 0
            else:
                assert process.returncode == -signal.SIGKILL, error
        finished(start(url, killed, topics))
        counts = asked(url)
        assert sum(counts.values()) - seen == calls - kept, "only what the store lacked was asked"
        assert len(counts) == calls
    with writer(latency=0) as url:
        finished(start(url, tmp_path / "whole", topics))
        assert set(asked(url).values()) == {1}
    assert shards(killed) == shards(tmp_path / "whole")
    manifests = [files.read_manifest(tmp_path / name) for name in ("killed", "whole")]
    assert [m.pop("usage")["calls"]["failed"] for m in manifests] == [0, 0]
    assert manifests[0] == manifests[1] and manifests[0]["documents"] == calls
    assert files.Corpus(killed).sha256 == files.Corpus(tmp_path / "whole").sha256
    names = {path.name for path in killed.iterdir()} - set(manifests[0]["shards"])
    assert names == {"README.md", "answers.sqlite", "fingerprint.json", "manifest.json"}
    return {"calls": calls, "kills": kills, "seen by the server": sum(counts.values())}


def test_the_same_corpus_after_kills(tmp_path: Path) -> None:
    _kill_and_finish(tmp_path, topics=10, kills=1)


@pytest.mark.slow
def test_the_same_corpus_after_thirty_kills(tmp_path: Path) -> None:
    print(_kill_and_finish(tmp_path, topics=200, kills=30))
