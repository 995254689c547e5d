"""Simulated studies whose truth is known, and how often the statistics say so."""

import numpy as np

from synthdiv.study.correlations import difference, partial, pearson, spearman
from synthdiv.study.regression import regress, slope_difference
from synthdiv.study.sample_size import Noise, power


def study(rng, corpora, seeds, slope, noise, confound=0.0):
    """One study: scores as measured, outcomes [corpora, seeds], and the planted confound [n].

    The confound moves the score and, `confound` strong, the outcome.
    """
    hidden = rng.normal(size=corpora)
    true = rng.normal(size=corpora)
    if confound:
        true = 0.8 * hidden + 0.6 * true
    scores = true + rng.normal(0, noise.scores, corpora)
    mean = slope * true + confound * hidden + rng.normal(0, noise.corpora, corpora)
    mean = mean + rng.normal(0, noise.questions, corpora)
    outcomes = mean[:, None] + rng.normal(0, noise.training, (corpora, seeds))
    return scores, outcomes + rng.normal(size=seeds) * noise.training, hidden


CASES = {
    "no slope": (8, 3, 0.0, Noise(0.5, 0.3, 0.5)),
    "a slope": (8, 3, 1.0, Noise(0.5, 0.3, 0.5)),
    "seed noise": (6, 5, 1.0, Noise(2.0, 0.1)),
    "one seed": (5, 1, 1.0, Noise(0.5, 0.3, 0.3)),
    "noisy scores": (10, 3, 1.0, Noise(0.5, 0.3, 0.3, scores=0.4)),
    "noisy scores, no slope": (10, 3, 0.0, Noise(0.5, 0.3, 0.3, scores=0.4)),
}


def slopes(case, studies, rng):
    """Shares of intervals that hold the slope, and of studies whose interval leaves out zero.

    Also the mean slope.
    """
    corpora, seeds, slope, noise = CASES[case]
    held = seen = 0
    means = []
    for _ in range(studies):
        scores, outcomes, _ = study(rng, corpora, seeds, slope, noise)
        found = regress(scores, outcomes, [noise.scores] * corpora)
        if found["ci95"] is None:
            continue
        low, high = found["ci95"]
        held += low <= slope <= high
        seen += not low <= 0 <= high
        means.append(found["slope"])
    return held / len(means), seen / studies, float(np.mean(means))


def confounded(studies, rng, corpora=12):
    """A planted confound and no effect: shares of studies that see one, without it and given it.

    Also the share of intervals of the partial slope that hold zero.
    """
    plain = given = held = 0
    for _ in range(studies):
        scores, outcomes, hidden = study(rng, corpora, 3, 0.0, Noise(0.5, 0.2, 0.3), confound=1.0)
        y = outcomes.mean(axis=1)
        plain += pearson(scores, y).p < 0.05
        found = partial(scores, y, [hidden])
        given += found["p"] < 0.05
        held += found["ci95"][0] <= 0 <= found["ci95"][1]
    return plain / studies, given / studies, held / studies


def correlations(studies, rng, corpora=10):
    """Shares of intervals that hold Pearson's and Spearman's correlation, and their difference."""
    truth = np.array([[1, 0.8, 0.4], [0.8, 1, 0.5], [0.4, 0.5, 1]])
    factor = np.linalg.cholesky(truth)
    held = np.zeros(3)
    for _ in range(studies):
        y, first, second = factor @ rng.normal(size=(3, corpora))
        found = (
            pearson(y, first).ci95,
            spearman(y, first).ci95,
            difference(y, first, second)["ci95"],
        )
        values = 0.8, 6 / np.pi * np.arcsin(0.4), 0.4
        held += [low <= value <= high for (low, high), value in zip(found, values, strict=True)]
    return (held / studies).tolist()


def phases(studies, rng):
    """The share of intervals that hold the difference of two slopes over corpora in common."""
    held = 0
    for _ in range(studies):
        scores = rng.normal(size=7)
        shared = rng.normal(0, 2, (7, 1))
        first, second = (
            shared + slope * scores[:, None] + rng.normal(0, 0.5, (7, 3)) for slope in (0.3, 0.8)
        )
        low, high = slope_difference(scores, first, second)["ci95"]
        held += low <= 0.5 <= high
    return held / studies


def promised(case):
    """The power that was promised of a case."""
    corpora, seeds, slope, noise = CASES[case]
    return power(slope, 1.0, noise, corpora, seeds)
