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
    "sample": ["--checkpoint=llama", "--prompt=Rivers"],
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


@pytest.fixture
def refused(here, run_command, monkeypatch):
    """Runs a command, asserts that it is refused as promised, and returns what it said."""
    monkeypatch.chdir(here)

    def run(command: str, arguments: list[str]) -> str:
        before = sorted(p.relative_to(here) for p in here.rglob("*"))
        ended = run_command(command, *arguments)
        assert ended.code == 2, ended
        assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1, ended.stderr
        assert not ended.stdout
        assert sorted(p.relative_to(here) for p in here.rglob("*")) == before
        return ended.stderr

    return run


def changed(command: str, **values: str) -> list[str]:
    return [
        f"--{name}={values[name]}" if (name := flag[2:].split("=")[0]) in values else flag
        for flag in COMPLETE[command]
    ]


@pytest.mark.parametrize("command", COMPLETE)
def test_unknown_binding(refused, command):
    said = refused(command, [*COMPLETE[command], "--bind=Nothing.like_this=1"])
    assert "Nothing" in said


@pytest.mark.parametrize("command", COMPLETE)
def test_unknown_flag(refused, command):
    assert "--inputt" in refused(command, [*COMPLETE[command], "--inputt=x"])


@pytest.mark.parametrize("command", COMPLETE)
def test_missing_config(refused, command):
    arguments = [*COMPLETE[command], "--config=configs/study/quickstrat.gin"]
    assert "configs/study/quickstart.gin" in refused(command, arguments)


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
def test_a_corpus_that_cannot_be_read(refused, command, file, words):
    assert words in refused(command, changed(command, input=file))


@pytest.mark.parametrize("command", ["topics", "generate", "score", "tokenize", "study"])
def test_a_place_that_cannot_be_written(refused, command):
    place = "workdir" if command == "study" else "output"
    assert "file" in refused(command, changed(command, **{place: "file/inside"}))


@pytest.mark.parametrize("more", [[], ["--dry_run"]], ids=["run", "dry_run"])
@pytest.mark.parametrize("command", ["generate", "score", "tokenize", "study"])
def test_a_file_where_a_directory_should_be(refused, command, more):
    place = "workdir" if command == "study" else "output"
    said = refused(command, [*changed(command, **{place: "file"}), *more])
    assert "'file' is a file, not a directory" in said


@pytest.mark.parametrize("more", [[], ["--dry_run"]], ids=["run", "dry_run"])
@pytest.mark.parametrize("command", ["topics", "evaluate"])
def test_a_directory_where_a_file_should_be(refused, here, command, more):
    (here / "place").mkdir()
    said = refused(command, [*changed(command, output="place"), *more])
    assert "'place' is a directory, not a file" in said


def test_a_study_of_text_that_is_not_there(refused, run_command):
    asked = [*COMPLETE["study"], "--input=good.jsonl,nothere"]
    assert "no corpus 'nothere'" in refused("study", asked)
    planned = run_command("study", *asked, "--dry_run")  # before the data are there
    assert planned.code == 0 and "not here yet     no corpus 'nothere'" in planned.stdout


@pytest.mark.parametrize("command", ["sft", "evaluate", "sample", "export"])
def test_no_checkpoint(refused, command):
    arguments = [a for a in COMPLETE[command] if not a.startswith(("--tasks", "--data_dir"))]
    more = ["--corpus=good.jsonl"] if command == "evaluate" else []
    assert "llama" in refused(command, [*arguments, *more])


def test_no_checkpoint_to_start_from(refused):
    assert "llama" in refused("pretrain", [*COMPLETE["pretrain"], "--init_from=llama"])


@pytest.mark.parametrize("raised", [RuntimeError, AssertionError])
def test_devices_that_are_not_there(monkeypatch, raised):
    """JAX raises the one for a driver that is missing, the other for a missing package."""
    jax = pytest.importorskip("jax")
    from synthdiv.errors import UserError
    from synthdiv.model.devices import check_devices

    def devices():
        raise raised("Unable to initialize backend 'cuda'\nmore")

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError, match="JAX_PLATFORMS=cuda asks for devices") as told:
        check_devices()
    assert "\n" not in str(told.value)


def test_in_a_process_of_its_own(here):
    """As the others, without what this process has imported or set."""
    before = sorted(here.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "synthdiv.score", "--input=broken.jsonl", "--output=OUT"],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and sorted(here.iterdir()) == before
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr


def test_no_tokens(refused):
    assert "tokens" in refused("pretrain", COMPLETE["pretrain"])


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("score", "--target_ci=nan"),
        ("score", "--target_ci=inf"),
        ("score", "--target_ci=0"),
        ("score", "--repeat_fraction=nan"),
        ("score", "--seed=-1"),
        ("score", "--max_cost_usd=nan"),
        ("score", "--max_cost_usd=inf"),
        ("score", "--max_cost_usd=-1"),
        ("score", "--max_calls=-1"),
        ("generate", "--seed=-1"),
        ("generate", "--max_cost_usd=nan"),
    ],
)
def test_a_number_that_is_none(refused, command, flag):
    name = flag[2:].partition("=")[0]
    assert name in refused(command, [*COMPLETE[command], flag])


def test_a_value_out_of_range(refused):
    assert "Generate.generations" in refused(
        "generate", ["--output=OUT", "--bind=Generate.generations=0"]
    )
    assert "takes int, not 'ten'" in refused(
        "score", ["--input=good.jsonl", "--output=OUT", "--bind=Score.rounds='ten'"]
    )
