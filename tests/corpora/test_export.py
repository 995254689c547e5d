"""A corpus written for other libraries is read back by them, equal."""

import json
from pathlib import Path

import pytest

from synthdiv.corpora import Corpus
from synthdiv.data.corpus_export import export_corpus
from synthdiv.errors import UserError

ROWS = [
    {"id": f"d{i}", "text": f"text {i} ☃", "n": i, "tags": ["a"] * i, "maybe": None if i else "x"}
    for i in range(2500)
]


def test_datasets_reads_what_was_written_for_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    corpus = Corpus.of(ROWS, name="mine")
    written = export_corpus(corpus, "hf", tmp_path)
    assert datasets.load_from_disk(str(written)).to_list() == ROWS
    assert list(Corpus(written)) == list(corpus)


def test_json_lines(tmp_path: Path) -> None:
    rows = [*ROWS[:3], {"id": "odd", "text": "half a pair \ud83d, a line\u2028separator"}]
    corpus = Corpus.of(rows, name="mine")
    written = export_corpus(corpus, "jsonl", tmp_path)
    assert [json.loads(line) for line in written.read_text().split("\n") if line] == rows
    assert Corpus(written).sha256 == corpus.sha256


@pytest.mark.parametrize("format", ["tfds", "jsonl", "hf"])
def test_nothing_is_left_of_an_export_that_failed(tmp_path: Path, format: str) -> None:
    pytest.importorskip("tensorflow_datasets")
    lines = [json.dumps(row) + "\n" for row in ROWS]
    (tmp_path / "a.jsonl").write_text("".join(lines) + "{broken\n")
    with pytest.raises(UserError, match="line 2501"):
        export_corpus(Corpus(tmp_path / "a.jsonl"), format, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_column_of_several_kinds_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(UserError, match="column 'n'"):
        export_corpus(Corpus.of([ROWS[0], ROWS[1] | {"n": "x"}]), "hf", tmp_path)
