"""A stream of many calls leaves memory where it was."""

import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthdiv.llm import LLMConfig, Request, Session
from synthdiv.llm.money import FREE
from synthdiv.llm.protocol import Answer, Call, Usage
from tests.llm.serving import Groups, question


class Instant:
    """Answers at once, so that what is measured is the session."""

    name, model = "instant", "any"

    async def complete(self, call: Call) -> Answer:
        reason = "They are about the same thing. " * 30
        return Answer(f'{{"groups": [{{"name": "{reason}", "indices": [1]}}]}}', Usage(300, 0, 200))

    async def close(self) -> None:
        pass

    def deferred(self) -> str | None:
        return None


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def requests(count: int) -> Iterator[Request]:
    for number in range(count):
        yield question(number)


def _check_memory(path: Path, calls: int) -> list[float]:
    measured = []
    with Session(LLMConfig(concurrency=256), Instant(), FREE, path) as session:
        for number, (_, reply) in enumerate(session.map(session.ask, requests(calls)), 1):
            assert isinstance(reply.value, Groups)
            if number % (calls // 10) == 0:
                measured.append(round(resident_mib(), 1))
        assert session.stats["calls"]["sent"] == calls
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (calls,)
    connection.close()
    # What SQLite maps and caches has its size after two tenths; replies would be 1 KiB a call.
    assert max(measured[2:]) - measured[1] < 8, measured
    return measured


def test_memory_is_flat(tmp_path: Path) -> None:
    _check_memory(tmp_path / "answers.sqlite", 15_000)


@pytest.mark.slow
def test_memory_is_flat_over_two_hundred_thousand_calls(tmp_path: Path) -> None:
    print(_check_memory(tmp_path / "answers.sqlite", 200_000))
