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
from synthdiv.model.config import ModelConfig
from synthdiv.model.llama import _rms_norm


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
    shape = (config.layers, batch, length, config.groups_of, config.width_of_head)
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
        visible_BTS: bool, which key each query sees; S is T, or the cache's length.
        cache: keys and values of what was read before; None: these tokens are all there is.
        start: place in the cache where the first of these tokens goes.
    """
    cosine, sine = rope.angles(config, positions_BT)
    mask_B11TS = visible_BTS[:, None, None]

    def attend(q_BTNH, k_BSKH, v_BSKH):
        B, T, N, H = q_BTNH.shape
        K = k_BSKH.shape[2]
        q_BTKGH = q_BTNH.reshape(B, T, K, N // K, H)
        scores = jnp.einsum(
            "BTKGH,BSKH->BKGTS", q_BTKGH, k_BSKH, preferred_element_type=jnp.float32
        ) / math.sqrt(H)
        weights = jax.nn.softmax(jnp.where(mask_B11TS, scores, -1e30), axis=-1)
        out = jnp.einsum("BKGTS,BSKH->BTKGH", weights.astype(v_BSKH.dtype), v_BSKH)
        return out.reshape(B, T, N, H)

    def layer_step(x_BTD, layer_and_cache):
        w, kept = layer_and_cache
        y_BTD = _rms_norm(x_BTD, w["attention_norm"], config.norm_eps)
        q_BTNH = rope.rotate(jnp.einsum("BTD,DNH->BTNH", y_BTD, w["query"]), cosine, sine)
        k_BSKH = rope.rotate(jnp.einsum("BTD,DKH->BTKH", y_BTD, w["key"]), cosine, sine)
        v_BSKH = jnp.einsum("BTD,DKH->BTKH", y_BTD, w["value"])
        if kept is not None:
            place = (0, start, 0, 0)
            k_BSKH = jax.lax.dynamic_update_slice(kept.key_LBSKH, k_BSKH, place)
            v_BSKH = jax.lax.dynamic_update_slice(kept.value_LBSKH, v_BSKH, place)
            kept = Cache(k_BSKH, v_BSKH)
        a_BTNH = attend(q_BTNH, k_BSKH, v_BSKH)
        x_BTD = x_BTD + jnp.einsum("BTNH,NHD->BTD", a_BTNH, w["output"])
        y_BTD = _rms_norm(x_BTD, w["mlp_norm"], config.norm_eps)
        gate_BTF = jnp.einsum("BTD,DF->BTF", y_BTD, w["gate"])
        z_BTF = jax.nn.silu(gate_BTF) * jnp.einsum("BTD,DF->BTF", y_BTD, w["up"])
        return x_BTD + jnp.einsum("BTF,FD->BTD", z_BTF, w["down"]), kept

    x_BTD = params["embedding"].astype(config.dtype)[tokens_BT]
    x_BTD, cache = jax.lax.scan(layer_step, x_BTD, (params["layers"], cache))
    return _rms_norm(x_BTD, params["final_norm"], config.norm_eps), cache


def head_table(params: dict) -> jax.Array:
    """Returns the output embedding, (V, D): the input embedding where they are tied."""
    return params.get("head", params["embedding"])
