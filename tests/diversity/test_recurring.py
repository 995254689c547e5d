"""Clusters with other names and alike documents are merged across rounds."""

import pytest

from synthdiv.diversity.recurring import find_recurring
from synthdiv.files import Document
from synthdiv.reporting.score_files import Cluster

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
