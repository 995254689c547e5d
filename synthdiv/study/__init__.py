"""Corpora x models: scores, accuracies, and how the one goes with the other.

`__main__.py` is the command; `run.py` is the way from topics to figure.
"""

from synthdiv.study.regression import line_band, regress

__all__ = ["line_band", "read_plan", "regress", "run_study"]


def __getattr__(name: str):
    # The rooms below bring JAX; a notebook that only regresses does not need it.
    if name == "run_study":
        from synthdiv.study.run import run_study

        return run_study
    if name == "read_plan":
        from synthdiv.study.config import read_plan

        return read_plan
    raise AttributeError(f"module 'synthdiv.study' has no attribute {name!r}")
