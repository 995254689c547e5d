"""Products in 8 bits are near those in float32, forward and backward, whatever the scale."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthdiv.model import ModelConfig
from synthdiv.model.fp8 import product
from tests.model.quick import quick


def _away(a, b) -> float:
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_is_the_product_but_for_rounding(scale: float) -> None:
    draw = np.random.default_rng(0)
    x, w, upstream = (
        jnp.asarray(draw.normal(size=shape), jnp.float32)
        for shape in ((128, 64), (64, 96), (128, 96))
    )
    x, upstream = x * scale, upstream / scale

    def both(function):
        out, back = jax.vjp(function, x, w)
        return out, *back(upstream)

    ours, exact = (quick(lambda f=f: both(f))() for f in (product, jnp.matmul))
    for got, true in zip(ours, exact, strict=True):
        assert got.dtype == true.dtype
        # E4M3 keeps 3 bits of the fraction, E5M2 2: rounding errors near 2.5% and 5%.
        assert 0.005 < _away(got, true) < 0.08


def test_zeros_stay_zeros() -> None:
    x, w = jnp.zeros((4, 8), jnp.bfloat16), jnp.ones((8, 4), jnp.bfloat16)
    out, back = jax.vjp(product, x, w)
    np.testing.assert_array_equal(out, 0)
    assert all(bool(jnp.isfinite(g).all()) for g in back(jnp.zeros_like(out)))


def test_a_model_multiplies_with_it() -> None:
    from flax import nnx

    from synthdiv.model import Llama

    config = ModelConfig(
        vocab_size=32, hidden=32, mlp=64, layers=2, heads=2, max_length=16, dtype="float32"
    )
    tokens = jnp.arange(16)[None] % 7
    exact = quick(Llama(config, nnx.Rngs(0)))(tokens)
    rough = quick(Llama(dataclasses.replace(config, fp8=True), nnx.Rngs(0)))(tokens)
    assert 1e-4 < _away(rough, exact) < 0.1
