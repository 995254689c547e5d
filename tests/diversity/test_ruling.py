"""Clusters by one rule: the words of the rule, replies and their faults, what a review corrects."""

import dataclasses
import json
from pathlib import Path

import pytest

from synthdiv.diversity import (
    ScoreConfig,
    Validation,
    cluster_score,
    plan_validation,
    typical,
    validate,
)
from synthdiv.diversity.agent import JudgedCluster
from synthdiv.diversity.codebook import Codebook, Facet, Level, Value
from synthdiv.diversity.criteria import read_criteria
from synthdiv.diversity.planning import plan_score
from synthdiv.diversity.prompts import Prompts, load_prompts
from synthdiv.diversity.ruling import (
    BriefReview,
    BriefSorting,
    Rule,
    corrected,
    fault_of_review,
    fault_of_sorting,
    merged,
)
from synthdiv.errors import Paused, UserError
from synthdiv.files import Corpus
from synthdiv.llm import LLMConfig, open_session
from synthdiv.llm.money import likely_tokens
from synthdiv.offline.answer import answer_file
from tests.diversity.judges import SMALL, JudgeBackend, grouped, session_of, value_judge

LEVELS = (Level("field", "broad"), Level("discipline", "narrow"), Level("specialty", "fine"))
BOOK = Codebook(
    (
        Facet(
            "subject",
            "What is it about?",
            "The larger part decides.",
            LEVELS,
            (
                Value("nature", "", (Value("physics", "", (Value("optics"),)), Value("biology"))),
                Value("sport", "all of it"),
            ),
        ),
        Facet("form", "What is it?", "", (Level("genre", "broad"),), (Value("story"),)),
        Facet("style", "How?", "", (Level("manner", "broad"),), (Value("plain"),)),
    )
)
RULE = Rule(BOOK, "subject.discipline")
TOPICS = ("bread", "sea", "snow", "wood", "wool")
CONFIG = dataclasses.replace(
    SMALL, rounds=16, prompts="prompts/rule", explain=False, coverage_documents=6
)


def sorting(*clusters) -> BriefSorting:
    return BriefSorting.model_validate(
        {"clusters": [{"value": value, "documents": numbers} for value, numbers in clusters]}
    )


def review(verdicts, misplaced=(), united=()) -> BriefReview:
    return BriefReview.model_validate(
        {
            "verdicts": [{"cluster": n, "valid": v} for n, v in enumerate(verdicts, 1)],
            "misplaced": [{"document": n, "value": v} for n, v in misplaced],
            "united": [{"clusters": numbers} for numbers in united],
        }
    )


@pytest.mark.parametrize("explain", [False, True])
def test_the_rule_stands_once_and_is_asked_by_word_for_word(explain) -> None:
    prompts = load_prompts("prompts/rule")
    (rule,) = prompts.directory.glob("rule.jinja")
    words = RULE.words()
    asked = {
        step: prompts.messages(
            step, documents="", clusters="", count=2, clusters_count=1, explain=explain, **words
        )[0]["content"]
        for step in ("cluster", "verify")
    }
    stated = prompts._templates.render("rule", None, **words)
    assert "discipline" in stated and "form and style" in stated and "A1.2 biology" in stated
    assert "optics" not in stated and "story" not in stated
    for content in asked.values():
        assert content.count(stated) == 1
        assert ("twenty words" in content) == explain
    alone = rule.read_text().split("#}")[1].split("{")[0].strip()
    assert all(alone not in (prompts.directory / f"{s}.jinja").read_text() for s in asked)


def test_a_value_is_known_however_it_is_written() -> None:
    assert RULE.key("A1.2") == RULE.key("A1.2 biology") == RULE.key("Biology") == (1, 2)
    assert RULE.key("A2") == RULE.key("sport") == (2,)  # nothing is indented under it
    assert RULE.key("A1") == "a1" and RULE.key("nature") == "nature"  # broader than the level
    assert RULE.key("Deep  sea") == RULE.key("deep sea") == "deep sea"
    assert [RULE.fault(value) is None for value in ("A1", "A7", " ", "A2", "sport", "cooking")] == [
        *(False, False, False),
        *(True, True, True),
    ]
    assert RULE.described("A1.2") == {"subject: field": "nature", "subject: discipline": "biology"}
    assert RULE.described("cooking") == {"subject: discipline": "cooking"}


@pytest.mark.parametrize(
    ("clusters", "words"),
    [
        ([("A2", [1, 2]), ("cooking", [3])], None),
        ([("A2", [1, 2])], "no cluster holds document 3"),
        ([("A2", [1, 2]), ("Sport", [3])], "clusters 1 and 2 have one value"),
        ([("A1", [1, 2, 3])], "cluster 1: 'A1' is no code of a value of the level discipline"),
    ],
)
def test_faults_of_a_sorting_are_told(clusters, words) -> None:
    fault = fault_of_sorting(sorting(*clusters), 3, RULE)
    assert fault is None if words is None else words in (fault or "")


CLUSTERS = [[0, 1, 2, 3], [4, 5], [6], [7]]
VALUES = ["A1.1", "A1.2", "A2", "cooking"]


@pytest.mark.parametrize(
    ("said", "partition"),
    [
        (review([True] * 4), [[0, 1, 2, 3], [4, 5], [6], [7]]),
        # To the cluster of its value, and two of a value that none has to one of their own.
        (
            review([False, True, True, True], [(4, "biology")]),
            [[0, 1, 2], [3, 4, 5], [6], [7]],
        ),
        (
            review([False, True, True, True], [(3, "music"), (4, "Music")]),
            [[0, 1], [2, 3], [4, 5], [6], [7]],
        ),
        # Its cluster was given its value, and holds another: it is alone.
        (review([True, False, True, True], [(5, "A1.2")]), [[0, 1, 2, 3], [4], [5], [6], [7]]),
        # Joined clusters, and a document that goes to one of them.
        (
            review([False, True, True, True], [(1, "A2")], [[3, 4]]),
            [[0, 6, 7], [1, 2, 3], [4, 5]],
        ),
        (review([True] * 4, united=[[1, 2], [2, 3]]), [[0, 1, 2, 3, 4, 5, 6], [7]]),
        # Rejected and nothing said of its documents; contradictions are left as they were.
        (review([True, False, True, True]), [[0, 1, 2, 3], [4], [5], [6], [7]]),
        (
            review([True, True, False, True], [(7, "A1.1"), (99, "A2")], [[4, 9]]),
            [[0, 1, 2, 3], [4, 5], [6], [7]],
        ),
    ],
)
def test_what_a_review_says_makes_the_corrected_partition(said, partition) -> None:
    assert sorted(corrected(CLUSTERS, VALUES, said, RULE)) == partition


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (review([True] * 4, united=[[1, 3]]), None),
        (review([False, True, True, True], [(1, "A2")]), None),
        (review([True, True, False, True]), None),  # a single document is valid, whatever is said
        (review([True] * 3), "no verdict on cluster 4"),
        (review([True] * 4, [(1, "A2")]), "cluster 1 is said to be valid, and its document 1 not"),
        (review([True, False, True, True]), "cluster 2 is not valid, and none"),
        (review([False, True, True, True], [(9, "A2")]), "no document 9"),
        (review([False, True, True, True], [(1, "A8")]), "document 1: 'A8' is no code"),
        (review([True] * 4, united=[[2, 2]]), "not two clusters"),
    ],
)
def test_faults_of_a_review_are_told(said, words) -> None:
    fault = fault_of_review(said, CLUSTERS, RULE)
    assert fault is None if words is None else words in (fault or "")


def test_clusters_of_one_value_become_one_and_those_without_stay() -> None:
    found = merged([[0], [3, 1], [2], [4]], ["A2", "", "sport", ""], RULE)
    assert found == [([0, 2], 0), ([1, 3], 1), ([4], 3)]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    rows = [{"text": f"{name} story {n}", "topic": name} for name in TOPICS for n in range(12)]
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Corpus(path)


def topic(text: str) -> str:
    return text.split()[0]


def rule_judge(label_of, found=None) -> JudgeBackend:
    """Sorts by label; `found` answers reviews, of the labels of each cluster's documents."""
    judge = value_judge(topic, TOPICS)

    def sort(texts):
        labels = [label_of(text) for text in texts["document"]]
        clusters = [
            {"value": f"A{TOPICS.index(labels[numbers[0] - 1]) + 1}.1", "documents": numbers}
            for numbers in grouped(labels)
        ]
        return {"clusters": clusters}

    def check(texts):
        groups = [
            [int(n) for n in block.splitlines()[1].removeprefix("Documents: ").split(",")]
            for block in texts["cluster"]
        ]
        return found(texts["document"], groups)

    answers = {"BriefSorting": sort} | ({"BriefReview": check} if found else {})
    judge.answers |= answers
    return judge


def reviewed(documents, groups):
    """A review that knows the topics: in a cluster that holds two, the first document's stays."""
    moved, verdicts = [], []
    for group in groups:
        first = topic(documents[group[0] - 1])
        others = [n for n in group if topic(documents[n - 1]) != first]
        verdicts.append(not others)
        moved += [(n, f"A{TOPICS.index(topic(documents[n - 1])) + 1}.1") for n in others]
    return review(verdicts, moved).model_dump()


def lumped(text: str) -> str:
    return "bread" if topic(text) == "sea" else topic(text)


def test_a_score_by_the_rule_has_both_readings_from_the_same_rounds(corpus, tmp_path) -> None:
    judge = rule_judge(lumped, reviewed)
    with session_of(judge) as session:
        result = cluster_score(corpus, CONFIG, session, tmp_path / "out")
    truth = [len({topic(result.documents[i].text) for i in one.documents}) for one in result.rounds]
    assert [len(one.partition("corrected")) for one in result.rounds] == truth
    assert result["score"]["policy"] == "corrected"
    policies = {name: one["mean"] for name, one in result["score"]["policies"].items()}
    assert policies["keep"] < policies["corrected"] == result.mean
    assert policies["drop"] < policies["corrected"]
    assert "found to be one" in result["score"]["definition"]
    assert "subject.discipline" in result["score"]["definition"]
    assert not result.levels and result["codebooks"]
    assert judge.calls["BriefReview"] == CONFIG.rounds
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "out" / "rounds.parquet").to_pylist()
    assert [sorted(map(tuple, row["corrected"])) for row in table] == [
        sorted(one.corrected) for one in result.rounds
    ]


def test_without_verification_nothing_is_corrected(corpus) -> None:
    judge = rule_judge(lumped)
    with session_of(judge) as session:
        result = cluster_score(corpus, dataclasses.replace(CONFIG, verify=False), session)
    assert "BriefReview" not in judge.calls
    policies = {one["mean"] for one in result["score"]["policies"].values()}
    assert len(policies) == 1 and "nothing is verified" in result["score"]["definition"]


def test_both_ways_of_asking_share_one_codebook_and_the_same_rounds(corpus, tmp_path) -> None:
    """The second way asks for no note and no list again."""
    what = Validation(corpus, ("topic",), CONFIG, ("prompts/rule", "prompts/levels"), sizes=(6,))
    judge = rule_judge(topic, reviewed)
    with session_of(judge, tmp_path / "answers.sqlite") as session:
        result = validate(what, tmp_path, session)
    rule, levels = result["trials"]
    assert judge.calls["Notes"] == CONFIG.criteria_rounds
    assert (rule["headline"], levels["headline"]) == ("clusters", "subject.discipline")
    for trial in (rule, levels):
        found = trial["labels"]["topic"][trial["headline"]]
        assert found["ari"] == 1 and found["largest_difference"] == 0
    asked = [[one.inquiry.rounds for one in trial] for trial in result.asked]
    for one, other in zip(*asked, strict=True):
        assert [r.documents for r in one] == [r.documents for r in other]
        assert [r.criteria.basis for r in one] == [r.criteria.basis for r in other]


@pytest.mark.parametrize("explain", [False, True])
def test_it_passes_through_batch_files_and_the_offline_judge_agrees_with_itself(
    corpus, tmp_path, explain
) -> None:
    how = LLMConfig(backend="batch", model="a model")
    stages = []
    while True:
        try:
            with open_session(how, tmp_path / "answers.sqlite") as session:
                result = cluster_score(
                    corpus, dataclasses.replace(CONFIG, explain=explain), session
                )
            break
        except Paused:
            for asked in sorted(tmp_path.glob("batch_*_requests.jsonl")):
                stages.append(asked.name.split("_")[1])
                answer_file(asked, Path(str(asked).replace("_requests", "_answers")))
                asked.unlink()
    assert stages[-2:] == ["sorting", "review"] and len(stages) < 9
    for one in result.rounds:
        assert sorted(one.corrected) == sorted(one.partition())
        assert bool(one.clusters[0].reason) == explain


def test_the_plan_counts_what_the_rule_asks(corpus, tmp_path) -> None:
    with open_session(LLMConfig(), None) as session:
        plans = {
            verify: plan_score([corpus], dataclasses.replace(CONFIG, verify=verify), session)
            for verify in (True, False)
        }
        (part,) = plan_validation(Validation(corpus, ("topic",), CONFIG), session).parts.values()
    calls = {stage.stage: stage.calls for stage in plans[True].stages}
    assert calls["sorting"] == calls["review"] == CONFIG.rounds
    assert {s.stage for s in plans[False].stages} == calls.keys() - {"review"}
    assert {s.stage for s in part.stages} == calls.keys()


def test_replies_without_reasons_are_short_and_ten_clusters_fit() -> None:
    alone = [JudgedCluster((n,), "", "") for n in range(10)]
    criteria = read_criteria("configs/score/criteria.json")

    def tokens(reply) -> int:
        return likely_tokens(len(reply.model_dump_json()))

    brief, full = (tokens(typical.clustering(alone, criteria, e)) for e in (False, True))
    assert 2 * brief < ScoreConfig().max_tokens and brief < 0.7 * full
    ruled = [tokens(typical.sorting(alone, e)) for e in (False, True)]
    assert ruled[0] < ruled[1] < brief
    assert tokens(typical.review(10, False)) < tokens(typical.verification(10, True))


def test_what_does_not_fit_together_is_refused(corpus, tmp_path) -> None:
    with pytest.raises(UserError, match="looks both ways"):
        assert ScoreConfig(policy="corrected").policy_in_force
    (tmp_path / "codebook.json").write_text('{"prompts": "prompts/score"}')
    (tmp_path / "rule.jinja").write_text("")
    with pytest.raises(UserError, match="names no directory of prompts"):
        Prompts(tmp_path)
    with open_session(LLMConfig(), None) as session, pytest.raises(UserError, match="no level"):
        cluster_score(corpus, dataclasses.replace(CONFIG, level="subject.shelf"), session)
