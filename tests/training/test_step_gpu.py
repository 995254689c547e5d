"""On a GPU, whole steps in bf16 learn what they learn in float32 with plain attention."""

import dataclasses

import jax
import numpy as np
import pytest

from synthdiv.model import ModelConfig
from synthdiv.training import MeshConfig, OptimizerConfig
from synthdiv.training.mesh import make_mesh
from synthdiv.training.step import StepConfig, batch_shardings, compiled_step, init_state

MODEL = ModelConfig(
    vocab_size=512, hidden=256, mlp=512, layers=4, heads=4, max_length=512, loss_chunk=2048
)
STEPS, BATCH, LENGTH = 50, 16, 512


def batches():
    """Documents of about 60 tokens, in each of which a token follows from the one before."""
    draw = np.random.default_rng(0)
    following = draw.permutation(MODEL.vocab_size)
    for _ in range(STEPS):
        starts = draw.random((BATCH, LENGTH + 1)) < 1 / 60
        starts[:, 0] = True
        tokens = draw.integers(0, MODEL.vocab_size, starts.shape)
        guessed = draw.random(starts.shape) < 0.2
        for t in range(1, LENGTH + 1):
            known = ~starts[:, t] & ~guessed[:, t]
            tokens[known, t] = following[tokens[known, t - 1]]
        place = np.arange(LENGTH)
        begun = np.maximum.accumulate(np.where(starts[:, :-1], place, 0), axis=1)
        yield {
            "tokens": tokens[:, :-1].astype(np.int32),
            "targets": tokens[:, 1:].astype(np.int32),
            "segment_ids": np.cumsum(starts[:, :-1], axis=1).astype(np.int32),
            "positions": (place - begun).astype(np.int32),
            "loss_mask": np.ones((BATCH, LENGTH), np.float32),
            "source": np.zeros(BATCH, np.int32),
            "bytes": np.full(BATCH, LENGTH, np.int32),
        }


def losses(**changes) -> np.ndarray:
    model = dataclasses.replace(MODEL, **changes)
    most = max(int(b["segment_ids"].max()) for b in batches())
    config = StepConfig(model, OptimizerConfig(learning_rate=3e-3), max_segments=most)
    mesh = make_mesh(MeshConfig())
    state, found = init_state(config, mesh, 0, STEPS), []
    for batch in batches():
        placed = jax.device_put(batch, batch_shardings(mesh))
        state, metrics = compiled_step(config, mesh)(state, placed)
        found.append(metrics["loss"])
    return np.asarray(jax.device_get(found))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("dropout", "attention", "fp8"),
    [(0.0, "cudnn", False), (0.1, "auto", False), (0.0, "cudnn", True)],
    ids=["packed", "dropout", "fp8"],
)
def test_it_learns_as_float32_with_plain_attention(
    dropout: float, attention: str, fp8: bool
) -> None:
    ours = losses(dtype="bfloat16", attention=attention, attention_dropout=dropout, fp8=fp8)
    plain = losses(dtype="float32", attention="xla", attention_dropout=dropout)
    assert plain[-1] < 0.8 * plain[0], "nothing was learned, so nothing is compared"
    np.testing.assert_allclose(ours, plain, rtol=0.02)
    assert abs(ours[-10:].mean() / plain[-10:].mean() - 1) < 0.005
