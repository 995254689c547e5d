"""The likelihood of given tokens under a model, as one compiled function."""

import jax
import jax.numpy as jnp
from flax import nnx

from synthdiv.model.llama import Llama
from synthdiv.model.loss import cross_entropy


@nnx.jit
def token_losses(model: Llama, tokens_BT: jax.Array) -> jax.Array:
    """Returns (B, T - 1), float32: the negative log-likelihood in nats of each token but the first.

    Compiled once for every shape of `tokens_BT`; each row is one segment.
    """
    targets_BT = tokens_BT[:, 1:]
    weights_BT = jnp.ones(targets_BT.shape, jnp.float32)
    x_BTD = model.hidden(tokens_BT[:, :-1])
    return cross_entropy(x_BTD, model.head_table(), targets_BT, weights_BT)[1]
