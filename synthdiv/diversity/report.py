"""Writes the pages of a score, with the groups of clusters that recur in its rounds."""

from pathlib import Path

from synthdiv.baselines.catalogue import METRICS
from synthdiv.diversity.groups import Group, value_groups
from synthdiv.diversity.recurring import find_recurring
from synthdiv.files import Corpus
from synthdiv.reporting.score_files import ScoreFiles, read_score_files
from synthdiv.reporting.score_page import write_score_page

_GROUPS = 100  # described on a page


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
    return write_score_page(score_dir, files, groups_of(files), METRICS, back)


def groups_of(files: ScoreFiles) -> list[Group]:
    """The groups of a score's clusters: one a value, or where there are none, those that recur."""
    clusters, documents = files.clusters, files.documents
    if files.values:
        return value_groups(clusters, documents, _GROUPS)
    if all(documents.keys() >= set(cluster.documents) for cluster in clusters):
        return find_recurring(clusters, documents, _GROUPS)
    return []
