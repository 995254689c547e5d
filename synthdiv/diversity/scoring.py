"""Scores a corpus: the cluster agent's five steps, the estimator, and the score directory.

Everything that is asked follows from corpus, configuration and seed, and the session keeps every
answer: a run that was killed asks nothing twice and comes to the same score to the last digit.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.diversity.agent import Agent, Round
from synthdiv.diversity.agreement import agreement_of
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.control import control_variate, offline_clusters, scores_of
from synthdiv.diversity.criteria import CriteriaSet, criteria_json, gather_criteria, read_criteria
from synthdiv.diversity.documents import Draws, Shown, read_documents
from synthdiv.diversity.facets import facets
from synthdiv.diversity.partial import (
    PartialScore,
    answered_first,
    partial,
    partial_words,
    require_enough,
)
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.results import Figures, interval, summarise, write_documents, write_rounds
from synthdiv.errors import Paused, UserError, closest
from synthdiv.files import Corpus, output_dir, write_json
from synthdiv.llm import Session

_REPEAT_STEP = 1_000_003  # how far the seeds of two repeats are apart
_LEAST_SETS = 5  # of a confidence sequence before it may stop a run


@dataclasses.dataclass
class Scored:
    """A corpus with all that was asked about it."""

    corpus: Corpus
    config: ScoreConfig
    draws: list[Draws]
    documents: dict[int, Shown]
    sets: list[CriteriaSet]
    rounds: list[Round]
    figures: Figures
    pause: Paused | None = None  # what stopped the asking before all was asked


def cluster_score(
    corpus: Corpus,
    config: ScoreConfig | None = None,
    session: Session | None = None,
    output: Path | str | None = None,
    second: Session | None = None,
) -> dict[str, Any]:
    """Scores one corpus by the LLM cluster-agent (paper, section 2.1).

    Args:
        corpus: the documents.
        config: the paper's parameters by default.
        session: who answers; the offline stand-in by default.
        output: directory to write score.json, rounds.parquet, documents.parquet and report.html
            into; nothing is written without one.
        second: another judge, asked a share of the same rounds, to measure agreement.

    Returns:
        what score.json holds.

    Raises:
        UserError: the corpus is smaller than a round, or the judge's replies were of no use.
        PartialScore: a cap was reached and the rounds so far make a score; call again to go on.
        Paused: the session stopped before that; call again to go on.
    """
    config = config or ScoreConfig()
    if session is None:
        from synthdiv.llm import LLMConfig, open_session

        with open_session(LLMConfig(), None) as offline:
            return cluster_score(corpus, config, offline, output, second)
    before = session.stats
    scored = ask(corpus, config, session)
    result = report_on(scored, session, before, second)
    if output is not None:
        write_score(output_dir(output), scored, result)
    if scored.pause is not None:
        raise PartialScore(partial_words(result, output), scored.pause, result)
    return result


def ask(
    corpus: Corpus,
    config: ScoreConfig,
    session: Session,
    shared: Sequence[CriteriaSet] | None = None,
    limits: Mapping[int, int] | None = None,
) -> Scored:
    """Asks all five steps about a corpus.

    Args:
        corpus, config, session: as `cluster_score`.
        shared: criteria sets to use instead of gathering some.
        limits: words at most of single documents, by index.
    """
    if config.labels is not None and config.labels not in corpus.columns:
        names = ", ".join(map(repr, corpus.columns))
        raise UserError(
            f"corpus {corpus.name!r} has no column {config.labels!r} for --labels; it has {names}"
            f"{closest(config.labels, corpus.columns)}"
        )
    if shared is None and config.criteria:
        shared = [read_criteria(config.criteria)]
    draws = make_draws(corpus, config)
    documents = read_documents(
        corpus, _wanted(draws, config, session, len(shared or ())), config.document_words, limits
    )
    figures = None
    sets: list[CriteriaSet] = []
    rounds: list[Round] = []
    own: np.ndarray | None = None
    pause = None
    try:
        for repeat, drawn in enumerate(draws):
            for fresh_sets, fresh in _asked(drawn, config, session, documents, shared):
                for round_ in fresh:
                    round_.number += repeat * config.rounds
                    # Criteria that were given are the same in every repeat; gathered ones are not.
                    round_.criteria_set += 0 if shared else repeat * config.sets
                sets += fresh_sets
                rounds += fresh
                if config.target_ci is None:
                    continue
                if own is None:
                    own = _own_rounds(draws, config, session, documents)
                figures = _figures(rounds, documents, config, own)
                if narrow_enough(figures, config):
                    break
    except Paused as error:
        require_enough(rounds, config, session, error)
        pause, figures = error, None
    if figures is None:
        figures = _figures(
            rounds, documents, config, _own_rounds(draws, config, session, documents)
        )
    return Scored(corpus, config, draws, documents, list(shared or sets), rounds, figures, pause)


def make_draws(corpus: Corpus, config: ScoreConfig) -> list[Draws]:
    """The random draws of each repeat."""
    return [
        Draws(
            len(corpus),
            config.sample,
            config.seed + repeat * _REPEAT_STEP,
            config.documents_per_round,
            f"corpus {corpus.name!r}",
        )
        for repeat in range(config.repeats)
    ]


def narrow_enough(figures: Figures, config: ScoreConfig) -> bool:
    """Whether --target_ci is reached."""
    if len(np.unique(figures.sets)) < _LEAST_SETS or not np.isfinite(figures.scores).any():
        return False
    found = interval(figures, config, sequential=True)
    return (found.high - found.low) / 2 <= config.target_ci


def _blocks(config: ScoreConfig, given: int) -> list[list[range]]:
    """Rounds between two looks, by criteria set within it: once for all without `target_ci`.

    Args:
        config: how many rounds.
        given: number of criteria sets that are given; 0 where they are gathered.
    """
    if config.target_ci is None:
        sets = min(given, config.rounds) or config.sets
        return [[range(s, config.rounds, sets) for s in range(sets)]]
    size = config.block_rounds
    blocks = [
        range(start, min(start + size, config.rounds)) for start in range(0, config.rounds, size)
    ]
    ahead = max(config.look_rounds // size, 1)
    return [blocks[i : i + ahead] for i in range(0, len(blocks), ahead)]


def _wanted(
    draws: Sequence[Draws], config: ScoreConfig, session: Session, given: int
) -> np.ndarray:
    """Indices of all documents that may be asked about."""
    parts = []
    gathered = 0 if given else sum(len(blocks) for blocks in _blocks(config, 0))
    proposals = config.proposals_per_set * gathered
    for drawn in draws:
        parts += [drawn.round(n) for n in range(config.rounds)]
        parts += [drawn.criteria(n, config.criteria_documents) for n in range(proposals)]
        if has_control(config, session):
            parts += [drawn.control(n) for n in range(config.control_rounds // len(draws))]
    return np.unique(np.concatenate(parts))


def has_control(config: ScoreConfig, session: Session) -> bool:
    """Whether the offline judge is a control variate: not of itself."""
    return config.control_rounds >= 2 * config.repeats and session.backend != "offline"


def _asked(
    drawn: Draws,
    config: ScoreConfig,
    session: Session,
    documents: Mapping[int, Shown],
    shared: Sequence[CriteriaSet] | None,
) -> Iterator[tuple[list[CriteriaSet], list[Round]]]:
    """Yields (new criteria sets, their rounds) look by look."""
    prompts = load_prompts(config.prompts)
    share, number = config.proposals_per_set, 0
    for blocks in _blocks(config, len(shared or ())):
        if not shared:
            handfuls = [
                [documents[i] for i in drawn.criteria(n, config.criteria_documents)]
                for n in range(number * share, (number + len(blocks)) * share)
            ]
            sets = gather_criteria(
                session, handfuls, len(blocks), prompts, config, first=number * share
            )
        else:
            sets = [shared[(number + i) % len(shared)] for i in range(len(blocks))]
        rounds = [
            Round(r, i, tuple(drawn.round(r).tolist()))
            for i, block in enumerate(blocks)
            for r in block
        ]
        rounds.sort(key=lambda r: r.number)
        pause = None
        try:
            Agent(session, documents, sets, prompts, config).run(rounds)
        except Paused as error:
            if not session.capped:
                raise
            pause, rounds = error, answered_first(rounds)
        for round_ in rounds:
            round_.criteria_set += number
        yield [] if shared else sets, rounds
        if pause is not None:
            raise pause
        number += len(blocks)


def _own_rounds(
    draws: Sequence[Draws],
    config: ScoreConfig,
    session: Session,
    documents: Mapping[int, Shown],
) -> np.ndarray | None:
    """The offline judge's scores of its own rounds, where it is a control variate."""
    if not has_control(config, session):
        return None
    rounds = [
        drawn.control(n) for drawn in draws for n in range(config.control_rounds // len(draws))
    ]
    return scores_of(offline_clusters(rounds, documents))


def _figures(
    rounds: Sequence[Round],
    documents: Mapping[int, Shown],
    config: ScoreConfig,
    own: np.ndarray | None,
) -> Figures:
    plain = np.array([r.score(config.policy) for r in rounds])
    sets = np.array([r.criteria_set for r in rounds])
    if own is None:
        return Figures(plain, sets, plain)
    offline = scores_of(offline_clusters((r.indices for r in rounds), documents))
    control = control_variate(plain, offline, sets, own)
    return Figures(control.values, sets, plain, control)


def report_on(
    scored: Scored,
    session: Session,
    before: Mapping[str, Any],
    second: Session | None = None,
) -> dict[str, Any]:
    """Makes score.json's content of what was asked; asks the rounds of the agreement figures."""
    from synthdiv import __version__

    config, corpus = scored.config, scored.corpus
    requested = config.rounds * config.repeats
    result = summarise(scored.rounds, scored.figures, config, requested)
    result["facets"] = facets(scored.rounds, scored.sets, config.seed)
    result["agreement"] = agreement_of(scored, session, second)
    if scored.pause is not None:
        result["partial"] = partial(
            scored.rounds, config, session, second is not None, scored.pause
        )
    if config.repeats > 1:
        result["repeats"] = _repeats(scored)
    shown = {i for r in scored.rounds for i in r.indices}
    documents = [scored.documents[i] for i in sorted(shown)]
    result["criteria"] = criteria_json(scored.sets[0])
    result["criteria_sets"] = [criteria_json(criteria) for criteria in scored.sets]
    result["corpus"] = {
        "name": corpus.name,
        "documents": len(corpus),
        "sampled": scored.draws[0].size,
        "shown": len(documents),
        "sha256": corpus.sha256,
        "text_column": corpus.text_column,
        "words_shown": float(np.mean([d.words for d in documents])),
        "truncated": sum(d.cut for d in documents),
        "cleaned": sum(d.cleaned for d in documents),
        "empty": sum(not d.text for d in documents),
    }
    result |= spent(before, session.stats)
    result["judge"] = {"backend": session.backend, "model": session.model}
    result["prompts_sha256"] = load_prompts(config.prompts).sha256
    result["baselines"] = {}
    if config.with_baselines:
        from synthdiv.baselines import compute_baselines

        result["baselines"] = compute_baselines(corpus, config.baselines)
    result["config"] = dataclasses.asdict(config)
    result["seed"] = config.seed
    result["synthdiv_version"] = __version__
    return result


def spent(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Calls, tokens and money between two looks at a session's counters."""
    cost = None if after["cost_usd"] is None else after["cost_usd"] - (before["cost_usd"] or 0.0)
    return {
        "calls": {k: v - before["calls"][k] for k, v in after["calls"].items()},
        "tokens": {k: v - before["tokens"][k] for k, v in after["tokens"].items()},
        "cost_usd": cost,
    }


def _repeats(scored: Scored) -> dict[str, Any]:
    """The paper's robustness protocol: the mean of every repeat, and their spread."""
    repeats = np.array([r.number for r in scored.rounds]) // scored.config.rounds
    per_repeat = [scored.figures.scores[repeats == n] for n in np.unique(repeats)]
    means = [float(np.nanmean(part)) for part in per_repeat if np.isfinite(part).any()]
    return {
        "means": means,
        "mean": float(np.mean(means)),
        "standard_deviation": float(np.std(means, ddof=1)) if len(means) > 1 else None,
    }


def write_score(directory: Path, scored: Scored, result: Mapping[str, Any]) -> None:
    """Writes a score directory; score.json comes last but for the report, which reads it."""
    shown = {i: scored.documents[i] for r in scored.rounds for i in r.indices}
    write_rounds(directory / "rounds.parquet", scored.rounds, scored.config.policy)
    write_documents(directory / "documents.parquet", shown)
    write_json(directory / "score.json", result)
    from synthdiv.diversity.report import write_report

    write_report(directory)
