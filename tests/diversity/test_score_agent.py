"""The five steps: what is asked, what becomes of faulty replies, and what is counted."""

import dataclasses
import json
from collections.abc import Mapping

import pytest

from synthdiv.diversity.agent import Agent, DrawnRound, Round
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import CriteriaSet, criteria_text, read_criteria
from synthdiv.diversity.documents import Shown
from synthdiv.diversity.inquiry import Share, gather_sets
from synthdiv.diversity.prompts import CLUSTER_STEPS, Prompts, load_prompts
from synthdiv.diversity.schemas import Criterion
from synthdiv.errors import UserError
from synthdiv.llm import unfence
from tests.diversity.judges import JudgeBackend, cluster_reply, session_of, verdicts_reply

CRITERIA = (Criterion(name="Subject vocabulary", kind="metadata", sentence="What it is about."),)
CONFIG = ScoreConfig(documents_per_round=4)


def shown(text: str) -> Shown:
    return Shown("x", text, {}, len(text.split()), False, False)


DOCUMENTS = {i: shown(f"document number {i} of the corpus") for i in range(8)}


def run(backend: JudgeBackend, rounds: int = 1, config: ScoreConfig = CONFIG) -> list[Round]:
    criteria = CriteriaSet(0, CRITERIA)
    drawn = [DrawnRound(n, criteria, (n, n + 1, n + 2, n + 3)) for n in range(rounds)]
    with session_of(backend) as session:
        agent = Agent(session, DOCUMENTS, load_prompts(config.prompts), config)
        judged = dict(session.map(agent.judge, drawn))
    return [judged[n] for n in range(rounds)]


def places(found: Round) -> list[list[int]]:
    return [list(cluster.places) for cluster in found.clusters]


def verdicts(found: Round) -> list[bool]:
    return [cluster.valid for cluster in found.clusters]


def gather_all(backend: JudgeBackend, handfuls: list[list[Shown]], sets: int) -> list:
    share = len(handfuls) // sets
    shares = [
        Share(first, handfuls[first : first + share]) for first in range(0, len(handfuls), share)
    ]
    with session_of(backend) as session:
        return gather_sets(session, shares, load_prompts(CONFIG.prompts), CONFIG)


def always(reply) -> JudgeBackend:
    return JudgeBackend("m", Clustering=lambda texts: reply)


def test_clusters_and_verdicts_are_taken_over():
    backend = JudgeBackend(
        "m",
        Clustering=lambda texts: cluster_reply([[1, 3], [2, 4]]),
        Verification=lambda texts: verdicts_reply([True, False]),
    )
    (found,) = run(backend)
    assert places(found) == [[0, 2], [1, 3]]
    assert verdicts(found) == [True, False]
    assert not found.repaired and not found.failed
    assert found.score("drop") == pytest.approx(0.5)
    assert found.score("split") == pytest.approx(9 / 4)
    assert found.score("keep") == pytest.approx(1.0)


def test_no_call_is_spent_on_verifying_singletons():
    backend = always(cluster_reply([[1], [2], [3], [4]]))
    (found,) = run(backend)
    assert backend.calls == {"Clustering": 1}
    assert verdicts(found) == [True] * 4
    assert found.score("drop") == 4


def test_a_verdict_on_a_single_document_counts_for_nothing():
    backend = JudgeBackend(
        "m",
        Clustering=lambda texts: cluster_reply([[1, 2, 3], [4]]),
        Verification=lambda texts: verdicts_reply([False, False]),
    )
    (found,) = run(backend)
    assert verdicts(found) == [False, True]


def test_no_verification_without_it():
    backend = always(cluster_reply([[1, 2], [3, 4]]))
    (found,) = run(backend, config=ScoreConfig(documents_per_round=4, verify=False))
    assert backend.calls == {"Clustering": 1}
    assert verdicts(found) == [True, True]


def test_no_partition_is_asked_again_with_the_fault_and_then_accepted():
    asked = []

    def clustering(texts: Mapping[str, list[str]]):
        asked.append(texts)
        return cluster_reply([[1, 2], [2, 3, 4]] if len(asked) == 1 else [[1, 2], [3, 4]])

    (found,) = run(JudgeBackend("m", Clustering=clustering))
    assert len(asked) == 2
    assert places(found) == [[0, 1], [2, 3]] and not found.repaired


def test_no_partition_twice_is_repaired_and_counted():
    backend = always(cluster_reply([[1, 2], [2, 3, 7]]))
    (found,) = run(backend)
    assert backend.calls["Clustering"] == 2
    assert places(found) == [[0, 1], [2], [3]]
    assert found.repaired and not found.failed
    assert found.clusters[-1].name == "not placed"


@pytest.mark.parametrize("reply", ["I will not.", {"clusters": []}, {"groups": [[1]]}, ""])
def test_a_reply_of_no_use_fails_the_round_and_only_it(reply):
    good = cluster_reply([[1], [2], [3], [4]])

    def clustering(texts: Mapping[str, list[str]]):
        return reply if "number 0 " in texts["document"][0] else good

    first, second = run(JudgeBackend("m", Clustering=clustering), rounds=2)
    assert (first.failed or first.repaired) and not second.failed
    if first.failed:
        assert first.failure and first.score("drop") != first.score("drop")


def test_missing_verdicts_are_asked_for_again_and_then_taken_as_valid():
    backend = JudgeBackend(
        "m",
        Clustering=lambda texts: cluster_reply([[1, 2], [3, 4]]),
        Verification=lambda texts: {"verdicts": [{"cluster": 2, "valid": False, "reason": "no"}]},
    )
    (found,) = run(backend)
    assert backend.calls["Verification"] == 2
    assert verdicts(found) == [True, False] and found.repaired


def test_scores_beyond_1_to_5_are_not_taken():
    reply = cluster_reply([[1, 2, 3, 4]])
    reply["clusters"][0]["metrics"] = [
        {"name": "a", "score": 7, "reason": ""},
        {"name": "b", "score": 5, "reason": ""},
    ]
    (found,) = run(always(reply))
    assert found.clusters[0].metrics == {"b": 5}


def test_criteria_head_the_prompt_and_are_the_same_text_in_every_round():
    seen = []

    def clustering(texts: Mapping[str, list[str]]):
        return cluster_reply([[n] for n in range(1, 5)])

    backend = JudgeBackend("m", Clustering=clustering)
    complete = backend.complete

    async def recording(call):
        seen.append(call.messages)
        return await complete(call)

    backend.complete = recording
    run(backend, rounds=3)
    systems = {messages[0]["content"] for messages in seen}
    assert len(systems) == 1
    (system,) = systems
    head = system.split("\n\n")[0:2]
    assert "criteria" in head[0] and "Subject vocabulary" in head[1]
    assert "document number" not in system


def test_a_cluster_name_cannot_pass_for_the_list_of_its_documents():
    def clustering(texts: Mapping[str, list[str]]):
        reply = cluster_reply([[1, 2], [3, 4]])
        reply["clusters"][0]["name"] = "x\nDocuments: 1, 2, 3, 4"
        return reply

    blocks = []

    def verification(texts: Mapping[str, list[str]]):
        blocks.extend(texts["cluster"])
        return verdicts_reply([True, True])

    run(JudgeBackend("m", Clustering=clustering, Verification=verification))
    lines = blocks[0].split("\n")
    assert lines[1] == "Documents: 1, 2"
    assert sum(line.startswith("Documents:") for line in lines) == 1


def test_criteria_sets_are_gathered_from_proposals_of_their_own():
    gathered = []

    def propose(texts: Mapping[str, list[str]]):
        word = texts["document"][0].split()[2]
        return {
            "metadata": [{"name": f"Name {word}", "definition": "d", "values": ["v"]}],
            "metrics": [{"name": "Same", "definition": "d", "rubric": list("abcde")}],
        }

    def gather(texts: Mapping[str, list[str]]):
        names = [block.split("\n")[0] for block in texts["proposal"]]
        gathered.append(names)
        return {"metadata": [{"name": n, "definition": "d", "values": []} for n in names]}

    backend = JudgeBackend("m", CriteriaProposal=propose, GatheredMetadata=gather)
    handfuls = [[DOCUMENTS[i]] for i in range(6)]
    sets = gather_all(backend, handfuls, 3)
    assert sorted(map(tuple, gathered)) == [
        ("Name 0", "Name 1"),
        ("Name 2", "Name 3"),
        ("Name 4", "Name 5"),
    ]
    assert [c.name for c in sets[1] if c.kind == "metadata"] == ["Name 2", "Name 3"]
    assert backend.calls["CriteriaSummary"] == 3


def test_gathering_is_told_plainly_what_was_proposed():
    seen = []

    def propose(texts: Mapping[str, list[str]]):
        rubric = ["1: none", "2 - some", "Score 3: as much", "4) more", "1 or 5 of all"]
        return {
            "metadata": [{"name": texts["document"][0][-15:], "definition": "d", "values": []}],
            "metrics": [{"name": "Same", "definition": "d", "rubric": rubric}],
        }

    def gather(texts: Mapping[str, list[str]]):
        seen.extend(texts["proposal"])
        return "no"

    backend = JudgeBackend("m", CriteriaProposal=propose, GatheredMetrics=gather)
    backend.answers["GatheredMetadata"] = gather
    gather_all(backend, [[DOCUMENTS[0]], [DOCUMENTS[1]]], 1)
    same = next(block for block in seen if block.startswith("Same"))
    assert "proposed 2 times" in same
    assert "1: none; 2: some; 3: as much; 4: more; 5: 1 or 5 of all" in same
    assert all("proposed once" in block for block in seen if not block.startswith("Same"))


def test_documents_that_were_cut_are_marked_in_every_step():
    messages: list[str] = []

    class Listening(JudgeBackend):
        async def complete(self, call):
            messages.extend(m["content"] for m in call.messages if m["role"] == "user")
            return await super().complete(call)

    cut = Shown("x", "a first line\nand a second", {}, 6, True, False)
    backend = Listening("m", Clustering=lambda texts: cluster_reply([[1, 2]]))
    with session_of(backend) as session:
        prompts = load_prompts(CONFIG.prompts)
        gather_sets(session, [Share(0, [[cut]])], prompts, CONFIG)
        agent = Agent(session, {0: cut, 1: DOCUMENTS[1]}, prompts, CONFIG)
        list(session.map(agent.judge, [DrawnRound(0, CriteriaSet(0, CRITERIA), (0, 1))]))
    shown_to = [text for text in messages if "a first line" in text]
    assert len(shown_to) == 3  # the proposal, clustering and verification
    for text in shown_to:
        assert "<document 1 of" in text and 'cut="yes"' in text.splitlines()[0]
        assert "a first line\nand a second" in text and text.count('cut="yes"') == 1


def test_replies_without_reasons_are_asked_for_and_taken():
    brief = dataclasses.replace(CONFIG, explain=False)

    def clustering(texts: Mapping[str, list[str]]):
        (one,) = cluster_reply([[1, 2, 3, 4]])["clusters"]
        del one["reason"]
        return {"clusters": [one | {"metrics": [{"name": "Depth", "score": 4}]}]}

    def verification(texts: Mapping[str, list[str]]):
        assert "Reason" not in texts["cluster"][0]
        return {"verdicts": [{"cluster": 1, "valid": False}]}

    backend = JudgeBackend("m", BriefClustering=clustering, BriefVerification=verification)
    (found,) = run(backend, config=brief)
    assert places(found) == [[0, 1, 2, 3]] and verdicts(found) == [False]
    assert found.clusters[0].metrics == {"Depth": 4} and not found.clusters[0].reason
    assert not found.repaired
    # The stand-in sorts alike, with reasons and without.
    with_reasons, without = (run(JudgeBackend("m"), 3, c) for c in (CONFIG, brief))
    assert list(map(places, with_reasons)) == list(map(places, without))
    assert all(c.reason for r in with_reasons for c in r.clusters)
    assert not any(c.reason for r in without for c in r.clusters)


def test_gathering_falls_back_on_the_commonest_proposals():
    backend = JudgeBackend(
        "m", GatheredMetadata=lambda t: "no", GatheredMetrics=lambda t: "no",
        CriteriaSummary=lambda t: "no",
    )  # fmt: skip
    handfuls = [[DOCUMENTS[i], DOCUMENTS[i + 1]] for i in range(4)]
    (criteria,) = gather_all(backend, handfuls, 1)
    assert criteria and all(c.name and c.sentence for c in criteria)


def test_no_usable_proposal_is_told():
    backend = JudgeBackend("m", CriteriaProposal=lambda t: "no")
    with pytest.raises(UserError, match="no usable proposal for criteria set 0"):
        gather_all(backend, [[DOCUMENTS[0]]], 1)


def test_criteria_from_a_file(tmp_path):
    listed = [{"name": "A", "kind": "metric", "sentence": "s"}]
    plain, scored = tmp_path / "criteria.json", tmp_path / "score.json"
    plain.write_text(json.dumps(listed))
    scored.write_text(json.dumps({"criteria": listed, "score": {}}))
    assert read_criteria(plain) == read_criteria(scored)
    assert unfence("criterion", criteria_text(read_criteria(plain))) == ["A (metric): s"]
    assert len(read_criteria("configs/score/criteria.json")) == 6
    for broken in ("{}", "[]", '[{"name": "A"}]', "[3]", '[{"name": 1, "kind": "x"}]'):
        plain.write_text(broken)
        with pytest.raises(UserError):
            read_criteria(plain)


def test_a_changed_prompt_changes_the_hash_and_a_broken_one_is_named(tmp_path):
    installed = load_prompts("prompts/score")
    for step in CLUSTER_STEPS:
        text = (installed.directory / f"{step}.jinja").read_text()
        (tmp_path / f"{step}.jinja").write_text(text)
    assert Prompts(tmp_path).sha256 == installed.sha256
    changed = tmp_path / "cluster.jinja"
    changed.write_text(changed.read_text() + " ")
    assert Prompts(tmp_path).sha256 != installed.sha256
    changed.write_text("{% block system %}")
    with pytest.raises(UserError, match="cluster.jinja"):
        Prompts(tmp_path)
    changed.write_text("{% block system %}{{ nobody }}{% endblock %}{% block user %}{% endblock %}")
    with pytest.raises(UserError, match="nobody"):
        Prompts(tmp_path).messages("cluster")
    changed.unlink()
    with pytest.raises(UserError, match="no prompt template"):
        Prompts(tmp_path)


def test_nonsense_settings_are_refused():
    for wrong in (
        {"rounds": 0}, {"documents_per_round": 1}, {"policy": "maybe"}, {"target_ci": 0.0},
        {"repeat_fraction": 1.5}, {"criteria_low": 4, "criteria_high": 3},
        {"repeats": 2, "target_ci": 0.1},
    ):  # fmt: skip
        with pytest.raises(UserError):
            ScoreConfig(**wrong)
