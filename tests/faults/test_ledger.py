"""What a server charges stays below the cap, whatever goes wrong and however often it is killed.

LEDGER_CALLS=1000000 asks a server so many times; some thousands are asked by default.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from synthdiv.llm.store import Store
from tests.faults.test_llm_processes import asked, finished, start
from tests.llm.serving import serving

FAULTS = {
    **{"429": 0.03, "500": 0.02, "503": 0.01, "drop": 0.02, "half_body": 0.02, "html": 0.02},
    **{"half_json": 0.02, "wrong_types": 0.02, "cut_off": 0.02, "finish_object": 0.02},
    **{"no_usage": 0.05, "zero_usage": 0.05, "negative_usage": 0.05, "huge_usage": 0.05},
}
PRICES = {"input": 1000, "output": 5000}  # dollars a million tokens


def _never_above(tmp_path: Path, calls: int, kills: int, together: int) -> dict[str, float]:
    """Asks `calls` questions from `together` processes at a time, which are killed and capped."""
    draw = random.Random(11)
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"models": {"test": PRICES}}))
    store = tmp_path / "answers.sqlite"
    patience = 600 + calls / 10  # seconds that no run takes

    def starts(first: int, last: int = calls, **caps: float) -> list[subprocess.Popen[str]]:
        """Processes that ask what is left from `first` on, each from another question on."""
        settings = {
            **{"url": server.url, "store": str(store), "out": str(tmp_path / "out.json")},
            **{"prices": str(prices), "concurrency": 32, "backoff": 0.02, "values": False},
        }
        begin = [first + part * (last - first) // together for part in range(together)]
        ranges = zip(begin, [*begin[1:], last], strict=True)
        return [start(settings | caps | {"first": a, "calls": b - a}) for a, b in ranges]

    def charged() -> float:
        return server.totals()["charged"] / 1e6

    with serving(
        seed=3, faults=FAULTS, usage="random", prices=list(PRICES.values()), retry_after=0.01
    ) as server:
        share = 1.25 * calls / (kills + 1)  # calls between two kills
        each = 1.4  # dollars that a call is charged with, about
        killed = capped = 0
        for kill in range(1, kills + 1):
            cap = each * share * kill * draw.uniform(0.5, 1.5)  # often lower than the one before
            before = charged()
            first = round(draw.uniform(0.7, 0.8) * asked(server))  # some were answered before
            processes = starts(first, max_cost_usd=cap)
            target = asked(server) + draw.randint(0, round(share))
            while asked(server) < target and any(process.poll() is None for process in processes):
                time.sleep(0.05)
            found = [process.poll() for process in processes]
            killed, capped = killed + found.count(None), capped + found.count(75)
            for process in processes:
                process.send_signal(signal.SIGKILL)
            for process in processes:
                process.communicate()
            server.settle()  # what was on its way may be charged after the kill
            assert charged() <= max(cap, before), f"kill {kill}"
        cap = charged() + each * share
        # However late the kills were, of questions that nobody asked yet there are too many.
        for process in starts(calls, 2 * calls, max_cost_usd=cap):
            finished(process, 75, patience)
        assert charged() <= cap
        for process in starts(0):  # without a cap: everything is asked, and still in the ledger
            finished(process, timeout=patience)
        seen = server.seen()
    with sqlite3.connect(store) as connection:
        spent, lost, counted = connection.execute(
            "SELECT spent, lost, calls FROM ledger"
        ).fetchone()
        claims, answers = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("claims", "answers")
        )
    connection.close()
    total = sum(seen["asked"].values())
    assert claims == 0 and answers >= calls
    assert counted >= total, "no call is missing from the ledger"
    assert (spent + lost) / 1e12 >= seen["charged"] / 1e6, "and no dollar"
    assert len(set(seen["met"]) & set(FAULTS)) == len(FAULTS)
    return {
        "calls seen by the server": total,
        "calls in the ledger": counted,
        "charged": seen["charged"] / 1e6,
        "in the ledger": (spent + lost) / 1e12,
        "faults": sum(n for fault, n in seen["met"].items() if fault in FAULTS),
        "kills": killed,
        "ended by a cap": capped,
    }


def test_no_server_is_paid_more_than_the_cap(tmp_path: Path) -> None:
    _never_above(tmp_path, calls=600, kills=3, together=1)


@pytest.mark.slow
def test_no_server_is_paid_more_than_the_cap_over_many_calls(tmp_path: Path) -> None:
    calls = int(os.environ.get("LEDGER_CALLS", "10000"))
    print(_never_above(tmp_path, round(calls / 1.25), kills=20, together=2))


def test_attempts_of_a_killed_process_are_in_the_ledger(tmp_path: Path) -> None:
    store = tmp_path / "answers.sqlite"
    with serving(faults={"500": 1.0}) as server:
        settings = {
            **{"url": server.url, "store": str(store), "out": str(tmp_path / "out.json")},
            **{"calls": 4, "retries": 50, "backoff": 0.02},
        }
        process = start(settings)  # without a cap
        while asked(server) < 9:  # of ten failures in a row it would make a pause
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen = asked(server)
    with contextlib.closing(Store(store)) as opened:  # what the dead had claimed is settled
        assert opened.totals().calls >= seen
