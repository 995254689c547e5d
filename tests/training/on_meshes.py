"""Trains the same model on the same batches on several meshes; prints losses and final weights.

Run by test_sharded.py in a process of its own, which has eight devices:

    python -m tests.training.on_meshes STEPS MESH [MESH...]      MESH = DATA,FSDP,TENSOR[,SLICES]
"""

import json
import sys

import jax
import numpy as np

from synthdiv.model import ModelConfig
from synthdiv.training import MeshConfig, OptimizerConfig
from synthdiv.training.mesh import make_mesh
from synthdiv.training.step import StepConfig, batch_shardings, compiled_step, init_state

MODEL = ModelConfig(
    vocab_size=96,
    hidden=32,
    mlp=64,
    layers=2,
    heads=8,
    max_length=32,
    tie_embeddings=False,
    attention_dropout=0.1,
    dtype="float32",
    loss_chunk=64,
)
CONFIG = StepConfig(MODEL, OptimizerConfig(learning_rate=1e-2), sources=2, z_loss=1e-4)


def batches(steps: int):
    draw = np.random.default_rng(0)
    for _ in range(steps):
        tokens = draw.integers(0, MODEL.vocab_size, (16, MODEL.max_length + 1)).astype(np.int32)
        starts = draw.random((16, MODEL.max_length)) < 0.1
        yield {
            "tokens": tokens[:, :-1],
            "targets": tokens[:, 1:],
            "segment_ids": np.cumsum(starts, axis=1).astype(np.int32),
            "positions": np.arange(MODEL.max_length, dtype=np.int32)[None].repeat(16, axis=0),
            "loss_mask": (draw.random((16, MODEL.max_length)) < 0.9).astype(np.float32),
            "source": draw.integers(0, 2, 16).astype(np.int32),
            "bytes": np.full(16, 80, np.int32),
        }


def train(mesh, steps: int) -> dict:
    state = init_state(CONFIG, mesh, 0, steps)
    embedding = state.params["embedding"]
    figures = {"shard": list(embedding.sharding.shard_shape(embedding.shape)), "metrics": []}
    moments = [a for a in jax.tree.leaves(state.optimizer) if a.shape == embedding.shape]
    assert len(moments) >= 2
    assert all(a.sharding == embedding.sharding for a in moments)
    figures["first"] = float(np.abs(np.asarray(embedding)).sum())
    for batch in batches(steps):
        placed = jax.device_put(batch, batch_shardings(mesh))
        state, metrics = compiled_step(CONFIG, mesh)(state, placed)
        figures["metrics"].append(jax.tree.map(lambda a: np.asarray(a).tolist(), metrics))
    figures["params"] = np.concatenate(
        [np.asarray(a).ravel() for a in jax.tree.leaves(state.params)]
    ).tolist()
    return figures


def main() -> None:
    steps = int(sys.argv[1])
    with jax.transfer_guard_host_to_device("disallow"):
        results = {"1": train(make_mesh(MeshConfig(), jax.devices()[:1]), steps)}
        for words in sys.argv[2:]:
            results[words] = train(make_mesh(MeshConfig(*map(int, words.split(",")))), steps)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
