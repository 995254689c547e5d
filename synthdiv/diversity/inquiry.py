"""What is asked about one corpus, and in which order: criteria, rounds, and some rounds once more.

All of it follows from corpus, configuration and seed, and the session keeps every answer: a run
that was killed asks nothing twice and comes to the same rounds.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from synthdiv.diversity.agent import Agent, DrawnRound, Round
from synthdiv.diversity.coding import gather_codebook
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.control import LexicalJudge, has_control
from synthdiv.diversity.criteria import Basis, CriteriaSet, gather_criteria
from synthdiv.diversity.documents import Draws, Shown, read_documents
from synthdiv.diversity.figures import Figures, RunningScore, figures_of, narrow_enough
from synthdiv.diversity.partial import require_enough
from synthdiv.diversity.prompts import Prompts, load_prompts
from synthdiv.errors import Paused, UserError, closest
from synthdiv.files import Corpus
from synthdiv.llm import Awaiting, Session, one_pause

_REPEAT_STEP = 1_000_003  # how far the seeds of two repeats are apart


@dataclasses.dataclass(frozen=True)
class Sample:
    """The documents of a corpus that may be asked about.

    Attributes:
        corpus: where they come from.
        draws: the random draws of each repeat.
        documents: as the judge sees them, by index.
    """

    corpus: Corpus
    draws: tuple[Draws, ...]
    documents: Mapping[int, Shown]


def draw_sample(
    corpus: Corpus,
    config: ScoreConfig,
    session: Session,
    given: int = 0,
    limits: Mapping[int, int] | None = None,
) -> Sample:
    """Reads all documents that a scoring run may ask about, in one pass.

    Args:
        corpus, config, session: as `cluster_score`.
        given: number of criteria sets that are given; 0 where they are gathered.
        limits: words at most of single documents, by index.

    Raises:
        UserError: the corpus is smaller than a round, or has no column of the labels' name.
    """
    if config.labels is not None:
        require_labels(corpus, config.labels)
    draws = make_draws(corpus, config)
    blocks = sum(block.repeat == 0 for look in looks(config, given) for block in look)
    proposals = 0 if given else config.proposals_per_set * blocks
    unseen = 0 if given or not load_prompts(config.prompts).facets else config.coverage_documents
    parts = []
    for drawn in draws:
        parts += [drawn.round(n) for n in range(config.rounds)]
        parts += [drawn.criteria(n, config.criteria_documents) for n in range(proposals)]
        parts += [drawn.unseen(n, unseen) for n in range(blocks) if unseen]
        if has_control(config, session):
            parts += drawn.controls(config.control_rounds // config.repeats)
    wanted = np.unique(np.concatenate(parts))
    documents = read_documents(corpus, wanted, config.document_words, limits)
    return Sample(corpus, draws, documents)


def require_labels(corpus: Corpus, column: str) -> None:
    """Refuses a corpus that has no column of the labels' name."""
    if column not in corpus.columns:
        names = ", ".join(map(repr, corpus.columns))
        raise UserError(
            f"corpus {corpus.name!r} has no column {column!r} for labels; it has {names}"
            f"{closest(column, corpus.columns)}"
        )


def make_draws(corpus: Corpus, config: ScoreConfig) -> tuple[Draws, ...]:
    """The random draws of each repeat."""
    return tuple(
        Draws(
            len(corpus),
            config.sample,
            config.seed + repeat * _REPEAT_STEP,
            config.documents_per_round,
            f"corpus {corpus.name!r}",
        )
        for repeat in range(config.repeats)
    )


@dataclasses.dataclass(frozen=True)
class Block:
    """Rounds of one repeat under one criteria set, the `place`-th of the repeat."""

    repeat: int
    place: int
    rounds: range


def looks(config: ScoreConfig, given: int, in_turn: bool = False) -> list[list[Block]]:
    """All blocks, grouped into what is asked at once.

    Args:
        config: how many rounds; with `target_ci`, the result is looked at between the groups.
        given: number of criteria sets that are given; 0 where they are gathered.
        in_turn: whether one repeat is ended before the next begins.
    """
    if config.target_ci is not None:
        size = config.block_rounds
        starts = range(0, config.rounds, size)
        blocks = [
            Block(0, place, range(start, min(start + size, config.rounds)))
            for place, start in enumerate(starts)
        ]
        ahead = max(config.look_rounds // size, 1)
        return [blocks[i : i + ahead] for i in range(0, len(blocks), ahead)]
    sets = min(given, config.rounds) or config.sets
    repeats = [
        [Block(repeat, place, range(place, config.rounds, sets)) for place in range(sets)]
        for repeat in range(config.repeats)
    ]
    return repeats if in_turn else [list(itertools.chain(*repeats))]


@dataclasses.dataclass(frozen=True)
class Share:
    """The documents that one criteria set or codebook is gathered from.

    Attributes:
        first: number of its first handful among those of all sets.
        handfuls: the documents of each proposal.
        unseen: documents of no handful, to see whether a codebook covers the corpus.
    """

    first: int
    handfuls: Sequence[Sequence[Shown]]
    unseen: Sequence[Shown] = ()


def gather_sets(
    session: Session,
    shares: Sequence[Share],
    prompts: Prompts,
    config: ScoreConfig,
) -> list[Basis]:
    """Gathers several criteria sets or codebooks at once.

    Args:
        session: who answers.
        shares: the documents of each.
        prompts, config: as `gather_criteria`.
    """

    async def gather(share: Share) -> Basis:
        if prompts.facets:
            return await gather_codebook(
                session, share.handfuls, share.first, share.unseen, prompts.coding, config
            )
        return await gather_criteria(session, share.handfuls, share.first, prompts, config)

    label = "codebooks" if prompts.facets else "criteria"
    found = dict(session.map(gather, shares, label, len(shares), "sets"))
    return [found[place] for place in range(len(shares))]


class Inquiry:
    """The questions about one corpus, and what has been answered.

    Args:
        sample: the documents.
        config: the parameters.
        session: who answers.
        second: another judge, asked a share of the rounds.
        given: criteria to use instead of gathering some.

    Attributes:
        sets: the criteria of each set.
        rounds: those that were answered: all, or the first where a cap stopped the asking.
        again: some of them with their documents in another order; None if not asked.
        theirs: some of them as the second judge sees them; None if not asked.
        pause: what stopped the asking before all was asked.
        lexical: the judge behind the control variate, where there is one.
    """

    def __init__(
        self,
        sample: Sample,
        config: ScoreConfig,
        session: Session,
        second: Session | None = None,
        given: Sequence[Basis] = (),
    ) -> None:
        self.sample, self.config = sample, config
        self.sets: list[Basis] = list(given)
        self.rounds: list[Round] = []
        self.again: list[Round] | None = None
        self.theirs: list[Round] | None = None
        self.pause: Paused | None = None
        self.lexical = LexicalJudge(sample.documents) if has_control(config, session) else None
        self._session, self._second, self._given = session, second, tuple(given)
        self._prompts = load_prompts(config.prompts)
        self._drawn: list[DrawnRound] = []

    def ask(self) -> None:
        """Asks everything.

        Raises:
            Paused: the session stopped before there were enough rounds for a score.
        """
        with one_pause(self._session, self._second) as piece:
            with piece():
                self.ask_rounds()
            with piece():
                self.ask_again()

    def ask_rounds(self) -> None:
        """Asks steps 1 to 5, until all is answered or the interval is as narrow as wanted.

        Raises:
            Paused: as `ask`.
        """
        label = f"judging {self.sample.corpus.name}"
        stage = self._prompts.stage
        agent = Agent(self._session, self.sample.documents, self._prompts, self.config, stage)
        try:
            for look in looks(self.config, len(self._given), self._session.capped):
                drawn = self._draw(look)
                self._drawn += drawn
                rounds, pause = ask_rounds(agent, drawn, label)
                self.rounds += rounds
                if pause is not None:
                    raise pause
                if self.config.target_ci is not None and narrow_enough(self.figures(), self.config):
                    break
        except Awaiting:
            raise
        except Paused as pause:
            require_enough(self.rounds, self.config, self._session, pause)
            self.pause = pause

    def ask_again(self) -> None:
        """Asks a share of the rounds once more: this judge in another order, and the second one.

        Step 4 alone: agreement is about the clusters, whatever their verdicts.

        Raises:
            Paused: no cap is the reason.
        """
        if self.pause is not None:
            return
        config = dataclasses.replace(self.config, verify=False)
        documents = self.sample.documents
        with one_pause(self._session, self._second) as piece:
            try:
                with piece():
                    drawn = self._chosen(config.repeat_fraction, 0)
                    order = self.sample.draws[0].order
                    turned = [
                        dataclasses.replace(r, documents=tuple(r.documents[p] for p in order(r.id)))
                        for r in drawn
                    ]
                    stage = self._prompts.stage
                    agent = Agent(self._session, documents, self._prompts, config, stage)
                    self.again = _all_of(agent, turned, "judging again") if turned else None
                if self._second is not None:
                    with piece():
                        drawn = self._chosen(config.second_fraction, 1)
                        stage = (
                            f"second_{self._prompts.stage}"  # its batch file is for another model
                        )
                        agent = Agent(self._second, documents, self._prompts, config, stage)
                        self.theirs = _all_of(agent, drawn, "the second judge")
            except Paused as pause:
                if not self._session.capped:
                    raise
                self.pause = pause

    def figures(self, policy: str | None = None) -> Figures:
        """The figures of the rounds so far; under another policy than the configured one, too."""
        config = dataclasses.replace(self.config, policy=policy or self.config.policy)
        own = None
        if self.lexical is not None:
            count = self.config.control_rounds // self.config.repeats
            controls = [r for drawn in self.sample.draws for r in drawn.controls(count)]
            own = self.lexical.scores([tuple(r.tolist()) for r in controls])
        return figures_of(self.rounds, config, self.lexical, own)

    def _draw(self, look: Sequence[Block]) -> list[DrawnRound]:
        """The rounds of some blocks, in order; gathers the criteria for them."""
        config, draws = self.config, self.sample.draws
        if self._given:
            found = [self._given[block.place % len(self._given)] for block in look]
            numbers = [block.place for block in look]  # the same criteria in every repeat
        else:
            found = gather_sets(self._session, list(map(self._share, look)), self._prompts, config)
            numbers = [block.repeat * config.sets + block.place for block in look]
            self.sets += found
        rounds = [
            DrawnRound(
                block.repeat * config.rounds + n,
                criteria,
                tuple(draws[block.repeat].round(n).tolist()),
            )
            for block, criteria in zip(look, map(CriteriaSet, numbers, found), strict=True)
            for n in block.rounds
        ]
        return sorted(rounds, key=lambda r: r.id)

    def _share(self, block: Block) -> Share:
        """The documents that the criteria of a block are gathered from."""
        config, drawn = self.config, self.sample.draws[block.repeat]
        first = block.place * config.proposals_per_set
        handfuls = [
            drawn.criteria(n, config.criteria_documents).tolist()
            for n in range(first, first + config.proposals_per_set)
        ]
        shown = {i for handful in handfuls for i in handful}
        unseen = []
        if self._prompts.facets and config.coverage_documents:
            unseen = drawn.unseen(block.place, config.coverage_documents).tolist()
        documents = self.sample.documents
        return Share(
            first,
            [[documents[i] for i in handful] for handful in handfuls],
            [documents[i] for i in unseen if i not in shown],
        )

    def _chosen(self, fraction: float, purpose: int) -> list[DrawnRound]:
        """A share of the first repeat's rounds, drawn at random."""
        known = {r.id: r for r in self._drawn}
        numbers = self.sample.draws[0].chosen(fraction, self.config.rounds, purpose)
        return [known[n] for n in numbers if n in known]


def ask_rounds(
    agent: Agent, drawn: Sequence[DrawnRound], label: str
) -> tuple[list[Round], Paused | None]:
    """Judges rounds; under a cap only a tenth is under way at a time, to leave whole rounds behind.

    Returns:
        the rounds, or where a cap stopped the asking, those before the first that is not answered;
        and what the cap said.

    Raises:
        Paused: no cap is the reason.
    """
    capped = agent.session.capped
    at_once = max(8, len(drawn) // 10) if capped else None
    answered: dict[int, Round] = {}
    pause = None
    score = RunningScore(agent.config.policy_in_force)
    try:
        for place, round_ in agent.session.map(
            agent.judge, drawn, label, len(drawn), "rounds", at_once, score.shown
        ):
            answered[place] = round_
            score.add(round_)
    except Paused as error:
        if not capped:
            raise
        pause = error
    first = itertools.takewhile(answered.__contains__, range(len(drawn)))
    return [answered[place] for place in first], pause


def _all_of(agent: Agent, drawn: Sequence[DrawnRound], label: str) -> list[Round]:
    rounds, pause = ask_rounds(agent, drawn, label)
    if pause is not None:
        raise pause
    return rounds
