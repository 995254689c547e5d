"""Criteria sets of shares of the proposals, or of bootstrap resamples: which interval holds?

A proposal moves the score of the set that it goes into, and a set is either the mean of its
proposals or what most of them name. The truth is what the procedure gives on average over new
proposals: a run has no other claim to make. See docs/decisions.md.
"""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from synthdiv.diversity.estimate import estimate

NAMED = np.array([0.9, 0.75, 0.6, 0.5, 0.5, 0.45, 0.3, 0.2])  # how often each criterion is proposed
WORTH = np.array([0.1, -0.3, 0.2, 0.5, -0.5, 0.4, -0.2, 0.6])  # what it does to the score
KEPT = 4


def drawn(pool: np.ndarray, sets: int, scheme: str, generator: np.random.Generator) -> np.ndarray:
    """Proposals of each set, `[sets, of a set, ...]`."""
    if scheme == "shares":
        return pool.reshape(sets, len(pool) // sets, *pool.shape[1:])
    return pool[generator.integers(len(pool), size=(sets, len(pool)))]


def set_effects(
    gathering: str, proposals: int, sets: int, scheme: str, generator: np.random.Generator
) -> np.ndarray:
    """What each set does to the score, `[sets]`."""
    if gathering == "mean":
        return drawn(generator.normal(0, 1.0, proposals), sets, scheme, generator).mean(1)
    names = generator.random((proposals, len(NAMED))) < NAMED
    votes = drawn(names, sets, scheme, generator).sum(1).astype(float)
    votes += 1e-6 * generator.random(votes.shape)  # ties fall to chance
    return WORTH[np.argsort(-votes, axis=1)[:, :KEPT]].sum(1)


def simulate(gathering: str, scheme: str, runs: int, proposals=100, sets=10, rounds=30):
    """Coverage, spread and mean of the estimates; coverage and width with the variance undivided.

    Undivided: the variance between sets is not divided by their number, since sets from one pool
    share its luck.
    """
    owner = np.repeat(np.arange(sets), rounds)
    t = student.ppf(0.975, sets - 1)
    found = []
    for run in range(runs):
        generator = np.random.default_rng([21, run])
        effects = set_effects(gathering, proposals, sets, scheme, generator)
        values = 4.0 + effects[owner] + generator.normal(0, 1.3, len(owner))
        one = estimate(values, owner, 300, run)
        wide = t * math.sqrt(one.standard_error**2 + one.between)
        found.append((one.mean, (one.high - one.low) / 2, wide))
    mean, reach, wide = np.transpose(found)
    off = np.abs(mean - mean.mean())  # from the procedure's own mean, whose error is small here
    return {
        "covered": float((off <= reach).mean()),
        "spread": float(mean.std()),
        "mean": float(mean.mean()),
        "covered undivided": float((off <= wide).mean()),
        "wider": float(wide.mean() / reach.mean()),
    }


def one_list(gathering: str, proposals: int) -> float:
    """Mean score under one set out of all proposals, the paper's procedure."""
    generator = np.random.default_rng(22)
    effects = [set_effects(gathering, proposals, 1, "shares", generator) for _ in range(4000)]
    return 4.0 + float(np.mean(effects))


@pytest.mark.parametrize("gathering", ["mean", "vote"])
def test_intervals_over_shares_hold_and_over_resamples_do_not(gathering):
    assert 0.90 <= simulate(gathering, "shares", 150)["covered"] <= 0.99
    assert simulate(gathering, "resamples", 150)["covered"] < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("gathering", ["mean", "vote"])
@pytest.mark.parametrize(
    ("proposals", "sets", "rounds"), [(100, 10, 30), (100, 5, 80), (20, 10, 30)]
)
def test_shares_against_resamples_in_1000_runs(gathering, proposals, sets, rounds):
    shares = simulate(gathering, "shares", 1000, proposals, sets, rounds)
    resamples = simulate(gathering, "resamples", 1000, proposals, sets, rounds)
    print(f"\n{gathering} of {proposals} proposals, {sets} sets")
    for name, found in (("shares", shares), ("resamples", resamples)):
        print(f"  {name}", {key: round(value, 3) for key, value in found.items()})
    print(
        f"  shares' mean against one list's {shares['mean'] - one_list(gathering, proposals):+.3f}"
    )
    # Five sets that have a criterion or lack it are as far from normal as it gets: 92% there.
    assert (0.93 if sets > 5 else 0.91) <= shares["covered"] <= 0.97
    assert resamples["covered"] < 0.9
    assert shares["spread"] < 1.1 * resamples["spread"]
