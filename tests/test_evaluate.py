"""The evaluate command: what it prints and writes, and its one-line errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation import small


def _run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "synthdiv.evaluate", *arguments], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    tokenizer = small.write_tokenizer(folder)
    for seed in range(2):
        small.write_checkpoint(folder / f"model{seed}", tokenizer, seed)
    small.write_suite(folder / "suite")
    return folder


def test_evaluate_then_compare(folder):
    for seed in range(2):
        ran = _run(
            f"--checkpoint={folder}/model{seed}",
            "--tasks=world_facts,copa",
            f"--data_dir={folder}/suite",
            f"--corpus={folder}/pages.jsonl",
            "--bind=TextLoss.max_documents=3",
            f"--output={folder}/results{seed}.json",
        )
        assert ran.returncode == 0, ran.stderr
        results = json.loads((folder / f"results{seed}.json").read_text())
        assert f"world_facts      acc       {results['tasks']['world_facts']['value']:.2%}" in (
            ran.stdout
        )
        assert f"pages            bits/byte {results['bits_per_byte']:.4f}" in ran.stdout
    ran = _run(
        f"--compare={folder}/results0.json,{folder}/results1.json", f"--output={folder}/compared"
    )
    assert ran.returncode == 0, ran.stderr
    rows = json.loads((folder / "compared" / "comparison.json").read_text())["rows"]
    assert [row["task"] for row in rows] == ["world_facts", "copa", "average"]
    assert ran.stdout.splitlines()[-1].startswith("average")


def test_a_dry_run_writes_nothing(folder, tmp_path):
    ran = _run(
        f"--checkpoint={folder}/model0",
        "--tasks=synthdiv_paper",
        f"--data_dir={folder}/suite",
        f"--output={tmp_path}/results.json",
        "--dry_run",
    )
    assert ran.returncode == 0, ran.stderr
    assert "hellaswag: 12 questions, 48 requests" in ran.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--tasks=copa"], "error: --checkpoint is required; --help explains it"),
        (["--checkpoint=/nowhere", "--tasks=copa"], "error: no checkpoint in /nowhere"),
        (
            ["--checkpoint={0}/model0"],
            "error: nothing to evaluate: give --tasks, --corpus, or both",
        ),
        (["--checkpoint={0}/model0", "--corpus={0}/none.jsonl"], "error: no corpus"),
        (
            ["--checkpoint={0}/model0", "--tasks=copa", "--bind=Evaluate.limits=3"],
            "error: --bind='Evaluate.limits=3': no parameter 'Evaluate.limits'; did you mean "
            "'Evaluate.limit'?",
        ),
        (["--compare={0}/pages.jsonl"], "error: --compare takes the results of at least two"),
        (["--task=copa"], "error: no flag --task; did you mean '--tasks'?"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(folder, tmp_path, arguments, complaint):
    arguments = [argument.format(folder) for argument in arguments]
    ran = _run(*arguments, f"--data_dir={folder}/suite", f"--output={tmp_path}/out.json")
    assert ran.returncode == 2
    assert ran.stderr.startswith(complaint) and ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
