"""The evaluation's forward pass is the training model's, whatever it is told to see."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from synthdiv.model import Llama, ModelConfig, decode
from synthdiv.model.block import head_table

SMALL = ModelConfig(
    vocab_size=97,
    hidden=32,
    mlp=48,
    layers=3,
    heads=4,
    kv_heads=2,
    max_length=32,
    init_std=0.3,
    dtype="float32",
)
VARIANTS = {
    "grouped": {},
    "untied": {"tie_embeddings": False, "kv_heads": 0},
    "one key head": {"kv_heads": 1, "head_dim": 6},
    "scaled RoPE": {"rope_scaling": "llama3", "rope_factor": 4.0, "rope_original_length": 8},
    "written out": {"scan_layers": False},
    "bfloat16": {"dtype": "bfloat16"},
}


def _model(**changes) -> tuple[Llama, dict, ModelConfig]:
    config = dataclasses.replace(SMALL, **changes)
    llama = Llama(config, nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.split(llama)[1])
    return llama, decode.cast(params, config.dtype), config


def _tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, SMALL.vocab_size, (2, 24)).astype(np.int32)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_reading_packed_segments_is_the_training_forward_pass(changes):
    llama, params, config = _model(**changes)
    tokens = _tokens()
    segments = np.repeat([[1, 2, 3]], [10, 9, 5], axis=1).repeat(2, axis=0)
    positions = np.concatenate([np.arange(n) for n in (10, 9, 5)])[None].repeat(2, axis=0)
    causal = np.tril(np.ones((24, 24), bool))
    visible = causal & (segments[:, :, None] == segments[:, None, :])
    found = decode.read(params, config, tokens, positions, visible)
    expected = llama.hidden(tokens, segments, positions)
    assert found.dtype == expected.dtype
    tolerance = 2e-5 if config.dtype == "float32" else 0.15
    np.testing.assert_allclose(
        np.asarray(found, np.float32), np.asarray(expected, np.float32), atol=tolerance
    )
    np.testing.assert_array_equal(head_table(params), llama.head_table().astype(config.dtype))


def test_reading_in_pieces_with_a_cache_is_reading_at_once():
    llama, params, config = _model()
    tokens = _tokens()
    cache = decode.empty_cache(config, 2, 32)
    pieces = []
    for start, end in ((0, 11), (11, 12), (12, 24)):
        place = np.arange(start, end)
        visible = np.broadcast_to(np.arange(32) <= place[:, None], (2, end - start, 32))
        positions = np.broadcast_to(place, (2, end - start))
        piece, cache = decode.read_on(
            params, config, tokens[:, start:end], positions, visible, cache, start
        )
        pieces.append(piece)
    np.testing.assert_allclose(
        jnp.concatenate(pieces, axis=1), llama.hidden(tokens), atol=2e-5, rtol=0
    )


def test_casting_leaves_norms_alone():
    _, params, _ = _model(dtype="bfloat16")
    kinds = {name: value.dtype.name for name, value in params["layers"].items()}
    assert {kinds[name] for name in kinds if "norm" in name} == {"float32"}
    assert {kinds[name] for name in kinds if "norm" not in name} == {"bfloat16"}
    assert params["embedding"].dtype == "bfloat16" and params["final_norm"].dtype == "float32"
