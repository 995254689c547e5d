"""A judge measured by labels: mixtures, figures of judges whose quality is known, the command."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, v_measure_score

from synthdiv.diversity import Validation, cluster_score, plan_validation, validate
from synthdiv.diversity.agent import JudgedCluster, Round
from synthdiv.diversity.codebook import read_codebook
from synthdiv.diversity.criteria import CriteriaSet, criteria_json, read_criteria
from synthdiv.diversity.measures import Scale, position_bias
from synthdiv.diversity.mixtures import read_labels
from synthdiv.errors import UserError
from synthdiv.files import Corpus
from synthdiv.reporting.charts import number
from tests.diversity.judges import (
    SMALL,
    JudgeBackend,
    cluster_reply,
    grouped,
    label_judge,
    session_of,
    value_judge,
    verdicts_reply,
)

TOPICS = ("bread", "sea", "snow", "wood", "wool")
CONFIG = dataclasses.replace(SMALL, rounds=24, repeat_fraction=0.5, coverage_documents=6)
LEVELS = dataclasses.replace(CONFIG, prompts="prompts/levels")


def topic(text: str) -> str:
    return text.split()[0]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Five topics of 12 to 16 documents, in two halves."""
    rows = [
        {"text": f"{name} story {n}", "topic": name, "half": "early" if name < "snow" else "late"}
        for place, name in enumerate(TOPICS)
        for n in range(12 + place)
    ]
    rows.append({"text": "nobody knows", "topic": None, "half": ""})
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Corpus(path)


def test_mixtures_are_nested_and_of_equal_shares(corpus) -> None:
    one, half = read_labels(corpus, ["topic", "half"], 6, seed=3)
    assert sorted(one.classes) == sorted(TOPICS)
    assert one.sizes == [1, 2, 4, 5] and half.sizes == [1, 2]
    before: set[int] = set()
    for size in one.sizes:
        chosen = one.mixture(size).tolist()
        shares = [sum(one.label_of[i] == label for i in chosen) for label in one.classes]
        assert shares == [12] * size + [0] * (5 - size)
        assert before < set(chosen)
        before = set(chosen)
    assert read_labels(corpus, ["topic"], 6, seed=3)[0].classes == one.classes
    assert {read_labels(corpus, ["topic"], 6, seed)[0].classes[0] for seed in range(9)} > {"sea"}


@pytest.mark.parametrize("values", [False, True])
def test_a_judge_that_knows_the_labels_scores_as_a_perfect_one(corpus, tmp_path, values) -> None:
    judge = value_judge(topic, TOPICS) if values else label_judge(topic)
    with session_of(judge) as session:
        result = validate(
            Validation(corpus, ("topic",), LEVELS if values else CONFIG), tmp_path / "out", session
        )
    (trial,) = result["trials"]
    assert trial["headline"] == ("subject.discipline" if values else "clusters")
    assert len(trial["labels"]["topic"]) == (7 if values else 1)
    for scale in trial["labels"]["topic"].values():
        assert scale["ari"] == scale["v_measure"] == 1
        assert scale["pair_precision"] == scale["pair_recall"] == 1
        assert scale["rises"] and scale["largest_difference"] == 0
        for mixture in scale["mixtures"]:
            assert mixture["score"]["mean"] == pytest.approx(mixture["perfect_judge"]["mean"])
    assert {found["ari"] for found in trial["test_retest"].values()} == {1}
    assert json.loads((tmp_path / "out/validation.json").read_text()) == json.loads(
        json.dumps(result.to_json())
    )
    assert "1, 2, 4, 5" in str(result)
    again = [one.inquiry.again for one in result.asked[0]]
    assert all(0 < len(rounds) < CONFIG.rounds for rounds in again)


@pytest.mark.parametrize("values", [False, True])
def test_a_judge_that_errs_has_the_figures_of_its_errors(corpus, tmp_path, values) -> None:
    judge = value_judge(topic, TOPICS, 0.2) if values else label_judge(topic, 0.2)
    with session_of(judge) as session:
        result = validate(
            Validation(corpus, ("topic",), LEVELS if values else CONFIG), tmp_path, session
        )
    (trial,) = result["trials"]
    found = trial["labels"]["topic"][trial["headline"]]
    pairs = []
    for one in result.asked[0]:
        for round_ in one.rounds if one.mixture.size > 1 else ():
            truth = [topic(one.mixture.sample.documents[i].text) for i in round_.documents]
            pairs.append((truth, round_.memberships()))
    assert found["ari"] == pytest.approx(np.mean([adjusted_rand_score(*p) for p in pairs]))
    assert found["v_measure"] == pytest.approx(np.mean([v_measure_score(*p) for p in pairs]))
    assert 0.3 < found["ari"] < 0.95
    lines = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    first = [line for line in lines if line["asked"] == "first"]
    assert len(first) == 4 * CONFIG.rounds and len(lines) > len(first)
    ids = {document.id: document.provenance["topic"] for document in corpus}
    assert all([ids[i] for i in line["documents"]] == line["labels"] for line in lines)
    told = [
        (line["labels"], [c.split()[0] for c in line["codes"]] if values else line["clusters"])
        for line in first
        if line["classes"] > 1
    ]
    assert found["ari"] == pytest.approx(np.mean([adjusted_rand_score(*p) for p in told]))
    assert found["rounds"] == 3 * CONFIG.rounds
    assert found["largest_difference"] > 0
    assert 0 < trial["test_retest"][trial["headline"]]["ari"] < 1
    assert trial["position_bias"]["p_value"] > 0.01
    precise, rounds = trial["for_standard_error"], [one.rounds for one in result.asked[0]]
    spread = [np.var([r.score("drop") for r in few], ddof=1) for few in rounds]
    assert precise["rounds"] == np.ceil(max(spread) / 0.05**2)
    asked = [
        1 + (not values and any(len(c.places) > 1 for c in r.clusters)) for r in sum(rounds, [])
    ]
    calls = trial["calls"]["sent"] + trial["calls"]["cached"]
    gathered = calls - sum(asked) - trial["test_retest"][trial["headline"]]["rounds"]
    assert precise["calls"] == round(gathered + precise["rounds"] * np.mean(asked))


def judged(labels) -> Round:
    clusters = tuple(
        JudgedCluster(tuple(n - 1 for n in group), "", "") for group in grouped(labels)
    )
    return Round(0, CriteriaSet(0, ()), tuple(range(len(labels))), clusters)


def test_position_bias_is_found_where_it_is_and_nowhere_else() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.integers(3, size=(60, 8)).tolist()
    fair = position_bias([judged(labels) for labels in drawn], Scale("clusters"))
    assert fair["p_value"] > 0.05 and fair["neighbours_p_value"] > 0.05
    apart = [[*labels[:-1], "alone"] for labels in drawn]  # the last document stands by itself
    found = position_bias([judged(labels) for labels in apart], Scale("clusters"))
    assert found["p_value"] < 0.01 and found["share"][-1] == 0
    beside = [sorted(labels) for labels in drawn]  # like stands beside like
    found = position_bias([judged(labels) for labels in beside], Scale("clusters"))
    assert found["neighbours_p_value"] < 0.01 and found["neighbours"] > found["pairs"]
    alike = position_bias([judged([1] * 8)] * 5, Scale("clusters"))
    assert alike["p_value"] == alike["neighbours_p_value"] == 1


def test_a_biased_judge_is_found_through_all_of_it(corpus, tmp_path) -> None:
    def clustering(texts):
        labels = [topic(text) for text in texts["document"]]
        return cluster_reply(grouped([*labels[:-1], "the last one"]))

    def verdicts(texts):
        return verdicts_reply([True] * len(texts["cluster"]))

    judge = JudgeBackend("biased", Clustering=clustering, Verification=verdicts)
    with session_of(judge) as session:
        result = validate(Validation(corpus, ("topic",), CONFIG), tmp_path, session)
    assert result["trials"][0]["position_bias"]["p_value"] < 0.01


def test_ways_of_asking_are_compared_and_nothing_is_asked_twice(corpus, tmp_path) -> None:
    judge = value_judge(topic, TOPICS)
    judge.answers |= label_judge(topic).answers
    config = dataclasses.replace(CONFIG, rounds=8, second_fraction=0.5)
    what = Validation(
        corpus, ("topic", "half"), config, prompts=("prompts/score", "prompts/levels"), sizes=(4, 6)
    )
    with session_of(judge, tmp_path / "answers.sqlite") as session:
        result = validate(what, tmp_path, session, second=session)
        assert plan_validation(what, session).parts.keys() == {
            f"prompts/{name}, {size} documents a round"
            for name in ("score", "levels")
            for size in (4, 6)
        }
    assert [(t["prompts"], t["documents_per_round"]) for t in result["trials"]] == [
        (f"prompts/{name}", size) for name in ("score", "levels") for size in (4, 6)
    ]
    assert all(trial["labels"].keys() == {"topic", "half"} for trial in result["trials"])
    gathered = judge.calls["Notes"]
    assert gathered == CONFIG.sets * CONFIG.proposals_per_set  # once, for all mixtures and sizes
    mine = result["trials"][0]["second_judge"]["clusters"]
    assert mine["ari"] == 1 and mine["difference"]["mean"] == 0
    asked = dict(judge.calls)
    with session_of(judge, tmp_path / "answers.sqlite") as session:
        again = validate(what, tmp_path, session, second=session)
    assert judge.calls == asked
    page = (tmp_path / "report.html").read_text()
    for trial in again["trials"]:
        for scales in trial["labels"].values():
            for found in scales.values():
                assert number(found["ari"]) in page
                assert all(number(one["score"]["mean"]) in page for one in found["mixtures"])
    assert "<script" not in page and page.count("<figure>") == 8
    # What was validated can be scored by.
    by = tmp_path / "validation.json"
    (given,) = {json.dumps(book["facets"]) for book in again["trials"][2]["codebooks"]}
    assert json.dumps(read_codebook(by).as_json()["facets"]) == given
    assert criteria_json(read_criteria(by)) == again["trials"][0]["criteria"]
    assert [t["labels"] for t in again["trials"]] == [t["labels"] for t in result["trials"]]


SMALL_RUN = (
    "--rounds=6", "--bind=Score.criteria_rounds=4", "--bind=Score.criteria_sets=2",
    "--bind=Score.bootstrap=100", "--documents_per_round=6",
)  # fmt: skip


def test_the_command(corpus, tmp_path, run_command) -> None:
    output = tmp_path / "out"
    command = (
        "validate", f"--input={corpus.path}", "--labels=topic", f"--output={output}", *SMALL_RUN
    )  # fmt: skip
    planned = run_command(*command, "--dry_run")
    assert planned.code == 0, planned.stderr
    assert "clustering" in planned.stdout and not output.exists()
    done = run_command(*command, "--second_judge=offline")
    assert done.code == 0, done.stderr
    assert "perfect judge" in done.stdout and "second judge" in done.stdout
    found = json.loads((output / "validation.json").read_text())
    (trial,) = found["trials"]
    assert [m["classes"] for m in trial["labels"]["topic"]["clusters"]["mixtures"]] == [1, 2, 4, 5]
    assert trial["second_judge"]["clusters"]["ari"] == 1
    other = run_command(*command, "--seed=5")
    assert other.code == 2 and "another validation" in other.stderr


def test_batch_files_pause_once_a_stage(corpus, tmp_path, run_command) -> None:
    output = tmp_path / "out"
    done = run_command(
        "validate", f"--input={corpus.path}", "--labels=topic,half", f"--output={output}",
        *SMALL_RUN, "--documents_per_round=4,6", "--verify=on,off", "--llm=batch", "--model=m",
        "--criteria=configs/score/criteria/pretraining-1.json", "--prompts=prompts/levels",
    )  # fmt: skip
    assert done.code == 75, done.stderr
    assert done.stderr.count("\n") == 1
    (file,) = output.rglob("*.jsonl")  # one file for all mixtures, sizes and orders
    asked = 6 * (4 + 2) * 2
    assert asked < len(file.read_text().splitlines()) <= 2 * asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels=topc"], "'topic'"),
        (["--labels=same"], "one class only, 'x'"),
        (["--labels=none"], "has no labels"),
        (["--labels=rare"], "class 'few' of column 'rare'"),
        (["--labels=topic", "--documents_per_round=5,50"], "a round takes 50"),
        (["--labels=topic", "--documents_per_round=five"], "documents_per_round"),
        (["--labels=topic", "--verify=perhaps"], "verify"),
        ([], "--labels is required"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, run_command, arguments, words) -> None:
    rows = [
        {
            "text": f"text {n}",
            "topic": "ab"[n % 2],
            "same": "x",
            "none": None,
            "rare": "few" if n < 3 else "many",
        }
        for n in range(40)
    ]
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run_command("validate", f"--input={path}", f"--output={tmp_path / 'out'}", *arguments)
    assert done.code == 2, done.stdout
    assert done.stderr.count("\n") == 1 and words in done.stderr
    assert not (tmp_path / "out/validation.json").exists()


def test_a_judge_without_a_usable_reply_is_told_so(corpus, tmp_path) -> None:
    def nothing(_):
        return "I cannot help with that."

    with (
        session_of(JudgeBackend("silent", Clustering=nothing)) as session,
        pytest.raises(UserError, match="no usable reply"),
    ):
        validate(Validation(corpus, ("topic",), CONFIG), tmp_path, session)


def test_a_validation_is_attached_to_the_scores_of_its_judge_only(corpus, tmp_path) -> None:
    config = dataclasses.replace(CONFIG, rounds=8, repeat_fraction=0.5)
    with session_of(label_judge(topic)) as session:
        found = validate(Validation(corpus, ("topic",), config), tmp_path, session)
        validated = dataclasses.replace(config, validation=str(tmp_path / "validation.json"))
        result = cluster_score(corpus, validated, session, tmp_path / "score")
        with pytest.raises(UserError, match="other ways of asking.*4 documents a round"):
            cluster_score(corpus, dataclasses.replace(validated, documents_per_round=4), session)
        with pytest.raises(UserError, match="holds no validation"):
            wrong = dataclasses.replace(validated, validation=str(tmp_path / "score/score.json"))
            cluster_score(corpus, wrong, session)
    summary = result["judge"]["validation"]
    assert summary["labels"]["topic"]["ari"] == 1 and summary["test_retest"]["ari"] == 1
    mixtures = found["trials"][0]["labels"]["topic"]["clusters"]["mixtures"]
    assert [one["score"] for one in summary["labels"]["topic"]["mixtures"]] == [
        one["score"] for one in mixtures
    ]
    page = (tmp_path / "score/report.html").read_text()
    assert "its score rises with every step in the number of classes of topic" in page
    with (
        session_of(label_judge(topic, 0.5)) as other,
        pytest.raises(UserError, match="validates 'labels, error 0.0'"),
    ):
        cluster_score(corpus, validated, other)


def test_clusters_with_and_without_verification_stand_in_one_table(corpus, tmp_path) -> None:
    def lump(texts):
        labels = [topic(text) for text in texts["document"]]
        first = {"sea": "bread", "wood": "snow"}
        return cluster_reply(grouped([first.get(label, label) for label in labels]))

    def verdicts(texts):
        documents = [topic(text) for text in texts["document"]]
        members = [
            [int(n) for n in block.splitlines()[1].removeprefix("Documents: ").split(",")]
            for block in texts["cluster"]
        ]
        return verdicts_reply([len({documents[n - 1] for n in group}) == 1 for group in members])

    judge = value_judge(topic, TOPICS)
    judge.answers |= {"Clustering": lump, "Verification": verdicts}
    config = dataclasses.replace(CONFIG, rounds=8, policy="split")
    ways = ("prompts/score", "prompts/levels")
    what = Validation(corpus, ("topic",), config, ways, (4,), verify=(True, False))
    with session_of(judge, tmp_path / "answers.sqlite") as session:
        result = validate(what, tmp_path, session)
        planned = plan_validation(what, session).parts
    verified, plain, values = result["trials"]
    assert [t["verify"] for t in result["trials"]] == [True, False, None]
    assert plain["calls"]["sent"] == 0 < verified["calls"]["sent"]
    assert 0 < plain["tokens"]["input"] < verified["tokens"]["input"]
    scores = [
        t["labels"]["topic"]["clusters"]["mixtures"][-1]["score"]["mean"] for t in (verified, plain)
    ]
    assert scores[0] > scores[1]  # what it lumped is split
    assert (
        "not verified" in str(result) and "not verified" in (tmp_path / "report.html").read_text()
    )
    # What was planned is what was asked; verification at most.
    calls = {
        name: {s.stage: s.calls + s.cached for s in plan.stages} for name, plan in planned.items()
    }
    assert len(calls) == 2
    asked = calls["prompts/score, 4 documents a round"]
    again = sum(len(one.inquiry.again) for one in result.asked[0])
    assert asked["verification"] == 4 * 8 and asked["clustering"] == 4 * 8 + 4 * 4
    assert abs(again - 4 * 4) < 12


def test_a_validation_that_goes_on_tells_what_all_of_it_took(corpus, tmp_path) -> None:
    config = dataclasses.replace(CONFIG, rounds=8)
    with session_of(label_judge(topic), tmp_path / "answers.sqlite") as session:
        first = validate(Validation(corpus, ("topic",), config), tmp_path, session)
    with session_of(label_judge(topic), tmp_path / "answers.sqlite") as session:
        again = validate(Validation(corpus, ("topic",), config), tmp_path, session)
    (one,), (other,) = first["trials"], again["trials"]
    assert other["calls"]["sent"] == 0
    assert other["tokens"] == one["tokens"] and one["tokens"]["input"] > 0


def test_a_cap_leaves_the_mixtures_that_are_answered(corpus, tmp_path, run_command) -> None:
    output = tmp_path / "out"
    command = (
        "validate", f"--input={corpus.path}", "--labels=topic", f"--output={output}", *SMALL_RUN
    )  # fmt: skip
    few = run_command(*command, "--max_calls=30")
    assert few.code == 75 and "PARTIAL validation" in few.stderr and few.stderr.count("\n") == 1
    found = json.loads((output / "validation.json").read_text())
    answered = found["partial"]["mixtures_answered"]
    assert 0 < answered < found["partial"]["mixtures_planned"] == 4
    (trial,) = found["trials"]
    assert len(trial["labels"]["topic"]["clusters"]["mixtures"]) == answered
    assert "Partial:" in (output / "report.html").read_text()
    assert run_command(*command).code == 0
    assert "partial" not in json.loads((output / "validation.json").read_text())


def test_other_judges_stand_beside_this_one_where_they_saw_the_same(corpus, tmp_path) -> None:
    config = dataclasses.replace(CONFIG, rounds=8)
    what = Validation(corpus, ("topic",), config)
    for error in (0.0, 0.3):
        with session_of(label_judge(topic, error)) as session:
            validate(what, tmp_path / str(error), session)
    path = str(tmp_path / "0.3/validation.json")
    beside = dataclasses.replace(what, beside=(path,))
    with session_of(label_judge(topic)) as session:
        result = validate(beside, tmp_path / "both", session)
        with pytest.raises(UserError, match="its rounds differs"):
            fewer = dataclasses.replace(config, rounds=6)
            validate(dataclasses.replace(beside, config=fewer), tmp_path / "no", session)
    models = [trial["judge"]["model"] for trial in result["trials"]]
    assert models == ["labels, error 0.0", "labels, error 0.3"]
    aris = [trial["labels"]["topic"]["clusters"]["ari"] for trial in result["trials"]]
    assert aris[0] == 1 > aris[1]
    assert "labels, error 0.3" in (tmp_path / "both/report.html").read_text()
