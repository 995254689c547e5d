"""Causal attention behind one function that says which backend runs and never swaps it in silence.

Backends: `xla` (plain matrix products, any device, any setting), `cudnn` (flash attention on NVIDIA
GPUs, bf16 or fp16), `splash` (flash attention on TPU). `auto` takes the fastest that can do all
that is asked, and `choose_backend` gives the reason; a backend that is asked for by name and cannot
do the job is refused with what to change.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from synthdiv.errors import UserError


def obstacle(
    backend: str, platform: str, dtype: str, head_dim: int, dropout: float, length: int
) -> str | None:
    """Returns why `backend` cannot run with these settings, in words, or None if it can."""
    if backend == "xla":
        return None
    if dropout:
        return f"{backend} has no attention dropout (Model.attention_dropout={dropout})"
    if backend == "cudnn":
        if platform not in ("gpu", "cuda"):
            return f"cudnn needs an NVIDIA GPU, and this is {platform}"
        if dtype == "float32":
            return "cudnn needs Model.dtype='bfloat16' or 'float16', not 'float32'"
        if head_dim % 8 or head_dim > 128:
            return f"cudnn needs a head dimension that is a multiple of 8 up to 128, not {head_dim}"
        return None
    if platform != "tpu":
        return f"splash needs a TPU, and this is {platform}"
    if length % 128:
        return f"splash needs a sequence length that is a multiple of 128, not {length}"
    return None


def choose_backend(
    requested: str, *, dtype: str, head_dim: int, dropout: float, length: int, platform: str = ""
) -> tuple[str, str]:
    """Returns the backend to run and one sentence that says which it is and why.

    Args:
        requested: "auto" or a backend's name.
        platform: JAX's name of the device kind; "" for the default device's.

    Raises:
        UserError: a backend was asked for by name and cannot run.
    """
    platform = platform or jax.default_backend()
    settings = (platform, dtype, head_dim, dropout, length)
    if requested != "auto":
        reason = obstacle(requested, *settings)
        if reason:
            raise UserError(f"attention backend {requested!r} cannot run: {reason}")
        return requested, f"attention: {requested} (asked for)"
    fast = {"gpu": "cudnn", "cuda": "cudnn", "tpu": "splash"}.get(platform)
    if fast is None:
        return "xla", f"attention: xla (the backend for {platform})"
    reason = obstacle(fast, *settings)
    if reason is None:
        return fast, f"attention: {fast} (the fastest for {platform})"
    return "xla", f"attention: xla, which is slow on {platform}; not {fast}, because {reason}"


def attend(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    segment_ids_BT: jax.Array | None = None,
    *,
    backend: str = "xla",
    dropout: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Causal softmax attention, scaled by 1/sqrt(H); returns (B, T, N, H) in q's dtype.

    A position sees itself and earlier positions of its own segment. N must be a multiple of K; each
    key head serves N/K query heads in a row. Dropout falls on the attention weights, and only if a
    key is given.
    """
    if backend == "cudnn":
        return _cudnn(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT)
    if backend == "splash":
        return _splash(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT)
    if backend != "xla":
        raise ValueError(f"no attention backend {backend!r}; choose_backend names the known ones")
    return _xla(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT, dropout, dropout_key)


def visible(length: int, segment_ids_BT: jax.Array | None) -> jax.Array:
    """Returns which keys each query sees, bool, (1 or B, 1, T, S)."""
    position_T = jnp.arange(length)
    mask_TS = position_T[:, None] >= position_T[None, :]
    if segment_ids_BT is None:
        return mask_TS[None, None]
    same_BTS = segment_ids_BT[:, :, None] == segment_ids_BT[:, None, :]
    return (mask_TS & same_BTS)[:, None]


def _xla(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT, dropout, dropout_key):
    B, T, N, H = q_BTNH.shape
    K = k_BSKH.shape[2]
    q_BTKGH = q_BTNH.reshape(B, T, K, N // K, H)
    scores = jnp.einsum(
        "BTKGH,BSKH->BKGTS", q_BTKGH, k_BSKH, preferred_element_type=jnp.float32
    ) / math.sqrt(H)
    mask_B11TS = visible(T, segment_ids_BT)[:, :, None]
    weights = jax.nn.softmax(jnp.where(mask_B11TS, scores, -1e30), axis=-1)
    if dropout and dropout_key is not None:
        kept = jax.random.bernoulli(dropout_key, 1 - dropout, weights.shape)
        weights = jnp.where(kept, weights / (1 - dropout), 0)
    out = jnp.einsum("BKGTS,BSKH->BTKGH", weights.astype(v_BSKH.dtype), v_BSKH)
    return out.reshape(B, T, N, H)


def _cudnn(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT):
    if segment_ids_BT is None:
        return jax.nn.dot_product_attention(
            q_BTNH, k_BSKH, v_BSKH, is_causal=True, implementation="cudnn"
        )
    # JAX's public function hands cuDNN a mask as an additive bias that broadcasts over the heads:
    # B*T*T numbers, which cost bandwidth, but not B*N*T*T.
    mask_B1TS = visible(q_BTNH.shape[1], segment_ids_BT)
    return jax.nn.dot_product_attention(
        q_BTNH, k_BSKH, v_BSKH, mask=mask_B1TS, implementation="cudnn"
    )


def _splash(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT):
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    B, T, N, H = q_BTNH.shape
    group = N // k_BSKH.shape[2]
    mask = splash.MultiHeadMask([splash.CausalMask((T, T)) for _ in range(N)])
    kernel = splash.make_splash_mha(mask, head_shards=1, q_seq_shards=1)
    # One key head a query head: the multi-head kernel is the one that takes segment ids on all
    # generations; the repeated heads are views to XLA until they reach the kernel.
    q, k, v = (
        jnp.swapaxes(x, 1, 2)
        for x in (
            q_BTNH * np.asarray(1 / math.sqrt(H), q_BTNH.dtype),
            jnp.repeat(k_BSKH, group, axis=2),
            jnp.repeat(v_BSKH, group, axis=2),
        )
    )
    if segment_ids_BT is None:
        segment_ids_BT = jnp.zeros((B, T), jnp.int32)
    out_BNTH = jax.vmap(kernel)(q, k, v, splash.SegmentIds(segment_ids_BT, segment_ids_BT))
    return jnp.swapaxes(out_BNTH, 1, 2)
