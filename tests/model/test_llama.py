"""The model is causal, keeps documents apart, and is one model however it is run."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from synthdiv.errors import UserError
from synthdiv.model import Llama, ModelConfig
from synthdiv.model.weights import abstract_params, graph, letters
from tests.model.quick import quick

SMALL = ModelConfig(
    vocab_size=50,
    hidden=16,
    mlp=24,
    layers=3,
    heads=4,
    kv_heads=2,
    max_length=64,
    init_std=0.3,
    dtype="float32",
)


@functools.cache
def _params(config: ModelConfig) -> dict:
    return quick(lambda: nnx.to_pure_dict(nnx.split(Llama(config, nnx.Rngs(0)))[1]))()


def _logits(params: dict, *inputs, **changes):
    return nnx.merge(graph(dataclasses.replace(SMALL, **changes)), params)(*inputs)


def _run(params: dict, *inputs, **changes):
    return quick(functools.partial(_logits, **changes))(params, *map(jnp.asarray, inputs))


def _tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, SMALL.vocab_size, shape)


def test_no_position_depends_on_a_later_one() -> None:
    """By gradient: of the logits at t, with respect to what was embedded at each position."""
    params, tokens = _params(SMALL), _tokens(1, 12)
    rows = jnp.asarray(params["embedding"])[tokens[0]]  # (T, D), each position its own row

    def logits_at(rows, t):
        table = {**params, "embedding": jnp.concatenate([rows, params["embedding"]])}
        wide = dataclasses.replace(SMALL, vocab_size=SMALL.vocab_size + 12)
        return nnx.merge(graph(wide), table)(jnp.arange(12)[None])[0, t, 12:].sum()

    gradient = quick(jax.grad(logits_at))
    for t in (0, 5, 11):
        size = np.abs(np.asarray(gradient(rows, t))).sum(axis=1)
        assert (size[: t + 1] > 0).all()
        assert (size[t + 1 :] == 0).all()


def test_packed_documents_are_as_if_alone() -> None:
    params = _params(SMALL)
    first, second = _tokens(1, 7), _tokens(1, 13)[:, ::-1]
    packed = np.concatenate([first, second], axis=1)
    segments = np.repeat([[1, 2]], [7, 13], axis=1)
    positions = np.concatenate([np.arange(7), np.arange(13)])[None]
    together = _run(params, packed, jnp.asarray(segments), jnp.asarray(positions))
    np.testing.assert_allclose(together[:, :7], _run(params, first), atol=1e-5)
    np.testing.assert_allclose(together[:, 7:], _run(params, second), atol=1e-5)
    blurred = _run(params, packed)  # without segment ids the second document sees the first
    assert float(jnp.abs(blurred[:, 7:] - together[:, 7:]).max()) > 1e-2


def _loss_and_gradient(params, tokens, **changes):
    return quick(jax.value_and_grad(lambda p: jnp.mean(_logits(p, tokens, **changes) ** 2)))(params)


@pytest.mark.parametrize(
    "changes",
    [{"scan_layers": False}, *({"remat": r} for r in ("full", "dots", "attention", "mlp"))],
    ids=str,
)
def test_how_layers_are_run_changes_nothing(changes) -> None:
    params, tokens = _params(SMALL), _tokens(2, 16)
    loss, gradient = _loss_and_gradient(params, tokens)
    other_loss, other_gradient = _loss_and_gradient(params, tokens, **changes)
    np.testing.assert_allclose(loss, other_loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(other_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_remat_keeps_less() -> None:
    """What the backward pass is given, counted from the residuals that JAX saves."""
    params, tokens = _params(SMALL), _tokens(4, 64)

    def saved(remat: str) -> int:
        def loss(p):
            return jnp.mean(_logits(p, tokens, remat=remat) ** 2)

        kept = jax.eval_shape(lambda p: jax.vjp(loss, p)[1], params)
        return sum(a.size for a in jax.tree.leaves(kept))

    size = {remat: saved(remat) for remat in ("none", "dots", "mlp", "attention", "full")}
    assert size["full"] < size["attention"] < size["mlp"] < size["none"]
    assert size["full"] < size["dots"] < size["none"]


def test_half_precision_is_near_and_masters_stay_float32() -> None:
    params, tokens = _params(SMALL), _tokens(2, 16)
    exact, half = _run(params, tokens), _run(params, tokens, dtype="bfloat16")
    assert half.dtype == jnp.float32  # logits
    assert 1e-4 < float(jnp.linalg.norm(half - exact) / jnp.linalg.norm(exact)) < 5e-2
    _, gradient = _loss_and_gradient(params, tokens, dtype="bfloat16")
    assert {a.dtype for a in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


def test_no_dropout_costs_nothing() -> None:
    params, tokens = _params(SMALL), jnp.asarray(_tokens(2, 16))

    def program(dropout: float) -> str:
        model = nnx.merge(graph(dataclasses.replace(SMALL, attention_dropout=dropout)), params)
        key = jax.random.key(0)
        return str(jax.make_jaxpr(lambda t: model.hidden(t, dropout_key=key))(tokens))

    assert "random" in program(0.1)
    assert "random" not in program(0.0)


def test_dropout_differs_by_key_and_layer() -> None:
    params, tokens = _params(SMALL), jnp.asarray(_tokens(2, 16))
    model = nnx.merge(graph(dataclasses.replace(SMALL, attention_dropout=0.5)), params)
    run = quick(lambda key: model.hidden(tokens, dropout_key=key))
    a, b = (run(jax.random.key(seed)) for seed in (0, 1))
    assert float(jnp.abs(a - b).max()) > 1e-2
    off = quick(lambda: model(tokens))()
    np.testing.assert_allclose(off, _run(params, tokens), atol=1e-4)  # no key, no dropout


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False}, {"head_dim": 6}], ids=str)
def test_counts_are_those_of_the_arrays(changes) -> None:
    config = dataclasses.replace(SMALL, **changes)
    shapes = abstract_params(config)
    assert config.parameters == sum(a.size for a in jax.tree.leaves(shapes))
    norms = config.hidden * (2 * config.layers + 1)
    embedding = 0 if config.tie_embeddings else config.vocab_size * config.hidden
    assert config.matmul_parameters == config.parameters - norms - embedding
    for word, shape in zip(jax.tree.leaves(letters(config)), jax.tree.leaves(shapes), strict=True):
        assert len(word) == shape.ndim


def test_the_papers_sizes() -> None:
    """Paper, appendix A; counted by hand from its table."""
    assert ModelConfig().parameters == 358_004_160
    large = ModelConfig(hidden=2048, mlp=8192, layers=16, heads=32, tie_embeddings=False)
    assert large.parameters == 1_279_854_592
    assert large.flops_per_token(2048) == 6 * large.matmul_parameters + 12 * 16 * 2048 * 2048


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden": 10}, "Model.hidden=10 does not divide into Model.heads=4"),
        ({"kv_heads": 3}, "Model.kv_heads=3"),
        ({"hidden": 12}, "even for RoPE"),
        ({"remat": "dot"}, "did you mean 'dots'"),
        ({"dtype": "fp8"}, "not one of"),
        ({"layers": 0}, "Model.layers must be at least 1"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
        ({"vocab_chunk": 7}, "does not divide"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, words) -> None:
    with pytest.raises(UserError, match=words):
        dataclasses.replace(SMALL, **changes)


def test_a_sequence_longer_than_the_context_is_refused() -> None:
    with pytest.raises(UserError, match="65 tokens is longer than the model's context of 64"):
        _run(_params(SMALL), _tokens(1, 65))
