"""A store that cannot grow: one line, and no call after the first write that failed."""

import json
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.test_llm_processes import ASKING, asked
from tests.llm.serving import environment, serving

CONCURRENCY = 8


def ask(settings: dict[str, object], limit: int | None) -> subprocess.CompletedProcess[str]:
    """Asks; no file may grow beyond `limit` bytes."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, str(ASKING), json.dumps(settings)],
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limited,
    )


@pytest.mark.parametrize("limit", [100_000, 300_000])
def test_no_call_follows_the_first_write_that_failed(tmp_path: Path, limit: int) -> None:
    with serving(latency=0.01) as server:
        settings: dict[str, object] = {
            "url": server.url,
            "store": str(tmp_path / "answers.sqlite"),
            "out": str(tmp_path / "out.json"),
            "calls": 2000,
            "concurrency": CONCURRENCY,
        }
        stopped = ask(settings, limit)
        seen = asked(server)
        assert stopped.returncode == 2, stopped.stderr
        (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
        assert "cannot use the answer store" in line and "Traceback" not in stopped.stderr
        with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
            (kept,) = connection.execute("SELECT count(*) FROM answers").fetchone()
        connection.close()
        assert 0 <= seen - kept <= CONCURRENCY, "more was asked than was on its way"
        done = ask(settings | {"calls": kept + 20}, None)
        assert done.returncode == 0, done.stderr
        stats = json.loads((tmp_path / "out.json").read_text())["stats"]["calls"]
    assert kept - CONCURRENCY <= stats["cached"] <= kept
