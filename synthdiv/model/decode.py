"""The forward pass for evaluation: any visibility between positions, and keys and values kept.

Training reads packed sequences through `Llama.hidden`, whose attention knows segments only. Scoring
lets the options of a question share the question's positions, and generation keeps what it has
read, so both need to say which position sees which. It is the same layer as in `llama.py` over the
same parameters (tests hold the two equal), written as a function of a plain dict of arrays, so that
a compiled program serves every checkpoint of one configuration.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthdiv.model import rope
from synthdiv.model.attention import block_width
from synthdiv.model.config import ModelConfig
from synthdiv.model.llama import _product, _rms_norm


class Cache(NamedTuple):
    """Keys (already rotated) and values of the positions read so far, each (L, B, S, K, H)."""

    key_LBSKH: jax.Array
    value_LBSKH: jax.Array


def cast(params: dict, dtype: str) -> dict:
    """Returns parameters (a dict of arrays) as `read` takes them: matrices in `dtype`.

    Norms stay float32. What training casts at every use is cast once; the numbers are the same.
    """

    def matrices(arrays: dict) -> dict:
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
    params: dict,
    config: ModelConfig,
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    visible_BTS: jax.Array,
    cache: Cache | None = None,
    start: jax.Array | int = 0,
) -> tuple[jax.Array, Cache | None]:
    """Reads tokens; returns the last layer's normed output (B, T, D) and the cache with them in it.

    Args:
        params: what `cast` returns.
        config: of the model; `dtype` is what is computed in.
        tokens_BT: int token ids.
        positions_BT: int positions for RoPE.
        visible_BTS: bool, which key each query sees; S is T, or the cache's length. Without a cache
            no query may see a later key.
        cache: keys and values of what was read before; None: these tokens are all there is.
        start: place in the cache where the first of these tokens goes.
    """
    cosine, sine = rope.angles(config, positions_BT)

    def layer_step(x_BTD, layer_and_cache):
        w, kept = layer_and_cache
        y_BTD = _rms_norm(x_BTD, w["attention_norm"], config.norm_eps)
        q_BTNH = rope.rotate(_product(y_BTD, w["query"]), cosine, sine)
        k_BSKH = rope.rotate(_product(y_BTD, w["key"]), cosine, sine)
        v_BSKH = _product(y_BTD, w["value"])
        if kept is not None:
            place = (0, start, 0, 0)
            k_BSKH = jax.lax.dynamic_update_slice(kept.key_LBSKH, k_BSKH, place)
            v_BSKH = jax.lax.dynamic_update_slice(kept.value_LBSKH, v_BSKH, place)
            kept = Cache(k_BSKH, v_BSKH)
        a_BTNH = _attend(q_BTNH, k_BSKH, v_BSKH, visible_BTS)
        x_BTD = x_BTD + _product(a_BTNH, w["output"], inputs=2)
        y_BTD = _rms_norm(x_BTD, w["mlp_norm"], config.norm_eps)
        z_BTF = jax.nn.silu(_product(y_BTD, w["gate"])) * _product(y_BTD, w["up"])
        return x_BTD + _product(z_BTF, w["down"]), kept

    x_BTD = params["embedding"].astype(config.dtype)[tokens_BT]
    x_BTD, cache = jax.lax.scan(layer_step, x_BTD, (params["layers"], cache))
    return _rms_norm(x_BTD, params["final_norm"], config.norm_eps), cache


def _attend(q_BTNH, k_BSKH, v_BSKH, visible_BTS):
    """Softmax attention over what each query sees; blocks of queries as in `attention._xla`.

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


def head_table(params: dict) -> jax.Array:
    """Returns the output embedding, (V, D): the input embedding where they are tied."""
    return params.get("head", params["embedding"])
