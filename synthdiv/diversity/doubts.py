"""What a score's reader has to be warned of."""

import math
from collections.abc import Sequence

from synthdiv.diversity.agent import Round
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.estimate import Estimate

_ALONE = "a single usable round has no interval: ask for more rounds"
_WARNED = 0.1  # share of the rounds from which on replies without use are a warning


def warnings(rounds: Sequence[Round], config: ScoreConfig, found: Estimate) -> list[str]:
    """What a reader has to know before believing the score: replies of no use, no interval."""
    verified = [r for r in rounds if not r.failed] if config.verify else []
    counted = (
        (sum(r.failed for r in rounds), rounds, "gave no usable clustering and are left out"),
        (
            sum(r.repaired for r in rounds),
            rounds,
            "were mended by rule: the judge's clusters or verdicts were not what was asked for",
        ),
        (
            sum(r.unverified for r in verified),
            verified,
            "have clusters without a verdict, which count as valid",
        ),
    )
    told = [] if math.isfinite(found.low) else [_ALONE]
    return told + [
        f"{count:,} of {len(among):,} rounds {words}; this judge's score is not to be relied on"
        for count, among, words in counted
        if count > _WARNED * len(among)
    ]
