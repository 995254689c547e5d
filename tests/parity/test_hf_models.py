"""Mistral, Qwen2, Qwen3 and a Llama with biases are Hugging Face's, both ways, within 1e-5."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from synthdiv.errors import UserError
from synthdiv.evaluation.generating import Prompt, generate
from synthdiv.evaluation.scoring import Model
from synthdiv.model import ModelConfig, load_model, save_hf
from synthdiv.model.hf_config import config_from_hf, config_to_hf

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 101,
    "max_position_embeddings": 64,
    "initializer_range": 0.08,
    "attn_implementation": "eager",
    "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
    "tie_word_embeddings": False,
}
KINDS = {
    "Mistral": {"sliding_window": None, "head_dim": 16},
    "Qwen2": {},
    "Qwen3": {"head_dim": 12, "tie_word_embeddings": True},
    "Qwen3 biased": {"head_dim": 12, "attention_bias": True},
    "Llama biased": {"attention_bias": True},
}


@pytest.fixture(params=KINDS.items(), ids=KINDS.keys())
def theirs(request):
    """A random tiny model; `transformers` would make its biases 0 and its norms 1."""
    name, changes = request.param
    torch.manual_seed(0)
    name = name.split()[0]
    config = getattr(transformers, f"{name}Config")(**(SIZES | changes))
    model = getattr(transformers, f"{name}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias") or "norm" in parameter_name:
                parameter += 0.2 * torch.randn_like(parameter)
    return model


def _logits(model, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.numpy()


def test_logits_both_ways(theirs, tmp_path) -> None:
    theirs.save_pretrained(tmp_path / "theirs")
    ours, config, _ = load_model(tmp_path / "theirs")
    assert config.parameters == sum(p.numel() for p in theirs.parameters())
    tokens = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, 40))
    expected = _logits(theirs, tokens)
    found = np.asarray(ours(jnp.asarray(tokens)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    save_hf(ours, config, None, tmp_path / "ours")
    again = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", attn_implementation="eager"
    ).eval()
    np.testing.assert_allclose(_logits(again, tokens), found, rtol=0, atol=1e-5)
    before, after = theirs.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    written = config_from_hf(tmp_path / "ours")
    assert written == dataclasses.replace(config, head_dim=config.head_size)  # spelled out


@pytest.mark.parametrize("theirs", [("Qwen3", KINDS["Qwen3 biased"])], indirect=True, ids=["all"])
def test_text_is_generated_with_the_same_function(theirs, tmp_path) -> None:
    """The layers that keep keys and values have the biases and norms, too."""
    theirs.save_pretrained(tmp_path)
    ours, config, _ = load_model(tmp_path)
    model = Model(nnx.to_pure_dict(nnx.split(ours)[1]), config, 512)
    prompt = np.random.default_rng(1).integers(0, 100, 9).astype(np.int32)
    [[(_, found)]] = generate(model, [Prompt(prompt, 6)], 100)
    read = _logits(theirs, np.concatenate([prompt, found])[None])[0, 8:-1]
    assert read.argmax(-1).tolist() == found.tolist()


def _write(directory, **changes):
    plain = {k: v for k, v in SIZES.items() if k != "attn_implementation"}
    (directory / "config.json").write_text(json.dumps(plain | changes))
    return directory


def test_a_sliding_window_bounds_the_context(tmp_path, capsys) -> None:
    torch.manual_seed(0)
    made = transformers.MistralConfig(**SIZES, sliding_window=16)
    theirs = transformers.MistralForCausalLM(made).float().eval()
    theirs.save_pretrained(tmp_path)
    ours, config, _ = load_model(tmp_path)
    assert config.max_length == 16 and "slides over 16 positions" in capsys.readouterr().err
    tokens = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, 24))
    inside = np.asarray(ours(jnp.asarray(tokens[:, :16])))
    np.testing.assert_allclose(inside, _logits(theirs, tokens)[:, :16], rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="longer than the model's context of 16"):
        ours(jnp.asarray(tokens))

    qwen = {"model_type": "qwen2", "sliding_window": 16}
    assert config_from_hf(_write(tmp_path, **qwen)).max_length == 64
    assert config_from_hf(_write(tmp_path, **qwen, use_sliding_window=True)).max_length == 16
    assert config_from_hf(_write(tmp_path, model_type="mistral")).max_length == 64  # below 4,096


def test_what_is_not_known_is_refused_by_name(tmp_path) -> None:
    for changes, words in [
        ({"model_type": "gemma"}, "'gemma' model, not a Llama, Mistral, Qwen2 or Qwen3"),
        ({"model_type": "qwen3", "layer_types": ["linear_attention"]}, "linear_attention"),
        ({"model_type": "llama", "attention_bias": "yes"}, "attention_bias='yes'"),
    ]:
        with pytest.raises(UserError, match=words):
            config_from_hf(_write(tmp_path, **changes))
    with pytest.raises(UserError, match="is no model of `transformers`"):
        config_to_hf(ModelConfig(qk_norm=True, attention_bias="qkv"))
    with pytest.raises(UserError, match="attention_bias='qvk' is not one of .*'qkv'"):
        ModelConfig(attention_bias="qvk")
