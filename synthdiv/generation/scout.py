"""Looks at a growing corpus: asks the judge about some rounds of it, and says what it has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synthdiv import files
from synthdiv.diversity.agent import Agent, DrawnRound
from synthdiv.diversity.codebook import Codebook
from synthdiv.diversity.control import LexicalJudge, has_control
from synthdiv.diversity.criteria import Basis, CriteriaSet, given_basis, sets_json
from synthdiv.diversity.documents import Draws, Shown, read_documents
from synthdiv.diversity.growing import (
    Look,
    WaveRound,
    allot,
    draw_round,
    own_rounds,
    take_look,
    wave_weights,
)
from synthdiv.diversity.inquiry import Share, ask_rounds, gather_sets
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.recurring import find_recurring
from synthdiv.diversity.steps import CRITERIA, steps_of
from synthdiv.errors import UserError
from synthdiv.generation import gaps
from synthdiv.reporting.score_files import Cluster

if TYPE_CHECKING:
    from synthdiv.diversity import ScoreConfig
    from synthdiv.generation.config import LoopConfig
    from synthdiv.generation.waves import Wave
    from synthdiv.llm import Session

_TOLD = 8  # full clusters that writers are told of
_LATEST = 100  # rounds that these are looked for in


class Scout:
    """Judges a corpus wave by wave.

    Args:
        corpus: its directory.
        loop: how many rounds a look takes.
        config: how the judge is asked.
        judge: who answers.
    """

    def __init__(self, corpus: Path, loop: LoopConfig, config: ScoreConfig, judge: Session) -> None:
        self.judge = judge
        self._corpus, self._loop, self._config = corpus, loop, config
        self._prompts = load_prompts(config.prompts)
        self._sets: list[Basis] = given_basis(config)

    @property
    def steps(self) -> dict[str, Sequence[str]]:
        """What a look takes, as a pause for the answers of batch files tells it."""
        steps = dict(steps_of(self._config))
        *_, last = steps
        return steps | {f"{last}, and then the next wave": steps.pop(last)}

    def look(self, waves: Sequence[Wave]) -> tuple[tuple[Look, ...], tuple[WaveRound, ...]]:
        """Looks at the corpus after the last of some waves, as often as the target's nearness asks.

        Returns:
            the looks, and the rounds that were judged for them; none of a corpus that is smaller
            than a round.

        Raises:
            Paused: the judge stopped; call again to go on.
        """
        loop, size, measure = self._loop, self._config.documents_per_round, self._loop.measure
        ends = [wave.end or 0 for wave in waves]
        if ends[-1] < size:
            return (), ()
        looks: list[Look] = []
        rounds: list[WaveRound] = []
        self._gather(ends)
        shown: dict[int, Shown] = {}
        lexical, own = None, []
        if has_control(self._config, self.judge):
            seed = (self._config.seed, len(ends))
            drawn = own_rounds(ends[-1], size, self._config.control_rounds, seed)
            shown |= self._documents(drawn)
            lexical = LexicalJudge(shown)
            own = [lexical.labels(one) for one in drawn]
        before = [one for wave in waves for one in wave.rounds]
        number = sum(len(wave.looks) for wave in waves)
        weights = wave_weights(ends, 2 if measure == "effective_clusters" else size)
        for batch in range(loop.batches):
            asked = [*before, *rounds]
            have = np.bincount([one.wave for one in asked], minlength=len(ends)).tolist()
            of = allot(loop.rounds * 2**batch, weights, have)
            rounds += self._judged(ends, of, len(asked), shown, lexical)
            number += 1
            looks.append(take_look([*before, *rounds], ends, measure, number, own))
            if not looks[-1].rounds:
                raise UserError("no round came to a score: the judge gave no usable clustering")
            mean, low = looks[-1].mean, looks[-1].low
            if loop.target is None or mean < loop.target or low >= loop.target:
                break
        return tuple(looks), tuple(rounds)

    def told(self, waves: Sequence[Wave]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names the clusters that are full, and values of the codebooks that no document has."""
        rounds = [one for wave in waves for one in wave.rounds if one.clusters]
        if not rounds:
            return (), ()
        self._gather([wave.end or 0 for wave in waves])
        latest = rounds[-_LATEST:]
        places = sum(len(one.documents) for one in latest)
        counts: Counter[str] = Counter()
        if any(one.codes for one in latest):
            for one in latest:
                for name, members in zip(one.names, one.clusters, strict=True):
                    counts[name] += len(members)
        else:
            shown = self._documents([one.documents for one in latest])
            known = {i: files.Document(s.id, s.text, s.provenance) for i, s in shown.items()}
            clusters = [
                Cluster(n, name, reason, tuple(one.documents[place] for place in members), True)
                for n, one in enumerate(latest)
                for name, reason, members in zip(one.names, one.reasons, one.clusters, strict=True)
            ]
            for group in find_recurring(clusters, known, most=len(clusters)):
                counts[group.name] += round(group.share * places)
        shares = (gaps.Share((name,), n, places, 1 / len(counts)) for name, n in counts.items())
        full = gaps.Shelf("clusters", tuple(shares), closed=False).full
        return tuple(one.path[0] for one in full[:_TOLD]), self._missing(rounds)

    def _missing(self, rounds: Sequence[WaveRound]) -> tuple[str, ...]:
        """The finest values that no document has, of all facets but the headline's."""
        had: dict[str, bool] = {}
        for number, book in enumerate(self._sets):
            if not isinstance(book, Codebook):
                continue
            headline, _ = book.find(self._config.level)
            given = {
                (facet, code)
                for one in rounds
                if one.criteria_set == number
                for codes in one.codes
                for facet, code in enumerate(codes)
            }
            seen = {(facet, book.place(facet, code)) for facet, code in given}
            for facet, described in enumerate(book.facets):
                for place, value in described.walk():
                    if facet != headline and not value.values:
                        about = f": {value.meaning}" if value.meaning else ""
                        name = f"{described.name}: {value.name}{about}"
                        had[name] = had.get(name, False) or (facet, place) in seen
        return tuple(name for name, some in had.items() if not some)

    def _gather(self, ends: Sequence[int]) -> None:
        """Gathers what rounds are judged by from the first waves that make a round, once."""
        if self._sets:
            return
        config = self._config
        size, each = config.documents_per_round, config.proposals_per_set
        draws = Draws(next(end for end in ends if end >= size), config.sample, config.seed, size)
        handfuls = [draws.criteria(n, config.criteria_documents) for n in range(config.sets * each)]
        unseen = [
            draws.unseen(n, config.coverage_documents if self._prompts.facets else 0)
            for n in range(config.sets)
        ]
        shown = self._documents([*handfuls, *unseen])
        shares = []
        for n in range(config.sets):
            own = [one.tolist() for one in handfuls[n * each : (n + 1) * each]]
            noted = {index for handful in own for index in handful}
            fresh = [shown[index] for index in unseen[n].tolist() if index not in noted]
            shares.append(Share(n * each, [[shown[i] for i in one] for one in own], fresh))
        self._sets = gather_sets(self.judge, shares, self._prompts, config)
        files.write_json(self._corpus / CRITERIA, sets_json(self._sets))

    def _judged(
        self,
        ends: Sequence[int],
        waves: Sequence[int],
        first: int,
        shown: dict[int, Shown],
        lexical: LexicalJudge | None,
    ) -> list[WaveRound]:
        """Judges rounds whose newest documents are of such waves; the first has number `first`."""
        config = self._config
        drawn = []
        for number, wave in enumerate(waves, first):
            seed = (config.seed, len(ends), number)
            documents = draw_round(ends, wave, config.documents_per_round, seed)
            place = number % len(self._sets)
            drawn.append(DrawnRound(number, CriteriaSet(place, self._sets[place]), documents))
        shown |= self._documents([one.documents for one in drawn])
        agent = Agent(self.judge, shown, self._prompts, config, self._prompts.stage)
        judged, pause = ask_rounds(agent, drawn, f"judging wave {len(ends)}")
        if pause is not None:
            raise pause
        return [
            WaveRound.of(one, wave, lexical.labels(one.documents) if lexical else ())
            for one, wave in zip(judged, waves, strict=True)
        ]

    def _documents(self, wanted: Iterable[Sequence[int] | np.ndarray]) -> dict[int, Shown]:
        indices = [int(index) for one in wanted for index in one]
        shards = files.Corpus(self._corpus)
        return read_documents(shards, indices, self._config.document_words)
