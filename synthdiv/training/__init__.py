"""Trains Llamas: mesh, optimizer, step, loop, checkpoints; pre-training and fine-tuning.

`step`, `optimizer`, `mesh` and `flops` need nothing but JAX, Flax and optax, so they can be used
and timed on a bare machine. The names here are imported when they are first used.
"""

import importlib

_HOME = {
    "MeshConfig": "mesh",
    "OptimizerConfig": "optimizer",
    "SFTOptimizerConfig": "optimizer",
    "PretrainConfig": "config",
    "SFTConfig": "config",
    "RunConfig": "config",
    "Diverged": "metrics",
    "pretrain": "runs",
    "sft": "runs",
    "plan_pretrain": "runs",
    "plan_sft": "runs",
    "join_processes": "mesh",
    "step_span": "loop",
    "export": "runs",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"synthdiv.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'synthdiv.training' has no attribute {name!r}")
