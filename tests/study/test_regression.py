"""The regression against scipy's own, and what it says when there is too little to say."""

import numpy as np
import pytest
from scipy import stats

from synthdiv.study.regression import line_band, regress


def test_equals_scipy():
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 6, 9)
    y = 0.3 + 0.02 * x + rng.normal(0, 0.01, 9)
    ours, theirs = regress(x, y), stats.linregress(x, y)
    half = stats.t.ppf(0.975, 7) * theirs.stderr
    assert ours["slope"] == pytest.approx(theirs.slope)
    assert ours["observed"]["intercept"] == pytest.approx(theirs.intercept)
    assert ours["pearson"] == pytest.approx(theirs.rvalue)
    assert ours["ci95"] == pytest.approx([theirs.slope - half, theirs.slope + half])
    assert ours["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)


def test_interval_covers_the_true_slope():
    rng = np.random.default_rng(1)
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    covered = 0
    for _ in range(600):
        low, high = regress(x, 0.4 + 0.05 * x + rng.normal(0, 0.1, 5))["ci95"]
        covered += low <= 0.05 <= high
    assert 0.92 <= covered / 600 <= 0.98


def test_too_few_corpora_have_no_interval():
    assert regress([], [])["slope"] is None
    assert regress([2.0], [0.3])["slope"] is None
    two = regress([1.0, 3.0], [0.3, 0.5])
    assert two["observed"]["slope"] == pytest.approx(0.1) and two["ci95"] is None
    assert two["pearson"] is None is two["spearman"]
    assert regress([2.0, 2.0, 2.0], [0.3, 0.4, 0.5])["slope"] is None
    with pytest.raises(ValueError, match="three corpora"):
        line_band([1.0, 3.0], two, [2.0])


def test_equal_accuracies_have_a_flat_line_and_no_correlation():
    flat = regress([1.0, 2.0, 3.0], [0.25, 0.25, 0.25])
    assert flat["slope"] == 0 and flat["pearson"] is None and flat["spearman"] is None


def test_band_is_narrowest_at_the_mean_score():
    x = [1.0, 2.0, 3.0, 4.0]
    fit = regress(x, [0.2, 0.35, 0.3, 0.5])
    line, low, high = line_band(x, fit, [1.0, 2.5, 4.0])
    widths = np.subtract(high, low)
    assert widths[1] < widths[0] == pytest.approx(widths[2])
    assert line[1] == pytest.approx(np.mean([0.2, 0.35, 0.3, 0.5]))


@pytest.mark.parametrize("corpora", [3, 4, 5, 8])
def test_scores_that_are_all_error_seldom_show_a_slope(corpora):
    rng = np.random.default_rng(2)
    scores, outcomes = rng.normal(size=(2, 120, corpora))
    shown = sum(
        regress(x, y, [1.0] * corpora)["slope"] is not None
        for x, y in zip(scores, outcomes, strict=True)
    )
    assert shown / 120 < 0.1


def test_three_corpora_do_not_hide_the_errors_of_their_scores():
    noisy = regress([5.0, 5.1, 5.2], [1.0, 1.1, 1.2001], [1.0] * 3)
    assert noisy["slope"] is None is noisy["ci95"] and noisy["reliability"] == 0
    assert regress([1.0, 3.0, 5.0], [1.0, 2.0, 3.1], [0.1] * 3)["slope"] is not None


def test_the_far_end_counts_how_little_is_known_of_a_middling_reliability():
    x = np.arange(8.0)
    fit = regress(x, 0.3 * x + 0.01 * np.cos(9 * x), [1.1] * 8)
    assert 0.8 < fit["reliability"] < 0.9
    low, high = fit["ci95"]
    assert 0 < low < fit["slope"] and high - fit["slope"] > 1.5 * (fit["slope"] - low)
    falling = regress(x, -(0.3 * x + 0.01 * np.cos(9 * x)), [1.1] * 8)
    assert falling["ci95"] == pytest.approx([-high, -low])
