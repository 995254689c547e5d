"""The chunked cross-entropy is the plain one in value and gradient, and takes less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthdiv.model import cross_entropy
from tests.model.quick import quick

B, T, D, V = 3, 16, 24, 60


def _inputs(dtype=jnp.float32):
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(B, T, D)), dtype)
    head = jnp.asarray(draw.normal(size=(V, D)), jnp.float32)
    targets = jnp.asarray(draw.integers(0, V, (B, T)))
    weights = jnp.asarray(draw.random((B, T)) * (draw.random((B, T)) < 0.8), jnp.float32)
    return x, head, targets, weights


def _plain(x, head, targets, weights, z_loss):
    logits = jnp.einsum("btd,vd->btv", x, head, precision="highest")
    log_z = jax.nn.logsumexp(logits, axis=-1)
    nll = log_z - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jnp.sum(weights * (nll + z_loss * log_z**2)), nll


@pytest.mark.parametrize(
    ("chunk", "vocab_chunk", "z_loss"),
    [(1000, 0, 0.0), (1, 60, 1e-2), (12, 20, 0.0), (20, 4, 1e-2), (1000, 20, 1e-2), (12, 0, 1e-2)],
)
def test_equals_the_plain_loss(chunk: int, vocab_chunk: int, z_loss: float) -> None:
    x, head, targets, weights = _inputs()

    def ours(x, head):
        total, nll = cross_entropy(
            x, head, targets, weights, z_loss=z_loss, chunk=chunk, vocab_chunk=vocab_chunk
        )
        return 0.7 * total, nll

    def plain(x, head):
        total, nll = _plain(x, head, targets, weights, z_loss)
        return 0.7 * total, nll

    def both(function):
        return quick(jax.value_and_grad(function, (0, 1), has_aux=True))(x, head)

    ((a, nll_a), grads_a), ((b, nll_b), grads_b) = both(ours), both(plain)
    np.testing.assert_allclose(a, b, rtol=1e-6)
    np.testing.assert_allclose(
        quick(ours)(x, head)[0], b, rtol=1e-6
    )  # without a gradient, another path
    np.testing.assert_allclose(nll_a, nll_b, atol=1e-5)
    for p, q in zip(grads_a, grads_b, strict=True):
        assert float(jnp.linalg.norm(p - q) / jnp.linalg.norm(q)) < 1e-5


def test_half_precision_keeps_the_head_gradient_in_float32() -> None:
    x, head, targets, weights = _inputs(jnp.bfloat16)
    gradient = jax.grad(lambda x, h: cross_entropy(x, h, targets, weights)[0], (0, 1))
    dx, dhead = quick(gradient)(x, head)
    assert dx.dtype == jnp.bfloat16 and dhead.dtype == jnp.float32
    exact = jax.grad(lambda x, h: _plain(x, h, targets, weights, 0.0)[0], (0, 1))
    for p, q in zip((dx, dhead), quick(exact)(x.astype(jnp.float32), head), strict=True):
        assert float(jnp.linalg.norm(p.astype(jnp.float32) - q) / jnp.linalg.norm(q)) < 2e-2


def test_a_position_of_weight_zero_has_no_gradient() -> None:
    x, head, targets, weights = _inputs()
    dx = quick(jax.grad(lambda x: cross_entropy(x, head, targets, weights)[0]))(x)
    assert (np.asarray(weights) == 0).any()
    np.testing.assert_array_equal(np.asarray(dx)[np.asarray(weights) == 0], 0)


def test_takes_the_memory_of_a_chunk() -> None:
    rows, vocabulary = 1024, 4096
    shapes = (
        jax.ShapeDtypeStruct((4, rows // 4, 8), jnp.float32),
        jax.ShapeDtypeStruct((vocabulary, 8), jnp.float32),
        jax.ShapeDtypeStruct((4, rows // 4), jnp.int32),
        jax.ShapeDtypeStruct((4, rows // 4), jnp.float32),
    )

    def temporary(function) -> int:
        compiled = jax.jit(jax.grad(function, (0, 1))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    plain = temporary(lambda *a: _plain(*a, 0.0)[0])
    chunked = temporary(lambda *a: cross_entropy(*a, chunk=rows // 16)[0])
    smaller = temporary(lambda *a: cross_entropy(*a, chunk=rows // 16, vocab_chunk=512)[0])
    logits = rows * vocabulary * 4
    assert plain >= logits
    assert chunked < logits / 3
    assert smaller < chunked / 2


def test_refuses_a_vocabulary_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match="vocab_chunk=7"):
        cross_entropy(*_inputs(), vocab_chunk=7)
