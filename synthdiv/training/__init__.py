"""Trains Llamas: mesh, optimizer, step, loop, checkpoints; pre-training and fine-tuning.

`step`, `optimizer`, `mesh` and `flops` need nothing but JAX, Flax and optax, so they can be used
and timed on a bare machine. The names here are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
