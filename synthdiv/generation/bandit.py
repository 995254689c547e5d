"""Where the next wave of a corpus goes: to the arms that bring most new clusters a token.

An arm is a branch of the topic tree, a style, a form, a persona or a writer, or a combination. What
the bandit learns of it from judged rounds are two probabilities: that two documents of the arm
share a cluster, and that one of them shares a cluster with a document from elsewhere. How likely
the arm's next document is to be alone in a round follows from these and from what is there already.
Documents are placed one by one, so that an arm that fills up becomes less attractive at once, each
by probabilities drawn from what is believed of them (Thompson sampling; Thompson 1933, "On the
likelihood that one unknown probability exceeds another").
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from synthdiv.errors import UserError, closest

if TYPE_CHECKING:
    from synthdiv.diversity.growing import WaveRound
    from synthdiv.generation.plan import Assignment, CorpusPlan
    from synthdiv.generation.writers import Writers

KINDS = ("branch", "style", "form", "persona", "writer")
_LOOKED_AT = 20_000  # requests by which arms are found
_DRAWS = 64  # of what is believed, for one wave
_MOST = 2_000  # arms: with more, hardly any would ever be tried twice


class Arms:
    """The arms of a plan, and the requests of each in the plan's order.

    Args:
        plan: whose requests are dealt out.
        writers: who answers them.
        kinds: what makes an arm, out of `KINDS`.
        depth: levels of a topic's path that name its branch.
        taken: requests that earlier waves had.

    Attributes:
        names: of the arms, in order of their first requests.

    Raises:
        UserError: the plan does not tell arms of such a kind apart, or there are too many.
    """

    def __init__(
        self,
        plan: CorpusPlan,
        writers: Writers,
        kinds: Sequence[str],
        depth: int,
        taken: Sequence[int] = (),
    ) -> None:
        self._arm_of = _naming(plan, writers, kinds, depth)
        self._taken, self._plan = set(taken), plan
        self._waiting: dict[str, deque[int]] = {}
        self._next = 0
        first = min(len(plan), max(plan.subjects, _LOOKED_AT))
        while self._next < first:
            self._read()
        self.names = list(self._waiting)
        if len(self.names) > _MOST:
            words = f"{' x '.join(kinds)} makes {len(self.names):,} arms; {_MOST:,} are the most"
            raise UserError(f"{words}: `Loop.depth` says how fine branches are")

    def of(self, number: int) -> str:
        """The arm of a request."""
        return self._arm_of(number)

    def take(self, arm: str) -> int | None:
        """The next request of an arm; None where it has no more."""
        queue = self._waiting.setdefault(arm, deque())
        while not queue and self._next < len(self._plan):
            self._read()
        return queue.popleft() if queue else None

    def take_any(self, count: int) -> list[int]:
        """The next requests of the plan, whatever their arms."""
        waiting = [number for queue in self._waiting.values() for number in queue]
        while len(waiting) < count and self._next < len(self._plan):
            waiting += self._read()
        found = sorted(waiting)[:count]
        for number in found:
            self._waiting[self.of(number)].remove(number)
        return found

    def _read(self) -> list[int]:
        """Sorts the plan's next request into its arm's queue."""
        number = self._next
        self._next += 1
        name = self.of(number)
        queue = self._waiting.setdefault(name, deque())
        if number in self._taken:
            return []
        queue.append(number)
        return [number]


def _naming(
    plan: CorpusPlan, writers: Writers, kinds: Sequence[str], depth: int
) -> Callable[[int], str]:
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"no arms of kind {kind!r}{closest(kind, KINDS)}; {', '.join(KINDS)}")
    there = {
        "branch": bool(plan.topics),
        "style": len(plan.styles) > 1,
        "form": len(plan.family.forms) > 1,
        "persona": bool(plan.personas) and plan.config.personas_per_prompt == 1,
        "writer": len(plan.config.writers) > 1,
    }
    wants = {
        "branch": "topics",
        "style": "several styles",
        "form": "several forms",
        "persona": "personas, one in each prompt (`Generate.personas_per_prompt=1`)",
        "writer": "several writers",
    }
    for kind in kinds:
        if not there[kind]:
            raise UserError(
                f"Loop.arms has {kind!r}, which takes a corpus with {wants[kind]}; there are"
                f" {', '.join(k for k in KINDS if there[k]) or 'none'} here"
            )
    if not kinds:
        return lambda number: ""
    named: Mapping[str, Callable[[Assignment], str]] = {
        "branch": lambda one: "/".join(one.topics[0].path[:depth]),
        "style": lambda one: one.style.name if one.style else "",
        "form": lambda one: one.form.name if one.form else "",
        "persona": lambda one: one.personas[0],
    }
    if list(kinds) == ["branch"]:  # told without making the whole assignment
        return lambda number: "/".join(plan.topics[number % plan.subjects].path[:depth])
    models = list(plan.config.writers)

    def name(number: int) -> str:
        assignment = plan.assignment(number)
        return " | ".join(
            models[plan.writer(number, writers)] if kind == "writer" else named[kind](assignment)
            for kind in kinds
        )

    return name


def place_wave(
    count: int,
    arms: Sequence[str],
    documents: Sequence[str],
    tokens: Mapping[str, float],
    rounds: Sequence[WaveRound],
    weights: Sequence[float],
    seed: Sequence[int],
) -> Generator[str, bool | None, None]:
    """Yields the arm of each document of the next wave; is sent True if it has no more.

    Args:
        count: documents of the wave.
        arms: that there are.
        documents: the arm of every document of the corpus.
        tokens: mean tokens of a document of each arm that has any.
        rounds: that were judged.
        weights: of each round, proportional to how often a round like it would be drawn now.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    places = {arm: place for place, arm in enumerate(arms)}
    counts = np.zeros(len(arms))
    for arm in documents:
        counts[places[arm]] += 1
    usual = float(np.mean(list(tokens.values()))) if tokens else 1.0
    cost = np.array([tokens.get(arm, usual) for arm in arms])
    seen = believed(places, documents, rounds, weights)
    size = max((len(one.documents) for one in rounds), default=2)
    order = random.permutation(len(arms))  # of arms that are equally good
    open_ = np.ones(len(arms), bool)
    for number in range(count):
        if number % max(count // _DRAWS, 1) == 0:
            inside, outside = random.beta(seen[..., 0], seen[..., 1]).T
        total = max(counts.sum(), 1.0)
        sharing = (counts * inside + (total - counts) * outside) / total
        worth = np.where(open_, (1 - sharing) ** (size - 1) / cost, -1.0)
        if not rounds:  # the first wave: every arm in turn
            worth = np.where(open_, -counts, -np.inf)
        while open_.any():
            place = int(order[worth[order].argmax()])
            exhausted = yield arms[place]
            if not exhausted:
                counts[place] += 1
                break
            open_[place], worth[place] = False, -np.inf


def believed(
    places: Mapping[str, int],
    documents: Sequence[str],
    rounds: Sequence[WaveRound],
    weights: Sequence[float],
) -> np.ndarray:
    """What is known of each arm: how often its documents were together with others, and apart.

    Of a round every document is one observation, divided over the documents beside it: what they
    share is not independent. What is known of all arms together counts for one more.

    Returns:
        the parameters of beta distributions: `[arms, (inside, outside the arm), (shared, apart)]`.
    """
    seen = np.zeros((len(places), 2, 2))
    scale = np.array(weights, float)
    if len(scale):
        scale *= scale.sum() / (scale**2).sum()  # they count for as many as they are worth
    for one, weight in zip(rounds, scale, strict=True):
        arm = [places[documents[index]] for index in one.documents]
        cluster = one.labels
        each = weight / (len(arm) - 1)
        for i, j in itertools.permutations(range(len(arm)), 2):
            seen[arm[i], int(arm[i] != arm[j]), int(cluster[i] != cluster[j])] += each
    pooled = seen.sum(0) + 0.5
    return np.asarray(seen + pooled / pooled.sum(-1, keepdims=True))
