"""Writes the pages of scores and comparisons, with the groups that their clusters make."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from synthdiv.baselines.catalogue import METRICS
from synthdiv.diversity.groups import Group, places, value_groups
from synthdiv.diversity.recurring import find_recurring
from synthdiv.files import Corpus, Document
from synthdiv.reporting.comparison_page import write_comparison_page
from synthdiv.reporting.score_files import Cluster, ScoreFiles, read_score_files
from synthdiv.reporting.score_page import write_score_page

_GROUPS = 100  # described on a page
_ROUNDS = 300  # of each corpus are looked at to find groups that several have


@dataclasses.dataclass(frozen=True)
class SharedGroup:
    """A group as several corpora have it.

    Attributes:
        name, within: what it is called, and the broader values it belongs to.
        shares: of each corpus's places, in the order of the corpora.
    """

    name: str
    within: tuple[str, ...]
    shares: tuple[float, ...]


def write_report(
    score_dir: str | Path, corpus: Corpus | None = None, back: str | None = None
) -> Path:
    """Writes `report.html` into a score directory and returns its path.

    Args:
        score_dir: a directory with score.json and rounds.parquet.
        corpus: where the documents are; by default documents.parquet of the directory, else the
            corpus that score.json names, and without either the report shows indices only.
        back: address of the page of the comparison that the score is part of.

    Raises:
        UserError: score.json or rounds.parquet is missing.
    """
    files = read_score_files(score_dir, corpus)
    groups = groups_of(files.clusters, files.documents, bool(files.values))
    return write_score_page(score_dir, files, groups, METRICS, back)


def groups_of(
    clusters: Sequence[Cluster], documents: Mapping[int, Document], by_values: bool
) -> list[Group]:
    """The groups of clusters: one a value, or where there are no values, those that recur."""
    if by_values:
        return value_groups(clusters, documents, _GROUPS)
    if all(documents.keys() >= set(cluster.documents) for cluster in clusters):
        return find_recurring(clusters, documents, _GROUPS)
    return []


def write_comparison_report(directory: str | Path, names: Sequence[str]) -> Path:
    """Writes `report.html` beside comparison.json and returns its path.

    Args:
        directory: where comparison.json is, and a score directory of each corpus.
        names: of the corpora that were judged alike, so that their groups can be held against
            each other; none where each was judged in a way of its own.

    Raises:
        UserError: comparison.json or a file of a score is missing.
    """
    scores = [read_score_files(Path(directory) / name) for name in names]
    return write_comparison_page(directory, METRICS, shared_groups(scores))


def shared_groups(scores: Sequence[ScoreFiles]) -> list[SharedGroup]:
    """Groups the clusters of several corpora together; those with the largest share first."""
    clusters: list[Cluster] = []
    owners: list[int] = []
    documents: dict[int, Document] = {}
    for owner, files in enumerate(scores):
        # Documents and rounds of all corpora get numbers of their own.
        first = max(documents, default=-1) + 1
        for round_ in files.rounds[:_ROUNDS]:
            for cluster in round_.clusters:
                moved = tuple(first + index for index in cluster.documents)
                number = len(scores) * cluster.round + owner
                clusters.append(dataclasses.replace(cluster, round=number, documents=moved))
                owners.append(owner)
        documents |= {first + index: one for index, one in files.documents.items()}
    values = tuple(row for files in scores for row in files.values)
    if any(bool(files.values) != bool(values) for files in scores):
        return []  # some were described by values, others were not
    held = [
        places(cluster for cluster, by in zip(clusters, owners, strict=True) if by == owner)
        for owner in range(len(scores))
    ]
    found = []
    for group in groups_of(clusters, documents, bool(values)):
        shares = [0.0] * len(scores)
        for place in group.members:
            shares[owners[place]] += len(clusters[place].documents) / max(held[owners[place]], 1)
        found.append(SharedGroup(group.name, group.within, tuple(shares)))
    return sorted(found, key=lambda group: -max(group.shares))
