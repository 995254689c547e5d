"""A fault server that only misbehaves when a test tells it to."""

from collections.abc import Iterator

import pytest

from tests.llm.serving import Serving, serving


@pytest.fixture(scope="session")
def one_server() -> Iterator[Serving]:
    with serving() as running:
        yield running


@pytest.fixture
def server(one_server: Serving) -> Serving:
    one_server.reset()
    return one_server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait for a twentieth of the time: for tests that are not about how long."""
    monkeypatch.setattr("synthdiv.llm.exchange._BACKOFF_S", 0.025)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither use nor need anybody's keys."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
