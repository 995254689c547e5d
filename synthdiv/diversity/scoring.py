"""Scores a corpus: asks the cluster agent's five steps and makes a result of the answers."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.diversity.agreement import agreement_of
from synthdiv.diversity.attached import attached
from synthdiv.diversity.config import ONE_SIDED, POLICIES, ScoreConfig
from synthdiv.diversity.criteria import criteria_of, given_basis, sets_json
from synthdiv.diversity.facets import facets
from synthdiv.diversity.figures import Figures
from synthdiv.diversity.inquiry import Inquiry, Sample, draw_sample
from synthdiv.diversity.levels import level_scores
from synthdiv.diversity.partial import PartialScore, partial, partial_words
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.results import ScoreResult, summarise
from synthdiv.diversity.saturation import saturation_of
from synthdiv.diversity.steps import readable, steps_of
from synthdiv.files import Corpus
from synthdiv.llm import LLMConfig, Session, in_steps, open_session
from synthdiv.progress import say

_UNCOVERED = 0.25  # share of documents without a value from which on a list does not fit a corpus


def cluster_score(
    corpus: Corpus,
    config: ScoreConfig | None = None,
    session: Session | None = None,
    output: Path | str | None = None,
    second: Session | None = None,
    command: str | None = None,
) -> ScoreResult:
    """Scores one corpus by the LLM cluster-agent (paper, section 2.1).

    Args:
        corpus: the documents.
        config: the paper's parameters by default.
        session: who answers; the offline stand-in by default.
        output: directory to write score.json, rounds.parquet, documents.parquet and report.html
            into; nothing is written without one.
        second: another judge, asked a share of the same rounds, to measure agreement.
        command: the command line, which score.json repeats with the date.

    Raises:
        UserError: the corpus is smaller than a round, the validation is of another judge, or the
            judge gave no usable reply.
        PartialScore: a cap was reached and the rounds so far make a score; call again to go on.
        Paused: the session stopped before that; call again to go on.
    """
    config = config or ScoreConfig()
    if session is None:
        with open_session(LLMConfig(), None) as offline:
            return cluster_score(corpus, config, offline, output, second, command)
    attached(config, session)  # before anything is asked
    before = session.stats
    given = given_basis(config)
    sample = draw_sample(corpus, config, session, len(given))
    asked = Inquiry(sample, config, session, second, given)
    with in_steps(steps_of(config)), readable(output, config, lambda: asked.sets):
        asked.ask()
    result = result_of(asked, session, second, spent(before, session.stats), command)
    if output is not None:
        result.write(output)
    if asked.pause is not None:
        raise PartialScore(partial_words(result, output), asked.pause, result)
    return result


def result_of(
    asked: Inquiry,
    session: Session,
    second: Session | None,
    usage: Mapping[str, Any],
    command: str | None = None,
) -> ScoreResult:
    """Makes a result of what was answered.

    Args:
        asked: the answers.
        session, second: who gave them.
        usage: what they took, as `spent` has it.
        command: as `cluster_score`.
    """
    from synthdiv import __version__

    config, sample, rounds = asked.config, asked.sample, asked.rounds
    by_rule = load_prompts(config.prompts).way == "rule"
    by_policy = {policy: asked.figures(policy) for policy in (POLICIES if by_rule else ONE_SIDED)}
    figures = by_policy[config.policy_in_force]
    content = summarise(rounds, by_policy, config, config.rounds * config.repeats)
    size = config.documents_per_round
    levels = level_scores(rounds, size, config.bootstrap, config.seed)
    if levels:
        content["levels"] = [level.as_json() for level in levels]
        for one in content["levels"]:
            if f"{one['facet']}.{one['level']}" == config.level:  # with the control variate, too
                one |= {name: content["score"][name] for name in ("mean", "ci95", "standard_error")}
        (headline,) = (one for one in levels if one.name == config.level)
        narrow = headline.warning
        if headline.other > _UNCOVERED:
            content["warnings"].append(
                f"{headline.other:.0%} of what was read fits no value of {config.level}: the list"
                " does not cover this corpus, and what it misses counts as alike"
            )
    else:
        narrow = saturation_of(rounds, size, config.level)
    content["warnings"] += [narrow] if narrow else []
    for words in content["warnings"]:
        say(f"warning: {sample.corpus.name}: {words}")
    content["facets"] = facets(rounds, [criteria_of(one) for one in asked.sets], config.seed)
    content["agreement"] = agreement_of(asked, second)
    if asked.pause is not None:
        content["partial"] = partial(rounds, config, session, second is not None, asked.pause)
    if config.repeats > 1:
        content["repeats"] = _repeats(asked, figures)
    shown = {i: sample.documents[i] for i in sorted({i for r in rounds for i in r.documents})}
    content |= sets_json(asked.sets)
    content["corpus"] = _described(sample, list(shown))
    content |= usage
    content["judge"] = attached(config, session)
    content["prompts_sha256"] = load_prompts(config.prompts).sha256
    content["baselines"] = {}
    if config.with_baselines:
        from synthdiv.baselines import compute_baselines

        content["baselines"] = compute_baselines(
            sample.corpus, config.baselines, engine=session.engine
        )
    content["config"] = dataclasses.asdict(config)
    content["seed"] = config.seed
    content["synthdiv_version"] = __version__
    if command is not None:
        content["made"] = made(command)
    return ScoreResult(content, tuple(rounds), tuple(asked.sets), shown, tuple(levels))


def made(command: str) -> dict[str, str]:
    """`made` of score.json: the command line, and when it was run."""
    return {"command": command, "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}


def _described(sample: Sample, shown: list[int]) -> dict[str, Any]:
    """`corpus` of score.json."""
    corpus, documents = sample.corpus, [sample.documents[i] for i in shown]
    return {
        "name": corpus.name,
        "documents": len(corpus),
        "sampled": sample.draws[0].size,
        "shown": len(documents),
        "sha256": corpus.sha256,
        "text_column": corpus.text_column,
        "words_shown": float(np.mean([d.words for d in documents])),
        "truncated": sum(d.cut for d in documents),
        "cleaned": sum(d.cleaned for d in documents),
        "empty": sum(not d.text for d in documents),
    }


def spent(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Calls, tokens and money between two looks at a session's counters."""
    cost = None if after["cost_usd"] is None else after["cost_usd"] - (before["cost_usd"] or 0.0)
    return {
        "calls": {k: v - before["calls"][k] for k, v in after["calls"].items()},
        "tokens": {k: v - before["tokens"][k] for k, v in after["tokens"].items()},
        "cost_usd": cost,
    }


def _repeats(asked: Inquiry, figures: Figures) -> dict[str, Any]:
    """The paper's robustness protocol: the mean of every repeat, and their spread."""
    repeats = np.array([r.id for r in asked.rounds]) // asked.config.rounds
    per_repeat = [figures.scores[repeats == n] for n in np.unique(repeats)]
    means = [float(np.nanmean(part)) for part in per_repeat if np.isfinite(part).any()]
    return {
        "means": means,
        "mean": float(np.mean(means)),
        "standard_deviation": float(np.std(means, ddof=1)) if len(means) > 1 else None,
    }
