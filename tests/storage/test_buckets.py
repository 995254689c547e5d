"""Corpora and commands on a store: the same as on a disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthdiv.corpora import Corpus, buckets
from synthdiv.errors import UserError
from synthdiv.files import CorpusWriter, read_manifest
from synthdiv.storage import fetch, parse, workspace

ROWS = [{"id": str(n), "text": f"text {n}"} for n in range(10)]


@pytest.fixture
def both(bucket: str, tmp_path: Path) -> tuple[str, Path]:
    """The same corpus in a store and on a disk."""

    def write(directory: Path) -> None:
        writer = CorpusWriter(directory)
        writer.write(ROWS[:4])
        writer.write(ROWS[4:])
        writer.close({})

    write(tmp_path / "mine")
    with workspace(f"{bucket}/mine") as directory:
        write(directory)
    return f"{bucket}/mine", tmp_path / "mine"


@pytest.mark.parametrize("kept", [0, 1 << 30])
def test_a_corpus_in_a_store_is_the_same(
    both: tuple[str, Path], kept: int, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(buckets, "_KEPT", kept)
    there, here = map(Corpus, map(str, both))
    for name in ("name", "columns", "fingerprint", "bytes_sha256", "sha256"):
        assert getattr(there, name) == getattr(here, name), name
    assert list(there) == list(here)
    assert read_manifest(there.path) == read_manifest(here.path) != {}
    assert [d.text for d in there.take([9, 0])] == ["text 9", "text 0"]
    assert any((cache / "read").rglob("shard-*")) == bool(kept)


def test_patterns_files_and_faults_are_told_by_their_addresses(bucket: str, files: Any) -> None:
    files.pipe_file(f"{bucket}/a/x.jsonl", b'{"text": "a"}\n')
    files.pipe_file(f"{bucket}/b/x.jsonl", b'{"text": "b"}\n{"text": 3}\n')
    files.pipe_file(f"{bucket}/b/notes.md", b"no corpus")
    assert [d.text for d in Corpus(f"{bucket}/[ax]/*.jsonl")] == ["a"]
    assert len(Corpus(f"{bucket}/a/x.jsonl")) == 1
    with pytest.raises(UserError, match=f"{bucket}/b/x.jsonl line 2"):
        list(Corpus(f"{bucket}/*/x.jsonl"))
    files.pipe_file(f"{bucket}/b/x.jsonl", b'{"text": "b"}\n{"text": \n')
    with pytest.raises(UserError, match=f"^{bucket}/b/x.jsonl line 2 is not JSON"):
        list(Corpus(f"{bucket}/b/x.jsonl"))
    for missing in (f"{bucket}/c", f"{bucket}/c/*.jsonl"):
        with pytest.raises(UserError, match="no corpus (is at|matches)"):
            Corpus(missing)


def test_a_corpus_whose_writer_was_killed_is_not_taken_for_whole(bucket: str) -> None:
    with workspace(f"{bucket}/mine") as directory:
        writer = CorpusWriter(directory)
        writer.write(ROWS)
    with pytest.raises(UserError, match="mine is not complete"):
        Corpus(f"{bucket}/mine")
    with workspace(f"{bucket}/mine") as directory:
        CorpusWriter(directory).close({})
    assert len(Corpus(f"{bucket}/mine")) == 10


def test_a_command_reads_and_writes_a_store(
    bucket: str, files: Any, run_command: Callable[..., Any], cache: Path
) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    files.pipe_file(f"{bucket}/in.jsonl", lines.encode())
    given = ("export", f"--corpus={bucket}/in.jsonl", "--format=jsonl", f"--output={bucket}/out")
    planned = run_command(*given, "--dry_run")
    assert planned.code == 0 and len(files.find(bucket)) == 1
    done = run_command(*given)
    assert done.code == 0 and f"{bucket}/out: " in done.stderr, done.stderr
    here = fetch(f"{bucket}/out")
    assert list(Corpus(f"{bucket}/out")) == list(Corpus(f"{bucket}/in.jsonl"))
    assert all(str(cache) not in p.read_text() for p in here.rglob("*") if p.is_file())


def test_gaps_of_a_score_in_a_store_go_elsewhere() -> None:
    from synthdiv.files import output_dir
    from synthdiv.storage.copies import cached

    with pytest.raises(UserError, match="a copy of what lies in a store: name an output"):
        output_dir(cached("read", parse("s3://bucket/score")))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--output=s3://key:hunter22@bucket/x"], "come from the environment"),
        (["--output=hf://datasets/a/b"], "only read"),
        (["--output=BUCKET"], "is a bucket"),
        (["--output=BUCKET/in.jsonl/x"], "is inside, what --corpus reads"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    bucket: str, files: Any, run_command: Callable[..., Any], flags: list[str], told: str
) -> None:
    files.pipe_file(f"{bucket}/in.jsonl", b'{"text": "a"}\n')
    given = [flag.replace("BUCKET", bucket) for flag in flags]
    ended = run_command("export", f"--corpus={bucket}/in.jsonl", "--format=jsonl", *given)
    assert ended.code == 2 and told in ended.stderr
    assert ended.stderr.count("\n") == 1 and "hunter22" not in ended.stderr
    assert len(files.find(bucket)) == 1
