"""Kill -9 at random moments while the server fails in every way: equal results, caps kept, no key.

KILLS says how many of each command the slow test takes.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.test_score_kill import comparable, make
from tests.llm.serving import ROOT, Serving, serving

KEY = "Qx7vT3mWx5Rn7Kj2Lp9Hd4"  # looks like no known make's
FAULTS = {  # those that end in the same reply, however often a question is asked
    **{"429": 0.02, "500": 0.02, "503": 0.01, "drop": 0.02, "half_body": 0.02, "html": 0.01},
    **{"empty_body": 0.01, "no_content": 0.01, "brackets": 0.01, "digits": 0.01},
    **{"finish_object": 0.01, "message_list": 0.01, "not_utf8": 0.01, "usage_text": 0.05},
    **{"zero_usage": 0.05, "negative_usage": 0.05, "huge_usage": 0.05},
}
CONCURRENCY = 8


def score(url: str, corpus: Path, output: Path, size: int) -> list[str]:
    return [
        "synthdiv.score", f"--input={corpus}", f"--output={output}", f"--rounds={size}",
        "--bind=Score.criteria_rounds=8", "--bind=Score.criteria_sets=4",
        "--bind=Score.bootstrap=200", "--bind=Score.with_baselines=False",
        "--bind=Score.control_rounds=0", "--repeat_fraction=0.2",
    ]  # fmt: skip


def generate(url: str, corpus: Path, output: Path, size: int) -> list[str]:
    return [
        "synthdiv.generate", f"--output={output}", "--family=topic_styles_persona",
        f"--bind=Generate.topics={size // 2}", "--bind=Generate.generations=5",
        "--bind=Generate.shard_documents=7",
    ]  # fmt: skip


def results(output: Path) -> object:
    shards = {path.name: path.read_bytes() for path in output.glob("shard-*")}
    return shards or comparable(output)


def run(server: Serving, arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-m", *arguments, "--llm=openai", "--model=test",
            f"--base_url={server.url}", f"--concurrency={CONCURRENCY}", "--max_calls=1000000",
            "--bind=LLM.retries=20",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return out + error


def asked(server: Serving) -> int:
    return sum(server.seen()["asked"].values())


def _killed_under_faults(tmp_path: Path, command, size: int, kills: int) -> dict[str, int]:
    draw = random.Random(23)
    corpus = make(tmp_path / "corpus.jsonl")
    with serving(offline=True) as server:
        said = finish(run(server, command(server.url, corpus, tmp_path / "whole", size)))
        calls = asked(server)
    killed = tmp_path / "killed"
    with serving(offline=True, faults=FAULTS, seed=9, latency=0.01, retry_after=0.01) as server:
        alive = 0
        for _ in range(kills):
            process = run(server, command(server.url, corpus, killed, size))
            target = asked(server) + draw.randint(0, round(1.2 * calls / kills))
            while asked(server) < target and process.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.random() * 0.05)
            alive += process.poll() is None
            process.send_signal(signal.SIGKILL)
            said += "".join(process.communicate())
        said += finish(run(server, command(server.url, corpus, killed, size)))
        seen = server.seen()
    assert results(killed) == results(tmp_path / "whole")
    assert alive >= kills / 2
    with sqlite3.connect(killed / "answers.sqlite") as connection:
        (counted,) = connection.execute("SELECT calls FROM ledger").fetchone()
        assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
    connection.close()
    total = sum(seen["asked"].values())
    assert calls <= total <= counted, "each call that was seen is in the ledger"
    assert any(KEY.lower() in key.lower() for key in seen["keys"])
    left = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    left[Path("said")] = said.encode()
    for path, content in left.items():
        assert KEY.encode() not in content, path
    faults = sum(count for fault, count in seen["met"].items() if fault in FAULTS)
    return {"calls": calls, "seen": total, "ledger": counted, "faults": faults, "kills": kills}


@pytest.mark.parametrize("command", [score, generate])
def test_equal_results_after_kills_under_faults(tmp_path: Path, command) -> None:
    _killed_under_faults(tmp_path, command, size=24, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("command", [score, generate])
def test_equal_results_after_many_kills_under_faults(tmp_path: Path, command) -> None:
    kills = int(os.environ.get("KILLS", "50"))
    print(command.__name__, json.dumps(_killed_under_faults(tmp_path, command, 300, kills)))
