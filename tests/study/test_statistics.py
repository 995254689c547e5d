"""The statistics of a study: against known results, by hand, and on studies whose truth is known.

`simulation.py` makes the studies; a thousand of each are slow, fewer are enough to see a plausible
mistake.
"""

import numpy as np
import pytest
from scipy import stats

from synthdiv.errors import UserError
from synthdiv.study.analysis import analyse
from synthdiv.study.correlations import difference, holm, partial, pearson, spearman
from synthdiv.study.outcomes import mean_of
from synthdiv.study.regression import regress, slope_difference
from synthdiv.study.sample_size import Noise, PowerConfig, corpora_needed, detectable, power
from tests.study import simulation


def test_the_slope_is_that_of_the_mixed_model():
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    rng = np.random.default_rng(3)
    scores, outcomes, _ = simulation.study(rng, 12, 4, 1.0, Noise(0.5, 0.0, 0.8))
    ours = regress(scores, outcomes)
    design = np.column_stack([np.ones(48), np.repeat(scores, 4)])
    fitted = mixed.MixedLM(outcomes.ravel(), design, groups=np.repeat(np.arange(12), 4)).fit()
    assert ours["slope"] == pytest.approx(fitted.params[1], rel=1e-4)
    low, high = ours["ci95"]
    half = stats.t.ppf(0.975, 10) * fitted.bse[1]
    assert (high - low) / 2 == pytest.approx(half, rel=0.01)


def test_noise_is_told_apart():
    rng = np.random.default_rng(4)
    truth = Noise(training=0.6, questions=0.3, corpora=0.5)
    scores, outcomes, _ = simulation.study(rng, 2000, 3, 1.0, truth)
    sd = regress(scores, outcomes, None, [0.3] * 2000)["sd"]
    assert sd == pytest.approx({"training": 0.6, "questions": 0.3, "corpora": 0.5}, rel=0.06)
    assert regress(scores, outcomes[:, 0])["sd"]["training"] is None


def test_errors_in_scores_are_taken_out_of_the_slope():
    rng = np.random.default_rng(5)
    scores, outcomes, _ = simulation.study(rng, 3000, 1, 1.0, Noise(0.3, scores=0.5))
    found = regress(scores, outcomes, [0.5] * 3000)
    assert found["reliability"] == pytest.approx(0.8, abs=0.02)
    assert found["observed"]["slope"] == pytest.approx(0.8, abs=0.04)
    assert found["slope"] == pytest.approx(1.0, abs=0.04)
    noise = regress(scores[:9], outcomes[:9], [5.0] * 9)
    assert noise["slope"] is None is noise["ci95"] and noise["observed"]["ci95"] is not None


@pytest.mark.parametrize("case", ["a slope", "noisy scores"])
def test_intervals_hold_the_slope_and_power_is_as_promised(case):
    held, seen, mean = simulation.slopes(case, 400, np.random.default_rng(6))
    assert 0.92 <= held <= 0.98
    assert abs(seen - simulation.promised(case)) < 0.06
    assert mean == pytest.approx(1.0, abs=0.06)


def test_a_planted_confound_is_seen_without_and_gone_with_it():
    plain, given, held = simulation.confounded(200, np.random.default_rng(7))
    assert plain > 0.6 and given < 0.1 and held > 0.9


def test_partial_correlation_is_that_of_the_three_correlations():
    rng = np.random.default_rng(8)
    z, x, y = rng.normal(size=(3, 9))
    x, y = x + z, y - z
    r = np.corrcoef([x, y, z])
    by_hand = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    found = partial(x, y, [z])
    assert found["pearson"] == pytest.approx(by_hand)
    twice = partial(x, y, [z, 3 - 2 * z])
    assert twice["given"] == 1, "what follows from another adds nothing"
    assert twice["ci95"] == pytest.approx(found["ci95"])
    assert partial(x, y, [x * 2])["pearson"] is None
    assert partial(x[:4], y[:4], [z[:4], z[:4] ** 2])["slope"] is None


def test_correlations_equal_scipys_and_have_intervals_where_these_hold():
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(2, 9))
    theirs = stats.pearsonr(x, y)
    interval = theirs.confidence_interval()
    ours = pearson(x, y)
    assert (ours.value, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert ours.ci95 == pytest.approx([interval.low, interval.high])
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman(x, y).ci95 is None and pearson(x[:3], y[:3]).ci95 is None
    assert pearson(x[:2], y[:2]).value is None is pearson(x, np.ones(9)).value
    low, high = difference(y, x, x)["ci95"]
    assert low == pytest.approx(0, abs=0.02) and high == pytest.approx(0, abs=0.02)


def test_two_slopes_are_compared_within_corpora():
    scores = np.arange(6.0)
    shared = np.array([5.0, -4.0, 3.0, 8.0, -2.0, 1.0])
    wiggle = np.array([0.01, -0.02, 0.01, 0.01, -0.02, 0.01])
    found = slope_difference(scores, shared + 0.1 * scores, shared + 0.3 * scores + wiggle)
    assert found["difference"] == pytest.approx(0.2, abs=0.01) and found["p"] < 0.001
    same = slope_difference(scores, shared, shared)
    assert same == {"difference": 0, "ci95": [0, 0], "p": 1}


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_power_rises_with_corpora_and_seeds_and_says_how_many_are_needed():
    noise = Noise(training=1.0, questions=0.2, corpora=0.3, scores=0.2)
    assert power(0.0, 1.0, noise, 8) == pytest.approx(0.05, abs=1e-3)
    by_corpora = [power(0.5, 1.0, noise, n) for n in (4, 8, 16)]
    assert sorted(by_corpora) == by_corpora and power(0.5, 1.0, noise, 8, 3) > by_corpora[1]
    needed = corpora_needed(0.5, 1.0, noise)
    assert power(0.5, 1.0, noise, needed) >= 0.8 > power(0.5, 1.0, noise, needed - 1)
    assert corpora_needed(0.5, 1.0, noise, seeds=5) < needed
    assert corpora_needed(1e-6, 1.0, noise) is None
    with pytest.raises(UserError, match="three corpora"):
        power(0.5, 1.0, noise, 2)


def test_power_counts_the_studies_whose_scores_errors_hide_the_slope():
    noise = Noise(training=0.004, corpora=0.006, scores=0.6)
    in_spreads = Noise(training=0.004, corpora=0.006, scores=0.75)
    rng, seen = np.random.default_rng(15), 0
    for _ in range(150):
        scores, outcomes, _ = simulation.study(rng, 5, 1, 0.016, in_spreads)
        ci95 = regress(scores, outcomes, [in_spreads.scores] * 5)["ci95"]
        seen += ci95 is not None and not ci95[0] <= 0 <= ci95[1]
    assert power(0.02, 0.8, noise, 5) == pytest.approx(seen / 150, abs=0.08)
    assert power(0.02, 0.8, noise, 5) < 0.2
    assert corpora_needed(0.1, 0.1, Noise(0.004, scores=0.5)) is None


def test_power_answers_where_there_is_no_noise():
    assert detectable(0.8, Noise(0.0), 8) == 0.0 == detectable(0.8, Noise(0.0, scores=0.1), 8)
    assert detectable(0.1, Noise(0.0, scores=0.5), 8) is None
    with pytest.raises(UserError, match=r"Power\.training is a standard deviation"):
        PowerConfig(training=-0.004)


def test_what_rounding_leaves_is_not_correlated():
    rng = np.random.default_rng(16)
    x, z = rng.normal(size=(2, 6))
    for y in (np.full(6, 0.1 + 0.2), 3 * z):
        found = partial(x, y, [z])
        assert found["pearson"] is None is found["slope"]


def _cells(runs):
    """Cells of a study with seeds: a score, an outcome of each seed, a baseline and tokens."""
    rng = np.random.default_rng(10)
    return [
        {
            "corpus": {"tokens": 1000 + 7 * i * i, "documents": 10, "epochs": 1.0},
            "score": {"mean": 1.0 + i, "standard_error": 0.1},
            "baselines": {"distinct_1": -float(i) + rng.normal(), "words": "x"},
            "models": {
                "m": {
                    "sft": {
                        "accuracy": float(np.mean(values)),
                        "stderr": 0.01,
                        "bits_per_byte": None,
                        "runs": [
                            {"accuracy": value, "stderr": 0.01, "bits_per_byte": None}
                            for value in values
                        ],
                    }
                }
            },
        }
        for i, values in enumerate(runs)
    ]


def test_a_studys_analysis_counts_seeds_and_turns_metrics():
    runs = [[0.2, 0.22], [0.3, 0.29], [0.41, 0.4], [0.5, 0.52], [0.61, 0.6]]
    found = analyse(_cells(runs))
    fit = found["outcomes"]["m"]["sft"]["accuracy"]
    whole = regress([1, 2, 3, 4, 5], runs, [0.1] * 5, [0.01] * 5)
    assert {key: fit[key] for key in whole} == whole and fit["seeds"] == 2
    assert found["regression"]["m"]["sft"]["slope"] == whole["slope"] and found["contrasts"] == []
    assert set(fit["metrics"]) == {"distinct_1"} and set(fit["given"]) == {
        *("tokens", "document_length", "all")
    }
    metric = fit["metrics"]["distinct_1"]
    assert metric["pearson"] < 0
    assert metric["score_better_by"] == pytest.approx(fit["pearson"] - metric["pearson"])
    assert fit["p_holm"] == fit["p"] and metric["p_holm"] == metric["p"]


def test_runs_are_averaged_figure_by_figure():
    def run(accuracy, error):
        task = {"metric": "acc", "value": accuracy, "questions": 8, "ci95": [accuracy, 1.0]}
        return {"accuracy": accuracy, "stderr": error, "tasks": {"t": task}}

    assert mean_of([run(0.2, 0.1), run(0.4, None)]) == {
        "accuracy": pytest.approx(0.3),
        "stderr": None,
        "tasks": {
            "t": {
                "metric": "acc",
                "value": pytest.approx(0.3),
                "questions": 8,
                "ci95": [pytest.approx(0.3), 1.0],
            }
        },
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", simulation.CASES)
def test_a_thousand_studies_of_each_kind(case):
    held, seen, mean = simulation.slopes(case, 1000, np.random.default_rng(11))
    promised = simulation.promised(case)
    print(f"{case}: {held:.1%} held, {seen:.1%} seen, {promised:.1%} promised, mean {mean:.3f}")
    assert 0.93 <= held <= 0.97
    assert abs(seen - promised) < 0.03


@pytest.mark.slow
def test_a_thousand_studies_with_a_confound_of_correlations_and_of_phases():
    plain, given, held = simulation.confounded(1000, np.random.default_rng(12))
    print(f"confound: seen {plain:.1%} without it, {given:.1%} given it, {held:.1%} held")
    assert plain > 0.6 and given < 0.07 and 0.93 <= held <= 0.97
    shares = simulation.correlations(1000, np.random.default_rng(13))
    print("Pearson, Spearman, their difference:", [f"{share:.1%}" for share in shares])
    assert all(0.93 <= share <= 0.97 for share in shares)
    share = simulation.phases(1000, np.random.default_rng(14))
    print(f"difference of slopes: {share:.1%}")
    assert 0.93 <= share <= 0.97
