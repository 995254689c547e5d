"""What a run that a cap has stopped says of the rounds that were answered.

Its rounds are the first ones, up to the first that is not answered: which documents a round shows
does not depend on how far the money goes, so they are as good a sample as all, only a smaller one.
(All answered rounds would not be: a round of singletons needs one call less than the others.)
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.diversity.agent import Round
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.results import ComparisonResult, ScoreResult
from synthdiv.errors import Paused
from synthdiv.llm import Session

LEAST_ROUNDS = 20  # which rounds fit under a cap depends a little on their clusters


class PartialScore(Paused):
    """A cap has stopped the run.

    Attributes:
        pause: what the session said.
        result: what there is so far.
    """

    def __init__(self, words: str, pause: Paused, result: ScoreResult | ComparisonResult) -> None:
        super().__init__(f"{words}; {pause}", result.go_on_with)
        self.pause, self.result = pause, result


def require_enough(
    rounds: Sequence[Round], config: ScoreConfig, session: Session, pause: Paused
) -> None:
    """Passes the pause on if there are too few rounds for a score.

    Raises:
        Paused: with words on that where a cap is the reason.
    """
    planned = config.rounds * config.repeats
    if sum(not r.failed for r in rounds) >= min(LEAST_ROUNDS, planned):
        return
    if not session.capped:
        raise pause
    if rounds:
        reached = f"{len(rounds)} of {planned:,} rounds are answered, too few for a score"
        pause = session.enough(pause, calls_left(rounds, config))
    else:
        reached = "no round is answered yet, so there is no score"
    raise Paused(f"{reached}; {pause}", pause.flags) from None


def calls_left(rounds: Sequence[Round], config: ScoreConfig, second: bool = False) -> int:
    """About how many calls the rounds that are not answered will take, and agreement at most."""
    doubtful = sum(
        config.verify
        and not r.codes  # values are not verified
        and (r.corrected is not None or any(len(c.places) > 1 for c in r.clusters))
        for r in rounds
    )
    left = config.rounds * config.repeats - len(rounds)
    again = config.repeat_fraction + (config.second_fraction if second else 0.0)
    return round(left * (1 + doubtful / max(len(rounds), 1)) + again * config.rounds)


def partial(
    rounds: Sequence[Round], config: ScoreConfig, session: Session, second: bool, pause: Paused
) -> dict[str, Any]:
    """`partial` of score.json; `second` tells whether another judge was to be asked."""
    planned, left = config.rounds * config.repeats, calls_left(rounds, config, second)
    missing = {
        "rounds": len(rounds) < planned,
        "agreement": second or config.repeat_fraction > 0,
    }
    return {
        "reason": str(pause),
        "rounds_answered": len(rounds),
        "rounds_planned": planned,
        "missing": [name for name, is_missing in missing.items() if is_missing],
        "calls_left": left,
        "go_on_with": session.enough(pause, left).flags,
    }


def partial_words(result: ScoreResult, output: Path | str | None) -> str:
    """How far a corpus got, in one line."""
    found, where = result.partial or {}, f" in {output}" if output is not None else ""
    if found["rounds_answered"] == found["rounds_planned"]:
        return f"the score{where} is whole, its agreement figures are not"
    low, high = (f"{end:.3f}" if math.isfinite(end) else "?" for end in result.ci95)
    return (
        f"{found['rounds_answered']:,} of {found['rounds_planned']:,} rounds are answered, their "
        f"PARTIAL score{where} is {result.mean:.3f} [{low}, {high}]"
    )


def partial_comparison(
    results: Mapping[str, ScoreResult],
    names: Sequence[str],
    config: ScoreConfig,
    session: Session,
    pause: Paused,
) -> dict[str, Any]:
    """`partial` of comparison.json."""
    begun = {name: one.partial for name, one in results.items() if one.partial is not None}
    missing = [name for name in names if name not in results]
    each = config.criteria_rounds + 3 * config.sets + 2 * config.rounds * config.repeats
    left = sum(one["calls_left"] for one in begun.values()) + each * len(missing)
    return {
        "reason": str(pause),
        "corpora": begun,
        "missing": missing,
        "calls_left": left,
        "go_on_with": session.enough(pause, left).flags,
    }


def comparison_words(
    results: Mapping[str, ScoreResult], names: Sequence[str], output: Path | str
) -> str:
    """How far a comparison got, in one line."""
    begun = [f"{n}: {partial_words(r, None)}" for n, r in results.items() if r.partial is not None]
    whole = len(results) - len(begun)
    words = f"{whole} of {len(names)} corpora are scored, the PARTIAL comparison is in {output}"
    return "; ".join([words, *begun])
