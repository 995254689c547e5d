"""A store in memory, through the same fsspec as the real ones, and a cache of its own."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthdiv.storage import addresses, stores
from tests.storage.killing import Killed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; nothing waits between two tries."""
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    monkeypatch.setitem(addresses.SCHEMES, "memory", ("fsspec", "none"))
    monkeypatch.setenv("SYNTHDIV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SYNTHDIV_SYNC_S", "3600")
    monkeypatch.setattr(stores.time, "sleep", lambda _: None)
    return tmp_path / "cache"


@pytest.fixture
def bucket() -> str:
    """The address of a directory that no other test uses."""
    return f"memory://bucket{uuid.uuid4().hex}"


@pytest.fixture
def files() -> Any:
    """The store's own view."""
    import fsspec

    return fsspec.filesystem("memory")


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[str]]:
    """Makes the number-th change in a store and all after it fail as a kill does; None: none.

    Returns the objects that were written or removed.
    """
    sent, delete = stores.Store._sent, stores.Store.delete

    def arm(number: int | None) -> list[str]:
        changed: list[str] = []

        def check() -> None:
            if number is not None and len(changed) >= number:
                raise Killed

        def counted(self: stores.Store, address: addresses.Address, call: Any) -> None:
            check()
            sent(self, address, call)
            changed.append(str(address))

        def deleting(self: stores.Store, gone: Any) -> None:
            for address in gone:
                check()
                delete(self, [address])
                changed.append(str(address))

        monkeypatch.setattr(stores.Store, "_sent", counted)
        monkeypatch.setattr(stores.Store, "delete", deleting)
        return changed

    return arm
