"""The commands generate and topics as a user runs them."""

import json
import shlex
import subprocess
import sys

from synthdiv import files


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=60, **options
    )


def test_generate_plans_then_writes_then_has_nothing_to_do(tmp_path):
    command = (
        "synthdiv.generate", f"--output={tmp_path / 'corpus'}", "--config=generate/trial.gin",
        "--bind=Generate.generations=1",
    )  # fmt: skip
    planned = run(*command, "--dry_run")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.splitlines()[1].split()[:2] == ["generation", "32"]
    assert list(tmp_path.iterdir()) == []
    made = run(*command)
    assert made.returncode == 0, made.stderr
    assert "32 documents on 32 topics" in made.stdout and "not an LLM" in made.stdout
    assert len(files.Corpus(tmp_path / "corpus")) == 32
    assert run(*command).stdout == made.stdout


def test_generate_stopped_by_a_cap_tells_how_to_go_on(tmp_path):
    arguments = (
        "synthdiv.generate", "--config=generate/trial.gin", "--bind=Generate.generations=1",
        "--bind=Generate.shard_documents=10",
    )  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(*arguments, f"--output={whole}").returncode == 0
    stopped = run(*arguments, f"--output={cut}", "--max_calls=15", "--fresh")
    assert stopped.returncode == 75 and stopped.stdout == ""
    words, _, command = stopped.stderr.partition(" with a higher limit to go on: ")
    assert words.startswith(
        f"paused: 15 of 32 requests are answered, a PARTIAL corpus of 15 documents is in {cut}; the"
        " next call could exceed --max_calls=15 (15 calls are behind"
    )
    assert json.loads((cut / "partial.json").read_text())["documents"] == len(files.Corpus(cut))
    done = run(*shlex.split(command)[2:])
    assert done.returncode == 0, done.stderr
    assert not (cut / "partial.json").exists()
    shards = [{p.name: p.read_bytes() for p in d.glob("*.parquet")} for d in (whole, cut)]
    assert shards[0] == shards[1] and len(shards[0]) == 4


def test_topics_reads_pages(tmp_path):
    pages = tmp_path / "pages.jsonl"
    text = "Riveting is a way to join steel plates. A hammer forms the rivet head on hot rivets."
    pages.write_text(json.dumps({"body": text}) + "\n")
    command = ("synthdiv.topics", f"--input={pages}", f"--output={tmp_path / 'topics.jsonl'}")
    made = run(*command, "--text_column=body")
    assert made.returncode == 0, made.stderr
    assert json.loads((tmp_path / "topics.jsonl").read_text())["path"][-1] == "Riveting"
    refused = run(*command)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error:") and "no column 'text'" in refused.stderr


def test_mistakes_are_one_line_and_exit_code_two(tmp_path, run_command):
    out = f"--output={tmp_path / 'corpus'}"
    for arguments, words in (
        (("generate",), "--output is required"),
        (("generate", out, "--topics=none.jsonl"), "no file 'none.jsonl'"),
        (("generate", out, "--familly=topic"), "did you mean '--family'"),
        (("generate", out, "--bind=Generate.topic=3"), "did you mean 'Generate.topics'"),
        (("topics", "--input=none.jsonl", out), "no corpus 'none.jsonl'"),
        (("generate", out, "--waves", "--target_score=3"), "--waves grows without a target"),
        (("generate", out, "--target_score=20", "--dry_run"), "--target_score=20 cannot be"),
    ):
        done = run_command(*arguments)
        assert done.code == 2, done.stderr
        assert words in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_importing_the_commands_loads_nothing_heavy():
    heavy = "{'jax', 'torch', 'tensorflow', 'lm_eval', 'sklearn', 'scipy', 'pyarrow', 'openai'}"
    code = (
        "import sys, synthdiv.generate, synthdiv.topics, synthdiv.generation;"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
