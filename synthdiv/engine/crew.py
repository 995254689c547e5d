"""One function for work in pieces: the same work for every piece, results in order, few at once."""

from __future__ import annotations

import abc
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from synthdiv.errors import UserError, closest

P = TypeVar("P")
R = TypeVar("R")

NAMES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """Where work is done.

    Attributes:
        name: "local" (threads and processes of this machine) or "ray".
        address: of the Ray cluster, as `ray.init` takes it. None takes that of the environment
            variable RAY_ADDRESS, else a cluster that runs on this machine, else starts one here.

    Raises:
        UserError: there is no such engine, or an address for one that has none.
    """

    name: str = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            known = " and ".join(NAMES)
            raise UserError(
                f"no engine {self.name!r}{closest(self.name, NAMES)}; there are {known}"
            )
        if self.name != "ray" and self.address is not None:
            raise UserError("`ray_address` is of a Ray cluster, which `engine=ray` works on")
        if self.address is not None and self.address.startswith("ray://"):
            raise UserError(
                "`ray_address` is of Ray's own clients (ray://), which leave a cluster when their"
                " connection breaks: give HOST:PORT on a machine of the cluster, or start the"
                " command there with `ray job submit`"
            )


LOCAL = Engine()


class Crew(abc.ABC, Generic[P, R]):
    """Workers that all do the same work; a context manager, made by `crew`."""

    def __enter__(self) -> Crew[P, R]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def map(self, pieces: Iterable[P]) -> Iterator[R]:
        """Yields the result of each piece, in order; pieces are taken a little ahead.

        Raises:
            Paused: the workers were lost again and again.
            Exception: what the work itself raises.
        """
        pending: deque[Callable[[], R]] = deque()
        for piece in pieces:
            pending.append(self.begin(piece))
            if len(pending) > self.ahead:
                yield pending.popleft()()
        while pending:
            yield pending.popleft()()

    @property
    @abc.abstractmethod
    def ahead(self) -> int:
        """Pieces under way while the first of them is waited for."""

    @abc.abstractmethod
    def begin(self, piece: P) -> Callable[[], R]:
        """Begins the work on a piece; what it returns waits for the result."""

    @abc.abstractmethod
    def close(self) -> None:
        """Lets the workers go; what is not done is given up."""


def crew(
    work: Callable[[P], R],
    engine: Engine = LOCAL,
    processes: int | None = 0,
    threads: int = 1,
    here: float = math.inf,
) -> Crew[P, R]:
    """Makes a crew.

    Args:
        work: what is done with a piece. Pickled for other processes, so that it takes its own
            files along: they may be on another machine. A result must not depend on what was done
            before.
        engine: where.
        processes: of this machine; None for one a core. Ray is given twice as many pieces at once.
        threads: of this process, for the first pieces; not used on a cluster.
        here: pieces that they do before processes are started, as processes take a second to
            start. Not used on a cluster.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    if engine.name == "ray":
        from synthdiv.engine.cluster import RayCrew

        return RayCrew(work, engine, processes)
    from synthdiv.engine.local import LocalCrew

    return LocalCrew(work, processes, threads, here)
