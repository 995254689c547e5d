"""One update: accumulated, of bad batches, with donated buffers, compiled once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthdiv.model import ModelConfig
from synthdiv.training import MeshConfig, OptimizerConfig
from synthdiv.training.mesh import make_mesh
from synthdiv.training.step import (
    SETTLING,
    StepConfig,
    batch_shardings,
    compiled_step,
    init_state,
)

MODEL = ModelConfig(
    vocab_size=64,
    hidden=16,
    mlp=32,
    layers=2,
    heads=2,
    max_length=16,
    dtype="float32",
    loss_chunk=32,
)
CONFIG = StepConfig(MODEL, OptimizerConfig(learning_rate=1e-2, warmup=0.0), sources=2)


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig())


def _batch(mesh, rows: int = 8, seed: int = 0, poison: bool = False) -> dict:
    draw = np.random.default_rng(seed)
    T = MODEL.max_length
    tokens = draw.integers(0, MODEL.vocab_size, (rows, T + 1)).astype(np.int32)
    mask = (draw.random((rows, T)) < 0.9).astype(np.float32)
    if poison:
        mask[0, 0] = np.nan
    batch = {
        "tokens": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "segment_ids": np.repeat([[1, 2]], [10, 6], axis=1).repeat(rows, axis=0).astype(np.int32),
        "positions": np.r_[0:10, 0:6][None].repeat(rows, axis=0).astype(np.int32),
        "loss_mask": mask,
        "source": (np.arange(rows) % 2).astype(np.int32),
        "bytes": np.full(rows, 40, np.int32),
    }
    return jax.device_put(batch, batch_shardings(mesh))


def _same(a, b) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def test_accumulating_changes_nothing(mesh) -> None:
    results = []
    for accumulate in (1, 4):
        config = dataclasses.replace(CONFIG, accumulate=accumulate)
        state = init_state(config, mesh, 0, 10)
        for seed in range(2):
            state, metrics = compiled_step(config, mesh)(state, _batch(mesh, seed=seed))
        results.append((state.params, metrics))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        # AdamW divides by the gradient's size, so where that is tiny the sums' order shows.
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


def test_metrics_are_those_of_the_sources(mesh) -> None:
    state, batch = init_state(CONFIG, mesh, 0, 10), _batch(mesh)
    mask, source = np.asarray(batch["loss_mask"]), np.asarray(batch["source"])
    _, metrics = compiled_step(CONFIG, mesh)(state, batch)
    for i in (0, 1):
        assert metrics["tokens"][i] == mask[source == i].sum()
        assert metrics["bytes"][i] == 40 * (source == i).sum()
    np.testing.assert_allclose(metrics["nll"].sum() / mask.sum(), metrics["loss"], rtol=1e-5)
    # A model that knows nothing is as surprised as a uniform guess.
    assert abs(float(metrics["loss"]) - np.log(MODEL.vocab_size)) < 0.1


def test_a_fixed_batch_is_learnt(mesh) -> None:
    state, batch = init_state(CONFIG, mesh, 0, 60), _batch(mesh)
    losses = []
    for _ in range(60):
        state, metrics = compiled_step(CONFIG, mesh)(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.4 * losses[0]
    assert int(state.step) == 60 and int(state.bad_step) == -1


def test_stop_leaves_the_state_as_it_was(mesh) -> None:
    state = init_state(CONFIG, mesh, 0, 10)
    step = compiled_step(CONFIG, mesh)
    state, _ = step(state, _batch(mesh))
    before = jax.device_get((state.params, state.optimizer))
    state, metrics = step(state, _batch(mesh, poison=True))
    assert bool(metrics["bad"]) and int(state.bad_step) == 1
    state, metrics = step(state, _batch(mesh, seed=1))  # a good one, dispatched before we noticed
    assert not bool(metrics["bad"])
    assert _same(before, jax.device_get((state.params, state.optimizer)))


def test_skip_leaves_out_one_update(mesh) -> None:
    config = dataclasses.replace(CONFIG, on_bad="skip")
    step = compiled_step(config, mesh)
    state, _ = step(init_state(config, mesh, 0, 10), _batch(mesh))
    before = jax.device_get(state.params)
    state, _ = step(state, _batch(mesh, poison=True))
    assert _same(before, jax.device_get(state.params))
    state, _ = step(state, _batch(mesh, seed=1))
    assert not _same(before, jax.device_get(state.params))
    assert int(state.step) == 3


def test_a_jump_of_the_loss_is_a_spike_once_settled(mesh) -> None:
    config = dataclasses.replace(CONFIG, spike=0.5)
    step = compiled_step(config, mesh)
    for at, expected in ((3, False), (SETTLING, True)):
        state = init_state(config, mesh, 0, 1000)
        # The loss will be about 4.16.
        state = dataclasses.replace(state, step=jnp.int32(at), loss_mean=jnp.float32(3.0))
        _, metrics = step(state, _batch(mesh))
        assert bool(metrics["bad"]) is expected


def test_the_state_is_given_away(mesh) -> None:
    state = init_state(CONFIG, mesh, 0, 10)
    held = jax.tree.leaves(state.params) + jax.tree.leaves(state.optimizer)
    compiled_step(CONFIG, mesh)(state, _batch(mesh))
    assert all(a.is_deleted() for a in held if a.ndim)


def test_a_second_model_of_the_same_shape_compiles_nothing(mesh) -> None:
    step = compiled_step(CONFIG, mesh)
    step(init_state(CONFIG, mesh, 0, 10), _batch(mesh))
    size = step.jitted._cache_size()
    again = compiled_step(dataclasses.replace(CONFIG), make_mesh(MeshConfig()))
    again(init_state(CONFIG, mesh, 1, 99), _batch(mesh, seed=3))
    assert again is step and step.jitted._cache_size() == size == 1


def test_z_loss_pulls_the_normaliser_to_one(mesh) -> None:
    plain, pulled = (
        compiled_step(config, mesh)(init_state(config, mesh, 0, 10), _batch(mesh))[1]
        for config in (CONFIG, dataclasses.replace(CONFIG, z_loss=0.1))
    )
    log_z = np.log(MODEL.vocab_size)
    assert abs(float(pulled["loss"] - plain["loss"]) - 0.1 * log_z**2) < 0.05
    np.testing.assert_allclose(plain["nll"], pulled["nll"], rtol=1e-5)
