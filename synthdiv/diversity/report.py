"""Writes report.html of a score directory, with the clusters that recur in its rounds."""

from pathlib import Path

from synthdiv.baselines.catalogue import METRICS
from synthdiv.diversity.recurring import find_recurring
from synthdiv.files import Corpus
from synthdiv.reporting.score_files import read_score_files
from synthdiv.reporting.score_page import write_score_page


def write_report(score_dir: str | Path, corpus: Corpus | None = None) -> Path:
    """Writes `report.html` into a score directory and returns its path.

    Args:
        score_dir: a directory with score.json and rounds.parquet.
        corpus: where the documents are; by default documents.parquet of the directory, else the
            corpus that score.json names, and without either the report shows indices only.

    Raises:
        UserError: score.json or rounds.parquet is missing.
    """
    files = read_score_files(score_dir, corpus)
    known = all(files.documents.keys() >= set(cluster.documents) for cluster in files.clusters)
    recurring = find_recurring(files.clusters, files.documents) if known else []
    return write_score_page(score_dir, files, recurring, METRICS)
