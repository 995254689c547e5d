"""Several corpora: each scored, and compared.

Under `compare` all corpora are judged by the same criteria sets, gathered from all of them, and
documents are cut so that every corpus shows the judge the same distribution of lengths; a
difference is then taken criteria set by criteria set, which takes off what hangs on the criteria,
and a longer or larger corpus does not win for that.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import CriteriaSet, criteria_json, gather_criteria, read_criteria
from synthdiv.diversity.documents import matched_limits, read_documents
from synthdiv.diversity.partial import PartialScore, comparison_words, partial_comparison
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.scoring import (
    Scored,
    ask,
    cluster_score,
    make_draws,
    report_on,
    spent,
    write_score,
)
from synthdiv.errors import Paused, UserError
from synthdiv.files import Corpus, output_dir, write_json
from synthdiv.llm import Session


def score_corpora(
    inputs: Sequence[Corpus],
    output: Path | str,
    config: ScoreConfig,
    session: Session,
    compare: bool = False,
    second: Session | None = None,
) -> dict[str, Any]:
    """Scores one corpus or several and writes what came of it.

    Args:
        inputs: one corpus is scored into `output` itself, several into `output`/NAME each.
        output: a directory.
        config, session, second: as `cluster_score`.
        compare: judge all corpora by one set of criteria and at matched lengths.

    Returns:
        the content of score.json, or of comparison.json for several corpora.

    Raises:
        UserError: as `cluster_score`; or `compare` and `config.target_ci` are both wanted.
        PartialScore: as `cluster_score`; of several corpora there is at least one score.
        Paused: as `cluster_score`.
    """
    directory = output_dir(output)
    if len(inputs) == 1:
        return cluster_score(inputs[0], config, session, directory, second)
    if compare and config.target_ci is not None:
        raise UserError(
            "--target_ci would stop each corpus at a number of rounds of its own, and --compare "
            "asks all the same: leave one of the two out"
        )
    names = _names(inputs)
    before = session.stats
    results: dict[str, dict[str, Any]] = {}
    content: dict[str, Any] = {"shared_criteria": compare, "seed": config.seed}
    pause: Paused | None = None
    if compare:
        scored, shared, pause = _ask_alike(inputs, config, session)
        content["criteria"] = criteria_json(shared[0])
        content["matched_lengths"] = config.match_length
        for name, one in zip(names, scored, strict=False):
            results[name] = report_on(one, session, session.stats, second)
            write_score(output_dir(directory / name), one, results[name])
            pause = pause or one.pause
        content["differences"] = [
            {"corpora": [names[a], names[b]], **difference(scored[a], scored[b])}
            for a, b in itertools.combinations(range(len(scored)), 2)
        ]
        if config.with_baselines:
            several = len(scored)
            content["matched_baselines"] = _matched(inputs[:several], names[:several], config)
    else:
        for name, corpus in zip(names, inputs, strict=True):
            target = output_dir(directory / name)
            try:
                results[name] = cluster_score(corpus, config, session, target, second)
            except Paused as error:
                pause = error
                if isinstance(error, PartialScore):
                    pause, results[name] = error.pause, error.result
                elif not (results and session.capped):
                    raise
                break
    content["corpora"] = {
        name: {k: result[k] for k in ("score", "pairs", "corpus", "baselines")}
        for name, result in results.items()
    }
    content |= spent(before, session.stats)
    content["judge"] = {"backend": session.backend, "model": session.model}
    if pause is not None:
        content["partial"] = partial_comparison(results, names, config, session, pause)
    write_json(directory / "comparison.json", content)
    from synthdiv.baselines.catalogue import METRICS
    from synthdiv.reporting.comparison_page import write_comparison_page

    write_comparison_page(directory, METRICS)
    if pause is not None:
        raise PartialScore(comparison_words(results, names, directory), pause, content)
    return content


def _names(inputs: Sequence[Corpus]) -> list[str]:
    """A directory name for each corpus: its own, numbered where two share one."""
    names: list[str] = []
    for corpus in inputs:
        name, number = corpus.name, 2
        while name in names:
            name, number = f"{corpus.name}_{number}", number + 1
        names.append(name)
    return names


def _ask_alike(
    inputs: Sequence[Corpus], config: ScoreConfig, session: Session
) -> tuple[list[Scored], list[CriteriaSet], Paused | None]:
    """Asks about all corpora under one list of criteria sets and at one distribution of lengths.

    A cap may leave the last ones out; what it said comes third.
    """
    if config.criteria:
        shared = [read_criteria(config.criteria)]
    else:
        shared = _gather_from_all(inputs, config, session)
    limits: list[dict[int, int] | None] = [None] * len(inputs)
    if config.match_length:
        limits = list(matched_limits([_lengths(corpus, config) for corpus in inputs]))
    scored: list[Scored] = []
    for corpus, limit in zip(inputs, limits, strict=True):
        try:
            scored.append(ask(corpus, config, session, shared, limit))
        except Paused as pause:
            if not (scored and session.capped):
                raise
            return scored, shared, pause
        if scored[-1].pause is not None:
            break
    return scored, shared, scored[-1].pause


def _gather_from_all(
    inputs: Sequence[Corpus], config: ScoreConfig, session: Session
) -> list[CriteriaSet]:
    """Steps 1 to 3 on handfuls that hold documents of all corpora."""
    count = config.sets * config.proposals_per_set
    handfuls: list[list] = [[] for _ in range(count)]
    for place, corpus in enumerate(inputs):
        drawn = make_draws(corpus, config)[0]
        # The J documents of a handful are shared out, and the odd ones go round.
        shares = [
            len(range((place + n) % len(inputs), config.criteria_documents, len(inputs)))
            for n in range(count)
        ]
        indices = [drawn.criteria(n, share) for n, share in enumerate(shares)]
        documents = read_documents(corpus, np.concatenate(indices), config.document_words)
        for handful, chosen in zip(handfuls, indices, strict=True):
            handful += [documents[int(i)] for i in chosen]
    return gather_criteria(session, handfuls, config.sets, load_prompts(config.prompts), config)


def _lengths(corpus: Corpus, config: ScoreConfig) -> dict[int, int]:
    """Words of the documents that rounds will show, by index."""
    draws = make_draws(corpus, config)
    wanted = [d.round(n) for d in draws for n in range(config.rounds)]
    documents = read_documents(corpus, np.concatenate(wanted), config.document_words)
    return {index: shown.words for index, shown in documents.items()}


def difference(one: Scored, other: Scored) -> dict[str, Any]:
    """Score of the first corpus less the second's, with interval and p-value.

    With at least three criteria sets the set means are paired and their differences taken as
    independent draws: a t interval with one degree of freedom fewer than sets. With fewer, rounds
    are (Welch), and the criteria are taken as given.
    """
    from scipy import stats

    means = []
    count = len(one.sets)
    for scored in (one, other):
        sets, scores = scored.figures.sets % count, scored.figures.scores
        kept = np.isfinite(scores)
        means.append({int(s): float(scores[kept & (sets == s)].mean()) for s in set(sets[kept])})
    common = sorted(means[0].keys() & means[1].keys())
    if len(common) >= 3:
        gaps = np.array([means[0][s] - means[1][s] for s in common])
        mean, error = float(gaps.mean()), float(gaps.std(ddof=1) / math.sqrt(len(gaps)))
        freedom, method = len(gaps) - 1.0, "paired over criteria sets"
    else:
        a, b = (s.figures.scores[np.isfinite(s.figures.scores)] for s in (one, other))
        parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
        mean, error = float(a.mean() - b.mean()), math.sqrt(sum(parts))
        freedom = sum(parts) ** 2 / max(
            parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1), 1e-300
        )
        method = "over rounds, the criteria taken as given"
    extra = [s.figures.control.error for s in (one, other) if s.figures.control is not None]
    error = math.hypot(error, *extra)
    reach = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error > 0 else float(mean == 0)
    return {
        "difference": mean,
        "ci95": [mean - reach, mean + reach],
        "p_value": p,
        "method": method,
    }


def _matched(inputs: Sequence[Corpus], names: Sequence[str], config: ScoreConfig) -> dict[str, Any]:
    """The baselines at equal documents and equal tokens, as comparison.json tells them."""
    from synthdiv.baselines import matched_baselines

    found, matched = matched_baselines(inputs, config.baselines, config.sample)
    return {
        "documents": len(matched[0].indices),
        "words": [texts.words for texts in matched],
        "corpora": dict(zip(names, found, strict=True)),
    }
