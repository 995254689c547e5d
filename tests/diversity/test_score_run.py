"""Whole scoring runs on small corpora: what is written, compared, measured, stopped early."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthdiv.diversity import cluster_score, score_corpora
from synthdiv.diversity.planning import plan_score
from synthdiv.errors import Paused, UserError
from synthdiv.files import Corpus
from synthdiv.llm import LLMConfig, open_session
from tests.diversity.judges import SMALL, label_judge, session_of

SUBJECTS = {
    "sea": "whale ship harpoon mast ocean sailor tide anchor reef harbour",
    "bread": "dough yeast oven flour crust loaf baker knead gluten sourdough",
    "law": "court verdict judge appeal statute plaintiff jury contract tort clause",
    "stars": "nebula telescope orbit galaxy comet planet quasar eclipse meteor asteroid",
    "garden": "tulip compost spade pruning seedling orchard hedge mulch blossom trellis",
    "music": "violin sonata tempo chord melody cello orchestra fugue rhythm oboe",
    "chess": "bishop gambit checkmate rook castling pawn endgame zugzwang knight opening",
    "weather": "thunder blizzard barometer drizzle cyclone frost humidity gale monsoon hail",
}


def make_corpus(path: Path, subjects: int, documents: int = 160, words: int = 40) -> Corpus:
    """A corpus of so many subjects; the column `subject` tells the truth."""
    generator = np.random.default_rng(subjects)
    names = list(SUBJECTS)[:subjects]
    with path.open("w") as file:
        for number in range(documents):
            subject = names[number % subjects]
            vocabulary = SUBJECTS[subject].split()
            text = " ".join(generator.choice(vocabulary, words)) + f" {number}."
            row = {"id": f"d{number}", "text": text, "subject": subject}
            file.write(json.dumps(row) + "\n")
    return Corpus(path)


def subject_of(text: str) -> str:
    return next(name for name, words in SUBJECTS.items() if text.split()[0] in words.split())


@pytest.fixture
def offline():
    with open_session(LLMConfig(), None) as session:
        yield session


KEYS = {
    "score": {"mean", "ci95", "standard_error", "definition"},
    "rounds": {"requested", "completed", "invalid"},
    "clusters": {"mean", "dropped"},
    "calls": {"sent", "cached", "retried", "repaired", "failed"},
    "tokens": {"input", "output"},
    "judge": {"backend", "model"},
    "corpus": {"documents", "sampled", "sha256"},
}


def test_a_score_directory_has_what_it_should(tmp_path, offline):
    import pyarrow.parquet as pq

    corpus = make_corpus(tmp_path / "c.jsonl", 4)
    config = replace(SMALL, with_baselines=True, baselines=_light())
    result = cluster_score(corpus, config, offline, tmp_path / "out")
    written = json.loads((tmp_path / "out/score.json").read_text())
    assert written == json.loads(json.dumps(result.to_json()))
    for name, keys in KEYS.items():
        assert keys <= written[name].keys(), name
    assert written["judge"] == {"backend": "offline", "model": offline.model}
    assert "not an LLM" in written["judge"]["model"]
    assert "C / S" in written["score"]["definition"]
    assert {"name", "kind", "sentence"} == written["criteria"][0].keys()
    assert written["corpus"]["documents"] == 160 and written["rounds"]["completed"] == 40
    assert written["baselines"]["context_length"] == pytest.approx(41)
    assert written["seed"] == 0 and written["synthdiv_version"] and written["cost_usd"] == 0
    low, high = written["score"]["ci95"]
    assert low < written["score"]["mean"] < high
    rounds = pq.read_table(tmp_path / "out/rounds.parquet").to_pylist()
    assert [r["round"] for r in rounds] == list(range(40))
    for row in rounds:
        assert sorted(p for cluster in row["clusters"] for p in cluster) == list(range(6))
        assert len(row["names"]) == len(row["reasons"]) == len(row["verdicts"])
        assert row["score"] == pytest.approx(row["C"] / row["S"])
    assert np.mean([r["score"] for r in rounds]) == pytest.approx(written["score"]["mean"])
    documents = pq.read_table(tmp_path / "out/documents.parquet").to_pylist()
    assert {d["index"] for d in documents} == {i for r in rounds for i in r["indices"]}
    assert json.loads(documents[0]["provenance"])["subject"] in SUBJECTS
    assert (tmp_path / "out/report.html").stat().st_size > 1000


def _light():
    from synthdiv.baselines import BaselineConfig

    return BaselineConfig(metrics=("context_length", "compression"))


def test_the_same_seed_gives_the_same_score_and_another_one_another(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 6)
    first = cluster_score(corpus, SMALL, offline)
    again = cluster_score(corpus, SMALL, offline)
    other = cluster_score(corpus, replace(SMALL, seed=1), offline)
    assert first["score"] == again["score"] and first["facets"] == again["facets"]
    assert again["calls"]["sent"] == 0 and again["calls"]["cached"] > 80
    assert other["score"]["mean"] != first["score"]["mean"]


def test_more_rounds_ask_only_the_new_ones(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 6)
    cluster_score(corpus, replace(SMALL, rounds=20), offline)
    more = cluster_score(corpus, SMALL, offline)
    assert more["calls"]["sent"] <= 2 * 20 + 2


@pytest.mark.parametrize("judge", ["perfect", "offline"])
def test_more_subjects_score_higher(tmp_path, offline, judge):
    means = []
    for subjects in (1, 2, 4, 8):
        corpus = make_corpus(tmp_path / f"c{subjects}.jsonl", subjects)
        if judge == "perfect":
            with session_of(label_judge(subject_of)) as session:
                means.append(cluster_score(corpus, SMALL, session)["score"]["mean"])
        else:
            means.append(cluster_score(corpus, SMALL, offline)["score"]["mean"])
    assert means == sorted(means) and len(set(means)) == 4


def test_duplicates_lower_the_score(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 8, documents=40, words=12)
    rows = [json.loads(line) for line in (tmp_path / "c.jsonl").open()]
    copied = tmp_path / "copied.jsonl"
    copied.write_text("".join(json.dumps(rows[i % 4]) + "\n" for i in range(40)))
    distinct = cluster_score(corpus, SMALL, offline)["score"]["mean"]
    assert cluster_score(Corpus(copied), SMALL, offline)["score"]["mean"] < distinct - 0.5


def test_a_perfect_judge_agrees_with_the_labels(tmp_path):
    corpus = make_corpus(tmp_path / "c.jsonl", 4)
    config = replace(SMALL, labels="subject", repeat_fraction=0.5, second_fraction=1.0)
    with (
        session_of(label_judge(subject_of)) as judge,
        session_of(label_judge(lambda text: text)) as second,
    ):
        found = cluster_score(corpus, config, judge, second=second)
    labels, agreement = found["agreement"]["labels"], found["agreement"]
    assert (labels["ari"], labels["pair_precision"], labels["pair_recall"]) == (1, 1, 1)
    assert labels["perfect_judge"]["mean"] == pytest.approx(found["score"]["mean"])
    assert labels["classes"] == 4
    assert agreement["test_retest"]["ari"] == 1 and agreement["test_retest"]["rounds"] > 5
    assert agreement["second_judge"]["rounds"] == 40
    assert agreement["second_judge"]["ari"] < 0.5  # it puts every document by itself
    # 1 / P(two documents share): 4 classes of 40 documents each.
    assert found["pairs"]["probability"]["mean"] == pytest.approx(39 / 159, abs=0.06)


def test_a_judge_that_errs_is_found_out(tmp_path):
    corpus = make_corpus(tmp_path / "c.jsonl", 2)
    config = replace(SMALL, labels="subject")
    with session_of(label_judge(subject_of, error=0.3)) as judge:
        labels = cluster_score(corpus, config, judge)["agreement"]["labels"]
    assert labels["pair_precision"] == 1 and 0.3 < labels["pair_recall"] < 0.7
    assert labels["ari"] < 0.9


def test_an_unknown_label_column_is_refused(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 2)
    with pytest.raises(UserError, match="'subjekt'.*did you mean 'subject'"):
        cluster_score(corpus, replace(SMALL, labels="subjekt"), offline)


def test_control_variate_narrows_the_interval_of_a_judge_like_it(tmp_path):
    corpus = make_corpus(tmp_path / "c.jsonl", 5, documents=300)
    with session_of(label_judge(subject_of, error=0.05)) as judge:
        plain = cluster_score(corpus, SMALL, judge)
        found = cluster_score(corpus, replace(SMALL, control_rounds=400), judge)
    control = found["control_variate"]
    assert control["used"] and control["variance_reduction"] > 0.3
    assert found["score"]["variance_within_sets"] < plain["score"]["variance_within_sets"]
    assert found["score"]["plain_mean"] == plain["score"]["mean"]
    assert found["agreement"]["offline_judge"]["ari"] > 0.5


def test_the_offline_judge_is_no_control_variate_of_itself(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 4)
    assert (
        cluster_score(corpus, replace(SMALL, control_rounds=50), offline)["control_variate"] is None
    )


def test_asking_stops_when_the_interval_is_narrow_enough(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 4)
    config = replace(SMALL, rounds=1000, block_rounds=20, look_rounds=60, target_ci=0.4)
    found = cluster_score(corpus, config, offline)
    low, high = found["score"]["ci95"]
    assert high - low <= 0.8
    assert 100 <= found["rounds"]["completed"] < 1000
    assert "confidence sequence" in found["score"]["interval"]
    assert len(found["criteria_sets"]) == found["rounds"]["completed"] / 20


def test_repeats_have_documents_and_criteria_of_their_own(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 6)
    found = cluster_score(corpus, replace(SMALL, repeats=3, rounds=20), offline)
    assert len(found["repeats"]["means"]) == 3 and len(set(found["repeats"]["means"])) > 1
    assert found["rounds"]["requested"] == 60
    assert len(found["criteria_sets"]) == 12
    assert found["score"]["mean"] == pytest.approx(found["repeats"]["mean"])


def test_criteria_that_are_given_are_used_as_they_are(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 4)
    listed = [{"name": "Field", "kind": "metadata", "sentence": "What it is about."}]
    path = tmp_path / "criteria.json"
    path.write_text(json.dumps(listed))
    found = cluster_score(corpus, replace(SMALL, criteria=str(path)), offline)
    assert found["criteria"] == listed and len(found["criteria_sets"]) == 1
    assert "taken as given" in found["score"]["interval"]
    assert [f["name"] for f in found["facets"]] == ["Field"]
    stopped = replace(
        SMALL, criteria=str(path), rounds=400, block_rounds=20, look_rounds=20, target_ci=0.5
    )
    assert cluster_score(corpus, stopped, offline)["rounds"]["completed"] < 400


def test_policies_are_all_reported(tmp_path):
    corpus = make_corpus(tmp_path / "c.jsonl", 2)
    backend = label_judge(subject_of)
    backend.answers["Verification"] = lambda texts: {
        "verdicts": [
            {"cluster": n, "valid": n > 1, "reason": ""}
            for n in range(1, len(texts["cluster"]) + 1)
        ]
    }
    with session_of(backend) as session:
        found = {
            policy: cluster_score(corpus, replace(SMALL, policy=policy), session)
            for policy in ("drop", "split", "keep")
        }
    for policy, result in found.items():
        assert result["score"]["mean"] == result["score"]["policies"][policy]["mean"]
        assert result["clusters"]["dropped"] > 0
    means = [found[p]["score"]["mean"] for p in ("drop", "keep", "split")]
    assert means == sorted(means) and len(set(means)) == 3


def test_compared_corpora_share_criteria_and_lengths(tmp_path, offline):
    one = make_corpus(tmp_path / "many.jsonl", 8, words=90)
    two = make_corpus(tmp_path / "few.jsonl", 2, words=30)
    config = replace(SMALL, with_baselines=True, baselines=_light())
    found = score_corpora([one, two], tmp_path / "out", config, offline, compare=True)
    assert json.loads((tmp_path / "out/comparison.json").read_text()) == json.loads(
        json.dumps(found.to_json())
    )
    scores = {
        name: json.loads((tmp_path / "out" / name / "score.json").read_text())
        for name in ("many", "few")
    }
    assert scores["many"]["criteria_sets"] == scores["few"]["criteria_sets"]
    assert scores["many"]["corpus"]["words_shown"] == pytest.approx(
        scores["few"]["corpus"]["words_shown"], rel=0.05
    )
    (difference,) = found["differences"]
    assert difference["corpora"] == ["many", "few"] and difference["difference"] > 0.5
    assert difference["ci95"][0] > 0 and difference["p_value"] < 0.01
    matched = found["matched_baselines"]
    assert matched["documents"] == 160 and len(set(matched["words"])) == 1
    longer = [found["corpora"][n]["baselines"]["context_length"] for n in ("many", "few")]
    equal = [matched["corpora"][n]["context_length"] for n in ("many", "few")]
    assert longer[0] > 2 * longer[1] and equal[0] == equal[1]


def test_a_corpus_compared_with_itself_does_not_differ(tmp_path, offline):
    one = make_corpus(tmp_path / "a.jsonl", 5)
    (tmp_path / "b.jsonl").write_text((tmp_path / "a.jsonl").read_text())
    found = score_corpora(
        [one, Corpus(tmp_path / "b.jsonl")], tmp_path / "out", SMALL, offline, compare=True
    )
    (difference,) = found["differences"]
    assert difference["difference"] == 0 and difference["p_value"] == 1


def test_a_comparison_does_not_stop_early(tmp_path, offline):
    one, two = make_corpus(tmp_path / "a.jsonl", 5), make_corpus(tmp_path / "b.jsonl", 2)
    config = replace(SMALL, target_ci=0.3)
    with pytest.raises(UserError, match="leave one of the two out"):
        score_corpora([one, two], tmp_path / "out", config, offline, compare=True)


def test_several_corpora_without_compare_are_scored_each_by_its_own_criteria(tmp_path, offline):
    (tmp_path / "x").mkdir()
    one, two = make_corpus(tmp_path / "a.jsonl", 5), make_corpus(tmp_path / "x/a.jsonl", 2)
    found = score_corpora([one, two], tmp_path / "out", SMALL, offline)
    assert list(found["corpora"]) == ["a", "a_2"] and "differences" not in found.content
    alone = cluster_score(two, SMALL, offline)
    assert found["corpora"]["a_2"]["score"] == alone["score"]


def test_a_corpus_smaller_than_a_round_is_refused(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 2, documents=5)
    with pytest.raises(UserError, match="5 documents and a round takes 6"):
        cluster_score(corpus, SMALL, offline)


def test_a_judge_of_no_use_is_told_and_writes_nothing(tmp_path):
    corpus = make_corpus(tmp_path / "c.jsonl", 2)
    backend = label_judge(subject_of)
    backend.answers["Clustering"] = lambda texts: "I would rather not."
    with session_of(backend) as session, pytest.raises(UserError, match="no usable clustering"):
        cluster_score(corpus, SMALL, session, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rounds_that_fail_are_counted_and_left_out(tmp_path):
    corpus = make_corpus(tmp_path / "c.jsonl", 4)
    backend = label_judge(subject_of)
    cluster = backend.answers["Clustering"]
    backend.answers["Clustering"] = lambda texts: (
        "no" if hash_of(texts) % 4 == 0 else cluster(texts)
    )
    with session_of(backend) as session:
        found = cluster_score(corpus, SMALL, session)
    rounds = found["rounds"]
    assert 0 < rounds["invalid"] < 30 and rounds["completed"] == 40 - rounds["invalid"]
    assert sum(rounds["failures"].values()) == rounds["invalid"] == found["calls"]["failed"]
    assert math.isfinite(found["score"]["mean"])


def hash_of(texts) -> int:
    return sum(map(len, texts["document"]))


def test_the_plan_counts_what_a_run_then_sends(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 2)
    plan = plan_score([corpus], SMALL, offline)
    stages = {s.stage: s.calls for s in plan.stages}
    assert stages["criteria"] == 8 and stages["summary"] == 4
    assert stages["gather_metadata"] == stages["gather_metrics"] == 4
    assert stages["clustering"] == stages["verification"] == 40
    assert offline.stats["calls"]["sent"] == 0
    sent = cluster_score(corpus, SMALL, offline)["calls"]["sent"]
    assert sent <= plan.calls


def answer_batches(directory: Path) -> int:
    """What `vllm run-batch` would do: answers every request file, here by the offline judge."""
    from synthdiv.offline.backend import handlers

    answered = 0
    for requests in directory.glob("batch_*_requests.jsonl"):
        lines = []
        for line in requests.read_text().splitlines():
            request = json.loads(line)
            body = request["body"]
            schema = body["response_format"]["json_schema"]["schema"]
            text = handlers()[schema["title"]](body["messages"], schema, 0)
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 10, "completion_tokens": 5}
            response = {"status_code": 200, "body": {"choices": [choice], "usage": usage}}
            lines.append(json.dumps({"custom_id": request["custom_id"], "response": response}))
        path = requests.with_name(requests.name.replace("_requests", "_answers"))
        path.write_text("\n".join(lines) + "\n")
        requests.unlink()
        answered += len(lines)
    return answered


def test_a_batch_judge_pauses_once_a_step_and_comes_to_the_same_score(tmp_path, offline):
    corpus = make_corpus(tmp_path / "c.jsonl", 5)
    expected = cluster_score(corpus, SMALL, offline)
    pauses = 0
    while True:
        settings = LLMConfig(backend="batch", model="somebody")
        with open_session(settings, tmp_path / "answers.sqlite") as session:
            try:
                found = cluster_score(corpus, SMALL, session)
                break
            except Paused:
                pauses += 1
                assert pauses < 9 and answer_batches(tmp_path) > 0
    assert pauses == 5  # proposals, gathering, summaries, clustering, verification
    assert found["score"] == expected["score"]
    assert found["judge"] == {"backend": "batch", "model": "somebody"}
