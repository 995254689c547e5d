"""Reading for evaluation: any visibility between positions, and keys and values that are kept.

Training reads packed sequences through `Llama.hidden`, whose attention knows segments only. Scoring
lets the options of a question share the question's positions, and generation goes on from what it
has read. Both hand the layers of `block.py` an attention that is told which position sees which.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthdiv.model.attention import block_width
from synthdiv.model.block import Params, forward
from synthdiv.model.config import ModelConfig


class Cache(NamedTuple):
    """Keys (already rotated) and values of the positions read so far, each (L, B, S, K, H)."""

    key_LBSKH: jax.Array
    value_LBSKH: jax.Array


def cast(params: Params, dtype: str) -> Params:
    """Returns parameters with their matrices in `dtype`.

    Norms stay float32. What training casts at every use is cast once here; the results are the
    same.
    """

    def matrices(arrays: Params) -> Params:
        return {
            name: matrices(value)
            if isinstance(value, dict)
            else value.astype(np.float32 if "norm" in name else dtype)
            for name, value in arrays.items()
        }

    return matrices(params)


def empty_cache(config: ModelConfig, batch: int, length: int) -> Cache:
    """Returns room for `length` positions of `batch` sequences, in `config.dtype`."""
    shape = (config.layers, batch, length, config.num_kv_heads, config.head_size)
    return Cache(jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype))


def read(
    params: Params,
    config: ModelConfig,
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    visible_BTS: jax.Array,
) -> jax.Array:
    """Reads tokens; returns the last layer's normed output, (B, T, D).

    Args:
        params: what `cast` returns.
        config: the model's sizes; `dtype` is what is computed in.
        tokens_BT: int token ids.
        positions_BT: int positions for RoPE.
        visible_BTS: bool, which position each one sees; none may see a later one.
    """

    def attention(
        q_BTNH: jax.Array, k_BSKH: jax.Array, v_BSKH: jax.Array, _: None
    ) -> tuple[jax.Array, None]:
        return _attend(q_BTNH, k_BSKH, v_BSKH, visible_BTS), None

    return forward(params, config, tokens_BT, positions_BT, attention)[0]


def read_on(
    params: Params,
    config: ModelConfig,
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    visible_BTS: jax.Array,
    cache: Cache,
    start: jax.Array | int = 0,
) -> tuple[jax.Array, Cache]:
    """Reads tokens after those in the cache; returns `read`'s output and the grown cache.

    Args:
        params, config, tokens_BT, positions_BT: as for `read`.
        visible_BTS: bool, which place of the cache each token sees.
        cache: keys and values of what was read before.
        start: place in the cache where the first of these tokens goes.
    """

    def attention(
        q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, kept: Cache
    ) -> tuple[jax.Array, Cache]:
        place = (0, start, 0, 0)
        k_BSKH = jax.lax.dynamic_update_slice(kept.key_LBSKH, k_BTKH, place)
        v_BSKH = jax.lax.dynamic_update_slice(kept.value_LBSKH, v_BTKH, place)
        return _attend(q_BTNH, k_BSKH, v_BSKH, visible_BTS), Cache(k_BSKH, v_BSKH)

    return forward(params, config, tokens_BT, positions_BT, attention, cache)


def _attend(
    q_BTNH: jax.Array, k_BSKH: jax.Array, v_BSKH: jax.Array, visible_BTS: jax.Array
) -> jax.Array:
    """Softmax attention over what each query sees; blocks of queries as in `attention.py`.

    Without a cache (T = S) no query sees a later key, so a block reads the keys up to its own end.
    """
    B, T, N, H = q_BTNH.shape
    S, K = k_BSKH.shape[1:3]
    q_BNTH = jnp.swapaxes(q_BTNH, 1, 2) * np.asarray(1 / math.sqrt(H), q_BTNH.dtype)
    k_BKSH, v_BKSH = jnp.swapaxes(k_BSKH, 1, 2), jnp.swapaxes(v_BSKH, 1, 2)
    width = block_width(T) if T == S else T
    blocks = []
    for start in range(0, T, width):
        end = start + width
        keys = end if T == S else S
        q_BKQH = q_BNTH[:, :, start:end].reshape(B, K, N // K * width, H)
        scores_BKQS = jnp.einsum(
            "BKQH,BKSH->BKQS", q_BKQH, k_BKSH[:, :, :keys], preferred_element_type=jnp.float32
        )
        mask_B1QS = jnp.tile(visible_BTS[:, None, start:end, :keys], (1, 1, N // K, 1))
        weights_BKQS = jax.nn.softmax(jnp.where(mask_B1QS, scores_BKQS, -1e30), axis=-1)
        out_BKQH = jnp.einsum(
            "BKQS,BKSH->BKQH", weights_BKQS.astype(v_BKSH.dtype), v_BKSH[:, :, :keys]
        )
        blocks.append(out_BKQH.reshape(B, N, width, H))
    return jnp.swapaxes(jnp.concatenate(blocks, axis=2), 1, 2)
