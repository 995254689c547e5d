"""Starts the fault server for a test, and makes the questions that it knows the answers to."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from synthdiv.llm import LLMConfig, Request, Sampling, fence

ROOT = Path(__file__).resolve().parents[2]
_WORDS = ("river", "stone", "cloud", "engine", "violin", "harbour", "lantern", "meadow")


class Group(BaseModel):
    """Documents that belong together."""

    name: str
    indices: list[int]


class Groups(BaseModel):
    """What the test's judge answers."""

    groups: list[Group]


class Serving:
    """A fault server in another process."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"

    def seen(self) -> dict[str, Any]:
        return self._get("seen")

    def totals(self) -> dict[str, int]:
        """How many calls came, and what they are charged with: quick, to be looked at often."""
        return self._get("totals")

    def settle(self) -> None:
        """Waits until all that killed processes had sent is read: their connections are closed."""
        while self.totals()["connections"] > 1:
            time.sleep(0.01)

    def reset(self) -> None:
        """Makes it as if it had just been started, without settings."""
        self._post("reset", {})

    def change(self, **settings: object) -> None:
        """Changes what the server does from now on."""
        self._post("settings", settings)

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}") as response:
            return json.load(response)

    def _post(self, path: str, body: dict[str, Any]) -> None:
        url = f"http://127.0.0.1:{self.port}/{path}"
        urllib.request.urlopen(url, json.dumps(body).encode()).close()

    def config(self, **settings: Any) -> LLMConfig:
        """How to ask this server; a call may take as long as a busy machine needs."""
        defaults: dict[str, Any] = {"concurrency": 32, "timeout": 300.0, "retries": 12}
        return LLMConfig(
            **({"backend": "openai", "model": "test", "base_url": self.url} | defaults | settings)
        )


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def serving(**settings: Any) -> Iterator[Serving]:
    """Runs a fault server, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("fault_server.py")), json.dumps(settings)],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        yield Serving(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def question(number: int, documents: int = 5, checked: bool = False, **how: Any) -> Request[Any]:
    """A question with a known answer; equal numbers make equal questions."""
    draw = random.Random(number)
    texts = [f"{draw.choice(_WORDS)} {number} {draw.random():.3f}" for _ in range(documents)]
    prompt = f"Group these by their first word.\n{fence('document', texts)}"
    settings: dict[str, Any] = {
        "schema": Groups,
        "stage": "grouping",
        "sampling": Sampling(max_tokens=256),
        "check": every_document_once(documents) if checked else None,
    }
    return Request(({"role": "user", "content": prompt},), **(settings | how))


def every_document_once(wanted: int) -> Callable[[Groups], str | None]:
    """The check of the clustering step, in small: the indices are a partition."""

    def check(value: Groups) -> str | None:
        placed = sorted(i for group in value.groups for i in group.indices)
        if placed == list(range(1, wanted + 1)):
            return None
        return f"the documents placed are {placed}, and each of 1 to {wanted} belongs in one group"

    return check
