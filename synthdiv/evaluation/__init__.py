"""What a checkpoint is worth: lm-eval's tasks, bits per byte, and checkpoints compared.

lm-eval is the harness and its task definitions are the stock ones; the model side is ours (JAX, no
PyTorch), and so is the data side where no network is. Nothing heavy is imported before it is used.
"""

import importlib

_HOME = {
    "CompareConfig": "comparison",
    "Comparison": "comparison",
    "compare": "comparison",
    "EvaluateConfig": "run",
    "evaluate": "run",
    "plan": "planning",
    "table": "run",
    "TextLossConfig": "text_loss",
    "bits_per_byte": "text_loss",
    "text_loss": "text_loss",
    "SynthdivLM": "harness",
    "load_tasks": "tasks",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"synthdiv.evaluation.{_HOME[name]}"), name)
    raise AttributeError(f"module 'synthdiv.evaluation' has no attribute {name!r}")
