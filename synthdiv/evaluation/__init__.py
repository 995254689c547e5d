"""What a checkpoint is worth: lm-eval's tasks, bits per byte, and checkpoints compared.

lm-eval is the harness and its task definitions are the stock ones; the model side is ours (JAX, no
PyTorch), and so is the data side where no network is. Nothing heavy is imported before it is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
