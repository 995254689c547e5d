"""Calls sent from the machines of a Ray cluster: one actor a machine, which holds a backend.

The session stays where it is, with the one store, ledger and limits of all callers: a call comes
here when it is claimed, and its answer is used when it is on the session's disk. What a lost
machine was sending counts as lost, perhaps paid, and is sent again by another. Calls and answers
travel many to a message.
"""

from __future__ import annotations

import asyncio
import math
import pickle
import time
from dataclasses import dataclass, field
from typing import Any

from synthdiv import __version__
from synthdiv.engine import Engine
from synthdiv.engine.cluster import cause_of, check_version, connect, working_nodes
from synthdiv.errors import Paused, UserError, first_line
from synthdiv.llm.backends import make_backend
from synthdiv.llm.config import LLMConfig
from synthdiv.llm.door import Door
from synthdiv.llm.protocol import Answer, Backend, BackendError, Call, Transient
from synthdiv.llm.secrets import Secrets
from synthdiv.progress import say

_GATHER_S = 0.01  # what comes within it goes into one message
_CALLS = 16  # in flight, for which another caller is worth it
_ASIDE_S = 2.0  # how long a lost caller is sent nothing

_PATIENCE_S = 30.0  # until it is said that Ray has no room for callers

Outcome = Answer | BaseException


class Caller:
    """Sends calls, in an actor; the methods that are awaited run in its event loop.

    Args:
        version: of the synthdiv that asks.
        config: who answers. Keys are taken from the environment of this machine.
    """

    def __init__(self, version: str, config: LLMConfig) -> None:
        self._version, self._config = version, config
        self._door: Door | None = None
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._done: list[tuple[int, Outcome]] = []
        self._some = asyncio.Event()

    async def prepare(self) -> None:
        """Makes the backend; refuses to do so without a key or a package."""
        self._ready()

    async def begin(self, message: bytes) -> None:
        """Sends numbered calls, and gives others up."""
        calls, given_up = pickle.loads(message)
        for number, call in calls:
            self._asking[number] = asyncio.create_task(self._ask(number, call))
        for number in given_up:
            if number in self._asking:
                self._asking[number].cancel()

    async def finished(self) -> bytes:
        """Waits for answers and returns those that there are by then, with their numbers."""
        await self._some.wait()
        await asyncio.sleep(_GATHER_S)
        self._some.clear()
        done, self._done = self._done, []
        return pickle.dumps(done, pickle.HIGHEST_PROTOCOL)

    def _ready(self) -> Door:
        if self._door is None:  # also where Ray has started it again
            check_version(self._version)
            backend = make_backend(self._config, None)
            backend.prepare()
            self._door = Door(backend, Secrets.known(self._config.base_url))
        return self._door

    async def _ask(self, number: int, call: Call) -> None:
        outcome: Outcome
        try:
            outcome = await self._ready().complete(call)
        except asyncio.CancelledError:
            return
        except (BackendError, UserError, Paused) as error:
            outcome = error
        except Exception as error:  # a fault of ours, which may hold what cannot be sent
            outcome = RuntimeError(f"{type(error).__name__}: {error}")
        finally:
            del self._asking[number]
        self._done.append((number, outcome))
        self._some.set()


@dataclass
class _Remote:
    """An actor as the session knows it."""

    actor: Any
    waiting: dict[int, asyncio.Future[Answer]] = field(default_factory=dict)
    calls: list[tuple[int, Call]] = field(default_factory=list)  # not sent yet
    given_up: list[int] = field(default_factory=list)
    hearing: asyncio.Task[None] | None = None
    sending: asyncio.Task[None] | None = None
    aside: float = -math.inf  # until when it is sent nothing


class Callers:
    """A backend whose calls are sent by the actors of a cluster.

    Args:
        backend: the same one, here: it tells its name and model.
        config: of all of them.
        engine: which cluster.
    """

    def __init__(self, backend: Backend, config: LLMConfig, engine: Engine) -> None:
        self.name, self.model = backend.name, backend.model
        self._config, self._engine = config, engine
        self._ray: Any = None
        self._remotes: list[_Remote] = []
        self._number = 0

    def prepare(self) -> None:
        """Starts the actors, as many as there are machines and as the calls in flight are worth.

        Raises:
            UserError: no cluster, or no key there.
        """
        self._ray = ray = connect(self._engine)
        most = math.ceil(self._config.concurrency / _CALLS)
        actor = ray.remote(Caller).options(max_restarts=-1, scheduling_strategy="SPREAD")
        self._remotes = [
            _Remote(actor.remote(__version__, self._config))
            for _ in range(max(1, min(most, len(working_nodes(ray)))))
        ]
        ready = [remote.actor.prepare.remote() for remote in self._remotes]
        started, _ = ray.wait(ready, num_returns=len(ready), timeout=_PATIENCE_S)
        if len(started) < len(ready):
            say(f"Ray has started {len(started)} of {len(ready)} callers; waiting for the others")
        try:
            ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            raise cause_of(error) from None

    async def complete(self, call: Call) -> Answer:
        """Answers one call; raises what the backend raises."""
        now = time.monotonic()
        there = [remote for remote in self._remotes if remote.aside <= now]
        if not there:
            raise Transient("Ray has no caller at the moment", reached=False)
        remote = min(there, key=lambda one: len(one.waiting))
        self._number += 1
        number = self._number
        answered = remote.waiting[number] = asyncio.get_running_loop().create_future()
        remote.calls.append((number, call))
        self._send_soon(remote)
        try:
            return await answered
        except asyncio.CancelledError:
            remote.given_up.append(number)
            self._send_soon(remote)
            raise
        finally:
            remote.waiting.pop(number, None)

    def _send_soon(self, remote: _Remote) -> None:
        if remote.sending is None:
            remote.sending = asyncio.create_task(self._send(remote))
        if remote.hearing is None:
            remote.hearing = asyncio.create_task(self._hear(remote))

    async def _send(self, remote: _Remote) -> None:
        while remote.calls or remote.given_up:
            await asyncio.sleep(_GATHER_S)
            message = pickle.dumps((remote.calls, remote.given_up), pickle.HIGHEST_PROTOCOL)
            remote.calls, remote.given_up = [], []
            try:
                await remote.actor.begin.remote(message)
            except self._ray.exceptions.RayError as error:
                self._lost(remote, error)
        remote.sending = None

    async def _hear(self, remote: _Remote) -> None:
        while remote.waiting:
            try:
                finished = pickle.loads(await remote.actor.finished.remote())
            except self._ray.exceptions.RayError as error:
                self._lost(remote, error)
                break
            for number, outcome in finished:
                answered = remote.waiting.get(number)
                if answered is None or answered.done():
                    continue
                if isinstance(outcome, BaseException):
                    answered.set_exception(outcome)
                else:
                    answered.set_result(outcome)
        remote.hearing = None

    def _lost(self, remote: _Remote, error: Exception) -> None:
        """Tells those who wait for a caller's answers that none will come; Ray starts it again."""
        if remote.aside <= time.monotonic():
            say(f"Ray lost a caller with {len(remote.waiting):,} calls ({first_line(error)})")
        remote.aside = time.monotonic() + _ASIDE_S
        unsent = {number for number, _ in remote.calls}
        remote.calls = []
        for number, answered in remote.waiting.items():
            if not answered.done():
                lost = number not in unsent
                answered.set_exception(Transient("Ray lost the caller", lost=lost))

    async def close(self) -> None:
        for remote in self._remotes:
            for task in (remote.sending, remote.hearing):
                if task is not None:
                    task.cancel()
            self._ray.kill(remote.actor)

    def deferred(self) -> str | None:
        return None
