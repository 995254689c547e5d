"""Planted truths: the mean is unbiased, and intervals cover as often as they say.

A corpus has clusters of known shares; a judge of known error sorts ten documents at a time, putting
a document by mistake into a cluster of its own at a rate that its criteria set draws. The expected
score follows exactly from these, by enumeration and not by the code under test.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.control import control_variate
from synthdiv.diversity.corpora import difference
from synthdiv.diversity.estimate import (
    Estimate,
    confidence_sequence,
    effective_clusters,
    estimate,
    pair_probability,
    sequence_factor,
    variances,
)
from synthdiv.diversity.figures import Figures, interval

K = 10
RATE, RATE_SPREAD = 0.15, 0.03  # of the judge's errors: mean over sets, and their spread


def shares(name: str, clusters: int = 40) -> np.ndarray:
    if name == "uniform":
        weights = np.ones(clusters)
    elif name == "zipf":
        weights = 1.0 / np.arange(1, clusters + 1)
    else:  # one giant cluster
        weights = np.full(clusters, 0.3 / (clusters - 1))
        weights[0] = 0.7
    return weights / weights.sum()


def true_score(p: np.ndarray, rate: float) -> float:
    """E[C * C / K]: own clusters are binomial, and of the rest each planted one is hit or not."""
    total = 0.0
    for own in range(K + 1):
        weight = math.comb(K, own) * rate**own * (1 - rate) ** (K - own)
        draws = K - own
        absent = (1 - p) ** draws
        both = (1 - p[:, None] - p[None, :]).clip(0) ** draws
        hit_both = 1 - absent[:, None] - absent[None, :] + both
        first = (1 - absent).sum()
        second = first + hit_both.sum() - np.trace(hit_both)
        total += weight * (own**2 + 2 * own * first + second) / K
    return total


def over_rates(function) -> float:
    """Mean over the sets' error rates (normal; Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    values = [function(RATE + RATE_SPREAD * node) for node in nodes]
    return float(np.dot(weights, values) / weights.sum())


def true_pair(p: np.ndarray, rate: float) -> float:
    return (1 - rate) ** 2 * float((p**2).sum())


def judged(p: np.ndarray, shape: tuple[int, ...], generator: np.random.Generator, rates):
    """Cluster labels of rounds, `[*shape, K]`."""
    x = generator.choice(len(p), size=(*shape, K), p=p)
    own = generator.random(x.shape) < rates
    return np.where(own, len(p) + np.arange(K), x), x


def scores(labels: np.ndarray) -> np.ndarray:
    ordered = np.sort(labels, -1)
    clusters = 1 + (ordered[..., 1:] != ordered[..., :-1]).sum(-1)
    return clusters**2 / K


def shared(labels: np.ndarray) -> np.ndarray:
    return (labels[..., :, None] == labels[..., None, :]).sum((-1, -2)) - K


def simulate(name: str, runs: int, sets: int, rounds: int) -> dict[str, float]:
    p = shares(name)
    truth, pair_truth = (
        over_rates(lambda r: true_score(p, r)),
        over_rates(lambda r: true_pair(p, r)),
    )
    found: dict[str, list] = {"score": [], "pair": [], "covered": [], "pair covered": []}
    owner = np.repeat(np.arange(sets), rounds)
    for run in range(runs):
        generator = np.random.default_rng([11, run])
        rates = RATE + RATE_SPREAD * generator.standard_normal((sets, 1, 1))
        labels, _ = judged(p, (sets, rounds), generator, rates)
        score = estimate(scores(labels).ravel(), owner, 300, run)
        probabilities = pair_probability(shared(labels).ravel(), np.full(len(owner), K * (K - 1)))
        pair = estimate(probabilities, owner, 300, run)
        found["score"].append(score.mean)
        found["pair"].append(pair.mean)
        found["covered"].append(score.low <= truth <= score.high)
        found["pair covered"].append(pair.low <= pair_truth <= pair.high)

    def off(values, true):
        return (np.mean(values) - true) / (np.std(values) / math.sqrt(runs))

    return {
        "bias": off(found["score"], truth),
        "pair bias": off(found["pair"], pair_truth),
        "coverage": float(np.mean(found["covered"])),
        "pair coverage": float(np.mean(found["pair covered"])),
    }


@pytest.mark.parametrize("name", ["uniform", "zipf", "giant"])
def test_mean_is_unbiased_and_interval_covers(name):
    """A fast look, at three binomial standard errors of 200 runs."""
    found = simulate(name, runs=200, sets=6, rounds=40)
    assert abs(found["bias"]) < 3.5 and abs(found["pair bias"]) < 3.5
    assert 0.90 <= found["coverage"] <= 0.995
    assert 0.90 <= found["pair coverage"] <= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniform", "zipf", "giant"])
@pytest.mark.parametrize(("sets", "rounds"), [(10, 30), (5, 80), (20, 50)])
def test_interval_covers_in_93_to_97_percent_of_1000_runs(name, sets, rounds):
    found = simulate(name, runs=1000, sets=sets, rounds=rounds)
    assert abs(found["bias"]) < 3.5 and abs(found["pair bias"]) < 3.5
    assert 0.93 <= found["coverage"] <= 0.97, found
    assert 0.93 <= found["pair coverage"] <= 0.97, found


def stopped_early(name: str, runs: int, target: float) -> tuple[float, float]:
    """Coverage, and mean number of rounds, where a run stops at its first narrow interval."""
    p = shares(name)
    truth = over_rates(lambda r: true_score(p, r))
    covered, asked = 0, 0
    for run in range(runs):
        generator = np.random.default_rng([12, run])
        rates = RATE + RATE_SPREAD * generator.standard_normal((100, 1, 1))
        means = scores(judged(p, (100, 50), generator, rates)[0]).mean(1)
        for count in range(5, 101):
            low, high = confidence_sequence(means[:count])
            if high - low <= 2 * target:
                break
        covered += low <= truth <= high
        asked += 50 * count
    return covered / runs, asked / runs


@pytest.mark.parametrize("name", ["uniform", "giant"])
def test_confidence_sequence_covers_when_one_stops_early(name):
    coverage, rounds = stopped_early(name, 100, 0.2)
    assert coverage >= 0.94
    assert rounds < 5000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniform", "zipf", "giant"])
def test_confidence_sequence_covers_in_94_percent_of_1000_early_stops(name):
    for target in (0.1, 0.2, 0.3):
        assert stopped_early(name, 1000, target)[0] >= 0.94


def test_sequence_factor_solves_its_equation():
    for count in (8, 20, 100):
        t = sequence_factor(count)
        growth, x = 1 + 0.5 * count, t * t / (count - 1)
        martingale = -0.5 * math.log(growth) + count / 2 * (math.log1p(x) - math.log1p(x / growth))
        assert martingale == pytest.approx(math.log(20))
    assert sequence_factor(2) == math.inf


def controlled(name: str, runs: int, sets: int, rounds: int) -> dict[str, float]:
    """The control variate under a judge and an offline judge with errors of their own."""
    p = shares(name)
    truth = over_rates(lambda r: true_score(p, r))
    owner = np.repeat(np.arange(sets), rounds)
    found: dict[str, list] = {"mean": [], "covered": [], "reduction": [], "plain": []}
    for run in range(runs):
        generator = np.random.default_rng([13, run])
        rates = RATE + RATE_SPREAD * generator.standard_normal((sets, 1, 1))
        labels, x = judged(p, (sets, rounds), generator, rates)
        noisy = np.where(generator.random(x.shape) < 0.1, len(p) + np.arange(K), x)
        own = scores(judged(p, (4000,), generator, 0.1)[0])
        y = scores(labels).ravel()
        control = control_variate(y, scores(noisy).ravel(), owner, own)
        config = ScoreConfig(bootstrap=300, seed=run)
        result = interval(Figures(control.values, owner, y, control), config, False)
        found["mean"].append(result.mean)
        found["plain"].append(y.mean())
        found["covered"].append(result.low <= truth <= result.high)
        found["reduction"].append(control.reduction)
    return {
        "bias": (np.mean(found["mean"]) - truth) / (np.std(found["mean"]) / math.sqrt(runs)),
        "coverage": float(np.mean(found["covered"])),
        "reduction": float(np.mean(found["reduction"])),
        "variance": float(np.var(found["mean"]) / np.var(found["plain"])),
    }


def test_control_variate_keeps_the_mean_and_covers_with_less_variance():
    found = controlled("zipf", 150, 5, 60)
    assert abs(found["bias"]) < 3.5
    assert 0.89 <= found["coverage"] <= 0.995
    assert found["reduction"] > 0.2
    assert found["variance"] < 1.0


def almost_equal(correlation: float, sets: int, runs: int) -> tuple[float, float]:
    """A judge that is all but the control judge: coverage, and width beside that without control.

    Scores come in halves, as few values as those of rounds.
    """
    owner, covered, widths = np.arange(100) % sets, [], []
    for run in range(runs):
        generator = np.random.default_rng([29, run])
        shared, own = (generator.normal(size=n) for n in (100, 2000))
        error = math.sqrt(1 - correlation**2) * generator.normal(size=100)
        y, x = (np.round(2 * (3 + v)) / 2 for v in (correlation * shared + error, shared))
        control = control_variate(y, x, owner, np.round(2 * (3 + own)) / 2)
        config = ScoreConfig(bootstrap=200, seed=run)
        found = interval(Figures(control.values, owner, y, control), config, False)
        plain = interval(Figures(y, owner, y), config, False)
        covered.append(found.low <= 3 <= found.high)
        widths.append((found.high - found.low) / (plain.high - plain.low))
    return float(np.mean(covered)), float(np.median(widths))


@pytest.mark.parametrize("sets", [1, 3, 10])
@pytest.mark.parametrize("correlation", [0.99, 1.0])
def test_control_variate_of_almost_the_same_judge(correlation, sets):
    """Its own error neither vanishes where the judges agree nor grows with few sets' t."""
    coverage, width = almost_equal(correlation, sets, 120)
    assert 0.89 <= coverage <= 0.995
    assert width < 0.45


@pytest.mark.slow
@pytest.mark.parametrize("sets", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("correlation", [0.6, 0.99, 1.0])
def test_control_variate_of_almost_the_same_judge_over_1000_runs(correlation, sets):
    coverage, width = almost_equal(correlation, sets, 1000)
    assert 0.93 <= coverage <= 0.97, coverage
    assert width < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniform", "zipf", "giant"])
def test_control_variate_covers_in_93_to_97_percent_of_1000_runs(name):
    found = controlled(name, 1000, 10, 60)
    assert abs(found["bias"]) < 3.5
    assert 0.93 <= found["coverage"] <= 0.97, found


def test_control_variate_of_an_unrelated_judge_is_not_used_or_harmless():
    generator = np.random.default_rng(0)
    y, x, own = (
        generator.normal(4, 1, 300),
        generator.normal(5, 1, 300),
        generator.normal(5, 1, 900),
    )
    control = control_variate(y, x, np.arange(300) % 5, own)
    assert control.reduction < 0.05
    assert np.nanmean(control.values) == pytest.approx(y.mean(), abs=0.02)


def test_control_variate_leaves_rounds_without_a_score_alone():
    generator = np.random.default_rng(0)
    x = generator.normal(5, 1, 50)
    y = x + generator.normal(0, 0.1, 50)
    y[3] = np.nan
    control = control_variate(y, x, np.zeros(50, int), generator.normal(5, 1, 5000))
    assert control.used and control.reduction > 0.9
    assert np.isnan(control.values[3]) and np.isfinite(np.delete(control.values, 3)).all()


def test_variances_within_and_between():
    generator = np.random.default_rng(0)
    within, between = [], []
    for _ in range(300):
        effect = generator.normal(0, 0.5, (8, 1))
        groups = list(effect + generator.normal(0, 1.0, (8, 20)))
        w, b = variances(groups)
        within.append(w)
        between.append(b)
    assert np.mean(within) == pytest.approx(1.0, rel=0.05)
    assert np.mean(between) == pytest.approx(0.25, rel=0.15)  # cut at 0, so a little high


def test_one_set_takes_the_criteria_as_given():
    values = np.random.default_rng(0).normal(3, 1, 400)
    found = estimate(values, np.zeros(400, int))
    assert "taken as given" in found.method
    half = 1.96 * values.std(ddof=1) / 20
    assert found.high - found.mean == pytest.approx(half, rel=0.1)


def test_rounds_without_a_score_are_left_out():
    values = np.array([1.0, np.nan, 3.0, 2.0, 2.5, np.nan, 1.5, 2.0])
    found = estimate(values, np.array([0, 0, 0, 1, 1, 1, 2, 2]))
    assert found.values == 6 and found.sets == 3
    assert math.isfinite(found.high)
    with pytest.raises(ValueError, match="no round"):
        estimate(np.array([np.nan]), np.array([0]))


def test_equal_values_have_an_interval_without_width():
    found = estimate(np.full(30, 10.0), np.arange(30) % 5)
    assert (found.low, found.high) == (10.0, 10.0)


@pytest.mark.parametrize("sets", [[0] * 5, [0, 0, 1, 1, 2]])
def test_resamples_of_one_value_do_not_blow_up_the_interval(sets) -> None:
    values = np.array([7.2, 7.2, 9.8, 6.05, 7.2])
    found = estimate(values, np.array(sets))
    assert found.high - found.low < 40  # rounding makes errors of 1e-8 of such resamples


def test_few_rounds_have_a_t_interval() -> None:
    """Resamples of few values are now and then nearly all alike, and t has no bound then."""
    few = np.array([8.33, 8.33, 8.33, 8.33, 8.33, 10.0])
    found = estimate(few, np.zeros(6))
    reach = stats.t.ppf(0.975, 5) * few.std(ddof=1) / math.sqrt(6)
    assert (found.low, found.high) == pytest.approx((few.mean() - reach, few.mean() + reach))
    assert "Student" in found.method
    assert "bootstrap" in estimate(np.tile(few, 2), np.zeros(12)).method


def test_pair_probability_is_unbiased_for_all_sizes_of_rounds():
    """The mean over all possible rounds equals the share of all pairs, for K of 2, 3 and 5."""
    labels = np.array([0, 0, 0, 1, 1, 2, 3])
    pairs = list(itertools.combinations(labels, 2))
    truth = np.mean([a == b for a, b in pairs])
    for size in (2, 3, 5):
        rounds = list(itertools.combinations(labels, size))
        counts = [sum(a == b for a, b in itertools.permutations(r, 2)) for r in rounds]
        found = pair_probability(np.array(counts), np.full(len(rounds), size * (size - 1)))
        assert found.mean() == pytest.approx(truth)


def _pair(mean: float, error: float, low: float, high: float) -> Estimate:
    return Estimate(mean, error, low, high, "", 0.0, 0.0, 100, 5)


def test_effective_clusters_inverts_and_corrects():
    found = effective_clusters(_pair(0.02, 0.002, 0.016, 0.024))
    assert found["mean"] == pytest.approx(50 / 1.01)
    assert found["ci95"] == pytest.approx([1 / 0.024, 1 / 0.016])


def test_effective_clusters_without_a_shared_pair_has_a_lower_bound_only():
    found = effective_clusters(_pair(0.0, 0.0, 0.0, 0.03))
    assert found["mean"] is None
    assert found["ci95"] == [pytest.approx(100 / 3), None]


def test_effective_clusters_is_hardly_biased():
    generator = np.random.default_rng(5)
    owner = np.arange(200) % 5
    found = []
    for _ in range(200):
        labels, _ = judged(shares("uniform"), (200,), generator, 0.0)
        probabilities = pair_probability(shared(labels), np.full(200, K * (K - 1)))
        found.append(effective_clusters(estimate(probabilities, owner, 200))["mean"])
    assert np.mean(found) == pytest.approx(40, rel=0.02)


@pytest.mark.parametrize("sets", [1, 5])
def test_a_difference_of_rounding_alone_is_none(sets) -> None:
    """Sums of tenths are not exact: neither their spread nor their difference says anything."""
    figures = [
        Figures(np.full(n, 0.1), np.arange(n) % sets, np.full(n, 0.1)) for n in (10, 9, 1000)
    ]
    for one in figures:
        for other in figures:
            found = difference(("one", "other"), one, other)
            assert (found.difference, found.ci95, found.p_value) == (0, (0, 0), 1)
