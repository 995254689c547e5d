"""Who writes a corpus: one language model, or several with weights, each its share of the texts.

Which writer a text falls to follows from its topic and generation alone. All share one store of
answers, and so its caps.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from synthdiv.errors import Paused, UserError
from synthdiv.llm import Plan, Stage, one_pause

if TYPE_CHECKING:
    from pydantic import BaseModel

    from synthdiv.generation.plan import CorpusPlan
    from synthdiv.llm import Reply, Session
    from synthdiv.llm.plan import StagePlan


@dataclass(frozen=True, slots=True)
class Written:
    """A reply, the model that gave it, and the prompt that it answers, as a hash."""

    reply: Reply[BaseModel]
    model: str
    prompt: str


class Writers:
    """The sessions that answer a plan's requests.

    Args:
        sessions: one, or as many as `Generate.writers` names, in its order.
        weights: of each, what share of the texts it writes; () for one session.

    Raises:
        UserError: they are not as many, or a weight is none.
    """

    def __init__(self, sessions: Sequence[Session], weights: Sequence[float] = ()) -> None:
        weights = weights or [1.0]
        if len(sessions) != len(weights):
            words = f"{len(weights)} writers, and there are sessions of {len(sessions)}"
            raise UserError(f"Generate.writers names {words}")
        if not all(type(w) in (int, float) and 0 <= w < float("inf") for w in weights):
            raise UserError(f"Generate.writers: weights are numbers from 0 on, not {weights}")
        if not sum(weights):
            raise UserError("Generate.writers leaves nobody to write")
        self._sessions = sessions
        self._ends = [end / sum(weights) for end in accumulate(weights)]
        self._shares = [weight / sum(weights) for weight in weights]

    def of(self, key: str) -> int:
        """Which writer, from 0, a text falls to; `key` names its topic and generation."""
        place = zlib.crc32(key.encode()) / 2**32
        return next((n for n, end in enumerate(self._ends) if place < end), len(self._ends) - 1)

    @property
    def backend(self) -> str:
        """The backends' names."""
        return " + ".join(dict.fromkeys(session.backend for session in self._sessions))

    @property
    def capped(self) -> bool:
        """Whether asking may end at any call."""
        return any(session.capped for session in self._sessions)

    @property
    def generator(self) -> dict[str, Any]:
        """Who writes, as a manifest has it."""
        if len(self._sessions) == 1:
            (only,) = self._sessions
            return {"backend": only.backend, "model": only.model}
        return {
            "writers": [
                {"backend": session.backend, "model": session.model, "share": share}
                for session, share in zip(self._sessions, self._shares, strict=True)
            ]
        }

    @property
    def stats(self) -> dict[str, Any]:
        """Calls, tokens and cost of all together; the cost is None where one has no price."""
        calls: Counter[str] = Counter()
        tokens: Counter[str] = Counter()
        costs = []
        for session in self._sessions:
            stats = session.stats
            calls.update(stats["calls"])
            tokens.update(stats["tokens"])
            costs.append(stats["cost_usd"])
        known = None not in costs
        return {
            "calls": dict(calls),
            "tokens": dict(tokens),
            "cost_usd": sum(costs) if known else None,
        }

    def paid(self, stages: Sequence[str]) -> dict[str, Any]:
        """What all texts so far took, of all runs, with a stage for each writer; see `Session`."""
        each = [s.paid(stage.__eq__) for s, stage in zip(self._sessions, stages, strict=True)]
        costs = [one["cost_usd"] for one in each]
        sums = {name: sum(one[name] for one in each) for name in ("calls", "input", "output")}
        return sums | {"cost_usd": None if None in costs else sum(costs)}

    def enough(self, pause: Paused, calls: int) -> dict[str, float]:
        """Caps that about so many more calls will fit under; see `Session.enough`."""
        each = (session.enough(pause, calls).flags for session in self._sessions)
        found: dict[str, float] = {}
        for flags in each:
            found |= {name: max(value, found.get(name, 0)) for name, value in flags.items()}
        return found

    def plan(self, plan: CorpusPlan, examples: Sequence[int], calls: int) -> Plan:
        """What `calls` requests like the examples would take; see `Session.plan`."""
        stages: list[StagePlan] = []
        for number, session in enumerate(self._sessions):
            own = [n for n in examples if plan.writer(n, self) == number]
            if not own:
                continue
            requests = [plan.request(n, self) for n in own]
            whole = calls == len(examples)
            share = len(own) if whole else round(calls * self._shares[number])
            stage = Stage(requests, share)
            made = session.plan({requests[0].stage: requests if whole else stage})
            stages += made.stages
        return Plan(stages=tuple(stages))

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """What is asked inside waits for the answers of batch files together."""
        with one_pause(*self._sessions):
            yield

    def replies(
        self, plan: CorpusPlan, numbers: Iterable[int], note: Callable[[int], str] = lambda _: ""
    ) -> Generator[tuple[int, Written], None, None]:
        """Asks for requests of a plan; yields (place among `numbers`, reply) as they come.

        Args:
            plan: the corpus's.
            numbers: of the requests.
            note: what the prompt of each says at its end, see `CorpusPlan.request`.
        """
        first, *others = self._sessions
        for session in others:  # what stopped it in an earlier run is lifted
            next(session.map(session.ask, ()), None)

        async def write(number: int) -> Written:
            session = self._sessions[plan.writer(number, self)]
            request = plan.request(number, self, note(number))
            ask = session.ask if session is first else session.ask_from_elsewhere
            reply = await ask(request)
            prompt = hashlib.sha256(request.messages[0]["content"].encode())
            return Written(reply, session.model, prompt.hexdigest())

        return first.map(write, numbers)
