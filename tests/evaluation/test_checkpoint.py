"""One of our own checkpoints: its parameters, and the template and system prompt of its tuning."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from synthdiv.data import ChatTemplate
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


def test_an_instruct_model_is_asked_with_its_own_template(checkpoint, suite, tmp_path):
    """Where it is asked in conversation at all, which is not the default for a model of others."""
    directory = tmp_path / "instruct"
    shutil.copytree(checkpoint, directory)
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    file = directory / "tokenizer_config.json"
    file.write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    assert evaluate(directory, ["copa"], None, suite, EvaluateConfig(limit=1))["chat"] is None
    asked = EvaluateConfig(limit=1, chat="on")
    found = evaluate(directory, ["copa"], None, suite, asked)["chat"]
    assert found == {"from": str(file), "template": TEMPLATE, "system": ""}
    brief = EvaluateConfig(limit=1, chat="on", template=ChatTemplate(system="Be brief."))
    found = evaluate(directory, ["copa"], None, suite, brief)["chat"]
    assert found == {"from": str(file), "template": TEMPLATE, "system": "Be brief."}
    named = ChatTemplate("configs/prompts/chat.jinja")
    found = evaluate(directory, ["copa"], None, suite, dataclasses.replace(asked, template=named))
    assert found["chat"]["from"] == named.path and found["chat"]["template"] == named.source


def test_the_fingerprint_covers_every_number(checkpoint, tokenizer_dir, tmp_path):
    """Also the numbers that any thin sample would pass over."""
    from safetensors.numpy import load_file, save_file

    before = load_checkpoint(checkpoint).fingerprint
    assert load_checkpoint(checkpoint).fingerprint == before
    found = {before}
    for name, place in (
        ("model.embed_tokens.weight", (700, 11)),
        ("model.layers.1.mlp.up_proj.weight", (3, 5)),
        ("model.norm.weight", (47,)),
    ):
        other = tmp_path / name
        shutil.copytree(checkpoint, other)
        tensors = load_file(other / "model.safetensors")
        tensors[name][place] = np.nextafter(tensors[name][place], np.float32(9))
        save_file(tensors, other / "model.safetensors")
        found.add(load_checkpoint(other).fingerprint)
    assert len(found) == 4


def test_a_pretrained_checkpoint_is_not(tokenizer_dir, suite, tmp_path):
    saved = small.write_own_checkpoint(tmp_path / "pretrained", tokenizer_dir, {"tokens": 1})
    assert load_checkpoint(saved).template is None
    assert evaluate(saved, ["piqa"], None, suite, EvaluateConfig(limit=1))["chat"] is None
