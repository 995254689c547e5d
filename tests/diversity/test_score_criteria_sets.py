"""Criteria sets of shares of the proposals, or of bootstrap resamples: which interval holds?

A proposal moves the score of the set that it goes into, and a set is either the mean of its
proposals or what most of them name. The truth is what the procedure gives on average over new
proposals: a run has no other claim to make. See docs/decisions.md.
"""

import numpy as np
import pytest

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


def coverage(gathering: str, scheme: str, runs: int, proposals=100, sets=10, rounds=30):
    """Share of intervals that hold the truth, and the spread of the estimates."""
    owner = np.repeat(np.arange(sets), rounds)
    found = []
    for run in range(runs):
        generator = np.random.default_rng([21, run])
        effects = set_effects(gathering, proposals, sets, scheme, generator)
        values = 4.0 + effects[owner] + generator.normal(0, 1.3, len(owner))
        one = estimate(values, owner, 300, run)
        found.append((one.mean, one.low, one.high))
    mean, low, high = np.transpose(found)
    truth = mean.mean()  # the procedure's own expectation; its error is small beside the intervals
    return float(((low <= truth) & (truth <= high)).mean()), float(mean.std())


@pytest.mark.parametrize("gathering", ["mean", "vote"])
def test_intervals_over_shares_hold_and_over_resamples_do_not(gathering):
    assert 0.90 <= coverage(gathering, "shares", 150)[0] <= 0.99
    assert coverage(gathering, "resamples", 150)[0] < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("gathering", ["mean", "vote"])
@pytest.mark.parametrize(
    ("proposals", "sets", "rounds"), [(100, 10, 30), (100, 5, 80), (20, 10, 30)]
)
def test_shares_against_resamples_in_1000_runs(gathering, proposals, sets, rounds):
    shares = coverage(gathering, "shares", 1000, proposals, sets, rounds)
    resamples = coverage(gathering, "resamples", 1000, proposals, sets, rounds)
    print(f"{gathering} of {proposals} proposals, {sets} sets: covered, spread of the score")
    print(
        f"  shares {shares[0]:.3f} {shares[1]:.3f}, resamples {resamples[0]:.3f} {resamples[1]:.3f}"
    )
    # Five sets that have a criterion or lack it are as far from normal as it gets: 92% there.
    assert (0.93 if sets > 5 else 0.91) <= shares[0] <= 0.97
    assert resamples[0] < 0.9
    assert shares[1] < 1.1 * resamples[1]
