"""A judge whose replies are of little use: no figure is made of them, and it is said aloud."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from synthdiv.diversity import ScoreConfig, cluster_score, score_corpora
from synthdiv.diversity.agent import JudgedCluster, Round
from synthdiv.diversity.arithmetic import fault_of_repair, renumbered
from synthdiv.diversity.control import Control
from synthdiv.diversity.criteria import CriteriaSet
from synthdiv.diversity.estimate import estimate
from synthdiv.diversity.facets import facets
from synthdiv.diversity.figures import Figures, interval
from synthdiv.diversity.schemas import Criterion
from synthdiv.errors import UserError
from synthdiv.files import Corpus
from synthdiv.llm import LLMConfig, open_session
from tests.diversity.judges import SMALL, JudgeBackend, cluster_reply, session_of, verdicts_reply


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    words = ["river", "stone", "cloud", "violin"]
    rows = [{"text": f"{words[i % 4]} number {i} of many", "id": i} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Corpus(path)


def by_first_word(start: int):
    def clustering(texts):
        groups: dict[str, list[int]] = {}
        for number, text in enumerate(texts["document"], start):
            groups.setdefault(text.split()[0], []).append(number)
        return cluster_reply(list(groups.values()))

    return clustering


def all_valid(texts):
    return verdicts_reply([True] * len(texts["cluster"]))


def scored(corpus, clustering, verification=all_valid, config=SMALL):
    backend = JudgeBackend("m", Clustering=clustering, Verification=verification)
    with session_of(backend) as session:
        return cluster_score(corpus, config, session), backend


@pytest.mark.parametrize("start", [0, 2, 100])
def test_a_judge_may_number_from_anywhere(corpus, start, capsys):
    truth, _ = scored(corpus, by_first_word(1))
    found, backend = scored(corpus, by_first_word(start))
    assert found.mean == truth.mean and found.ci95 == truth.ci95
    assert backend.calls["Clustering"] == SMALL.rounds, "nothing had to be asked again"
    assert truth["warnings"] == [] and capsys.readouterr().err.count("warning: ") == 1
    assert found["warnings"] and found["repairs"]["rounds"] == SMALL.rounds


def test_numbers_in_words():
    assert renumbered([[0, 2], [1]], 3) == [[1, 3], [2]]
    assert renumbered([[100, 102], [101]], 3) == [[1, 3], [2]]
    assert renumbered([[1, 3], [2]], 3) == [[1, 3], [2]]
    assert renumbered([[0, 1], [2, 3]], 3) == [[0, 1], [2, 3]]  # which is no document?
    assert renumbered([[0, 1], [0]], 4) == [[1, 2], [1]]
    assert renumbered([[7], [9]], 3) == [[7], [9]]
    assert renumbered([[]], 3) == [[]]
    assert fault_of_repair([[1, 2], [2, 3, 7]], 4) is None
    assert "1 of 4" in fault_of_repair([[1, 2], [2, 3], [3]], 4)
    assert "0 of 4" in fault_of_repair([[50], [60]], 4)


def test_a_clustering_that_places_no_document_is_no_round(corpus, capsys):
    good = by_first_word(1)

    def now_and_then(texts):
        first = int(texts["document"][0].split()[2])
        return cluster_reply([[77], [79]]) if first % 3 == 0 else good(texts)

    found, _ = scored(corpus, now_and_then)
    failed = [r for r in found.rounds if r.failed]
    assert 3 < len(failed) < 37 and found["rounds"]["invalid"] == len(failed)
    assert all("0 of 6 documents" in r.failure for r in failed)
    assert found.mean < 5, "none of them counts as six singletons"
    (words,) = found["warnings"]
    assert words.startswith(f"{len(failed)} of 40 rounds gave no usable clustering")
    assert f"warning: corpus: {words}" in " ".join(capsys.readouterr().err.split())


def test_rounds_without_a_verdict_are_told(corpus, tmp_path, capsys):
    found, _ = scored(corpus, by_first_word(1), lambda texts: "I cannot say.")
    assert found["repairs"]["unverified"] > 30
    assert any("without a verdict" in words for words in found["warnings"])
    found.write(tmp_path / "out")
    assert "without a verdict" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "score.json").read_text())["warnings"]


def test_the_headline_is_the_row_of_its_policy_and_within_the_range(corpus):
    rejecting = [0]

    def verification(texts):
        rejecting[0] += 1
        return verdicts_reply([n % 2 == rejecting[0] % 2 for n in range(len(texts["cluster"]))])

    for config in (SMALL, ScoreConfig(**{**vars(SMALL), "rounds": 6, "criteria_sets": 3})):
        score = scored(corpus, by_first_word(1), verification, config)[0]["score"]
        row = score["policies"][score["policy"]]
        assert row == {name: score[name] for name in ("mean", "ci95", "standard_error")}
        for one in score["policies"].values():
            low, high = one["ci95"]
            assert 1 / 6 <= low <= one["mean"] <= high <= 6


def test_an_interval_ends_where_the_mean_cannot_go():
    values = np.array([1.0] * 3 + [6.0] * 9)
    wide = estimate(values, np.arange(12) // 3)
    assert wide.high > 6
    cut = wide.within_bounds(1 / 6, 6.0)
    assert (cut.low, cut.high) == (wide.low, 6.0)
    assert estimate(np.array([2.0]), np.array([0])).ci95 == [None, None]


def a_round(number: int, metadata: dict, criteria: CriteriaSet) -> Round:
    clusters = (JudgedCluster((0, 1), "a", "", metadata), JudgedCluster((2,), "b", "", metadata))
    return Round(number, criteria, (0, 1, 2), clusters)


def test_facets_of_one_value_and_of_names_in_two_spellings():
    def named(name: str) -> Criterion:
        return Criterion(name=name, kind="metadata", sentence="")

    sets = [(named("Topic"),), (named("topic "),)]
    numbered = [CriteriaSet(n, criteria) for n, criteria in enumerate(sets)]
    rounds = [a_round(n, {"TOPIC": "x"}, numbered[n % 2]) for n in range(6)]
    (facet,) = facets(rounds, sets)
    assert facet["name"] == "Topic" and facet["applied"] == 1.0
    json.dumps(facet, allow_nan=False)
    (facet,) = facets(rounds[:1], sets)
    assert facet["ci95"] == [None, None]


@pytest.mark.parametrize("rounds", [1, 2])
def test_few_rounds_are_a_score_without_an_interval(corpus, tmp_path, rounds):
    config = ScoreConfig(rounds=rounds, with_baselines=False)
    result = cluster_score(corpus, config, output=tmp_path / "out")
    assert math.isfinite(result.mean) and (rounds > 1 or result["score"]["ci95"] == [None, None])
    text = (tmp_path / "out" / "score.json").read_text()
    json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize("rounds", [1, 12])
def test_two_perfectly_even_corpora_are_compared(corpus, tmp_path, rounds):
    backend = JudgeBackend(
        "m",
        Clustering=lambda texts: cluster_reply([[1, 2, 3], [4, 5, 6]]),
        Verification=all_valid,
    )
    other = Corpus(corpus.path)
    config = ScoreConfig(**{**vars(SMALL), "rounds": rounds})
    with session_of(backend) as session:
        found = score_corpora([corpus, other], tmp_path / "out", config, session, compare=True)
    text = (tmp_path / "out" / "comparison.json").read_text()
    (told,) = json.loads(text, parse_constant=pytest.fail)["differences"]
    assert told["difference"] == 0
    assert told["p_value"] == (1.0 if rounds > 1 else None)
    assert "0" in str(found) and (tmp_path / "out" / "report.html").exists()


def test_a_judge_that_agrees_with_the_control_on_every_round_has_an_interval():
    values = np.full(12, 3.0)
    control = Control(values, True, 1.0, 1.0, 1.0, 3.0, 0.1, 200)
    found = interval(Figures(values, np.arange(12) % 4, values, control), SMALL, False)
    assert found.low == pytest.approx(3 - 0.196) and found.high == pytest.approx(3 + 0.196)


def test_a_list_that_does_not_fit_is_told(corpus, tmp_path):
    value = {"name": "unheard of", "meaning": "zyx"}
    level = {"name": "matter", "meaning": "what it is on", "most": 2}
    facet = {"name": "subject", "question": "On what?", "levels": [level], "values": [value]}
    (tmp_path / "list.json").write_text(json.dumps({"facets": [facet]}))
    config = replace(
        SMALL,
        prompts="prompts/levels",
        criteria=str(tmp_path / "list.json"),
        level="subject.matter",
    )
    with open_session(LLMConfig(), None) as session:
        found = cluster_score(corpus, config, session)
    assert any("fits no value of subject.matter" in words for words in found["warnings"])


def test_a_value_may_be_called_none(corpus, tmp_path):
    values = [{"name": name, "meaning": name} for name in ("river", "none")]
    level = {"name": "matter", "meaning": "what it is on", "most": 2}
    facet = {"name": "topic", "question": "On what?", "levels": [level], "values": values}
    (tmp_path / "list.json").write_text(json.dumps({"facets": [facet]}))
    config = replace(
        SMALL, prompts="prompts/levels", criteria=str(tmp_path / "list.json"), level="topic.matter"
    )
    with open_session(LLMConfig(), None) as session:
        found = cluster_score(corpus, config, session)
    named = {one["value"] for one in found["levels"][0]["values"]}
    assert named == {"river", "other"}, "of four words one is listed, and nothing is about none"


@pytest.mark.parametrize("trials", [5, [None], [{"judge": 5}], []])
def test_a_validation_that_is_none_is_refused_in_words(corpus, tmp_path, trials):
    path = tmp_path / "validation.json"
    with open_session(LLMConfig(), None) as session:
        content = {"trials": trials, "judge": {"model": session.model}, "config": {}}
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match="no validation"):
            cluster_score(corpus, replace(SMALL, validation=str(path)), session)


def test_what_a_score_was_judged_by_is_taken_again(corpus, tmp_path, run_command):
    one, other = tmp_path / "one", tmp_path / "other"
    asked = ("score", f"--input={corpus.path}", "--rounds=4", "--bind=Score.criteria_rounds=4")
    assert run_command(*asked, f"--output={one}").code == 0
    assert run_command(*asked, f"--output={other}", f"--criteria={one / 'score.json'}").code == 0
    criteria = [json.loads((path / "score.json").read_text())["criteria"] for path in (one, other)]
    assert criteria[0] == criteria[1]
    refused = run_command(*asked, f"--output={tmp_path / 'third'}", f"--criteria={one}")
    assert refused.code == 2 and "is a directory" in refused.stderr
    alone = run_command(*asked, f"--output={tmp_path / 'fourth'}", "--compare")
    assert alone.code == 2 and "two corpora" in alone.stderr
