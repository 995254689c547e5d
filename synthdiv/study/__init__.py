"""Corpora x models: scores, accuracies, and how the one goes with the other.

`__main__.py` is the command; `run.py` is the way from topics to figure. The names here are imported
when they are first used: most bring JAX, and a notebook that only regresses does not need it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
