"""Pre-training that starts from a checkpoint: its weights; no model or tokens that do not fit."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from synthdiv.errors import UserError
from synthdiv.model import ModelConfig
from synthdiv.training import OptimizerConfig, export, plan_pretrain, pretrain
from synthdiv.training.initial import model_from
from tests.training.conftest import LENGTH, TINY, state_of

# How the model is computed, and nothing of what it is.
UNSIZED = ModelConfig(dtype="float32", loss_chunk=64)


@pytest.fixture
def still(config):
    """A run that moves nothing, so that what comes out is what went in."""
    return dataclasses.replace(
        config, tokens=2 * 8 * LENGTH, optimizer=OptimizerConfig(learning_rate=0.0)
    )


@pytest.mark.parametrize("kind", ["ours", "hugging face"])
def test_the_weights_are_those_of_the_checkpoint(still, run, tmp_path, kind) -> None:
    start = run if kind == "ours" else export(run, tmp_path / "llama")
    unsized = dataclasses.replace(still, model=UNSIZED)
    final = pretrain(unsized, tmp_path / "run", init_from=start)
    before, after = state_of(run / "checkpoints/4"), state_of(final)
    jax.tree.map(np.testing.assert_array_equal, before["params"], after["params"])
    assert after["progress"]["step"] == 2  # nothing but weights is taken over
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["init_from"].startswith(str(start))
    model = about["model"]
    assert (model["hidden"], model["max_length"]) == (TINY.hidden, TINY.max_length)


def test_a_directory_is_of_one_start(still, run, tmp_path) -> None:
    pretrain(still, tmp_path / "a", init_from=run)
    fresh = dataclasses.replace(still, seed=1)
    other = pretrain(fresh, tmp_path / "b")
    with pytest.raises(UserError, match="init_from was"):
        pretrain(still, tmp_path / "a", init_from=other)
    with pytest.raises(UserError, match="command was 'pretrain --init_from' and is now 'pretrain'"):
        pretrain(still, tmp_path / "a")
    with pytest.raises(UserError, match="command was 'pretrain' and is now"):
        plan_pretrain(fresh, tmp_path / "b", init_from=run)


def test_another_architecture_is_refused_by_name(still, run, tmp_path) -> None:
    model = dataclasses.replace(TINY, hidden=64, rope_theta=5e5)
    with pytest.raises(UserError, match=r"Model.hidden is 32 there and 64 here; .*rope_theta") as e:
        pretrain(dataclasses.replace(still, model=model), tmp_path / "run", init_from=run)
    assert "\n" not in str(e.value) and not (tmp_path / "run").exists()
    same = dataclasses.replace(TINY, kv_heads=8, head_dim=4)  # spelled out
    assert model_from(same, run / "checkpoints/4") == same


def test_tokens_of_another_tokenizer_are_refused(still, run, tmp_path) -> None:
    llama = export(run, tmp_path / "llama")
    file = llama / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"truncation": None}, indent=1))
    with pytest.raises(UserError, match="not made with the tokenizer of .*llama: tokenize"):
        pretrain(still, tmp_path / "run", init_from=llama)
    assert not (tmp_path / "run").exists()
