"""One of our own checkpoints: its parameters, and the template and system prompt of its tuning."""

import json
from pathlib import Path

import pytest

from synthdiv.evaluation import EvaluateConfig, evaluate
from synthdiv.evaluation.checkpoint import load_checkpoint
from tests.evaluation import small

TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }} {% endfor %}"


@pytest.fixture(scope="module")
def tuned(tokenizer_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("tuned")
    run = {"template": {"path": "elsewhere.jinja", "system": "Be brief."}}
    saved = small.write_own_checkpoint(workdir / "checkpoints" / "30", tokenizer_dir, run)
    (saved / "tokenizer" / "chat_template.jinja").write_text(TEMPLATE)
    return workdir


def test_our_checkpoint_gives_the_numbers_of_its_export(tuned, checkpoint, suite):
    config = EvaluateConfig(chat="off")
    ours, exported = (evaluate(c, ["copa"], None, suite, config) for c in (tuned, checkpoint))
    assert ours["questions"] == exported["questions"]
    assert load_checkpoint(checkpoint).template is None


def test_a_tuned_checkpoint_is_asked_as_it_was_tuned(tuned, suite, tmp_path):
    def asked(name: str, config: EvaluateConfig) -> str:
        evaluate(tuned, ["piqa"], tmp_path / f"{name}.json", suite, config)
        lines = (tmp_path / f"{name}.samples.piqa.jsonl").read_text().splitlines()
        return json.loads(lines[0])["arguments"][0][0]

    alone = asked("auto", EvaluateConfig(limit=1, log_samples=True))
    assert "[system] Be brief." in alone and "[user] Question: keep a heron warm" in alone
    plain = asked("off", EvaluateConfig(limit=1, log_samples=True, chat="off"))
    assert plain.startswith("Question: keep a heron warm")


def test_a_pretrained_checkpoint_is_not(tokenizer_dir, suite, tmp_path):
    saved = small.write_own_checkpoint(tmp_path / "pretrained", tokenizer_dir, {"tokens": 1})
    assert load_checkpoint(saved).template is None
    assert evaluate(saved, ["piqa"], None, suite, EvaluateConfig(limit=1))["chat"] is None
