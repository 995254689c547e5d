"""Workers on a Ray cluster: one task a piece. Ray places them, and does again what a node lost.

Pieces and results travel as bytes, so that a result is the caller's own memory, as that of a local
process is, and holds no part of Ray's object store.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any
from uuid import uuid4

from synthdiv import __version__
from synthdiv.engine.crew import Crew, Engine, P, R
from synthdiv.engine.local import alone
from synthdiv.errors import Paused, UserError, first_line
from synthdiv.progress import say

_LOOK_S = 10.0  # how often to ask how large the cluster is
_held: tuple[str, Callable[[Any], Any]] | None = None  # in a worker: the work it did last


def connect(engine: Engine) -> Any:
    """Returns the module `ray`, connected to a cluster; one that this process is in is kept.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError("`engine=ray` needs Ray: pip install 'synthdiv[ray]'") from None
    if not ray.is_initialized():
        try:
            ray.init(
                address=engine.address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # of no class of their own, some of them
            where = engine.address or os.environ.get("RAY_ADDRESS") or "this machine"
            raise UserError(f"no Ray cluster at {where}: {first_line(error)}") from None
        nodes = len(working_nodes(ray))
        say(f"Ray: {nodes:,} node{'s' * (nodes != 1)}, {_cores(ray):,} cores")
    return ray


def working_nodes(ray: Any) -> list[str]:
    """The ids of the nodes that take work."""
    return [
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    ]


def _cores(ray: Any) -> int:
    return int(ray.cluster_resources().get("CPU", 0))


def check_version(version: str) -> None:
    """Refuses, in a worker, to work for a process of another version.

    Raises:
        Paused: names both. What is done already stays, so that it is no UserError.
    """
    if version != __version__:
        raise Paused(
            f"a Ray worker has synthdiv {__version__} and this is {version}: install one version"
            " on all machines, and run the same command again"
        )


def cause_of(error: Any) -> BaseException:
    """What a task raised, out of what Ray made of it."""
    cause: BaseException = getattr(error, "cause", error)
    if isinstance(cause, ModuleNotFoundError):
        return Paused(
            f"a Ray worker lacks the package {cause.name}: install synthdiv on all machines, with"
            " the same extras, and run the same command again"
        )
    return cause


def _do(version: str, name: str, work: list[Any], piece: bytes) -> bytes:
    """Does a piece in a worker, which keeps the work that it has from piece to piece."""
    global _held
    if _held is None or _held[0] != name:
        import ray

        check_version(version)
        _held = (name, alone(ray.get(work[0])))
    return pickle.dumps(_held[1](pickle.loads(piece)), pickle.HIGHEST_PROTOCOL)


@cache
def _task(ray: Any) -> Any:
    return ray.remote(_do)


class RayCrew(Crew[P, R]):
    """See `crew.crew`, which makes it."""

    def __init__(self, work: Callable[[P], R], engine: Engine, processes: int | None) -> None:
        self._ray = connect(engine)
        self._processes, self._cores, self._looked = processes or None, 1, -_LOOK_S
        # In a list, which hands a task the reference and not the work itself.
        self._given = (uuid4().hex, [self._ray.put(self._ray.cloudpickle.dumps(work))])
        self._under_way: set[Any] = set()

    @property
    def ahead(self) -> int:
        if time.monotonic() - self._looked > _LOOK_S:  # clusters grow and shrink
            self._cores, self._looked = max(_cores(self._ray), 1), time.monotonic()
        return 2 * (self._processes or self._cores)

    def begin(self, piece: P) -> Callable[[], R]:
        sent = pickle.dumps(piece, pickle.HIGHEST_PROTOCOL)
        reference = _task(self._ray).remote(__version__, *self._given, sent)
        self._under_way.add(reference)
        return partial(self._result, reference)

    def _result(self, reference: Any) -> R:
        errors = self._ray.exceptions
        try:
            found: R = pickle.loads(self._ray.get(reference))
        except errors.RayTaskError as error:
            raise cause_of(error) from None
        except errors.RayError as error:
            words = first_line(error)
            raise Paused(
                f"Ray lost a piece of work and gave it up ({words}); run the same command again"
            ) from None
        finally:
            self._under_way.discard(reference)
        return found

    def close(self) -> None:
        for reference in self._under_way:
            self._ray.cancel(reference)
        self._under_way.clear()
