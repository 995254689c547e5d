"""Every field of a Hugging Face config that changes the function is taken over or refused."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from synthdiv.errors import UserError
from synthdiv.model import load_model, rope
from synthdiv.model.hf_config import HARMLESS, config_from_hf, config_to_hf

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

BASE = {
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 101,
    "max_position_embeddings": 96,
    "initializer_range": 0.15,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24}
ROPES: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "yarn": YARN,
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "longrope": {
        "rope_type": "longrope",
        "factor": 2.0,
        "short_factor": [1.5] * 8,
        "long_factor": [2.0] * 8,
        "original_max_position_embeddings": 32,
    },
    "proportional": {"rope_type": "proportional", "factor": 2.0, "partial_rotary_factor": 0.5},
}
YARNS = {
    "attention_factor": YARN | {"attention_factor": 0.7},
    "mscale": YARN | {"mscale": 1.7, "mscale_all_dim": 0.4},
    "mscale alone": YARN | {"mscale": 1.7},
    "not truncated": YARN | {"truncate": False},
    "betas": YARN | {"beta_fast": 20.0, "beta_slow": 2.0},
    "another context": {"rope_type": "yarn", "factor": 4.0},
    "no scaling": YARN | {"factor": 1.0},
}


def _write(directory: Path, rope_parameters: dict[str, Any], **changes: Any) -> Path:
    raw = BASE | {"model_type": "llama", "rope_parameters": rope_parameters} | changes
    (directory / "config.json").write_text(json.dumps(raw))
    return directory


def _theirs(directory: Path) -> tuple[np.ndarray, float]:
    """The frequencies that `transformers` makes of the file, and its factor."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    made = LlamaRotaryEmbedding(transformers.LlamaConfig.from_pretrained(directory))
    return made.inv_freq.numpy(), float(made.attention_scaling)


def test_all_kinds_of_rope_that_transformers_knows_are_supported_or_refused(tmp_path) -> None:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    supported = set()
    for kind in {"default", *ROPE_INIT_FUNCTIONS}:
        parameters = ROPES.get(kind, {"rope_type": kind, "factor": 2.0})
        directory = tmp_path / kind
        directory.mkdir()
        _write(directory, parameters | {"rope_theta": 5000.0})
        try:
            config = config_from_hf(directory)
        except UserError as error:
            assert kind in str(error) and "not known here" in str(error)
            continue
        ours, scale = rope.frequencies(config)
        theirs, their_scale = _theirs(directory)
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, err_msg=kind)
        assert scale == pytest.approx(their_scale), kind
        supported.add(kind)
    assert supported == {"default", "linear", "yarn", "llama3"}


@pytest.mark.parametrize("parameters", YARNS.values(), ids=YARNS.keys())
def test_every_setting_of_yarn_is_taken_over_and_written_again(tmp_path, parameters) -> None:
    config = config_from_hf(_write(tmp_path, parameters | {"rope_theta": 5000.0}))
    (tmp_path / "again").mkdir()
    (tmp_path / "again/config.json").write_text(json.dumps(config_to_hf(config)))
    for directory in (tmp_path, tmp_path / "again"):
        ours, scale = rope.frequencies(config_from_hf(directory))
        theirs, their_scale = _theirs(directory)
        np.testing.assert_allclose(ours, theirs, rtol=2e-6)
        assert scale == pytest.approx(their_scale)


def test_logits_under_yarns_attention_factor_are_theirs(tmp_path) -> None:
    """They were off by several times their own spread when the factor was left out."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**BASE, rope_parameters=YARNS["mscale"] | {"rope_theta": 1e4})
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    tokens = np.random.default_rng(0).integers(0, 101, (2, 80))
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)).logits.numpy()
    ours = np.asarray(load_model(tmp_path).model(jnp.asarray(tokens, jnp.int32)))
    np.testing.assert_allclose(ours, expected, atol=2e-4)


OTHER_VALUES: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "hidden_act": "gelu",
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
    "rms_norm_eps": 1e-3,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 77.0},
    "attention_bias": True,
    "attention_dropout": 0.3,
    "mlp_bias": True,
    "head_dim": 32,
}


def test_every_field_of_their_config_is_taken_over_refused_or_known_to_be_harmless(
    tmp_path,
) -> None:
    plain = {"rope_type": "default", "rope_theta": 1e4}
    before = config_from_hf(_write(tmp_path, plain))
    fields = set(transformers.LlamaConfig().to_dict()) - set(HARMLESS)
    assert fields <= set(OTHER_VALUES), "a field of transformers' that nobody has looked at"
    for name in fields:
        _write(tmp_path, **({"rope_parameters": plain} | {name: OTHER_VALUES[name]}))
        try:
            assert config_from_hf(tmp_path) != before, f"{name} is dropped without a word"
        except UserError as error:
            assert name in str(error) or "not a Llama" in str(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        ({"hidden_size": None}, "config.json has no hidden_size"),
        ({"vocab_size": "many"}, "vocab_size='many', which is not a whole number"),
        ({"rms_norm_eps": [1]}, r"rms_norm_eps=\[1\], which is not a number"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": "4"}}, "factor='4'"),
        ({"rope_parameters": {"rope_type": "linear"}}, "'linear' without its factor"),
        ({"rope_parameters": YARN | {"betas": 3}}, "not known here: betas"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_type twice"),
        ({"rope_parameters": [1]}, "no JSON object"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, changes, words) -> None:
    plain = {"rope_type": "default", "rope_theta": 1e4}
    with pytest.raises(UserError, match=words) as refused:
        config_from_hf(_write(tmp_path, **({"rope_parameters": plain} | changes)))
    assert "\n" not in str(refused.value)


def test_fields_that_are_not_known_are_told(tmp_path, capsys) -> None:
    plain = {"rope_type": "default", "rope_theta": 1e4}
    config_from_hf(_write(tmp_path, plain, embedding_multiplier=3.0, unused=None))
    said = capsys.readouterr().err
    assert "warning" in said and "embedding_multiplier" in said and "unused" not in said
