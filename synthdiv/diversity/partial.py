"""What a run that a cap has stopped says of the rounds that were answered.

Its rounds are the first ones, up to the first that is not answered: which documents a round shows
does not hang on how far the money goes, so they are as good a sample as all, only a smaller one.
(All answered rounds would not be: a round of singletons needs one call less than the others.)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.errors import Paused

if TYPE_CHECKING:
    from synthdiv.diversity.agent import Round
    from synthdiv.diversity.config import ScoreConfig
    from synthdiv.llm import Session

LEAST_ROUNDS = 20  # how many fit under a cap hangs a little on what they are; of fewer, too much


class PartialScore(Paused):
    """A cap has stopped the run.

    Attributes:
        pause: what the session said.
        result: what score.json, or comparison.json, holds so far.
    """

    def __init__(self, words: str, pause: Paused, result: dict[str, Any]) -> None:
        super().__init__(f"{words}; {pause}", result["partial"]["go_on_with"])
        self.pause, self.result = pause, result


def answered_first(rounds: Sequence[Round]) -> list[Round]:
    """The rounds before the first that is not answered."""
    return list(itertools.takewhile(lambda r: r.answered, rounds))


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
        reached = "no round is answered yet, so there is no score (--dry_run tells what all takes)"
    raise Paused(f"{reached}; {pause}", pause.flags) from None


def calls_left(rounds: Sequence[Round], config: ScoreConfig, second: bool = False) -> int:
    """About how many calls the rounds that are not answered will take, and agreement at most."""
    doubtful = sum(any(len(cluster) > 1 for cluster in r.clusters) for r in rounds)
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


def partial_words(result: Mapping[str, Any], output: Path | str | None) -> str:
    """How far a corpus got, in one line."""
    found, where = result["partial"], f" in {output}" if output is not None else ""
    if found["rounds_answered"] == found["rounds_planned"]:
        return f"the score{where} is whole, its agreement figures are not"
    low, high = ("?" if end is None else f"{end:.3f}" for end in result["score"]["ci95"])
    return (
        f"{found['rounds_answered']:,} of {found['rounds_planned']:,} rounds are answered, their "
        f"PARTIAL score{where} is {result['score']['mean']:.3f} [{low}, {high}]"
    )


def partial_comparison(
    results: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    config: ScoreConfig,
    session: Session,
    pause: Paused,
) -> dict[str, Any]:
    """`partial` of comparison.json."""
    begun = {name: one["partial"] for name, one in results.items() if "partial" in one}
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
    results: Mapping[str, Mapping[str, Any]], names: Sequence[str], output: Path | str
) -> str:
    """How far a comparison got, in one line."""
    whole = sum("partial" not in one for one in results.values())
    begun = [f"{n}: {partial_words(r, None)}" for n, r in results.items() if "partial" in r]
    words = f"{whole} of {len(names)} corpora are scored, the PARTIAL comparison is in {output}"
    return "; ".join([words, *begun])
