"""How many corpora and seeds an effect takes: what `--power` tells before a study is run."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv import files, plans
from synthdiv.config import Config
from synthdiv.errors import UserError, closest
from synthdiv.reporting.outcomes import OUTCOMES, Outcome, outcome_named
from synthdiv.study.budget import Table
from synthdiv.study.config import Plan
from synthdiv.study.sample_size import Noise, PowerConfig, corpora_needed, detectable, power

_SEEDS = (1, 2, 3, 5)
_CORPORA = (4, 6, 8, 12, 16, 24)


def plan_power(study: Plan, config: Config, earlier: Path | None) -> plans.Plan:
    """Returns what a study of so many corpora and seeds could see.

    Args:
        study: the study.
        config: bindings of `Power`.
        earlier: directory of a finished study whose noise this one is taken to have; None: all of
            it is bound.

    Raises:
        UserError: the noise is not known, or there is no such outcome.
    """
    asked = config.get(PowerConfig)
    outcome = _outcome(asked.outcome)
    if earlier is not None:
        asked = _filled(asked, files.read_json(earlier / "study.json"), earlier)
    missing = [name for name in ("spread", "training") if getattr(asked, name) is None]
    if missing:
        names = " and ".join(f"Power.{name}" for name in missing)
        raise UserError(f"bind {names}, or name a finished study like this one with --earlier")
    assert asked.spread is not None
    noise = Noise(
        *(getattr(asked, name) or 0.0 for name in ("training", "questions", "corpora", "scores"))
    )
    corpora, seeds = len(study.cells), len(study.seeds)
    unit = f"{outcome.of_differences} of {outcome.title}".removeprefix(" of ")
    facts = {
        "noise": ", ".join(
            f"{name} {outcome.text(value)}"
            for name, value in vars(noise).items()
            if name != "scores"
        )
        + f" ({unit}); scores {noise.scores:.3f}, of a spread of {asked.spread:.3f}",
        "this study": f"{corpora} corpora x {seeds} seeds",
    }
    if not noise.training:
        facts["noise"] += "; what training adds is not known apart: it is in that of corpora"
    figures: dict[str, Any] = {"noise": vars(noise), "spread": asked.spread}
    if corpora >= 3:
        least = detectable(asked.spread, noise, corpora, seeds, asked.wanted)
        figures["detectable"] = least
        facts["this study"] += (
            " see no effect, however large: the scores' own errors hide it"
            if least is None
            else " see any effect: there is no noise"
            if least == 0
            else f" see an effect of {outcome.text(least)} {unit} per unit of score with "
            f"probability {asked.wanted:g}"
        )
    else:
        facts["this study"] += ": fewer than three corpora make no correlation"
    if not asked.effect:
        spread, wanted = asked.spread, asked.wanted
        each = [[detectable(spread, noise, n, s, wanted) for s in _SEEDS] for n in _CORPORA]
        rows = _rows([[_shown(outcome, one) for one in row] for row in each])
        title = f"smallest effect seen with probability {asked.wanted:g}, by corpora and seeds"
        return _with_table(facts, figures, title, rows)
    chance = [[power(asked.effect, asked.spread, noise, n, s) for s in _SEEDS] for n in _CORPORA]
    figures["power"] = dict(zip(_CORPORA, chance, strict=True))
    needed = {s: corpora_needed(asked.effect, asked.spread, noise, s, asked.wanted) for s in _SEEDS}
    figures["corpora_needed"] = needed
    facts["an effect of"] = (
        f"{outcome.text(asked.effect)} {unit} per unit of score is seen with probability "
        f"{asked.wanted:g} by "
        + ", ".join(
            f"{'not even 1,000' if n is None else n} corpora x {s} seed{'s' * (s > 1)}"
            for s, n in needed.items()
        )
    )
    if corpora >= 3:
        facts["an effect of"] += (
            f"; by this study with {power(asked.effect, asked.spread, noise, corpora, seeds):.2f}"
        )
    rows = _rows([[f"{one:.2f}" for one in row] for row in chance])
    return _with_table(facts, figures, "probability of seeing it, by corpora and seeds", rows)


def _outcome(name: str) -> Outcome:
    if name.partition("/")[0] not in OUTCOMES:
        raise UserError(
            f"Power.outcome {name!r} is none of {', '.join(OUTCOMES)}{closest(name, OUTCOMES)}"
        )
    return outcome_named(name)


def _filled(asked: PowerConfig, study: dict[str, Any], earlier: Path) -> PowerConfig:
    """What is bound, and the rest as an earlier study found it."""
    models = study["outcomes"]
    model = asked.model or next(iter(models))
    found = models.get(model, {}).get(asked.phase, {})
    if asked.outcome not in found:
        known = [f"{m} {p} {o}" for m, phases in models.items() for p, some in phases.items()
                 for o in some]  # fmt: skip
        raise UserError(
            f"{earlier} has no outcome {model} {asked.phase} {asked.outcome}; it has "
            f"{', '.join(known)}"
        )
    fit, scores = found[asked.outcome], [cell["score"] for cell in study["cells"]]
    if fit["reliability"] is None:
        raise UserError(f"{earlier} has too few corpora, or equal scores: its noise is not known")
    errors = [one["standard_error"] for one in scores if one["standard_error"] is not None]
    spread = np.std([one["mean"] for one in scores], ddof=1) * math.sqrt(fit["reliability"])
    training, residual = fit["sd"]["training"] or 0.0, fit["observed"]["residual_sd"]
    # All corpora have the same questions and held-out documents, so that what these add to every
    # outcome moves no slope; what is left beside training is in the scatter about the line.
    learnt: dict[str, Any] = {
        "training": training,
        "questions": 0.0,
        "corpora": math.sqrt(max(residual**2 - training**2 / fit["seeds"], 0.0)),
        "scores": float(np.sqrt(np.mean(np.square(errors)))) if errors else 0.0,
        "spread": float(spread) or None,
    }
    own = {name: value for name, value in vars(asked).items() if value is not None}
    return PowerConfig(**(learnt | own))


def _rows(cells: list[list[str]]) -> list[list[str]]:
    return [[str(corpora), *row] for corpora, row in zip(_CORPORA, cells, strict=True)]


def _shown(outcome: Outcome, slope: float | None) -> str:
    return "-" if slope is None else outcome.text(slope)


def _with_table(
    facts: dict[str, str], figures: dict[str, Any], title: str, rows: list[list[str]]
) -> plans.Plan:
    head = ["corpora", *(f"{s} seed{'s' * (s > 1)}" for s in _SEEDS)]
    return plans.Plan(facts, figures, {title: Table(head=head, rows=rows)})
