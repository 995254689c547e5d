"""One trial of a validation: what a judge made of all mixtures by one way of asking, in figures."""

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.agreement import between_rounds
from synthdiv.diversity.arithmetic import score_of_labels
from synthdiv.diversity.config import CORRECTED, ScoreConfig
from synthdiv.diversity.criteria import sets_json
from synthdiv.diversity.inquiry import Inquiry, Sample
from synthdiv.diversity.measures import (
    STANDARD_ERROR,
    Scale,
    against_classes,
    mean_score,
    position_bias,
    rounds_for,
    scales_of,
)
from synthdiv.diversity.mixtures import Labelled
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.scoring import spent
from synthdiv.errors import UserError
from synthdiv.llm import Session

Usage = Mapping[str, Any]  # calls, tokens, cost_usd


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The first `size` classes of a column, and the documents that its rounds show."""

    labelled: Labelled
    size: int
    sample: Sample


@dataclasses.dataclass(frozen=True)
class Asked:
    """A mixture, and what was answered about it."""

    mixture: Mixture
    inquiry: Inquiry

    @property
    def rounds(self) -> list[Round]:
        """Those that came to something."""
        return [r for r in self.inquiry.rounds if not r.failed]

    def labels(self, round_: Round) -> list[str]:
        """The class of each document of a round, `[K]`."""
        return [self.mixture.labelled.label_of[i] for i in round_.documents]


def _summed(parts: Iterable[Usage]) -> Usage:
    """What several pieces of work took."""
    calls, tokens, cost = Counter[str](), Counter[str](), 0.0
    known = True
    for part in parts:
        calls.update(part["calls"])
        tokens.update(part["tokens"])
        known = known and part["cost_usd"] is not None
        cost += part["cost_usd"] or 0.0
    return {"calls": dict(calls), "tokens": dict(tokens), "cost_usd": cost if known else None}


def rounds_of(name: str, asked: Sequence[Asked]) -> Iterator[dict[str, Any]]:
    """What rounds.jsonl says of each round of a trial, and of those asked again.

    Args:
        name: of the trial.
        asked: its mixtures.
    """
    for one in asked:
        inquiry = one.inquiry
        asked_for = {"first": inquiry.rounds, "again": inquiry.again, "second": inquiry.theirs}
        for kind, rounds in asked_for.items():
            for round_ in rounds or ():
                answer: dict[str, Any] = {"failure": round_.failure} if round_.failed else {}
                if round_.codes:
                    answer["codes"] = [" ".join(codes) for codes in round_.codes]
                elif not round_.failed:
                    answer["clusters"] = round_.memberships()
                if round_.corrected is not None:
                    answer["corrected"] = round_.memberships(CORRECTED)
                yield {
                    "trial": name,
                    "column": one.mixture.labelled.column,
                    "classes": one.mixture.size,
                    "round": round_.id,
                    "asked": kind,
                    "documents": [one.mixture.sample.documents[i].id for i in round_.documents],
                    "labels": one.labels(round_),
                } | answer


def taken(before: Mapping[str, Any], after: Mapping[str, Any]) -> Usage:
    """What a trial took between two looks at a session's counters.

    Answers that were in the store count with what they took when they were given, so that a
    validation that is gone on with, or has asked the same before, tells what one alone would take.
    """
    new = spent(before, after)
    kept = {name: n - before["kept"][name] for name, n in after["kept"].items()}
    cost = None if new["cost_usd"] is None else new["cost_usd"] + kept.pop("cost_usd")
    tokens = {name: n + kept[name] for name, n in new["tokens"].items()}
    return new | {"tokens": tokens, "cost_usd": cost}


@dataclasses.dataclass
class Trial:
    """One way of asking, and what was answered so far.

    Attributes:
        config: its parameters.
        asked: its mixtures, those of a column one after the other.
        gathering, rounds, again: what was taken for criteria or codebooks, for rounds, and for
            rounds that were asked again; each as `taken` has it.
    """

    config: ScoreConfig
    asked: list[Asked] = dataclasses.field(default_factory=list)
    gathering: list[Usage] = dataclasses.field(default_factory=list)
    rounds: list[Usage] = dataclasses.field(default_factory=list)
    again: list[Usage] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def counted(self, session: Session, part: list[Usage]) -> Iterator[None]:
        """Counts what is asked inside to a part."""
        before = session.stats
        try:
            yield
        finally:
            part.append(taken(before, session.stats))


def trial_json(trial: Trial) -> dict[str, Any]:
    """A trial as validation.json has it.

    Raises:
        UserError: of some mixture no round came to anything.
    """
    config, asked = trial.config, trial.asked
    for one in asked:
        if not one.rounds:
            raise UserError(
                f"no round of {one.mixture.size} classes of {one.mixture.labelled.column!r} came"
                " to a score: the judge gave no usable reply"
            )
    prompts = load_prompts(config.prompts)
    name = [str(config.prompts), f"{config.documents_per_round} documents a round"]
    if prompts.review and not config.verify:
        name.append("not verified")
    scales = scales_of(asked[0].rounds[0].criteria.basis, config)
    sorted_ = [dataclasses.replace(scale, policy="keep") for scale in scales]  # not verified
    headline = next((s for s in scales if s.name == config.level), scales[0])
    again = _pairs((a.inquiry.rounds, a.inquiry.again) for a in asked)
    theirs = _pairs((a.inquiry.rounds, a.inquiry.theirs) for a in asked)
    return {
        "name": ", ".join(name),
        "prompts": config.prompts,
        "prompts_sha256": prompts.sha256,
        "documents_per_round": config.documents_per_round,
        "verify": config.verify if prompts.review else None,
        "headline": headline.name,
        "labels": {
            column: {scale.name: _against(few, scale, config) for scale in scales}
            for column, few in _by_column(asked).items()
        },
        "test_retest": {scale.name: _between(again, scale) for scale in sorted_} if again else None,
        "second_judge": (
            {
                scale.name: _between(theirs, scale)
                | {"difference": _difference(theirs, scale, config)}
                for scale in sorted_
            }
            if theirs
            else None
        ),
        "position_bias": position_bias([r for a in asked for r in a.rounds], headline, config.seed),
        "rounds": {
            "asked": sum(len(a.inquiry.rounds) for a in asked),
            "invalid": sum(r.failed for a in asked for r in a.inquiry.rounds),
            "repaired": sum(r.repaired for a in asked for r in a.inquiry.rounds),
        },
        **_summed([*trial.gathering, *trial.rounds, *trial.again]),
        **sets_json(asked[0].inquiry.sets),
        "for_standard_error": _precise(trial, headline),
    }


def _precise(trial: Trial, scale: Scale) -> dict[str, Any] | None:
    """What a score of the most varied mixture takes for the paper's standard error.

    The gathering is in it, and no round is asked again.
    """
    needed = [rounds_for(np.array([scale.score(r) for r in one.rounds])) for one in trial.asked]
    rounds = max((n for n in needed if n is not None), default=None)
    if rounds is None:
        return None
    factor = rounds / sum(len(one.inquiry.rounds) for one in trial.asked)
    once, each = _summed(trial.gathering), _summed(trial.rounds)
    costs = once["cost_usd"], each["cost_usd"]
    return {
        "standard_error": STANDARD_ERROR,
        "rounds": rounds,
        **{
            name: round(sum(once[name][k] + factor * each[name][k] for k in kinds))
            for name, kinds in {"calls": ("sent", "cached"), "tokens": ("input", "output")}.items()
        },
        "cost_usd": None if None in costs else costs[0] + factor * costs[1],
    }


def _by_column(asked: Sequence[Asked]) -> dict[str, list[Asked]]:
    found: dict[str, list[Asked]] = {}
    for one in asked:
        found.setdefault(one.mixture.labelled.column, []).append(one)
    return found


def _against(asked: Sequence[Asked], scale: Scale, config: ScoreConfig) -> dict[str, Any]:
    """The mixtures of one column at one scale: agreement with the classes, scores, and their rise.

    Agreement over all is that of the mixtures of two classes or more: with one there is nothing to
    tell apart.
    """
    mixtures = [_mixture(one, scale, config) for one in asked]
    several = [one for one in asked if one.mixture.size > 1]
    means = [one["score"]["mean"] for one in mixtures if one["score"]]
    differences = [abs(one["difference"]["mean"]) for one in mixtures if one["difference"]]
    return against_classes(
        [r for one in several for r in one.rounds],
        [one.labels(r) for one in several for r in one.rounds],
        scale,
    ) | {
        "mixtures": mixtures,
        "rises": len(means) == len(mixtures)
        and all(low < high for low, high in itertools.pairwise(means)),
        "largest_difference": max(differences, default=None),
    }


def _mixture(one: Asked, scale: Scale, config: ScoreConfig) -> dict[str, Any]:
    """One mixture at one scale."""
    rounds = one.rounds
    truth = [one.labels(r) for r in rounds]

    def score(round_: Round) -> float:
        return scale.score(round_)

    def perfect(round_: Round) -> float:
        return score_of_labels(one.labels(round_))

    def mean(value: Callable[[Round], float]) -> dict[str, Any] | None:
        return mean_score(rounds, value, config.bootstrap, config.seed)

    found = against_classes(rounds, truth, scale) if one.mixture.size > 1 else {}
    return {
        "classes": one.mixture.size,
        "rounds": len(rounds),
        "score": mean(score),
        "perfect_judge": mean(perfect),
        "difference": mean(lambda r: score(r) - perfect(r)),
        "ari": found.get("ari"),
        "ari_ci95": found.get("ari_ci95"),
    }


def _pairs(
    found: Iterable[tuple[Sequence[Round], Sequence[Round] | None]],
) -> list[tuple[Round, Round]]:
    """Rounds with the other judgement of their documents, where neither failed."""
    pairs = []
    for rounds, others in found:
        by_id = {r.id: r for r in rounds}
        pairs += [(by_id[r.id], r) for r in others or ()]
    return [(one, other) for one, other in pairs if not (one.failed or other.failed)]


def _between(pairs: Sequence[tuple[Round, Round]], scale: Scale) -> dict[str, Any]:
    return between_rounds([a for a, _ in pairs], [b for _, b in pairs], scale.clusters)


def _difference(
    pairs: Sequence[tuple[Round, Round]], scale: Scale, config: ScoreConfig
) -> dict[str, Any] | None:
    """Score of the second judge less the first's, on the same rounds and without verdicts."""
    other = {id(one): another for one, another in pairs}
    return mean_score(
        [one for one, _ in pairs],
        lambda r: (
            score_of_labels(scale.clusters(other[id(r)])) - score_of_labels(scale.clusters(r))
        ),
        config.bootstrap,
        config.seed,
    )
