"""Llama in Flax NNX: sizes, layers, attention backends, loss, and Hugging Face weights in and out.

Arrays carry their shape in their name, one letter a dimension:

    B  sequences of a batch          T  positions of a sequence (of the queries)
    S  positions (of the keys)       V  vocabulary
    D  hidden width                  F  width of the MLP
    N  query heads                   K  key/value heads        G  query heads a key head (N = K*G)
    H  dimension of a head           L  layers                 Q  queries of a block
    R  rows: positions of all sequences, in one dimension

The names here are imported when they are first used, so `synthdiv.model.ModelConfig` loads no JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
