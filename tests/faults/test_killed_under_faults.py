"""Kill -9 at random moments while a server fails in every way: equal results, caps kept, no key.

KILLS says how many of each command the slow test takes.
"""

import collections
import contextlib
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
PRICES = {"input": 1000, "output": 5000}  # dollars a million tokens


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
    return shards or {k: v for k, v in comparable(output).items() if k != "cost_usd"}


def run(server: Serving, arguments: list[str], prices: Path, cap: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-m", *arguments, "--llm=openai", "--model=test",
            f"--base_url={server.url}", f"--concurrency={CONCURRENCY}", "--bind=LLM.retries=20",
            f'--bind=LLM.prices="{prices}"', f"--max_cost_usd={cap}",
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


def in_ledger(output: Path) -> tuple[float, int]:
    """Dollars spent, perhaps lost, or in flight, and calls."""
    if not (output / "answers.sqlite").exists():
        return 0.0, 0
    wanted = "SELECT spent + lost + (SELECT coalesce(sum(reserved), 0) FROM claims), calls"
    with contextlib.closing(sqlite3.connect(output / "answers.sqlite")) as connection:
        try:
            dollars, calls = connection.execute(f"{wanted} FROM ledger").fetchone()
        except sqlite3.OperationalError:  # killed before there was a table
            return 0.0, 0
    return dollars / 1e12, calls


def _killed_under_faults(tmp_path: Path, command, size: int, kills: int) -> dict[str, float]:
    draw = random.Random(23)
    corpus, prices = make(tmp_path / "corpus.jsonl"), tmp_path / "prices.json"
    prices.write_text(json.dumps({"models": {"test": PRICES}}))
    charging = {"offline": True, "prices": list(PRICES.values())}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with serving(**charging, usage="none") as server:  # so all that was reserved is spent
        said = finish(run(server, command(server.url, corpus, whole, size), prices, 1e6))
        calls = server.totals()["asked"]
    most, _ = in_ledger(whole)
    ended: collections.Counter[int | None] = collections.Counter()
    with serving(**charging, faults=FAULTS, seed=9, latency=0.01, retry_after=0.01) as server:
        arguments = command(server.url, corpus, killed, size)
        while ended[-signal.SIGKILL] < kills:
            before = server.totals()
            cap = in_ledger(killed)[0] + draw.uniform(0.2, 1.5) * most / kills
            target = before["asked"] + draw.randint(0, round(1.2 * calls / kills))
            server.change(until=target)  # however late the kill comes, the run has not ended
            process = run(server, arguments, prices, cap)
            while server.totals()["asked"] < target and process.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            said += "".join(process.communicate())
            ended[process.returncode] += 1
            server.change(until=None)
            server.settle()
            assert server.totals()["charged"] / 1e6 <= max(cap, before["charged"] / 1e6)
        cap = in_ledger(killed)[0] + 3 * most
        said += finish(run(server, arguments, prices, cap))
        seen = server.seen()
    assert results(killed) == results(whole)
    assert ended.keys() <= {-signal.SIGKILL, 75}, "nothing but a kill or its cap ended a run"
    with sqlite3.connect(killed / "answers.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
    connection.close()
    total, (dollars, counted) = sum(seen["asked"].values()), in_ledger(killed)
    assert calls <= total <= counted, "each call that was seen is in the ledger"
    assert seen["charged"] / 1e6 <= dollars <= cap, "and each dollar"
    assert any(KEY.lower() in key.lower() for key in seen["keys"])
    left = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    left[Path("said")] = said.encode()
    for path, content in left.items():
        assert KEY.encode() not in content, path
    return {
        **{"questions": calls, "seen": total, "in the ledger": counted},
        **{"charged": seen["charged"] / 1e6, "dollars in the ledger": dollars},
        "faults": sum(count for fault, count in seen["met"].items() if fault in FAULTS),
        **{"kills": ended[-signal.SIGKILL], "ended by a cap": ended[75], "files": len(left)},
    }


@pytest.mark.slow  # tests/faults/test_score_kill.py kills a score, without other faults
def test_an_equal_score_after_kills_under_faults(tmp_path: Path) -> None:
    _killed_under_faults(tmp_path, score, size=24, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("command", [score, generate])
def test_equal_results_after_many_kills_under_faults(tmp_path: Path, command) -> None:
    kills = int(os.environ.get("KILLS", "50"))
    print(command.__name__, json.dumps(_killed_under_faults(tmp_path, command, 300, kills)))
