"""Measures of options: by hand, against lm-eval's own, and their chance levels."""

import math

import numpy as np
import pytest

from synthdiv.evaluation import EvaluateConfig, evaluate
from synthdiv.evaluation.measures import Options, average, chance, measure, summarize


def options(log_likelihoods, right, characters=None, sizes=None):
    k = len(log_likelihoods)
    return Options(
        np.array(log_likelihoods, float),
        np.array(characters or [1] * k, float),
        np.array(sizes or [1] * k, float),
        right,
    )


def test_measures_by_hand():
    one = options([math.log(0.06), math.log(0.02)], 1, characters=[2, 1], sizes=[9, 4])
    found = {name: value for name, (value,) in measure([one]).items()}
    assert found["probability"] == pytest.approx(0.25)
    # 0.06 ** (1 / 2) is 0.2449, so the shorter answer loses more than by its likelihood.
    assert found["probability_norm"] == pytest.approx(0.02 / (0.02 + math.sqrt(0.06)))
    assert found["answer_bits_per_byte"] == pytest.approx(math.log2(50) / 4)
    assert found["brier"] == pytest.approx(2 * 0.75**2)


def test_a_model_that_cannot_choose_is_at_chance_on_mixed_numbers_of_options():
    questions = [options([-700.0] * k, 0) for k in (2, 4, 4, 5)]
    level, found = chance(questions), measure(questions)
    assert level["accuracy"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 4 + 1 / 5) / 4)
    for name in ("probability", "probability_norm", "brier"):
        assert np.mean(found[name]) == pytest.approx(level[name])
    assert "answer_bits_per_byte" not in level


def test_intervals_are_students_and_averages_take_tasks_as_independent():
    few = summarize({"brier": [0.1, 0.5, 0.3]}, {"brier": 0.5})["brier"]
    assert few["stderr"] == pytest.approx(0.2 / math.sqrt(3))
    assert few["ci95"][1] - few["value"] == pytest.approx(4.302653 * few["stderr"])
    other = {"brier": {"value": 0.7, "stderr": 0.3, "ci95": None, "chance": 0.75}}
    both = average([{"brier": few}, other])["brier"]
    assert both["value"] == pytest.approx(0.5) and both["chance"] == pytest.approx(0.625)
    assert both["stderr"] == pytest.approx(math.hypot(few["stderr"], 0.3) / 2)
    assert average([{"brier": few}, {"probability": few}]) == {} == average([])


def test_an_evaluation_has_them_of_every_task(checkpoint, suite):
    from lm_eval.api.metrics import brier_score
    from lm_eval.utils import softmax

    names = ["winogrande", "hellaswag"]
    found = evaluate(checkpoint, names, None, suite, EvaluateConfig(limit=6))
    assert [found["tasks"][name]["chance"] for name in names] == [1 / 2, 1 / 4]
    assert found["chance"] == pytest.approx(3 / 8)
    for name in names:
        asked = found["questions"][name]
        own = np.array(asked["measures"]["probability"])
        scores = asked["measures"]["probability_norm" if name == "hellaswag" else "probability"]
        # Above a half, the right answer is the likeliest; below chance, it is not.
        level = asked["chance"]["accuracy"]
        for p, right in zip(scores, asked["scores"], strict=True):
            assert right or p <= 0.5
            assert not right or p >= level
        summary = found["tasks"][name]["measures"]["probability"]
        assert summary["value"] == pytest.approx(own.mean())
    means = [found["tasks"][name]["measures"]["brier"]["value"] for name in names]
    assert found["measures"]["brier"]["value"] == pytest.approx(np.mean(means))
    likelihoods = [[-3.0, -1.0], [-2.0, -2.5]]
    theirs = brier_score([(right, softmax(each)) for right, each in enumerate(likelihoods)])
    ours = measure([options(each, right) for right, each in enumerate(likelihoods)])["brier"]
    assert np.mean(ours) == pytest.approx(theirs)
