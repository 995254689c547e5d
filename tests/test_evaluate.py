"""The evaluate command: what it prints and writes, and its one-line errors."""

import json
import re
from pathlib import Path

import pytest

from tests.evaluation import small


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    tokenizer = small.write_tokenizer(folder)
    for seed in range(2):
        small.write_checkpoint(folder / f"model{seed}", tokenizer, seed)
    small.write_suite(folder / "suite")
    return folder


def test_evaluate_then_compare(folder, run_command):
    for seed in range(2):
        ran = run_command(
            "evaluate",
            f"--checkpoint={folder}/model{seed}",
            "--tasks=world_facts,copa",
            f"--data_dir={folder}/suite",
            f"--corpus={folder}/pages.jsonl",
            "--bind=TextLoss.max_documents=3",
            f"--output={folder}/results{seed}.json",
        )
        assert ran.code == 0, ran.stderr
        results = json.loads((folder / f"results{seed}.json").read_text())
        said = {line.split()[0]: line.split() for line in ran.stdout.splitlines()}
        assert said["world_facts"][2] == f"{results['tasks']['world_facts']['value']:.2%}"
        assert said["pages"][2] == f"{results['bits_per_byte']:.4f}"
        assert ran.stdout.splitlines()[-1] == f"all of it is in {folder}/results{seed}.json"
    compared = f"--compare={folder}/results0.json,{folder}/results1.json"
    ran = run_command("evaluate", compared, f"--output={folder}/compared")
    assert ran.code == 0, ran.stderr
    rows = json.loads((folder / "compared" / "comparison.json").read_text())["rows"]
    measured = dict.fromkeys(row["measure"] for row in rows)
    assert next(iter(measured)) == "accuracy" and len(measured) > 1
    for measure in measured:
        tasks = [row["task"] for row in rows if row["measure"] == measure]
        assert tasks == ["world_facts", "copa", "average"]
    assert ran.stdout.splitlines()[-2].startswith("average")


def test_a_dry_run_writes_nothing(folder, tmp_path, run_command):
    ran = run_command(
        "evaluate",
        f"--checkpoint={folder}/model0",
        "--tasks=synthdiv_paper",
        f"--data_dir={folder}/suite",
        f"--output={tmp_path}/results.json",
        "--dry_run",
    )
    assert ran.code == 0, ran.stderr
    assert re.search("hellaswag +12 questions, 48 requests", ran.stdout)
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
        (["--compare={0}/pages.jsonl"], "error: a comparison takes the results of at least two"),
        (["--task=copa"], "error: no flag --task; did you mean '--tasks'?"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(folder, tmp_path, run_command, arguments, complaint):
    arguments = [argument.format(folder) for argument in arguments]
    ran = run_command(
        "evaluate", *arguments, f"--data_dir={folder}/suite", f"--output={tmp_path}/out.json"
    )
    assert ran.code == 2
    assert ran.stderr.startswith(complaint) and ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def _changed(**changes) -> str:
    return json.dumps(small.SUITE["piqa_validation"](2) | changes) + "\n"


@pytest.mark.parametrize(
    "third, complaint",
    [
        ('{"goal": "a", "sol1": "b"}\n', ": no field 'sol2'; it has 'goal', 'sol1'"),
        ('{"goal": "cut', " is not JSON: Unterminated string starting at (the file's last"),
        (_changed(label=2), ": 'label' is 2, outside the options 0 to 1"),
        (_changed(sol2="word " * 400), ": task piqa, question 2: a continuation of "),
    ],
    ids=["missing field", "truncated line", "label outside", "too long"],
)
def test_a_data_file_that_cannot_be_used_is_named_with_the_line(
    folder, tmp_path, run_command, third, complaint
):
    whole = (folder / "suite" / "piqa_validation.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "piqa_validation.jsonl").write_text("".join(whole[:2]) + third)
    ran = run_command(
        "evaluate",
        f"--checkpoint={folder}/model0",
        "--tasks=piqa",
        f"--data_dir={tmp_path}",
        f"--output={tmp_path}/out/results.json",
    )
    assert ran.code == 2
    *_, said = ran.stderr.splitlines()
    assert said.startswith(f"error: {tmp_path}/piqa_validation.jsonl line 3{complaint}")
    assert "Traceback" not in ran.stderr and not (tmp_path / "out" / "results.json").exists()


def test_contexts_that_are_too_long_are_cut_and_counted(folder, tmp_path, run_command):
    rows = [small.SUITE["boolq_validation"](i) for i in range(3)]
    rows[1]["passage"] *= 60
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "boolq_validation.jsonl").write_text(text)
    ran = run_command(
        "evaluate",
        f"--checkpoint={folder}/model0",
        "--tasks=boolq",
        f"--data_dir={tmp_path}",
        f"--output={tmp_path}/results.json",
    )
    assert ran.code == 0, ran.stderr
    said = "requests whose context was too long for the model, cut on the left: boolq 2"
    assert ran.stdout.splitlines()[-2] == said
    assert json.loads((tmp_path / "results.json").read_text())["truncated"] == {"boolq": 2}
