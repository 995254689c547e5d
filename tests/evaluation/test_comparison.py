"""Paired comparison: intervals that know the questions are the same, and what is refused."""

import json
import math

import numpy as np
import pytest

from synthdiv.errors import UserError
from synthdiv.evaluation import CompareConfig, compare


def _write(path, **tasks) -> str:
    """Results with scores by task; questions are hashed by their number."""
    questions = {
        name: {
            "metric": "acc",
            "hashes": [f"{name}{i}" for i in range(len(scores))],
            "scores": [float(s) for s in scores],
        }
        for name, scores in tasks.items()
    }
    path.write_text(json.dumps({"questions": questions}))
    return str(path)


@pytest.fixture
def scores():
    """Answers of a checkpoint and of one that differs in a few questions."""
    random = np.random.default_rng(0)
    first = random.integers(0, 2, 400)
    second = first.copy()
    second[:24] = 1
    second[24:36] = 0
    return first, second


def test_the_interval_is_that_of_paired_differences(tmp_path, scores):
    first, second = scores
    results = [_write(tmp_path / "a.json", t=first), _write(tmp_path / "b.json", t=second)]
    (row,) = compare(results, None).rows
    (found,) = row["differences"]
    d = second - first
    error = d.std() / math.sqrt(400)
    assert found["difference"] == pytest.approx(d.mean())
    lo, hi = found["ci"]
    assert lo == pytest.approx(d.mean() - 1.96 * error, abs=0.15 * error)
    assert hi == pytest.approx(d.mean() + 1.96 * error, abs=0.15 * error)
    unpaired = math.sqrt(2) * first.std() / math.sqrt(400)
    assert hi - lo < 0.5 * 2 * 1.96 * unpaired


def test_the_average_is_over_tasks_each_drawn_by_itself(tmp_path, scores):
    first, second = scores
    results = [
        _write(tmp_path / "a.json", t=first, u=first[:50]),
        _write(tmp_path / "b.json", t=second, u=second[:50]),
    ]
    comparison = compare(results, None)
    t, u, average = comparison.rows
    assert average["task"] == "average" and average["questions"] == 450
    assert average["values"] == pytest.approx(np.mean([t["values"], u["values"]], axis=0))
    d = [second - first, second[:50] - first[:50]]
    error = math.sqrt(sum((x.std() / math.sqrt(len(x))) ** 2 for x in d)) / 2
    lo, hi = average["differences"][0]["ci"]
    assert (hi - lo) / (2 * 1.96) == pytest.approx(error, rel=0.06)


def test_the_same_answers_differ_by_nothing(tmp_path, scores):
    results = [_write(tmp_path / f"{name}.json", t=scores[0]) for name in "ab"]
    (row,) = compare(results, None).rows
    assert row["differences"][0] == {"difference": 0.0, "ci": [0.0, 0.0], "against": 1.0}


def test_measures_are_compared_on_the_same_questions_each_in_its_unit(tmp_path, scores):
    random = np.random.default_rng(2)
    first = random.random(300)
    second = first + random.normal(0.02, 0.05, 300)
    paths = []
    for name, values, measures in (
        ("a", scores[0][:300], {"brier": first, "probability": first}),
        ("b", scores[1][:300], {"brier": second}),  # an older version: fewer measures
    ):
        path = tmp_path / f"{name}.json"
        paths.append(_write(path, t=values, u=values))
        found = json.loads(path.read_text())
        for task in found["questions"].values():
            task["measures"] = {key: list(value) for key, value in measures.items()}
            task["chance"] = {"accuracy": 0.5, "brier": 0.5}
        path.write_text(json.dumps(found))
    comparison = compare(paths, tmp_path / "out", CompareConfig(draws=4000))
    assert [(row["task"], row["measure"]) for row in comparison.rows] == [
        *(("t", "accuracy"), ("u", "accuracy"), ("average", "accuracy")),
        *(("t", "brier"), ("u", "brier"), ("average", "brier")),
    ]
    row = comparison.rows[3]
    (found,) = row["differences"]
    d = second - first
    lo, hi = found["ci"]
    assert found["difference"] == pytest.approx(d.mean()) and row["chance"] == 0.5
    assert (hi - lo) / (2 * 1.96) == pytest.approx(d.std() / math.sqrt(300), rel=0.06)
    lines = [line.split() for line in comparison.table().splitlines()]
    (line,) = [line for line in lines if line[:2] == ["t", "brier"]]
    assert line[2:5] == ["300", "0.5000", f"{first.mean():.4f}"]
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "Brier score</h3>" in page and f"{first.mean():.4f}" in page


def test_ninety_five_of_a_hundred_intervals_hold_the_true_difference(tmp_path):
    random = np.random.default_rng(1)
    held = 0
    for i in range(200):
        both = random.random(150) < 0.5
        better = np.where(random.random(150) < 0.2, 1, both)  # by 0.1 in expectation
        results = [_write(tmp_path / "a.json", t=both), _write(tmp_path / "b.json", t=better)]
        (row,) = compare(results, None, CompareConfig(draws=1000, seed=i)).rows
        lo, hi = row["differences"][0]["ci"]
        held += lo <= 0.1 <= hi
    assert 180 <= held <= 198


def test_table_and_files_say_the_same_and_names_are_short(tmp_path, scores):
    for name, values in zip(("small", "large"), scores, strict=True):
        (tmp_path / name).mkdir()
        _write(tmp_path / name / "sft.json", t=values)
    results = [tmp_path / "small" / "sft.json", tmp_path / "large" / "sft.json"]
    comparison = compare(results, tmp_path / "out")
    assert comparison.names == ("small/sft", "large/sft")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["names"] == [
        "small/sft",
        "large/sft",
    ]
    value = comparison.rows[0]["values"][1]
    assert f"{value:.2%}" in comparison.table()
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert f"{100 * value:.2f}" in page and "large/sft" in page


def test_what_cannot_be_compared_is_refused(tmp_path, scores):
    a = _write(tmp_path / "a.json", t=scores[0])
    with pytest.raises(UserError, match="at least two"):
        compare([a], None)
    with pytest.raises(UserError, match="no task in common"):
        compare([a, _write(tmp_path / "b.json", u=scores[0])], None)
    with pytest.raises(UserError, match="b.json: task 't' was asked other questions than in"):
        compare([a, _write(tmp_path / "b.json", t=scores[0][:5])], None)
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UserError, match="c.json has no scored questions"):
        compare([a, tmp_path / "c.json"], None)
    with pytest.raises(UserError, match="no file"):
        compare([a, tmp_path / "d.json"], None)
    with pytest.raises(UserError, match="Compare.draws must be at least 1"):
        compare([a, a], None, CompareConfig(draws=0))
