"""Sessions that are killed, share a store, or fail: what is sent twice, is lost, or leaks."""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.llm.fault_server import right_answer
from tests.llm.serving import ROOT, Serving, environment, question, serving

ASKING = ROOT / "tests" / "llm" / "asking.py"


def start(settings: dict[str, Any], **extra: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ASKING), json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | extra,
        # A shell starts what it puts in the background deaf to Ctrl-C; this process must hear it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finished(
    process: subprocess.Popen[str], code: int = 0, timeout: float = 600
) -> tuple[str, str]:
    out, error = process.communicate(timeout=timeout)
    assert process.returncode == code, error
    return out, error


def asked(server: Serving) -> int:
    return server.totals()["asked"]


def _kill_and_finish(tmp_path: Path, calls: int, kills: int, concurrency: int) -> dict[str, int]:
    draw = random.Random(7)
    with serving(latency=0.01) as server:
        settings = {
            "url": server.url,
            "store": str(tmp_path / "answers.sqlite"),
            "out": str(tmp_path / "killed.json"),
            "calls": calls,
            "concurrency": concurrency,
        }
        for _ in range(kills):
            process = start(settings)
            assert process.stdout.readline() == "begun\n"
            target = asked(server) + draw.randint(0, round(1.2 * calls / kills))
            while asked(server) < target and process.poll() is None:
                time.sleep(0.003)
            time.sleep(draw.random() * 0.02)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        finished(start(settings))
        total = asked(server)
    with serving() as server:
        undisturbed = settings | {
            "url": server.url,
            "store": str(tmp_path / "undisturbed.sqlite"),
            "out": str(tmp_path / "undisturbed.json"),
        }
        finished(start(undisturbed))
    killed = json.loads((tmp_path / "killed.json").read_text())
    whole = json.loads((tmp_path / "undisturbed.json").read_text())
    assert killed["values"] == whole["values"]
    assert killed["failures"] == whole["failures"] == [None] * calls
    assert killed["values"][3] == right_answer(question(3).messages[0]["content"])
    assert calls <= total <= calls + concurrency * kills
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (calls,)
        assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return {"calls": calls, "kills": kills, "seen by the server": total}


def test_killed_at_random_moments(tmp_path: Path) -> None:
    _kill_and_finish(tmp_path, calls=160, kills=2, concurrency=16)


@pytest.mark.slow
def test_killed_at_fifty_random_moments_of_five_thousand_calls(tmp_path: Path) -> None:
    print(_kill_and_finish(tmp_path, calls=5000, kills=50, concurrency=32))


def _two_processes(tmp_path: Path, calls: int) -> None:
    # One process has at most 16 calls in flight: none is answered before both have asked.
    with serving(latency=0.02, together=17) as server:
        settings = [
            {
                "url": server.url,
                "store": str(tmp_path / "answers.sqlite"),
                "out": str(tmp_path / f"{i}.json"),
                "calls": calls,
            }
            for i in range(2)
        ]
        processes = [start(one) for one in settings]
        for process in processes:
            assert process.stdout.readline() == "begun\n"
        for process in processes:
            finished(process)
        seen = server.seen()
    assert set(seen["asked"].values()) == {1}
    assert len(seen["asked"]) == calls
    results = [json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2)]
    assert results[0]["values"] == results[1]["values"]
    assert results[0]["failures"] == [None] * calls
    sent = [result["stats"]["calls"]["sent"] for result in results]
    assert sum(sent) == calls
    assert min(sent) > 0, "both took part"


def test_two_processes_on_one_store_send_each_request_once(tmp_path: Path) -> None:
    _two_processes(tmp_path, 300)


@pytest.mark.slow
def test_two_processes_on_one_store_send_each_of_five_thousand_once(tmp_path: Path) -> None:
    _two_processes(tmp_path, 5000)


def test_interrupted_by_the_user(tmp_path: Path) -> None:
    with serving(latency=0.3) as server:
        settings = {
            "url": server.url,
            "store": str(tmp_path / "answers.sqlite"),
            "out": str(tmp_path / "out.json"),
            "calls": 600,
        }
        process = start(settings)
        process.stdout.readline()
        while asked(server) < 40:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        server.change(
            latency=3600
        )  # however late the signal comes, there is something to interrupt
        process.send_signal(signal.SIGINT)
        _, error = finished(process, 130)
        assert error.strip() == "interrupted; run the same command again to go on"
        with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
            assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
        connection.close()
        server.change(latency=0)
        finished(start(settings))
        assert asked(server) <= 600 + 16


SECRET = "sk-proj-Zq8vT3mWx5Rn7Kj2Lp9Hd4"  # no key of anybody's
GEMINI_SECRET = "AIzaSyD-Zq8vT3mWx5Rn7Kj2Lp9Hd4Fg6Sa1"

FAILING = {
    "401": {"refuse": {"status": 401, "words": f"Incorrect API key provided: {SECRET}"}},
    "400": {"refuse": {"status": 400, "words": f"bad, says your key {GEMINI_SECRET} or"}},
    "500": {"refuse": {"status": 500, "words": "the server met"}},
    "broken": {"faults": {"half_body": 0.5, "drop": 0.5}},
    "stalls": {"faults": {"stall": 1.0}},
}


def _titles(pid: int) -> set[bytes]:
    """What `ps` shows of a process and its threads."""
    found = set()
    for path in [Path(f"/proc/{pid}/cmdline"), *Path(f"/proc/{pid}/task").glob("*/comm")]:
        with contextlib.suppress(OSError):  # it has ended
            found.add(path.read_bytes())
    return found


@pytest.mark.parametrize("way", FAILING)
@pytest.mark.parametrize("backend", ["openai", "gemini"])
def test_no_key_is_left_anywhere(tmp_path: Path, way: str, backend: str) -> None:
    if backend == "gemini":
        pytest.importorskip("google.genai")
    with serving(**FAILING[way]) as server:
        url = server.url if backend == "openai" else server.url.removesuffix("/v1")
        settings = {
            "backend": backend,
            "url": url,
            "store": str(tmp_path / "answers.sqlite"),
            "out": str(tmp_path / "out.json"),
            "log": str(tmp_path / "debug.log"),
            "calls": 3,
            "retries": 1,
            **({"timeout": 1.0} if way == "stalls" else {}),
        }
        keys = {"OPENAI_API_KEY": SECRET, "GEMINI_API_KEY": GEMINI_SECRET}
        # Whatever a library keeps at home or in the temporary directory is searched, too.
        places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
        for place in places.values():
            place.mkdir()
        process = start(settings, **keys, **{name: str(place) for name, place in places.items()})
        assert process.stdout.readline() == "begun\n"
        titles = _titles(process.pid)
        while process.poll() is None:  # a title can be changed at any time, and each thread has one
            titles |= _titles(process.pid)
            time.sleep(0.01)
        assert any(b"asking.py" in title for title in titles)
        out, error = process.communicate(timeout=600)
        assert process.returncode == (2 if way == "401" else 0), error
        # It was sent, to the one who is to have it.
        sent = SECRET if backend == "openai" else GEMINI_SECRET
        assert sent.lower() in " ".join(server.seen()["keys"]).lower()
    left = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    left |= {
        Path("stdout"): out.encode(),
        Path("stderr"): error.encode(),
    }
    left[Path("title")] = b" ".join(titles)
    assert left[tmp_path / "answers.sqlite"].startswith(b"SQLite format 3")
    assert left[tmp_path / "debug.log"], "what libraries log is searched, too"
    for path, text in left.items():
        for key in (SECRET, GEMINI_SECRET):
            for part in (key, key[:14], key[-12:]):
                assert part.lower().encode() not in text.lower(), f"a key is in {path}"
    if way == "401":
        assert re.match(
            r"error: \w+ \(test\) refuses: 401 Incorrect API key provided: \*\*\*", error
        )
    assert "Traceback" not in error and "Unclosed" not in error


def test_no_key_in_what_an_unexpected_error_prints(tmp_path: Path) -> None:
    """A store that breaks in the middle: a UserError out of the writing thread, through asyncio."""
    with serving(latency=0.05) as server:
        store = tmp_path / "answers.sqlite"
        settings = {
            "url": server.url,
            "store": str(store),
            "out": str(tmp_path / "o"),
            "calls": 20_000,  # more than are asked before the store is broken
        }
        process = start(settings, OPENAI_API_KEY=SECRET)
        process.stdout.readline()
        while asked(server) < 50:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        with sqlite3.connect(store, timeout=60) as connection:
            connection.execute("DROP TABLE answers")
        connection.close()
        out, error = process.communicate(timeout=600)
    assert process.returncode == 2, error
    assert "cannot use the answer store" in error or "no such table" in error
    assert SECRET not in out + error


@pytest.mark.skipif(os.name != "posix", reason="flags of a POSIX shell")
def test_importing_loads_no_http_library() -> None:
    code = "import sys, synthdiv.llm; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    for heavy in ("openai", "httpx", "httpx2", "google.genai", "pydantic", "numpy", "jax", "gin"):
        assert heavy not in modules
