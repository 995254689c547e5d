"""Attention sees what it may see, in every backend, forward and backward; and says which runs."""

import dataclasses
import itertools
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthdiv.errors import UserError
from synthdiv.model.attention import (
    _splash,
    attend,
    choose_backend,
    document_bounds,
    kept,
)
from synthdiv.model.config import ModelConfig
from tests.model.quick import quick


def _inputs(B, T, N, K, H, dtype=np.float32, seed=0):
    draw = np.random.default_rng(seed)
    q, k, v = (draw.normal(size=(B, T, heads, H)).astype(dtype) for heads in (N, K, K))
    segments = np.cumsum(draw.random((B, T)) < 3 / T, axis=1)
    return q, k, v, segments


def _by_definition(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT):
    """Softmax attention in float64, one query at a time."""
    q, k, v = (np.asarray(x, np.float64) for x in (q_BTNH, k_BTKH, v_BTKH))
    B, T, N, H = q.shape
    out = np.zeros_like(q)
    for b in range(B):
        for t in range(T):
            seen = [s for s in range(t + 1) if segment_ids_BT[b, s] == segment_ids_BT[b, t]]
            for n in range(N):
                head = n // (N // k.shape[2])
                scores = k[b, seen, head] @ q[b, t, n] / np.sqrt(H)
                weights = np.exp(scores - scores.max())
                out[b, t, n] = weights / weights.sum() @ v[b, seen, head]
    return out


@pytest.mark.parametrize(("T", "K"), [(1, 4), (5, 2), (64, 1), (128, 4), (192, 2), (256, 1)])
def test_xla_is_attention_by_definition(T: int, K: int) -> None:
    q, k, v, segments = _inputs(2, T, 4, K, 8)
    out = quick(attend)(q, k, v, segments)
    np.testing.assert_allclose(out, _by_definition(q, k, v, segments), atol=2e-6)


def test_without_segments_only_the_causal_mask_holds() -> None:
    q, k, v, _ = _inputs(2, 128, 2, 2, 8)
    out = quick(attend)(q, k, v)
    np.testing.assert_allclose(out, _by_definition(q, k, v, np.zeros((2, 128))), atol=2e-6)


def _gradients(function, q, k, v, upstream):
    return quick(lambda *a: jax.vjp(function, *a)[1](upstream))(q, k, v)


def _whole_softmax(q, k, v, segments):
    """Attention in one block, left to JAX to differentiate."""
    group = q.shape[2] // k.shape[2]
    k, v = jnp.repeat(k, group, axis=2), jnp.repeat(v, group, axis=2)
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1])
    T = q.shape[1]
    seen = (segments[:, :, None] == segments[:, None, :]) & np.tri(T, dtype=bool)
    weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -jnp.inf), axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, v)


def test_gradients_of_blocks_are_those_of_the_whole() -> None:
    q, k, v, segments = map(jnp.asarray, _inputs(2, 256, 4, 2, 8))
    upstream = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), jnp.float32)
    ours = _gradients(lambda *a: attend(*a, segments), q, k, v, upstream)
    plain = _gradients(lambda *a: _whole_softmax(*a, segments), q, k, v, upstream)
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


def test_splash_masks_segments_as_xla_does() -> None:
    """The TPU's kernel, interpreted: forward and backward."""
    q, k, v, segments = map(jnp.asarray, _inputs(1, 128, 2, 1, 128))
    upstream = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), jnp.float32)

    def splash(*a):
        return _splash(*a, segments, interpret=True)

    out = quick(splash)(q, k, v)
    np.testing.assert_allclose(out, quick(attend)(q, k, v, segments), atol=2e-5)
    ours = _gradients(splash, q, k, v, upstream)
    xla = _gradients(lambda *a: attend(*a, segments), q, k, v, upstream)
    for a, b in zip(ours, xla, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


SPLASH_ON_EIGHT = """
import functools, jax, numpy as np
from synthdiv.model.attention import _on_each_device, _splash, attend
from synthdiv.model.partition import MESH_AXES
from tests.model.test_attention import _inputs

mesh = jax.make_mesh((2, 2, 2), MESH_AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
*qkv, segments = _inputs(4, 128, 4, 2, 128)
splash = functools.partial(_splash, interpret=True)
with jax.set_mesh(mesh):
    for ids in (segments, None):
        out = jax.jit(functools.partial(_on_each_device, splash))(*qkv, ids)
        assert len(out.sharding.device_set) == 8, out.sharding
        np.testing.assert_allclose(out, attend(*qkv, ids), atol=2e-5)
"""


def test_splash_runs_on_the_rows_and_heads_of_each_of_eight_devices() -> None:
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", SPLASH_ON_EIGHT],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("most", [12, 16])
def test_document_bounds_are_runs_of_equal_segments(most: int) -> None:
    segments = np.array([[0] * 9, [1, 1, 2, 2, 2, 3, 0, 0, 0], [5, 6, 7, 8, 9, 10, 11, 12, 0]])
    begins, lengths = quick(document_bounds, static_argnums=1)(segments, most)
    for row, begin, length in zip(segments.tolist(), begins, lengths, strict=True):
        runs = [len(list(run)) for _, run in itertools.groupby(row)]
        assert length.tolist() == runs + [-1] * (most - len(runs))
        assert begin[: len(runs)].tolist() == [0, *itertools.accumulate(runs[:-1])]
        assert set(begin[len(runs) :].tolist()) <= {-1}


@pytest.mark.gpu
@pytest.mark.parametrize("most", [None, 0, 20, 64])
def test_cudnn_masks_segments_as_xla_does(most: int | None) -> None:
    """With one segment, a mask, and documents packed."""
    q, k, v, segments = _inputs(2, 512, 8, 4, 64)
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in (q, k, v))
    segments = None if most is None else jnp.asarray(segments)
    upstream = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), jnp.bfloat16)
    results = []
    for backend in ("cudnn", "xla"):

        def run(*a, backend=backend):
            return attend(*a, segments, backend=backend, max_segments=most or 0)

        results.append((run(q, k, v), *_gradients(run, q, k, v, upstream)))
    for a, b in zip(*results, strict=True):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert np.linalg.norm(a - b) / np.linalg.norm(b) < 1e-2


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    q, k, v, segments = map(jnp.asarray, _inputs(1, 64, 2, 2, 8))
    whole = quick(attend)(q, k, v, segments)
    keys = jax.random.split(jax.random.key(0), 1000)

    def dropped(key):
        return attend(q, k, v, segments, dropout=0.3, dropout_key=key)

    drop = quick(jax.vmap(dropped))(keys)
    assert float(jnp.std(drop, axis=0).max()) > 0.1
    np.testing.assert_allclose(drop.mean(axis=0), whole, atol=0.15)
    no_key = quick(lambda *a: attend(*a, dropout=0.3))(q, k, v, segments)
    np.testing.assert_array_equal(no_key, whole)


@pytest.mark.parametrize(
    ("capability", "most", "mask"),
    [("9.0", 20, "PADDING_CAUSAL"), ("9.0", 0, "NO_MASK"), ("9.0", 97, "NO_MASK")]
    + [("8.0", 20, "NO_MASK")],
)
def test_what_cudnn_is_asked_for(monkeypatch, capability: str, most: int, mask: str) -> None:
    """Forward and backward, compiled for CUDA as far as that goes without a GPU."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    gpu = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu])
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91900)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda least: least <= capability)
    q, k, v, segments = _inputs(2, 256, 4, 2, 64)
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in (q, k, v))

    def run(*a):
        return attend(*a, segments, backend="cudnn", max_segments=most)

    step = jax.jit(lambda *a: jax.vjp(run, *a)[1](q))
    asked = step.trace(q, k, v).lower(lowering_platforms=("cuda",)).as_text()
    assert set(re.findall(r"[A-Z_]*(?:CAUSAL|NO_MASK)", asked)) == {mask}


def test_the_weights_that_stay_have_no_pattern() -> None:
    shape, dropout = (3, 4, 256, 512), 0.1
    stays = np.asarray(quick(kept, static_argnums=(1, 2))(jax.random.key(1), shape, dropout))
    dropped = ~stays
    n, deviation = dropped.size, np.sqrt(dropout * (1 - dropout))
    assert abs(dropped.mean() - dropout) < 5 * deviation / np.sqrt(n)
    for axis in range(4):  # each line along any dimension has its share
        others = tuple(i for i in range(4) if i != axis)
        error = deviation / np.sqrt(n / shape[axis])
        assert np.abs(dropped.mean(axis=others) - dropout).max() < 5 * error
    for shift in [
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (0, 1, 0, 0),
        (1, 0, 0, 0),
        (0, 0, 1, 1),
        (0, 0, 0, 64),
    ]:
        both = (dropped & np.roll(dropped, shift, (0, 1, 2, 3))).mean()
        assert abs(both - dropout**2) < 6 * dropout / np.sqrt(n)
    other = np.asarray(quick(kept, static_argnums=(1, 2))(jax.random.key(2), shape, dropout))
    assert abs((dropped & ~other).mean() - dropout**2) < 6 * dropout / np.sqrt(n)


def test_long_sequences_are_computed_again_alike() -> None:
    """Blocks of a long sequence keep nothing for the backward pass; dropout falls as it fell."""
    q, k, v, segments = map(jnp.asarray, _inputs(1, 1024, 2, 1, 8))
    upstream = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), jnp.float32)

    def dropped(*a):
        return attend(*a, segments, dropout=0.2, dropout_key=jax.random.key(3))

    again = _gradients(dropped, q, k, v, upstream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthdiv.model.attention.LONG", 4096)
        held = _gradients(dropped, q, k, v, upstream)
    for a, b in zip(again, held, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("requested", "changes", "words"),
    [
        ("cudnn", {"platform": "cpu"}, "needs an NVIDIA GPU, and this is cpu"),
        ("cudnn", {"dtype": "float32"}, "not 'float32'"),
        ("cudnn", {"dropout": 0.1}, "no attention dropout"),
        ("cudnn", {"head_dim": 132}, "multiple of 8 up to 128, not 132"),
        ("cudnn", {"length": 2047}, "even sequence length, not 2047"),
        ("splash", {"platform": "gpu"}, "needs a TPU, and this is gpu"),
        ("splash", {"platform": "tpu", "length": 100}, "multiple of 128, not 100"),
    ],
)
def test_a_backend_asked_for_runs_or_is_refused(requested, changes, words) -> None:
    settings = {"platform": "gpu", "dtype": "bfloat16", "head_dim": 64, "dropout": 0.0}
    settings |= {"length": 2048} | changes
    with pytest.raises(UserError, match=words):
        choose_backend(requested, **settings)
    name, sentence = choose_backend("auto", **settings)  # auto takes another, and says so
    assert name != requested
    assert name in sentence


def test_auto_takes_the_flash_kernel_of_the_platform() -> None:
    settings = {"dtype": "bfloat16", "head_dim": 64, "dropout": 0.0, "length": 2048}
    assert choose_backend("auto", platform="gpu", **settings)[0] == "cudnn"
    assert choose_backend("auto", platform="tpu", **settings)[0] == "splash"
    assert choose_backend("auto", platform="cpu", **settings)[0] == "xla"
    settings["dropout"] = 0.1
    name, sentence = choose_backend("auto", platform="gpu", **settings)
    assert name == "xla" and "slow" in sentence and "dropout" in sentence


def test_the_model_refuses_too() -> None:
    from flax import nnx

    from synthdiv.model import Llama

    config = ModelConfig(vocab_size=8, hidden=8, mlp=8, layers=1, heads=1, max_length=16)
    model = Llama(dataclasses.replace(config, attention="cudnn"), nnx.Rngs(0))
    with pytest.raises(UserError, match="cudnn"):
        model(jnp.zeros((1, 4), jnp.int32))
