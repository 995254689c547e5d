"""The tokenize command: what it writes, what it plans, and what it refuses in one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthdiv.files import read_manifest


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    texts = [f"Note {i}: the corpus has documents, and this is number {i}." for i in range(200)]
    path.write_text("".join(json.dumps({"body": t}) + "\n" for t in texts))
    return path


def tokenize(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "synthdiv.tokenize", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_trains_tokenizes_and_reuses(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    first = ["--text_column=body", "--sequence_length=32", "--bind=Tokenizer.vocab_size=300"]
    done = tokenize(f"--input={corpus}", f"--output={out}", "--tokenizer=bpe", *first)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(out)
    assert f"{manifest['tokens']:,} tokens" in done.stdout and manifest["documents"] == 200
    other = tmp_path / "again"
    done = tokenize(f"--input={corpus}", f"--output={other}", f"--tokenizer={out}", *first)
    assert done.returncode == 0, done.stderr
    assert read_manifest(other) == manifest


def test_dry_run_touches_nothing(
    corpus: Path, tmp_path: Path, run_command: Callable[..., Any]
) -> None:
    out = tmp_path / "tokens"
    done = run_command(
        "tokenize",
        f"--input={corpus}",
        f"--output={out}",
        "--tokenizer=bpe",
        "--text_column=body",
        "--dry_run",
    )
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("notes  about ") and not out.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input={corpus}", "--tokenizer=bpe"], "--output is required"),
        (["--input={corpus}", "--output={out}"], "--tokenizer is required"),
        (["--input={corpus}", "--output={out}", "--tokenizer=bpe"], "no column 'text'"),
        (["--input={corpus}s", "--output={out}", "--tokenizer=bpe"], "did you mean"),
        (["--input={corpus}", "--output={out}", "--tokenzier=bpe"], "did you mean '--tokenizer'"),
        (
            ["--input={corpus}", "--output={out}", "--tokenizer=x.json", "--text_column=body"],
            "no tokenizer 'x.json'",
        ),
        (
            ["--input={corpus}", "--output={out}", "--tokenizer=bpe", "--bind=Tokenise.workers=1"],
            "Tokenize",
        ),
    ],
)
def test_mistakes_end_with_one_line(
    corpus: Path,
    tmp_path: Path,
    run_command: Callable[..., Any],
    flags: list[str],
    message: str,
) -> None:
    out = tmp_path / "tokens"
    done = run_command("tokenize", *(f.format(corpus=corpus, out=out) for f in flags))
    assert done.code == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not out.exists()
