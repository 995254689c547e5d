"""The sentences that a page begins with: each follows from figures by a rule."""

import dataclasses

import pytest

from synthdiv.reporting.findings import found, in_a_round, what_was_read, whole
from synthdiv.reporting.values import facet_values
from synthdiv.reporting.verdicts import holm, only_in, verdict


@dataclasses.dataclass(frozen=True)
class Thing:
    """A group, of one corpus or of several."""

    name: str
    share: float = 0.0
    within: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


def things(*shares):
    return [Thing(chr(ord("a") + n), share) for n, share in enumerate(shares)]


@pytest.mark.parametrize(
    "shares, said",
    [
        ((0.93, 0.07), "Nearly all of what was read (93%) is “a”."),
        ((0.6, 0.4), "More than half of what was read (60%) is “a”; next come “b” (40%)."),
        (
            (0.3, 0.2, 0.2, 0.3),
            "50% of what was read is “a” (30%) and “b” (20%); next come “c” (20%) and “d” (30%).",
        ),
        (
            (0.3, 0.2, 0.4, 0.1),
            "50% of what was read is “a” (30%) and “b” (20%); most of the rest is “c” (40%).",
        ),
        (
            (0.1,) * 10,
            "It takes the 5 largest groups to make up half of what was read; first come ",
        ),
        ((0.1, 0.1), "The 2 largest groups hold 20% of what was read: no few of them make it up. "),
    ],
)
def test_the_first_sentence_says_what_half_is_made_of(shares, said):
    (sentence,) = found({}, [], things(*shares))
    assert sentence.startswith(said)


CODEBOOK = {
    "facets": [
        {
            "name": "subject",
            "levels": [{"name": "field"}, {"name": "discipline"}],
            "values": [
                {"name": "Science", "values": [{"name": "physics"}, {"name": "biology"}]},
                {"name": "arts", "meaning": "made things", "values": []},
                {"name": "law", "values": [{"name": "treaties"}]},
            ],
        },
        {"name": "form", "levels": [{"name": "kind"}], "values": [{"name": "essay"}]},
    ]
}
ROWS = [
    {
        "index": index,
        "subject.field": field,
        "subject.discipline": discipline,
        "form.kind": "essay",
    }
    for index, field, discipline in [
        *((n, "science", "physics") for n in range(6)),
        (0, "Science", "Physics"),  # once more, in another round
        (6, "science", "other (science)"),
        (7, "arts", "arts"),
        (8, "other", "other"),
    ]
]


def level(facet, name, effective):
    return {"facet": facet, "level": name, "effective_values": effective}


def test_values_are_counted_in_the_tree_that_the_codebook_has():
    subject, form = facet_values([CODEBOOK], ROWS)
    science, arts, other = subject.values
    assert (science.name, science.documents, science.share) == ("Science", 7, 0.8)
    assert [(one.name, one.documents) for one in science.values] == [
        ("physics", 6),
        ("other (science)", 1),
    ]
    assert arts.values == () and arts.meaning == "made things" and arts.path == ("arts",)
    assert other.documents == 1
    assert sorted(one.name for one in subject.at(1)) == [
        "arts",
        "other",
        "other (science)",
        "physics",
    ]
    fields, disciplines = subject.unread
    assert fields.missing == (("law", ""),) and fields.few == (("arts", ""),)
    assert disciplines.missing == (("biology", "Science"), ("treaties", "law"))
    assert disciplines.known == 3 and form.unread[0].missing == ()


def test_a_value_called_like_what_it_is_in_stands_for_it():
    values = [{"name": "law", "values": [{"name": "Law", "values": [{"name": "tax"}]}]}]
    levels = [{"name": "field"}, {"name": "discipline"}, {"name": "specialty"}]
    book = {"facets": [{"name": "subject", "levels": levels, "values": values}]}
    row = {"index": 0, "subject.field": "law", "subject.discipline": "Law"}
    (subject,) = facet_values([book], [row | {"subject.specialty": "Law"}])
    assert [one.name for one in subject.values] == ["law"] and subject.values[0].values == ()
    field, discipline, _ = subject.unread
    assert field.missing == () and discipline.missing == (("tax", "law"),)


def test_names_from_right_to_left_stay_in_their_quotation_marks():
    (sentence,) = found({}, [], [Thing("\u05e9\u05dc\u05d5\u05dd", 1.0)])
    assert sentence.endswith("is “\u2068\u05e9\u05dc\u05d5\u05dd\u2069”.")


def test_values_of_two_codebooks_that_are_called_alike_are_one():
    second = {
        "facets": [
            CODEBOOK["facets"][0] | {"values": [{"name": "SCIENCE"}, {"name": "sport"}]},
            CODEBOOK["facets"][1],
        ]
    }
    subject, _ = facet_values([CODEBOOK, second], ROWS)
    assert subject.unread[0].known == 4
    assert subject.unread[0].missing == (("law", ""), ("sport", ""))


def test_what_is_narrow_wide_and_missing_is_said_of_values():
    facets = facet_values([CODEBOOK], ROWS)
    score = {
        "codebooks": [CODEBOOK],
        "levels": [level("subject", "discipline", 9.5), level("form", "kind", 1.0)],
        "config": {"level": "subject.discipline"},
        "rounds": {"documents_per_round": 10},
        "clusters": {"mean": 2.54},
    }
    first, drawn, subject, form, missing = found(score, facets, [])
    assert first == (
        "More than half of what was read (70%) is “physics”; next come “other (science)” (10%) and "
        "“arts” (10%)."
    )
    assert subject == "Subject is wide: as varied as 9.5 equally common disciplines."
    assert form == "Form is narrow: 100% is “essay”."
    assert missing == "Nothing was read in 1 of the 3 fields that the codebook knows: “law”."
    assert (
        drawn
        == in_a_round(score)
        == ("On average, 10 documents drawn at random are of 2.5 different disciplines.")
    )


def test_that_most_documents_have_no_value_is_said_first():
    book = {"facets": [CODEBOOK["facets"][1]]}
    score = {"codebooks": [book], "config": {"level": "form.kind"}}
    facets = facet_values([book], ROWS)
    for other, first in ((0.87, "87% of what was read has no value"), (0.25, "Nearly all")):
        said = found(
            score | {"levels": [level("form", "kind", 1.0) | {"other": other}]}, facets, []
        )
        assert said[0].startswith(first)
        # Nor is it then said that nothing is missing.
        assert ("Something was read in the one kind that the codebook knows." in said) == (
            other == 0.25
        )


def test_a_facet_is_called_narrow_by_the_figure_that_is_shown():
    """What is said and what is shown are one figure, so 2.97 is not "3.0" and narrow as well."""
    score = {
        "codebooks": [CODEBOOK],
        "levels": [level("subject", "discipline", 2.94), level("form", "kind", 2.97)],
        "config": {"level": "subject.discipline"},
    }
    said = " ".join(found(score, facet_values([CODEBOOK], ROWS), []))
    assert "Subject is narrow: as varied as 2.9" in said
    assert "Form is neither narrow nor wide" in said


def test_halves_of_a_percent_go_up_and_neither_all_nor_nothing_is_claimed():
    shares = (0.495, 0.745, 0.915, 0.105, 0.999, 0.001, 0, 1)
    assert [whole(share) for share in shares] == [
        *("50%", "75%", "92%", "11%", "99%", "1%", "0%", "100%")
    ]


def test_how_much_was_read_and_by_whom_is_said():
    score = {
        "corpus": {"documents": 1600, "shown": 117, "truncated": 80},
        "rounds": {"completed": 20, "documents_per_round": 10},
        "judge": {"backend": "api", "model": "some-model"},
    }
    assert what_was_read(score) == (
        "117 of its 1,600 documents were read by the judge “some-model”, in 20 rounds of 10; "
        "80 of them were cut to their beginning."
    )
    assert "offline stand-in" in what_was_read(score | {"judge": {"backend": "offline"}})
    assert what_was_read({}) == ""


def test_criteria_that_differ_and_that_do_not_are_told_apart():
    facets = [
        {"name": "Subject", "different": 0.9},
        {"name": "Form", "different": 0.5},
        {"name": "Reader", "different": 0.1},
        {"name": "Length", "mean": 3, "deviation": 1},
    ]
    assert found({"facets": facets}, [], []) == [
        "Two documents mostly differ in Subject (90% of pairs differ).",
        "They are mostly alike in Reader (10% of pairs differ).",
    ]


def compared(*means):
    return {name: {"score": {"mean": mean}} for name, mean in zip("abc", means, strict=False)}


def differ(one, other, difference, p):
    ends = sorted((difference - 0.5, difference + 0.5))
    return {"corpora": [one, other], "difference": difference, "ci95": ends, "p_value": p}


def test_a_verdict_names_the_more_diverse_corpus_whichever_comes_first():
    for one, other, sign in (("a", "b", -1), ("b", "a", 1)):
        content = {"corpora": compared(2, 3), "differences": [differ(one, other, sign, 0.0004)]}
        assert verdict(content, []) == [
            "b is more diverse than a: its score is 1.00 higher "
            "(95% interval 0.50 to 1.50, p < 0.001)."
        ]
    content["differences"] = [differ("a", "b", -0.2, 0.3)]
    assert verdict(content, [])[0].startswith(
        "No difference in diversity between a and b was found"
    )
    content["differences"] = [differ("a", "b", 1, None) | {"ci95": [None, None]}]
    assert verdict(content, [])[0].startswith("Too few rounds tell")


def test_a_verdict_says_in_what_and_how_much_was_read():
    corpora = compared(2, 3)
    for one, effective, documents in zip(corpora.values(), (3.004, 12.04), (160, 640), strict=True):
        one["pairs"] = {"effective_clusters": {"mean": effective}}
        one["corpus"] = {"documents": documents, "shown": 100}
        one["rounds"] = {"documents_per_round": 10}
    content = {"corpora": corpora, "differences": [differ("a", "b", -1, 0.01)]}
    assert verdict(content | {"level": "subject.discipline"}, []) == [
        "b is more diverse in discipline than a: as varied as 12.0 equally common disciplines "
        "against 3.0; its score is 1.00 higher (95% interval 0.50 to 1.50, p = 0.010).",
        "The judge read 100 of the 160 documents of a and 100 of the 640 documents of b, in rounds "
        "of 10 drawn at random: a corpus does not score higher for having more documents.",
    ]
    corpora["a"]["rounds"] = {"documents_per_round": 20}
    assert "drawn at random" not in verdict(content, [])[1]


def test_a_verdict_on_three_says_which_differences_hold():
    pairs = (("a", "b", -1, 0.02), ("a", "c", -2, 0.001), ("b", "c", -1, 0.03))
    differences = [differ(*pair) for pair in pairs]
    said = verdict({"corpora": compared(1, 2, 3), "differences": differences}, [])
    assert said[0].startswith("c is more diverse than b") and "then b (2.00), then a" in said[1]
    assert said[2].startswith("All 3 differences hold")
    differences[0]["p_value"] = 0.04  # 0.03 is the smaller of two now: 0.06 corrected
    said = verdict({"corpora": compared(1, 2, 3), "differences": differences}, [])
    assert said[2].endswith("not told apart are a and b and b and c.")


def test_without_shared_criteria_an_order_is_no_verdict():
    said = verdict({"corpora": compared(1, 2), "shared_criteria": False}, [])
    assert "no measurement" in said[1]


def test_only_what_no_other_has_is_told_as_a_corpus_own():
    groups = [
        Thing("both", shares=(0.5, 0.1)),
        Thing("mine", shares=(0.2, 0)),
        Thing("rare", shares=(0.001, 0)),
    ]
    assert [one.name for one in only_in(groups, 0)] == ["mine"] and only_in(groups, 1) == []
    said = verdict({"corpora": compared(1, 2), "shared_criteria": True}, groups)
    assert said[-1] == "Only a has “mine” (20%) (and others of less than 1% of it each)."
    said = verdict({"corpora": compared(1, 2), "shared_criteria": True}, groups[:2])
    assert said[-1] == "Only a has “mine” (20%)."


def test_p_values_are_corrected_in_order_and_never_fall():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([None, 0.9]) == [1, 1] and holm([]) == []
