"""No command writes where its input lies: it would be overwritten, or read with what is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from synthdiv.corpora import Corpus
from synthdiv.errors import UserError
from synthdiv.files import check_apart


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A directory with a file of topics that have a text, below one of its own."""
    directory = tmp_path / "above" / "corpus"
    directory.mkdir(parents=True)
    row = {"path": ["Beekeeping", "Hives"], "keywords": ["wax"], "text": "Bees carry nectar home."}
    (directory / "in.jsonl").write_text(json.dumps(row) + "\n")
    return directory


@pytest.mark.parametrize(
    ("output", "where"),
    [("corpus", "is the input"), ("corpus/part", "is inside the input"), (".", "holds the input")],
)
@pytest.mark.parametrize(
    "command",
    ["filter --input={}", "filter --llm=offline --input={}/*.json*",
     "select --documents=3 --input={}",
     "generate --family=rephrase --sources={}", "generate --waves --topics={}/in.jsonl",
     "export --format=jsonl --corpus={}", "export --format=parquet --dry_run --corpus={}"],
)  # fmt: skip
def test_an_output_is_no_input(
    command: str, output: str, where: str, corpus: Path, run_command: Any
) -> None:
    if "in.jsonl" in command or "*" in command:  # a file has no inside, and is no directory
        output, where = {"corpus/part": ".", "corpus": "corpus"}.get(output, "."), "holds the input"
    done = run_command(*command.format(corpus).split(), f"--output={corpus.parent / output}")
    assert done.code == 2, done.stderr
    assert done.stderr.startswith("error: output ") and where in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in corpus.parent.rglob("*")] == ["corpus", "in.jsonl"]


@pytest.mark.parametrize(
    ("given", "output", "where"),
    [("in.jsonl", "in.jsonl", "is the input"), ("*.jsonl", "in.jsonl", "is the input"),
     ("in.merged.jsonl", "in.jsonl", "is the input"), ("", "new.jsonl", "is inside the input")],
)  # fmt: skip
def test_topics_are_not_written_over_what_they_come_from(
    given: str, output: str, where: str, corpus: Path, run_command: Any
) -> None:
    if given == "in.merged.jsonl":
        (corpus / "in.jsonl").rename(corpus / given)
    before = {path.name: path.read_bytes() for path in corpus.iterdir()}
    done = run_command("topics", f"--input={corpus / given}", f"--output={corpus / output}")
    assert done.code == 2 and where in done.stderr, done.stderr
    assert {path.name: path.read_bytes() for path in corpus.iterdir()} == before


def test_what_lies_elsewhere_is_no_input(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus in memory is called "corpus", and lies in no directory of that name."""
    monkeypatch.chdir(corpus.parent)
    check_apart("corpus", Corpus(["a text"]))
    check_apart(corpus / "out", Corpus(corpus / "in.jsonl"), corpus / "missing.jsonl")
    (corpus.parent / "link").symlink_to(corpus)
    with pytest.raises(UserError, match="is inside the input"):
        check_apart("link/out", Corpus(corpus))
