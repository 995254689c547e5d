"""Weights out to Hugging Face and in again, exactly; what cannot be read is refused in one line."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from synthdiv.data import ChatTemplate
from synthdiv.errors import UserError
from synthdiv.model import Llama, ModelConfig, hf, load_model, rope, save_hf
from synthdiv.model.hf_config import config_from_hf
from synthdiv.model.weights import abstract_params, find_checkpoint, graph

SMALL = ModelConfig(
    vocab_size=50,
    hidden=16,
    mlp=24,
    layers=2,
    heads=4,
    kv_heads=2,
    max_length=64,
    tie_embeddings=False,
    dtype="float32",
)
VARIANTS = [
    {},
    {"tie_embeddings": True, "kv_heads": 0},
    {"head_dim": 6},
    {"rope_scaling": "linear", "rope_factor": 2.0},
    {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_length": 32},
    {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_original_length": 16},
]


@functools.cache
def _random(config: ModelConfig) -> Llama:
    shapes = abstract_params(config)
    draw = np.random.default_rng(0)
    params = jax.tree.map(lambda a: jnp.asarray(draw.normal(size=a.shape), jnp.float32), shapes)
    return nnx.merge(graph(config), params)


def _params(model: Llama) -> dict:
    return nnx.to_pure_dict(nnx.split(model)[1])


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_round_trip_is_exact(tmp_path, changes) -> None:
    config = dataclasses.replace(SMALL, **changes)
    model = _random(config)
    again, same, tokenizer = load_model(save_hf(model, config, None, tmp_path / "hf"))
    assert tokenizer is None
    assert same.parameters == config.parameters
    for field in ("rope_scaling", "rope_factor", "rope_original_length", "tie_embeddings"):
        assert getattr(same, field) == getattr(config, field)
    jax.tree.map(np.testing.assert_array_equal, _params(model), _params(again))


def test_large_weights_are_written_in_shards(tmp_path, monkeypatch) -> None:
    model = _random(SMALL)
    monkeypatch.setattr(hf, "SHARD_BYTES", 5000)
    save_hf(model, SMALL, None, tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(p.name for p in tmp_path.glob("*.safetensors"))
    assert len(files) > 2 and sorted(set(index["weight_map"].values())) == files
    jax.tree.map(np.testing.assert_array_equal, _params(model), _params(load_model(tmp_path).model))


def test_half_precision_rounds_each_weight(tmp_path) -> None:
    model = _random(SMALL)
    save_hf(model, SMALL, None, tmp_path, dtype="bfloat16")
    rounded = jax.tree.map(lambda a: a.astype("bfloat16").astype("float32"), _params(model))
    jax.tree.map(np.testing.assert_array_equal, rounded, _params(load_model(tmp_path).model))


def test_special_tokens_come_from_the_tokenizer(tmp_path) -> None:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text(
        json.dumps({"added_tokens": [{"content": "<end>", "id": 7}]})
    )
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    save_hf(_random(SMALL), SMALL, tokenizer, tmp_path / "hf")
    assert json.loads((tmp_path / "hf/config.json").read_text())["eos_token_id"] == 7
    assert load_model(tmp_path / "hf").tokenizer == tmp_path / "hf"


def _broken(tmp_path, **changes):
    save_hf(_random(SMALL), SMALL, None, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gpt2"}, "'gpt2' model, not a Llama"),
        ({"attention_bias": True}, "no tensor model.layers.0.self_attn.q_proj.bias"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "'longrope'"),
        ({"num_hidden_layers": 3}, "no tensor model.layers.2.input_layernorm.weight"),
        ({"vocab_size": 51}, "does not fit config.json"),
    ],
)
def test_what_is_not_this_llama_is_refused(tmp_path, changes, words) -> None:
    with pytest.raises(UserError, match=words):
        load_model(_broken(tmp_path, **changes))


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _header_cut(path):
    path.write_bytes(path.read_bytes()[:5])


def _quantized(path):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name].astype(np.int8)}, path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, "cannot read the weights in"),
        (_header_cut, "cannot read the weights in"),
        (_quantized, "is of type I8; quantized is not read here"),
        (lambda path: path.unlink(), "lacks model-00002-of-"),
        (
            lambda path: (path.parent / "model.safetensors.index.json").write_text("{}"),
            "weight_map",
        ),
        (lambda path: (path.parent / "config.json").write_text("[]"), "not a JSON object"),
    ],
    ids=["cut", "header", "quantized", "shard", "index", "config"],
)
def test_damaged_directories_are_told_in_one_line(tmp_path, monkeypatch, damage, words) -> None:
    monkeypatch.setattr(hf, "SHARD_BYTES", 5000)
    save_hf(_random(SMALL), SMALL, None, tmp_path)
    damage(sorted(tmp_path.glob("model-*.safetensors"))[1])
    with pytest.raises(UserError, match=words) as refused:
        load_model(tmp_path)
    assert "\n" not in str(refused.value)


HOSTILE = (None, -1, 0, 1.5, "x", [], {}, [1], True, 1e308, float("nan"), 2**70, {"a": 1})


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "index"])
def test_hostile_descriptions_are_refused_or_read(tmp_path, monkeypatch, file) -> None:
    """Each field with each value, and each field away: a line for the user, or a model."""
    monkeypatch.setattr(hf, "SHARD_BYTES", 5000)
    config = dataclasses.replace(
        SMALL, rope_scaling="yarn", rope_factor=4.0, rope_original_length=16
    )
    save_hf(_random(config), config, None, tmp_path)
    name = "model.safetensors.index.json" if file == "index" else file
    whole = {"eos_token": "</s>", "chat_template": "x"}
    if file != "tokenizer_config.json":
        whole = json.loads((tmp_path / name).read_text())
    nested = whole.get("rope_parameters", {})
    refused = 0
    for field in [*whole, *(f"rope_parameters/{n}" for n in nested)]:
        for value in HOSTILE:
            changed = json.loads(json.dumps(whole))
            if "/" in field:
                changed["rope_scaling"] = None
                changed["rope_parameters"][field.split("/")[1]] = value
            else:
                changed[field] = value
            (tmp_path / name).write_text(json.dumps(changed))
            try:
                if file == "config.json":
                    rope.frequencies(config_from_hf(tmp_path))
                elif file == "index":
                    hf.read_weights(tmp_path, config)
                else:
                    ChatTemplate().of_model(tmp_path)
            except UserError as error:
                refused += 1
                assert str(error).strip()
    assert refused


def test_a_place_without_a_checkpoint_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "10.orbax-checkpoint-tmp").mkdir(parents=True)
    with pytest.raises(UserError, match="no checkpoint in"):
        find_checkpoint(tmp_path)
