"""Whole evaluations: what the results hold, and what an evaluation does not touch."""

import json
import math
import os
import re
import subprocess
import sys

import pytest

from synthdiv.errors import UserError
from synthdiv.evaluation import EvaluateConfig, TextLossConfig, evaluate, plan, table
from synthdiv.evaluation.tasks import PAPER, PAPER_METRICS
from tests.conftest import QUICKLY_COMPILED


@pytest.fixture(scope="module")
def results(checkpoint, suite, tokenizer_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("results") / "results.json"
    config = EvaluateConfig(log_samples=True, text_loss=TextLossConfig(max_documents=5))
    pages = tokenizer_dir.parent / "pages.jsonl"
    found = evaluate(checkpoint, [PAPER, "world_facts"], output, suite, config, [pages])
    return found, output


def test_results_are_lm_evals_with_ours_beside_them(results):
    found, output = results
    assert json.loads(output.read_text()) == found
    assert set(found["results"]) == {*PAPER_METRICS, "world_facts", PAPER}
    assert found["n-shot"] == dict.fromkeys([*PAPER_METRICS, "world_facts", PAPER], 0)
    for name, task in found["tasks"].items():
        metric = PAPER_METRICS.get(name, "acc")
        assert task["metric"] == metric and task["questions"] == 12
        assert task["value"] == found["results"][name][f"{metric},none"]
        questions = found["questions"][name]
        assert sum(questions["scores"]) / 12 == pytest.approx(task["value"])
        assert len(set(questions["hashes"])) == 12


def test_the_average_is_over_the_papers_eight_with_its_standard_error(results):
    found, _ = results
    eight = [found["tasks"][name] for name in PAPER_METRICS]
    entry = found["groups"][PAPER]
    assert entry["average,none"] == pytest.approx(sum(t["value"] for t in eight) / 8)
    error = math.sqrt(sum(t["stderr"] ** 2 for t in eight)) / 8
    assert entry["average_stderr,none"] == pytest.approx(error)
    everything = list(found["tasks"].values())
    assert found["accuracy"] == pytest.approx(sum(t["value"] for t in everything) / 9)


def test_bits_per_byte_and_files_are_recorded(results, suite):
    found, _ = results
    (measured,) = found["corpora"].values()
    assert found["bits_per_byte"] == measured["bits_per_byte"] > 0
    assert measured["documents"] == 5
    path = found["data_files"]["copa"]["path"]
    assert path == str(suite / "copa_validation.jsonl")
    assert len(found["data_files"]["copa"]["sha256"]) == 64


def test_samples_are_written_on_request(results):
    _, output = results
    lines = (output.parent / "results.samples.copa.jsonl").read_text().splitlines()
    sample = json.loads(lines[0])
    assert len(lines) == 12 and sample["doc"]["premise"] == "The heron ran to a cold lake."
    assert len(sample["filtered_resps"]) == 2


def test_the_table_says_what_the_results_say(results):
    found, _ = results
    lines = [line.split() for line in table(found).splitlines()]
    (average,) = [line for line in lines if line[0] == "average" and line[-1] == "tasks"][:1]
    shares = [f"{found[key]:.2%}" for key in ("accuracy", "stderr", "chance")]
    assert average == ["average", *shares, "9", "tasks"]
    copa = [f"{found['tasks']['copa'][key]:.2%}" for key in ("value", "stderr")]
    assert ["copa", "acc", *copa, "50.00%", "12", "questions"] in lines
    brier = found["measures"]["brier"]
    shown = [f"{brier[key]:.4f}" for key in ("value", "stderr", "chance")]
    assert ["average", "brier", *shown, "9", "tasks"] in lines
    (pages,) = [line for line in lines if line[0] == "pages"]
    assert pages[1:3] == ["bits/byte", f"{found['bits_per_byte']:.4f}"]


def test_an_evaluation_run_again_asks_the_model_nothing(checkpoint, suite, tmp_path, monkeypatch):
    output = tmp_path / "results.json"
    first = evaluate(checkpoint, ["copa", "world_facts"], output, suite)
    from synthdiv.evaluation import scoring

    def refuse(*unused, **unused_too):
        raise AssertionError("the model was asked again")

    monkeypatch.setattr(scoring, "_hidden", refuse)
    again = evaluate(checkpoint, ["copa", "world_facts"], output, suite)
    assert again["questions"] == first["questions"] and again["tasks"] == first["tasks"]
    with pytest.raises(AssertionError, match="asked again"):
        evaluate(checkpoint, ["copa", "piqa"], output, suite)


def test_limit_takes_the_first_questions(checkpoint, suite):
    found = evaluate(checkpoint, ["copa"], None, suite, EvaluateConfig(limit=3))
    assert found["n-samples"]["copa"] == {"original": 12, "effective": 3}


def test_conversations_change_what_is_asked(checkpoint, suite, tmp_path):
    output = tmp_path / "results.json"
    config = EvaluateConfig(limit=2, log_samples=True, chat="on")
    found = evaluate(checkpoint, ["piqa"], output, suite, config)
    sample = json.loads((tmp_path / "results.samples.piqa.jsonl").read_text().splitlines()[0])
    context, continuation = sample["arguments"][0]
    assert "### User:\nQuestion: keep a heron warm" in context
    assert context.endswith("### Assistant:\n") and continuation == sample["doc"]["sol1"]
    assert found["chat"]["template"]


@pytest.mark.parametrize(
    "tasks, settings, complaint",
    [
        ([], {}, "nothing to evaluate"),
        (["copa"], {"checkpoint": "nowhere"}, "no checkpoint in nowhere"),
        (["copa"], {"output": "/proc/nowhere/results.json"}, "cannot write to"),
        (["copa"], {"data_dir": "/nowhere"}, "no directory '/nowhere'"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(checkpoint, suite, tasks, settings, complaint):
    arguments = {"checkpoint": checkpoint, "output": None, "data_dir": suite} | settings
    with pytest.raises(UserError, match=complaint):
        evaluate(tasks=tasks, **arguments)


def test_a_way_of_asking_that_is_not_known_is_refused():
    with pytest.raises(UserError, match="Evaluate.chat='onn' is not one of .*did you mean 'on'"):
        EvaluateConfig(chat="onn")


def test_the_plan_counts_and_runs_nothing(checkpoint, suite, tokenizer_dir):
    from synthdiv.files import Corpus

    pages = Corpus(tokenizer_dir.parent / "pages.jsonl")
    config = EvaluateConfig(limit=5)
    text = str(plan(checkpoint, ["copa", "arc_easy"], suite, config, [pages]))
    assert re.search(r"^copa +5 questions, 10 requests", text, re.MULTILINE)
    assert re.search(r"^arc_easy +5 questions, 20 requests", text, re.MULTILINE)
    assert "40 documents" in text


_ALONE = """
import socket, sys
from importlib.machinery import PathFinder

class WithoutThem(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.split(".")[0] in ("torch", "transformers", "tensorflow")
        return None if absent else super().find_spec(name, path, target)

def refuse(*unused, **unused_too):
    raise AssertionError("the network was used")

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutThem
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from synthdiv.evaluation import evaluate
found = evaluate(sys.argv[1], ["synthdiv_paper", "world_facts"], None, sys.argv[2])
print(found["accuracy"], sorted({"torch", "transformers", "tensorflow"} & set(sys.modules)))
"""


def test_no_torch_and_no_network_are_needed(checkpoint, suite, results):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"PYTHONPATH": ":".join(sys.path)} | QUICKLY_COMPILED
    ran = subprocess.run(
        [sys.executable, "-c", _ALONE, str(checkpoint), str(suite)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == f"{results[0]['accuracy']} []"
