"""Values at levels: codebooks, what is made of replies, and the score at each level."""

import dataclasses
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from synthdiv.diversity import ScoreConfig, cluster_score
from synthdiv.diversity.agent import Round
from synthdiv.diversity.arithmetic import round_score
from synthdiv.diversity.codebook import Codebook, Facet, Level, Value, is_other, read_codebook
from synthdiv.diversity.coding import (
    Codes,
    DocumentCodes,
    DocumentNotes,
    GatheredValue,
    GatheredValues,
    Notes,
    codes_of,
    fault_of_codes,
    fault_of_values,
    nested,
    noted,
)
from synthdiv.diversity.criteria import CriteriaSet
from synthdiv.diversity.levels import level_scores
from synthdiv.diversity.planning import plan_score
from synthdiv.errors import UserError
from synthdiv.files import Corpus
from synthdiv.llm import LLMConfig, open_session
from tests.diversity.judges import SMALL, session_of, value_judge

SUBJECT = Facet(
    "subject",
    "What is it about?",
    "",
    (Level("field", "broad"), Level("discipline", "finer")),
    (
        Value("science", "nature", (Value("physics", "matter"), Value("biology", "life"))),
        Value("sport", "games"),
    ),
)
FORM = Facet("form", "What is it?", "", (Level("kind", "sort"),), (Value("story"), Value("list")))
BOOK = Codebook((SUBJECT, FORM))


@pytest.mark.parametrize(
    ("code", "labels", "names"),
    [
        ("A1.2", [(1,), (1, 2)], ["science", "biology"]),
        ("A1", [(1,), (1, 0)], ["science", "other (science)"]),
        ("A1.0", [(1,), (1, 0)], ["science", "other (science)"]),
        ("A2", [(2,), (2,)], ["sport", "sport"]),  # nothing finer: a value of its own there
        ("A0", [(0,), (0,)], ["other", "other"]),
    ],
)
def test_a_code_stands_for_a_value_at_every_level(code, labels, names) -> None:
    place = BOOK.place(0, code)
    assert place is not None
    assert BOOK.labels(0, place) == labels
    assert [BOOK.called(0, label) for label in labels] == names
    assert [is_other(label) for label in labels] == ["other" in name for name in names]


@pytest.mark.parametrize("code", ["A3", "A1.3", "A2.1", "B1", "A", "1", "", "a1", "A1.2.1", "A-1"])
def test_a_code_that_leads_nowhere_is_none(code) -> None:
    assert BOOK.place(0, code) is None


def test_what_is_wrong_with_codes_is_said() -> None:
    def codes(*given: tuple[int, list[str]]) -> Codes:
        return Codes(documents=[DocumentCodes(document=n, codes=c) for n, c in given])

    assert fault_of_codes(codes((1, ["A1.1", "B2"]), (2, ["A0", "B0"])), 2, BOOK) is None
    assert "document 2 is missing" in str(fault_of_codes(codes((1, ["A1", "B1"])), 2, BOOK))
    swapped = fault_of_codes(codes((1, ["B1", "A1"])), 1, BOOK)
    assert "'B1' is no code of facet A (subject)" in str(swapped)
    assert "1 codes where 2 facets" in str(fault_of_codes(codes((1, ["A1"])), 1, BOOK))
    repaired, mended = codes_of(codes((1, ["A1.1", "B9"]), (3, ["A2", "B1"])), 3, BOOK)
    assert repaired == [("A1.1", "B0"), ("A0", "B0"), ("A2", "B1")]
    assert mended == 2


def test_an_outline_becomes_a_tree() -> None:
    def value(level: str, name: str) -> GatheredValue:
        return GatheredValue(level=level, name=name, meaning=f"about {name}")

    outline = [value("Field", "science"), value("discipline", "physics"), value("field", "sport")]
    found = nested(GatheredValues(values=outline), SUBJECT)
    assert [v.name for _, v in found.walk()] == ["science", "physics", "sport"]
    assert [place for place, _ in found.walk()] == [(1,), (1, 1), (2,)]
    assert fault_of_values(GatheredValues(values=outline), SUBJECT) is None
    assert "begins with" in str(fault_of_values(GatheredValues(values=outline[1:]), SUBJECT))
    wrong = GatheredValues(values=[value("genre", "novel")])
    assert "the levels are field, discipline" in str(fault_of_values(wrong, SUBJECT))
    again = nested(GatheredValues(values=[*outline, value("field", "Science "), *outline]), SUBJECT)
    assert again == found, "a value that is listed twice is one"
    many = GatheredValues(values=[value("field", f"f{n}") for n in range(41)])
    assert "at most 40" in str(fault_of_values(many, SUBJECT))


def test_equal_notes_are_counted_together() -> None:
    notes = [
        Notes(
            documents=[
                DocumentNotes(document=1, values=["Science", "physics", "story"]),
                DocumentNotes(document=2, values=["science", " Physics", "list"]),
                DocumentNotes(document=3, values=["sport", "tennis", "list"]),
            ]
        )
    ]
    assert noted(notes, BOOK.facets, 0) == [
        "2 documents\nScience / physics",
        "1 document\nsport / tennis",
    ]
    assert noted(notes, BOOK.facets, 1) == ["2 documents\nlist", "1 document\nstory"]


def test_levels_are_scored_from_the_codes() -> None:
    codes = [
        [("A1.1", "B1"), ("A1.2", "B1"), ("A2", "B1"), ("A0", "B1")],
        [("A1.1", "B1"), ("A1.1", "B1"), ("A1.2", "B1"), ("A1", "B2")],
    ]
    basis = CriteriaSet(0, BOOK)
    rounds = [Round(n, basis, (0, 1, 2, 3), codes=tuple(given)) for n, given in enumerate(codes)]
    rounds.append(Round(2, basis, (0, 1, 2, 3), failure="no reply"))
    field, discipline, kind = level_scores(rounds, 4)
    assert (field.facet, field.level, kind.level) == ("subject", "field", "kind")
    assert field.score.mean == pytest.approx(np.mean([round_score([2, 1, 1]), round_score([4])]))
    assert discipline.score.mean == pytest.approx(
        np.mean([round_score([1, 1, 1, 1]), round_score([2, 1, 1])])
    )
    assert field.other == 1 / 8
    assert discipline.other == 2 / 8
    # 2 of 12 ordered pairs of the first round are alike and all of the second; the spread of two
    # rounds makes the inverse of their mean too high by its squared relative error.
    shares = np.array([2 / 12, 1.0])
    relative = shares.std(ddof=1) / math.sqrt(2) / shares.mean()
    found = field.effective_values["mean"]
    assert found == pytest.approx(1 / (shares.mean() * (1 + relative**2)))
    assert field.values[0] == ("science", 6 / 8)
    assert kind.clusters == 1.5 and kind.warning is None
    assert "less diverse corpora would score the same" in str(
        level_scores(rounds[:1], 4)[2].warning
    )
    assert "subject.field (3.0 clusters) still resolves" in str(
        level_scores(rounds[:1], 4)[1].warning
    )
    assert level_scores(rounds[:1], 4)[1].effective_values["mean"] is None


def test_a_codebook_is_read_as_it_was_written(tmp_path) -> None:
    path = tmp_path / "book.json"
    path.write_text(json.dumps(BOOK.as_json()))
    assert read_codebook(path) == BOOK


def changed(**what: object) -> dict[str, object]:
    """A facet that is right but for what is changed."""
    value = {"name": "science", "meaning": "nature", "values": [{"name": "physics"}]}
    levels = [{"name": "field", "meaning": "broad"}, {"name": "discipline", "meaning": "finer"}]
    right = {"name": "subject", "question": "?", "levels": levels, "values": [value]}
    return {name: given for name, given in (right | what).items() if given is not ...}


LEVEL = {"name": "field", "meaning": "broad"}


@pytest.mark.parametrize(
    ("facets", "fault"),
    [
        ([changed(levels=...)], r"facet 1 \('subject'\) lacks 'levels'"),
        ([changed(levels=[])], r"facet 1 \('subject'\) has no levels"),
        ([changed(values=...)], "facet 'subject' has no values"),
        ([changed(name=f"facet {n}") for n in range(27)], "27 facets; there are letters for 26"),
        ([changed(), changed()], "two facets are called 'subject'"),
        ([changed(), changed(name="  ")], "facet 2: 'name' is '  '"),
        ([changed(name="a.b")], "facet 1: 'name' is 'a.b'; it must be words, without a dot"),
        ([changed(name=3)], "facet 1: 'name' is 3, not a text"),
        ([changed(levels=[LEVEL, LEVEL])], "two levels are called 'field'"),
        ([changed(levels=[LEVEL | {"name": "x.y"}])], "level 1: 'name' is 'x.y'"),
        ([changed(levels=[LEVEL | {"most": "4"}])], "'most' is '4', not a whole number"),
        ([changed(levels={"field": "broad"})], "'levels' is {'field': 'broad'}, not a list"),
        ([changed(levels=["field"])], "level 1 is 'field', not a JSON object"),
        ([changed(values=["science"])], "value 1 is 'science', not a JSON object"),
        ([changed(values=[{"name": ""}])], "value 1: 'name' cannot be ''"),
        ([changed(values=[{"name": "a"}, {"name": " A"}])], "two values are called ' A'"),
        ([changed(values=[{"name": "a", "meaning": None}])], "'meaning' is None, not a text"),
        (
            [changed(levels=[LEVEL])],
            r"\('subject'\), value 'science' has values inside that its facet has no level for",
        ),
        (["subject"], "facet 1 is 'subject', not a JSON object"),
        ({"subject": {}}, "holds no list of facets"),
    ],
)
def test_a_codebook_that_is_wrong_is_refused_in_one_line(tmp_path, facets, fault) -> None:
    path = tmp_path / "book.json"
    path.write_text(json.dumps({"facets": facets}))
    with pytest.raises(UserError, match=fault) as refused:
        read_codebook(path)
    assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)


@pytest.mark.parametrize("deep", [100, 300, 100_000])
def test_a_codebook_nested_without_end_is_refused(tmp_path, deep) -> None:
    path = tmp_path / "book.json"
    opened = '{"name": "x", "values": [' * deep
    right = json.dumps(changed(values=[]))
    path.write_text('{"facets": [' + right[:-2] + opened + "]}" * deep + "]}]}")
    with pytest.raises(UserError, match="nested too deep|has values inside"):
        read_codebook(path)


def test_the_shipped_codebook_has_the_headline_level() -> None:
    codebook = read_codebook("configs/score/criteria/pretraining-1.json")
    facet, depth = codebook.find(ScoreConfig().level)
    assert codebook.facets[facet].levels[depth].name == "discipline"
    with pytest.raises(UserError, match="no level 'subject.disciplin'.*subject.discipline"):
        codebook.find("subject.disciplin")


@pytest.fixture
def corpora(tmp_path):
    """One, two and four subjects of disjoint words."""
    rng = np.random.default_rng(0)
    subjects = [[f"{'abcd'[s]}word{n}" for n in range(12)] for s in range(4)]
    found = {}
    for classes in (1, 2, 4):
        path = tmp_path / f"{classes}.jsonl"
        with path.open("w") as file:
            for place in range(120):
                words = rng.choice(subjects[place % classes], 60)
                file.write(json.dumps({"text": " ".join(words)}) + "\n")
        found[classes] = Corpus(path)
    return found


@pytest.mark.parametrize(
    ("prompts", "criteria", "level", "fault"),
    [
        ("levels", None, "subject.speciality", "no level .* did you mean 'subject.specialty'"),
        ("levels", "configs/score/criteria/pretraining-1.json", "subject.specialty", "no level"),
        ("levels", "configs/score/criteria.json", "subject.field", "holds no codebook"),
        ("score", "configs/score/criteria/pretraining-1.json", "x.y", "sort into clusters"),
    ],
)
def test_a_plan_checks_what_is_judged_by_as_the_run_does(
    corpora, prompts, criteria, level, fault
) -> None:
    config = ScoreConfig(prompts=f"prompts/{prompts}", criteria=criteria, level=level)
    with (
        open_session(LLMConfig(), None) as session,
        pytest.raises(UserError, match=fault) as planned,
    ):
        plan_score([corpora[1]], config, session)
    with pytest.raises(UserError) as run:
        cluster_score(corpora[1], config)
    assert str(run.value) == str(planned.value)


def test_the_offline_judge_finds_planted_subjects_by_values(corpora) -> None:
    config = ScoreConfig(
        rounds=40,
        criteria_rounds=10,
        criteria_sets=1,
        prompts="prompts/levels",
        with_baselines=False,
    )
    means = []
    for classes, corpus in corpora.items():
        result = cluster_score(corpus, config)
        perfect = np.mean(
            [
                round_score(np.unique([i % classes for i in r.documents], return_counts=True)[1])
                for r in result.rounds
            ]
        )
        means.append(result.mean)
        assert result.mean == pytest.approx(perfect, abs=0.01), classes
        assert result.levels["subject.discipline"][0] == result.mean
        assert result["codebooks"][0]["coverage"] == 1.0
        assert result["codebooks"][0]["facets"][0]["values"]
    assert means == sorted(means)


def test_the_headline_has_one_figure(corpora) -> None:
    config = dataclasses.replace(SMALL, prompts="prompts/levels", control_rounds=500)
    with session_of(value_judge(lambda text: text[0], "abcd", 0.1)) as session:
        result = cluster_score(corpora[4], config, session=session)
    assert result["control_variate"]["used"] and result.mean != result["score"]["plain_mean"]
    assert result.levels[config.level] == (result.mean, *result.ci95)


def test_a_codebook_of_one_score_scores_another_corpus(corpora, tmp_path) -> None:
    config = ScoreConfig(
        rounds=10,
        criteria_rounds=10,
        criteria_sets=1,
        prompts="prompts/levels",
        with_baselines=False,
    )
    first = cluster_score(corpora[4], config, output=tmp_path / "four")
    fixed = dataclasses.replace(config, criteria=str(tmp_path / "four" / "score.json"))
    again = cluster_score(corpora[4], fixed)
    assert again.mean == first.mean
    assert again["calls"]["sent"] == config.rounds  # no notes, no gathering
    values = pq.read_table(tmp_path / "four" / "values.parquet").to_pylist()
    assert len(values) == config.rounds * config.documents_per_round
    one = values[0]
    book = read_codebook(tmp_path / "four" / "score.json")
    assert one["subject.field"] == book.called(0, book.label(0, one["codes"][0], 0))
    page = (tmp_path / "four" / "report.html").read_text()
    assert "subject: discipline" in page
    with pytest.raises(UserError, match="sort into clusters"):
        cluster_score(corpora[4], dataclasses.replace(fixed, prompts="prompts/score"))
    with pytest.raises(UserError, match="no codebook"):
        wrong = dataclasses.replace(config, criteria="configs/score/criteria.json")
        cluster_score(corpora[4], wrong)
