"""Results as values: what they hold, how they print, and that nothing changes them."""

import dataclasses
import json
import statistics

import pytest

from synthdiv.diversity import cluster_score, score_corpora
from synthdiv.diversity.figures import RunningScore
from tests.diversity.judges import SMALL, label_judge, session_of
from tests.diversity.test_score_run import make_corpus, subject_of


def test_a_score_is_a_typed_value(tmp_path):
    corpus = make_corpus(tmp_path / "a<b>.jsonl", 4)
    with session_of(label_judge(subject_of)) as session:
        result = cluster_score(corpus, SMALL, session, tmp_path / "out")
    content = result.to_json()
    assert content == json.loads((tmp_path / "out" / "score.json").read_text()) | {
        "config": content["config"]
    }
    assert result.mean == content["score"]["mean"] and list(result.ci95) == content["score"]["ci95"]
    assert result.standard_error == content["score"]["standard_error"]
    assert [c.name for c in result.criteria] == [c["name"] for c in content["criteria"]]
    assert len(result.rounds) == 40 and len(result.sets) == 4 and result.partial is None
    low, high = result.ci95
    assert str(result) == f"a<b>: {result.mean:.3f} [{low:.3f}, {high:.3f}]"
    page = result._repr_html_()
    assert "a&lt;b&gt;" in page and "<b>" not in page and f"{result.mean:.3f}" in page
    content["score"]["mean"] = 0
    assert result.mean > 0, "what is handed out is a copy"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.rounds = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.rounds[0].failure = "no"


def test_rounds_hold_their_criteria_and_clusters(tmp_path):
    corpus = make_corpus(tmp_path / "c.jsonl", 4)
    config = dataclasses.replace(SMALL, repeats=2, rounds=8)
    with session_of(label_judge(subject_of)) as session:
        result = cluster_score(corpus, config, session)
    assert [r.id for r in result.rounds] == list(range(16))
    assert [r.criteria.number for r in result.rounds] == [0, 1, 2, 3] * 2 + [4, 5, 6, 7] * 2
    for round_ in result.rounds:
        assert round_.criteria.criteria == result.sets[round_.criteria.number]
        places = sorted(place for cluster in round_.clusters for place in cluster.places)
        assert places == list(range(6)) == sorted(range(len(round_.documents)))
        for cluster in round_.clusters:
            subjects = {
                subject_of(result.documents[round_.documents[p]].text) for p in cluster.places
            }
            assert len(subjects) == 1


def test_a_comparison_is_a_typed_value(tmp_path):
    inputs = [make_corpus(tmp_path / f"{name}.jsonl", n) for name, n in (("a", 6), ("b", 2))]
    with session_of(label_judge(subject_of)) as session:
        result = score_corpora(inputs, tmp_path / "out", SMALL, session, compare=True)
    assert result.to_json() == json.loads((tmp_path / "out" / "comparison.json").read_text())
    (difference,) = result.differences
    assert difference.corpora == ("a", "b")
    assert difference.difference == pytest.approx(result.scores["a"].mean - result.scores["b"].mean)
    assert difference.to_json() == result["differences"][0]
    lines = str(result).splitlines()
    assert [line.split(":")[0] for line in lines] == ["a", "b", "a - b"]
    low, high = difference.ci95
    told = f"{difference.difference:+.3f} [{low:+.3f}, {high:+.3f}], p < 0.001"
    assert lines[-1] == f"a - b: {told}"
    assert result._repr_html_().count("<tr>") == 3


def test_the_score_so_far_is_the_mean_of_the_rounds_so_far(tmp_path):
    corpus = make_corpus(tmp_path / "a.jsonl", 4)
    with session_of(label_judge(subject_of)) as session:
        result = cluster_score(corpus, SMALL, session)
    running = RunningScore("drop")
    assert running.shown() == {}
    for judged in result.rounds:
        running.add(judged)
        running.add(dataclasses.replace(judged, clusters=(), failure="no use"))
    scores = [judged.score("drop") for judged in result.rounds]
    error = 1.96 * statistics.stdev(scores) / len(scores) ** 0.5
    assert running.shown() == {"score": f"{statistics.mean(scores):.2f}\u00b1{error:.2f}"}
