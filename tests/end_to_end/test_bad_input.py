"""A user's mistake is one line on stderr, exit code 2, and nothing half-written: every command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What makes each command's command line complete; OUT is where it would write.
COMPLETE = {
    "topics": ["--input=good.jsonl", "--output=OUT"],
    "generate": ["--output=OUT"],
    "score": ["--input=good.jsonl", "--output=OUT", "--rounds=5"],
    "tokenize": ["--input=good.jsonl", "--output=OUT", "--tokenizer=bpe"],
    "pretrain": ["--workdir=OUT", "--bind=Mixture.sources=[('tokens', 1000)]"],
    "sft": ["--init_from=llama", "--input=good.jsonl", "--workdir=OUT"],
    "evaluate": ["--checkpoint=llama", "--tasks=world_facts", "--data_dir=.", "--output=OUT"],
    "export": ["--checkpoint=llama", "--output=OUT"],
    "study": ["--config=configs/study/smoke.gin", "--workdir=OUT"],
}
READS_A_CORPUS = ["topics", "score", "tokenize"]


@pytest.fixture
def here(tmp_path):
    documents = [{"text": f"document number {i} is about rivers"} for i in range(30)]
    (tmp_path / "good.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "notext.jsonl").write_text('{"body": "x"}\n')
    (tmp_path / "broken.jsonl").write_text('{"text": "x"}\n{"text": "y"')
    (tmp_path / "file").write_text("a file, not a directory")
    return tmp_path


def refused(here: Path, command: str, arguments: list[str]) -> str:
    """Runs a command, asserts that it is refused as promised, and returns what it said."""
    before = sorted(p.relative_to(here) for p in here.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", f"synthdiv.{command}", *arguments],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(here.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert sorted(p.relative_to(here) for p in here.rglob("*")) == before
    return done.stderr


def changed(command: str, **values: str) -> list[str]:
    return [
        f"--{name}={values[name]}" if (name := flag[2:].split("=")[0]) in values else flag
        for flag in COMPLETE[command]
    ]


@pytest.mark.parametrize("command", COMPLETE)
def test_unknown_binding(here, command):
    said = refused(here, command, [*COMPLETE[command], "--bind=Nothing.like_this=1"])
    assert "Nothing" in said


@pytest.mark.parametrize("command", COMPLETE)
def test_unknown_flag(here, command):
    assert "--inputt" in refused(here, command, [*COMPLETE[command], "--inputt=x"])


@pytest.mark.parametrize("command", COMPLETE)
def test_missing_config(here, command):
    arguments = [*COMPLETE[command], "--config=configs/study/quickstrat.gin"]
    assert "configs/study/quickstart.gin" in refused(here, command, arguments)


@pytest.mark.parametrize(
    ("command", "file", "words"),
    [
        (command, file, words)
        for command in READS_A_CORPUS
        for file, words in [
            ("good.json", "good.jsonl"),
            ("empty.jsonl", "is empty"),
            ("notext.jsonl", "no column 'text'"),
            ("broken.jsonl", "line 2 is not JSON"),
        ]
    ],
)
def test_a_corpus_that_cannot_be_read(here, command, file, words):
    assert words in refused(here, command, changed(command, input=file))


@pytest.mark.parametrize("command", ["topics", "generate", "score", "tokenize", "study"])
def test_a_place_that_cannot_be_written(here, command):
    place = "workdir" if command == "study" else "output"
    assert "file" in refused(here, command, changed(command, **{place: "file/inside"}))


@pytest.mark.parametrize("command", ["sft", "evaluate", "export"])
def test_no_checkpoint(here, command):
    arguments = [a for a in COMPLETE[command] if not a.startswith(("--tasks", "--data_dir"))]
    more = ["--corpus=good.jsonl"] if command == "evaluate" else []
    assert "llama" in refused(here, command, [*arguments, *more])


def test_no_tokens(here):
    assert "tokens" in refused(here, "pretrain", COMPLETE["pretrain"])


def test_a_value_out_of_range(here):
    assert "Generate.generations" in refused(
        here, "generate", ["--output=OUT", "--bind=Generate.generations=0"]
    )
    assert "takes int, not 'ten'" in refused(
        here, "score", ["--input=good.jsonl", "--output=OUT", "--bind=Score.rounds='ten'"]
    )
