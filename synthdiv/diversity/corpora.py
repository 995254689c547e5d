"""Several corpora: each scored, and compared.

Under `compare` all corpora are judged by the same criteria sets, gathered from all of them, so that
a difference is taken criteria set by criteria set and does not depend on how the criteria came out.
Documents are cut so that every corpus shows the judge the same distribution of lengths, and a
corpus does not win by being longer or larger.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.diversity.attached import attached
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import Basis, criteria_json, criteria_of, given_basis
from synthdiv.diversity.documents import Shown, matched_limits, read_documents
from synthdiv.diversity.figures import Figures
from synthdiv.diversity.inquiry import Inquiry, Share, draw_sample, gather_sets, make_draws
from synthdiv.diversity.partial import PartialScore, comparison_words, partial_comparison
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.results import ComparisonResult, Difference, ScoreResult
from synthdiv.diversity.scoring import cluster_score, made, result_of, spent
from synthdiv.diversity.steps import readable, steps_of
from synthdiv.diversity.work import directory_names
from synthdiv.engine import Engine
from synthdiv.errors import Paused, UserError
from synthdiv.files import Corpus, output_dir, write_json
from synthdiv.llm import Session, in_steps, one_pause

_ROUNDING = 1e-12  # of sums of scores
_BACK = "../report.html"  # from a corpus's page to that of all
_COMPARED = ("score", "levels", "pairs", "rounds", "corpus", "baselines", "warnings")


def score_corpora(
    inputs: Sequence[Corpus],
    output: Path | str,
    config: ScoreConfig,
    session: Session,
    compare: bool = False,
    second: Session | None = None,
    command: str | None = None,
) -> ScoreResult | ComparisonResult:
    """Scores one corpus or several and writes what came of it.

    Args:
        inputs: one corpus is scored into `output` itself, several into `output`/NAME each.
        output: a directory.
        config, session, second, command: as `cluster_score`.
        compare: judge all corpora by one set of criteria and at matched lengths.

    Raises:
        UserError: as `cluster_score`; or `compare` and `config.target_ci` are both wanted.
        PartialScore: as `cluster_score`; of several corpora there is at least one score.
        Paused: as `cluster_score`.
    """
    if compare and len(inputs) < 2:
        raise UserError("compare takes two corpora or more: `input=ONE,OTHER`")
    directory = output_dir(output)
    if len(inputs) == 1:
        return cluster_score(inputs[0], config, session, directory, second, command)
    if compare and config.target_ci is not None:
        raise UserError(
            "target_ci would stop each corpus at a number of rounds of its own, and compare asks"
            " all the same: leave one of the two out"
        )
    names = directory_names(inputs)
    attached(config, session)  # before anything is asked
    before = session.stats
    content: dict[str, Any] = {"shared_criteria": compare, "seed": config.seed}
    differences: tuple[Difference, ...] = ()
    if compare:
        with in_steps(steps_of(config)):
            asked, pause = _ask_alike(inputs, directory, config, session, second)
        content["criteria"] = criteria_json(criteria_of(asked[0][0].sets[0]))
        content["matched_lengths"] = config.match_length
        results: dict[str, ScoreResult] = {}
        for name, (one, usage) in zip(names, asked, strict=False):
            results[name] = result_of(one, session, second, usage, command)
            results[name].write(directory / name, _BACK)
            pause = pause or one.pause
        figures = [one.figures() for one, _ in asked]
        differences = tuple(_differences(names, figures))
        content["differences"] = [one.to_json() for one in differences]
        if levels := list(_level_differences(results, figures, config.level)):
            content["level_differences"] = levels
        if config.with_baselines:
            several = len(asked)
            content["matched_baselines"] = _matched(
                inputs[:several], names[:several], config, session.engine
            )
    else:
        with in_steps(steps_of(config)):
            results, pause = _score_each(inputs, names, directory, config, session, second, command)
    content["corpora"] = {
        name: {k: result[k] for k in _COMPARED if k in result.content}
        for name, result in results.items()
    }
    content |= spent(before, session.stats)
    content["judge"] = {"backend": session.backend, "model": session.model}
    content["prompts_sha256"] = load_prompts(config.prompts).sha256
    content["level"] = config.level if load_prompts(config.prompts).facets else None
    if command is not None:
        content["made"] = made(command)
    if pause is not None:
        content["partial"] = partial_comparison(results, names, config, session, pause)
    write_json(directory / "comparison.json", content)
    from synthdiv.diversity.report import write_comparison_report

    write_comparison_report(directory, list(results) if compare else ())
    comparison = ComparisonResult(content, results, differences)
    if pause is not None:
        raise PartialScore(comparison_words(results, names, directory), pause, comparison)
    return comparison


def _score_each(
    inputs: Sequence[Corpus],
    names: Sequence[str],
    directory: Path,
    config: ScoreConfig,
    session: Session,
    second: Session | None,
    command: str | None,
) -> tuple[dict[str, ScoreResult], Paused | None]:
    """Scores corpora by criteria of their own; a cap may leave the last ones out."""
    results: dict[str, ScoreResult] = {}
    pause: Paused | None = None
    with one_pause(session, second) as piece:
        for name, corpus in zip(names, inputs, strict=True):
            target = output_dir(directory / name)
            try:
                with piece():
                    results[name] = cluster_score(
                        corpus, config, session, second=second, command=command
                    )
                    results[name].write(target, _BACK)
            except PartialScore as error:
                assert isinstance(error.result, ScoreResult)
                pause, results[name] = error.pause, error.result
                results[name].write(target, _BACK)
                break
            except Paused as error:
                if not (results and session.capped):
                    raise
                pause = error
                break
    return results, pause


def _ask_alike(
    inputs: Sequence[Corpus],
    directory: Path,
    config: ScoreConfig,
    session: Session,
    second: Session | None,
) -> tuple[list[tuple[Inquiry, dict[str, Any]]], Paused | None]:
    """Asks about all corpora under one list of criteria sets and at one distribution of lengths.

    Returns:
        each corpus's answers, with what asking it once more took; and what a cap said that left
        the last corpora out.
    """
    shared = given_basis(config) or gather_from_all(inputs, config, session)
    limits: list[dict[int, int] | None] = [None] * len(inputs)
    if config.match_length:
        limits = list(matched_limits([_lengths(corpus, config) for corpus in inputs]))
    asked: list[Inquiry] = []
    taken: list[dict[str, Any]] = []
    pause: Paused | None = None
    with readable(directory, config, lambda: shared), one_pause(session, second) as piece:
        for corpus, limit in zip(inputs, limits, strict=True):
            sample = draw_sample(corpus, config, session, len(shared), limit)
            inquiry = Inquiry(sample, config, session, second, shared)
            try:
                with piece():
                    inquiry.ask_rounds()
            except Paused as error:
                if not (asked and session.capped):
                    raise
                pause = error
                break
            asked.append(inquiry)
            if inquiry.pause is not None:
                break
        for inquiry in asked:
            before = session.stats
            with piece():
                inquiry.ask_again()
            taken.append(spent(before, session.stats))
    return list(zip(asked, taken, strict=True)), pause


def gather_from_all(inputs: Sequence[Corpus], config: ScoreConfig, session: Session) -> list[Basis]:
    """Gathers criteria or codebooks from handfuls that hold documents of all corpora."""
    prompts = load_prompts(config.prompts)
    each = config.proposals_per_set
    count = config.sets * each
    handfuls: list[list[Shown]] = [[] for _ in range(count)]
    unseen: list[list[Shown]] = [[] for _ in range(config.sets)]
    for place, corpus in enumerate(inputs):
        drawn = make_draws(corpus, config)[0]
        # The J documents of a handful are shared out, and the odd ones go round.
        shares = [
            len(range((place + n) % len(inputs), config.criteria_documents, len(inputs)))
            for n in range(count)
        ]
        indices = [drawn.criteria(n, share) for n, share in enumerate(shares)]
        others = []
        if prompts.facets and config.coverage_documents:
            size = math.ceil(config.coverage_documents / len(inputs))
            seen = np.concatenate(indices)
            others = [np.setdiff1d(drawn.unseen(n, size), seen) for n in range(config.sets)]
        wanted = np.concatenate([*indices, *others])
        documents = read_documents(corpus, wanted, config.document_words)
        for handful, chosen in zip(handfuls, indices, strict=True):
            handful += [documents[int(i)] for i in chosen]
        for share, chosen in zip(unseen, others, strict=False):
            share += [documents[int(i)] for i in chosen]
    for number, handful in enumerate(handfuls):  # so that no place in it tells the corpus
        np.random.default_rng([config.seed, number]).shuffle(handful)
    dealt = [
        Share(first, handfuls[first : first + each], unseen[first // each])
        for first in range(0, count, each)
    ]
    return gather_sets(session, dealt, prompts, config)


def _lengths(corpus: Corpus, config: ScoreConfig) -> dict[int, int]:
    """Words of the documents that rounds will show, by index."""
    draws = make_draws(corpus, config)
    wanted = [d.round(n) for d in draws for n in range(config.rounds)]
    documents = read_documents(corpus, np.concatenate(wanted), config.document_words)
    return {index: shown.words for index, shown in documents.items()}


def _differences(names: Sequence[str], figures: Sequence[Figures]) -> Iterator[Difference]:
    for a, b in itertools.combinations(range(len(figures)), 2):
        yield difference((names[a], names[b]), figures[a], figures[b])


def _level_differences(
    results: Mapping[str, ScoreResult], headline: Sequence[Figures], level: str
) -> Iterator[dict[str, Any]]:
    """The differences at every level, broad to fine and facet by facet; none without a codebook.

    Args:
        results: of all corpora, by name.
        headline: their figures at `level`, with the control variate.
        level: the one that the score is of.
    """
    for at_level in zip(*(one.level_scores for one in results.values()), strict=True):
        name = at_level[0].name
        figures = headline if name == level else [one.figures for one in at_level]
        for one in _differences(list(results), figures):
            yield {"level": name} | one.to_json()


def difference(names: tuple[str, str], one: Figures, other: Figures) -> Difference:
    """Score of the first corpus less the second's, with interval and p-value.

    With at least three criteria sets the set means are paired and their differences taken as
    independent draws: a t interval with one degree of freedom fewer than sets. With fewer, rounds
    are (Welch), and the criteria are taken as given.

    Args:
        names: of the corpora.
        one, other: their figures, under the same criteria sets.
    """
    from scipy import stats

    means = [_set_means(one), _set_means(other)]
    common = sorted(means[0].keys() & means[1].keys())
    if len(common) >= 3:
        gaps = np.array([means[0][s] - means[1][s] for s in common])
        mean, error = float(gaps.mean()), float(gaps.std(ddof=1) / math.sqrt(len(gaps)))
        freedom, method = len(gaps) - 1.0, "paired over criteria sets"
    else:
        a, b = (f.scores[np.isfinite(f.scores)] for f in (one, other))
        mean = float(a.mean() - b.mean())
        error, freedom = _welch(a, b)
        method = "over rounds, the criteria taken as given"
    extra = [f.control.error for f in (one, other) if f.control is not None]
    error = math.hypot(error, *extra)
    if error < _ROUNDING:  # every round alike in both: no interval, and any difference is sure
        mean = 0.0 if abs(mean) < _ROUNDING else mean
        return Difference(names, mean, (mean, mean), float(mean == 0), method)
    reach = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Difference(names, mean, (mean - reach, mean + reach), p, method)


def _welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Standard error of a difference of two means, and its degrees of freedom; NaN of one value."""
    if min(len(a), len(b)) < 2:
        return math.nan, math.nan
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    shares = parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1)
    return math.sqrt(sum(parts)), sum(parts) ** 2 / max(shares, 1e-300)


def _set_means(figures: Figures) -> dict[int, float]:
    """The mean score under each criteria set that has one."""
    kept = np.isfinite(figures.scores)
    return {
        int(s): float(figures.scores[kept & (figures.sets == s)].mean())
        for s in set(figures.sets[kept])
    }


def _matched(
    inputs: Sequence[Corpus], names: Sequence[str], config: ScoreConfig, engine: Engine
) -> dict[str, Any]:
    """The baselines at equal documents and equal tokens, as comparison.json tells them."""
    from synthdiv.baselines import matched_baselines

    found, matched = matched_baselines(inputs, config.baselines, config.sample, engine)
    return {
        "documents": len(matched[0].indices),
        "words": [texts.words for texts in matched],
        "corpora": dict(zip(names, found, strict=True)),
    }
