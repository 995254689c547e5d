"""Several servers of one model: they share the calls, and one that fails is left alone."""

import socket
from pathlib import Path

import pytest

from synthdiv.errors import UserError
from synthdiv.llm import LLMConfig, open_session
from synthdiv.llm.secrets import Secrets
from tests.llm.serving import Serving, question, serving

CALLS = 60


def test_servers_share_the_calls(server: Serving, tmp_path: Path) -> None:
    server.change(latency=0.02)
    with serving(latency=0.02) as other:
        config = server.config(base_url=f"{server.url},{other.url}", concurrency=8)
        with open_session(config, tmp_path / "a.sqlite") as session:
            replies = session.ask_all([question(n) for n in range(CALLS)])
        asked = [one.totals()["asked"] for one in (server, other)]
    assert all(reply.failure is None for reply in replies)
    assert sum(asked) == CALLS and min(asked) > CALLS // 10


def test_server_that_fails_is_left_alone_until_it_is_well(
    server: Serving, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthdiv.llm.backends.openai_server._CHECK_S", (60.0, 60.0))
    with serving(faults={"500": 1.0}) as sick:
        config = server.config(base_url=f"{sick.url}, {server.url}", concurrency=4)
        with open_session(config, tmp_path / "a.sqlite") as session:
            replies = session.ask_all([question(n) for n in range(CALLS)])
        assert all(reply.failure is None for reply in replies)
        assert 0 < sick.totals()["asked"] <= 4  # what was in flight when the first call failed
        monkeypatch.setattr("synthdiv.llm.backends.openai_server._CHECK_S", (0.02, 60.0))
        with open_session(config, tmp_path / "b.sqlite") as session:
            session.ask_all([question(n) for n in range(8)])
            sick.change(faults={})
            number = 8
            while not sick.seen()["answered"]:
                session.ask_all([question(number := number + 1)])


def test_server_that_is_not_there(server: Serving, tmp_path: Path, impatient: None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    config = server.config(base_url=f"{nowhere},{server.url}", concurrency=4)
    with open_session(config, tmp_path / "a.sqlite") as session:
        assert all(not r.failure for r in session.ask_all([question(n) for n in range(20)]))
        assert session.stats["calls"]["sent"] == 20
    assert server.totals()["asked"] == 20


def test_every_address_is_looked_at() -> None:
    for base_url in ("", "http://one:1/v1,http://two:99999/v1", "http://one:1/v1, https://"):
        with pytest.raises(UserError, match="base_url"):
            LLMConfig("openai", "m", base_url)
    with pytest.raises(UserError, match="are for openai"):
        LLMConfig("gemini", "m", "http://one:1/v1,http://two:1/v1")
    known = Secrets.known("http://one:1/v1,http://me:pass-of-two@two:1/v1")
    assert known.out_of("it said pass-of-two") == "it said ***"
