"""Clusters with other names and alike documents are merged across rounds."""

import dataclasses

import pytest

from synthdiv.diversity.groups import value_groups
from synthdiv.diversity.recurring import find_recurring
from synthdiv.diversity.report import shared_groups
from synthdiv.files import Document
from synthdiv.reporting.score_files import Cluster, Round, ScoreFiles

SUBJECTS = {
    "stars": "the telescope shows a distant star whose planet moves in a narrow orbit of dust",
    "bread": "knead the dough with flour and yeast until the loaf rises in a warm oven",
    "trade": "the merchant sold grain at the market for silver coins and paid his debt",
    "horses": "a rider saddled the horse and rode through the meadow to the old stable",
}


def planted(names, share_of_first=0.5, rounds=60):
    """Clusters of planted groups, named differently in every round."""
    clusters, documents = [], {}
    for number in range(rounds):
        for place, (name, text) in enumerate(names.items()):
            size = 4 if place == 0 else 2
            indices = []
            for _ in range(size):
                index = len(documents)
                style = "blog post" if place == 0 or index % 4 == 0 else "textbook"
                documents[index] = Document(str(index), f"{text} {index}", {"style": style})
                indices.append(index)
            words = ["about", "on", "concerning"][number % 3]
            clusters.append(
                Cluster(number, f"{words} {name}", f"speaks of {name}", tuple(indices), True)
            )
    return clusters, documents


def test_clusters_with_other_names_and_alike_documents_are_merged():
    clusters, documents = planted(SUBJECTS)
    groups = find_recurring(clusters, documents)
    assert len(groups) == 4
    first = groups[0]
    assert first.name.endswith("stars") and len(first.names) == 2
    assert first.share == pytest.approx(0.4)
    assert first.rounds == 1 and first.clusters == 60 and first.documents == 240
    assert set(first.examples) <= {i for c in clusters if "stars" in c.name for i in c.documents}
    assert first.origins[0].value == "blog post" and first.origins[0].share == 1
    assert first.origins[0].lift > 1.5
    assert sum(group.share for group in groups) == pytest.approx(1)


def test_no_clusters_no_groups():
    assert find_recurring([], {}) == []
    only = [Cluster(0, "", "", (0,), True)]
    (group,) = find_recurring(only, {0: Document("0", "")})
    assert group.share == 1


def test_a_group_without_a_common_name_is_called_by_its_most_typical_one():
    names = ["girl and mother", "mother at home", "a walk", "girl, mother, home", "home"]
    clusters = [
        Cluster(n, name, "", (n,), True, {"subject": "family life"}, True)
        for n, name in enumerate(names * 2)
    ]
    (group,) = value_groups(clusters, {})
    assert group.name != "girl, mother, home", "a fifth of the documents are called alike"
    more = [Cluster(20 + n, f"girl {n}, mother, home", "", (20 + n,), True) for n in range(20)]
    (group,) = value_groups([dataclasses.replace(c, metadata={}) for c in clusters + more], {})
    assert set(group.name.replace(",", "").split()) >= {"girl", "mother", "home"}
    assert set(group.members) == set(range(30)) and group.documents == 30


def test_values_are_groups_and_what_is_constant_is_not_repeated():
    documents = {
        n: Document(str(n), "text", {"model": "one", "style": "a" if n < 4 else "b"})
        for n in range(8)
    }
    fields = {"subject: field": "science", "subject: discipline": "physics"}
    other = {"subject: field": "arts", "subject: discipline": "physics"}
    clusters = [
        Cluster(0, "physics", "matter", (0, 1, 2, 3), True, fields, True),
        Cluster(1, "Physics", "matter", (0, 1), True, fields | {"subject: field": "Science"}, True),
        Cluster(1, "physics", "", (4, 5), False, other, True),
    ]
    first, second = value_groups(clusters, documents)
    assert (first.name, first.within, first.documents) == ("physics", ("science",), 4)
    assert first.share == 0.75 and first.rounds == 1 and first.members == (0, 1)
    assert [(o.column, o.value) for o in first.origins] == [("style", "a")]
    assert second.within == ("arts",) and second.valid == 0


def test_groups_of_several_corpora_are_held_against_each_other():
    def files(values):
        clusters = tuple(
            Cluster(0, value, "", (n,), True, {"subject: field": value}, True)
            for n, value in enumerate(values)
        )
        documents = {n: Document(str(n), "text") for n in range(len(values))}
        one = Round(0, 0, tuple(documents), clusters, 1, 1, 1, False, False)
        return ScoreFiles({}, (one,), documents, ({"index": 0},))

    groups = shared_groups([files(["law", "law", "art"]), files(["art", "law"]), files(["sport"])])
    assert {group.name: group.shares for group in groups} == {
        "sport": (0, 0, 1),
        "law": (pytest.approx(2 / 3), 0.5, 0),
        "art": (pytest.approx(1 / 3), 0.5, 0),
    }
    assert [group.name for group in groups][0] == "sport", "largest share first"
