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
    """Block by block of queries, each against the keys up to its own end and none behind it.

    Heads come before positions, so that each product is a plain batch of matrix products (CPUs are
    several times slower on the other order), and the query heads of one key head stand in a row.
    """
    B, T, N, H = q_BTNH.shape
    K = k_BSKH.shape[2]
    q_BNTH = jnp.swapaxes(q_BTNH, 1, 2) * np.asarray(1 / math.sqrt(H), q_BTNH.dtype)
    k_BKSH, v_BKSH = jnp.swapaxes(k_BSKH, 1, 2), jnp.swapaxes(v_BSKH, 1, 2)
    mask_B1TS = visible(T, segment_ids_BT)
    width = _block_width(T)
    blocks = []
    for start in range(0, T, width):
        end = start + width
        q_BKQH = q_BNTH[:, :, start:end].reshape(B, K, N // K * width, H)
        scores_BKQS = jnp.einsum(
            "BKQH,BKSH->BKQS", q_BKQH, k_BKSH[:, :, :end], preferred_element_type=jnp.float32
        )
        mask_B1QS = jnp.tile(mask_B1TS[:, :, start:end, :end], (1, 1, N // K, 1))
        scores_BKQS = jnp.where(mask_B1QS, scores_BKQS, -1e30)
        peak_BKQ1 = jax.lax.stop_gradient(jnp.max(scores_BKQS, axis=-1, keepdims=True))
        weights_BKQS = jnp.exp(scores_BKQS - peak_BKQ1)
        sum_BKQ1 = jnp.sum(weights_BKQS, axis=-1, keepdims=True)
        if dropout and dropout_key is not None:
            key = jax.random.fold_in(dropout_key, start)
            kept = jax.random.bernoulli(key, 1 - dropout, weights_BKQS.shape)
            weights_BKQS = jnp.where(kept, weights_BKQS / (1 - dropout), 0)
        out_BKQH = jnp.einsum(
            "BKQS,BKSH->BKQH",
            weights_BKQS.astype(v_BKSH.dtype),
            v_BKSH[:, :, :end],
            preferred_element_type=jnp.float32,
        )
        blocks.append((out_BKQH / sum_BKQ1).astype(q_BTNH.dtype).reshape(B, N, width, H))
    return jnp.swapaxes(jnp.concatenate(blocks, axis=2), 1, 2)


def _block_width(length: int) -> int:
    """Queries a block: at most 8 blocks, none narrower than 64, all alike."""
    for blocks in (8, 4, 2):
        if length % blocks == 0 and length // blocks >= 64:
            return length // blocks
    return length


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


def _splash(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT, interpret=False):
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    B, T, N, H = q_BTNH.shape
    group = N // k_BSKH.shape[2]
    mask = splash.MultiHeadMask([splash.CausalMask((T, T)) for _ in range(N)])
    kernel = splash.make_splash_mha(mask, head_shards=1, q_seq_shards=1, interpret=interpret)
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
