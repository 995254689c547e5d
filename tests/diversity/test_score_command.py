"""`synthdiv score` on the command line: what it prints, refuses and leaves alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def score(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "synthdiv.score", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [{"text": f"{'sea ship' if i % 2 else 'bread oven'} {i}"} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_it_prints_the_score_and_says_who_judged(corpus, tmp_path):
    done = score(
        f"--input={corpus}", f"--output={tmp_path / 'out'}", "--llm=offline", "--rounds=20",
        "--bind=Score.criteria_rounds=4", "--bind=Score.criteria_sets=4",
        "--bind=Score.with_baselines=False",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("corpus: ") and "not an LLM" in done.stdout
    result = json.loads((tmp_path / "out/score.json").read_text())
    assert f"{result['score']['mean']:.3f}" in done.stdout


def test_dry_run_prints_the_plan_and_touches_nothing(corpus, tmp_path, run_command):
    done = run_command("score", f"--input={corpus}", f"--output={tmp_path / 'out'}", "--dry_run")
    assert done.code == 0, done.stderr
    assert "clustering" in done.stdout and "5,000" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output=o"], "--input is required"),
        (["--input=nothing.jsonl", "--output=o"], "nothing.jsonl"),
        (["--input={corpus}", "--output=o", "--text_column=txt"], "'text'"),
        (["--input={corpus}", "--output=o", "--runds=3"], "--rounds"),
        (["--input={corpus}", "--output=o", "--rounds=many"], "--rounds=many is no number"),
        (["--input={corpus}", "--output=o", "--config=none.gin"], "no config file 'none.gin'\n"),
        (["--input={corpus}", "--output=o", "--bind=Score.runds=3"], "Score.rounds"),
        (["--input={corpus}", "--output=o", "--config=score/quik.gin"], "quick.gin"),
        (["--input={corpus}", "--output=o", "--bind=Score.policy='dorp'"], "policy"),
        (["--input={corpus}", "--output=o", "--labels=lable"], "lable"),
        (
            ["--input={corpus}", "--output={corpus}/x", "--llm=offline"],
            "is a file, not a directory",
        ),
        (["--input={corpus}", "--output=o", "--criteria=nowhere.json"], "nowhere.json"),
        (["--input={empty}", "--output=o"], "empty"),
        (["--input={corpus}", "--output=o", "--bind=Score.seed=-1"], "Score.seed"),
        (
            ["--input={corpus}", "--output=o", "--rounds=3", "--bind=Score.documents_per_round=99"],
            "--bind=Score.documents_per_round=30 or fewer",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(corpus, tmp_path, run_command, arguments, words):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    output = tmp_path / "out"
    done = run_command(
        "score",
        *(a.format(corpus=corpus, empty=empty).replace("=o", f"={output}") if a == "--output=o"
          else a.format(corpus=corpus, empty=empty) for a in arguments),
    )  # fmt: skip
    assert done.code == 2, done.stderr
    assert done.stderr.count("\n") == 1 and words in done.stderr
    assert not (output / "score.json").exists()


def test_the_directories_of_a_comparison_are_claimed_like_any_other(corpus, tmp_path, run_command):
    (tmp_path / "other.jsonl").write_text(corpus.read_text())
    both = f"--input={corpus},{tmp_path}/other.jsonl", f"--output={tmp_path}/out", "--compare"
    light = ("--rounds=4", "--bind=Score.criteria_rounds=2", "--bind=Score.with_baselines=False")
    assert run_command("score", *both, *light).code == 0
    before = (tmp_path / "out/corpus/score.json").read_bytes()
    one = (f"--input={corpus}", f"--output={tmp_path}/out/corpus", *light)
    for arguments in (one, (*one, "--seed=1"), (*one, "--dry_run")):
        done = run_command("score", *arguments)
        assert (
            done.code == 2
            and "holds other work (one of several scores), and no score" in done.stderr
        )
    assert (tmp_path / "out/corpus/score.json").read_bytes() == before
    assert run_command("score", *both, *light).code == 0, "the comparison itself goes on"


def test_every_config_is_valid():
    from synthdiv import config
    from synthdiv.diversity import ScoreConfig
    from synthdiv.llm import LLMConfig

    found = sorted((ROOT / "configs/score").rglob("*.gin"))
    assert len(found) > 20
    for path in found:
        loaded = config.load((ScoreConfig, LLMConfig), [path])
        assert loaded.get(ScoreConfig).rounds >= 100
        loaded.get(LLMConfig)
        head = path.read_text().splitlines()
        assert head[0].startswith("# ")
        assert any(f"--config=configs/score/{path.relative_to(ROOT / 'configs/score')}" in line
                   for line in head)  # fmt: skip


def test_paper_config_has_the_paper_parameters():
    from synthdiv import config
    from synthdiv.diversity import ScoreConfig

    paper = config.load((ScoreConfig,), ["score/paper.gin"]).get(ScoreConfig)
    assert (paper.criteria_documents, paper.criteria_rounds) == (5, 100)
    assert (paper.documents_per_round, paper.rounds) == (10, 5000)
    assert (paper.policy, paper.verify, paper.sample) == ("drop", True, 1_000_000)


def test_the_python_of_the_page_on_scores(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/score.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    rows = [{"text": f"{'sea ship' if i % 2 else 'bread oven'} {i}"} for i in range(30)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    exec(code.replace("rounds=100", "rounds=20, with_baselines=False"), {})
    assert re.match(r"corpus: [0-9.]+ \[", capsys.readouterr().out)
