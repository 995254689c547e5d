"""Causal attention behind one function that says which backend runs and never swaps it in silence.

Backends: `xla` (plain matrix products, any device, any setting), `cudnn` (flash attention on NVIDIA
GPUs, bf16 or fp16), `splash` (flash attention on TPU). `auto` takes the fastest that can do all
that is asked, and `choose_backend` gives the reason; a backend that is asked for by name and cannot
do the job is refused with what to change.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from synthdiv.errors import UserError
from synthdiv.model.config import ModelConfig
from synthdiv.model.partition import spec


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
        if length % 2:
            return f"cudnn needs an even sequence length, not {length}"
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


def backend_of(model: ModelConfig, length: int, platform: str = "") -> tuple[str, str]:
    """Returns the backend that training a model takes, and why; see `choose_backend`."""
    return choose_backend(
        model.attention,
        dtype=model.dtype,
        head_dim=model.head_size,
        dropout=model.attention_dropout,
        length=length,
        platform=platform,
    )


def attend(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    segment_ids_BT: jax.Array | None = None,
    *,
    backend: str = "xla",
    max_segments: int = 0,
    dropout: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Causal softmax attention, scaled by 1/sqrt(H); returns (B, T, N, H) in q's dtype.

    A position sees itself and earlier positions of its own segment. N must be a multiple of K; each
    key head serves N/K query heads in a row.

    Args:
        segment_ids_BT: int; each segment is a run of equal numbers. None: one segment.
        max_segments: no sequence has more segments than this; 0: unknown. If cuDNN knows, it
            skips what lies in other documents, and is two to three times faster.
        dropout: falls on the attention weights, and only if a key is given.
    """
    if backend == "cudnn":
        return _cudnn(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT, max_segments)
    if backend == "splash":
        return _on_each_device(_splash, q_BTNH, k_BSKH, v_BSKH, segment_ids_BT)
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


# Positions from which XLA's attention computes its weights again in the backward pass.
LONG = 1024


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
    width = block_width(T)
    dropping = bool(dropout) and dropout_key is not None
    block = functools.partial(_xla_block, dropout=dropout if dropping else 0.0)
    if T >= LONG:  # no layer keeps B*N*T*T numbers
        block = jax.checkpoint(block)
    blocks = []
    for start in range(0, T, width):
        end = start + width
        q_BKQH = q_BNTH[:, :, start:end].reshape(B, K, N // K * width, H)
        mask_B1QS = jnp.tile(mask_B1TS[:, :, start:end, :end], (1, 1, N // K, 1))
        key = jax.random.fold_in(dropout_key, start) if dropping else None
        out_BKQH = block(q_BKQH, k_BKSH, v_BKSH, mask_B1QS, key)
        blocks.append(out_BKQH.reshape(B, N, width, H))
    return jnp.swapaxes(jnp.concatenate(blocks, axis=2), 1, 2)


def _xla_block(q_BKQH, k_BKSH, v_BKSH, mask_B1QS, key, *, dropout):
    # Cut here, so that what is kept for the backward pass is k and v once, and not once a block.
    k_BKSH, v_BKSH = (x[:, :, : mask_B1QS.shape[-1]] for x in (k_BKSH, v_BKSH))
    scores_BKQS = _product("BKQH", "BKSH", "BKQS", q_BKQH, k_BKSH)
    scores_BKQS = jnp.where(mask_B1QS, scores_BKQS, -1e30)
    peak_BKQ1 = jax.lax.stop_gradient(jnp.max(scores_BKQS, axis=-1, keepdims=True))
    weights_BKQS = jnp.exp(scores_BKQS - peak_BKQ1)
    sum_BKQ1 = jnp.sum(weights_BKQS, axis=-1, keepdims=True)
    if dropout:
        kept_BKQS = kept(key, weights_BKQS.shape, dropout)
        weights_BKQS = jnp.where(kept_BKQS, weights_BKQS / (1 - dropout), 0)
    out_BKQH = _product("BKQS", "BKSH", "BKQH", weights_BKQS.astype(v_BKSH.dtype), v_BKSH)
    return (out_BKQH / sum_BKQ1).astype(q_BKQH.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _product(left: str, right: str, out: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a product in float32 of operands in their own dtype, in both directions.

    JAX's own gradient of it multiplies in float32, since what comes back is float32: at best
    half as fast on a GPU.
    """
    return jnp.einsum(f"{left},{right}->{out}", a, b, preferred_element_type=jnp.float32)


def _product_forward(left, right, out, a, b):
    return _product(left, right, out, a, b), (a, b)


def _product_backward(left, right, out, operands, upstream):
    a, b = operands
    upstream = upstream.astype(a.dtype)
    return (
        _product(out, right, left, upstream, b).astype(a.dtype),
        _product(left, out, right, a, upstream).astype(b.dtype),
    )


_product.defvjp(_product_forward, _product_backward)


def kept(key: jax.Array, shape: tuple[int, int, int, int], dropout: float) -> jax.Array:
    """Returns which attention weights stay, bool: each with probability 1 - dropout.

    A function of the key and the place alone, so the mask is the same on any mesh and in a
    recomputation. A dozen integer operations that fuse with their use, where Threefry's hundred
    would take longer than the attention; dropout needs no more than that no pattern is seen.
    """
    rows = jnp.arange(shape[0] * shape[1], dtype=jnp.uint32).reshape(*shape[:2], 1, 1)
    places = jnp.arange(shape[2] * shape[3], dtype=jnp.uint32).reshape(1, 1, *shape[2:])
    first, second = jax.random.key_data(key)[-2:]
    row_BK11 = _mixed(rows ^ first)
    words_BKQS = _mixed(_mixed(places ^ row_BK11) + _mixed(row_BK11 ^ second))
    return words_BKQS >= np.uint32(round(dropout * 2**32))


def _mixed(x: jax.Array) -> jax.Array:
    """A permutation of 32-bit words without visible pattern (lowbias32, C. Wellons 2018)."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def block_width(length: int) -> int:
    """Queries a block: at most 8 blocks, none narrower than 64, all alike."""
    for blocks in (8, 4, 2):
        if length % blocks == 0 and length // blocks >= 64:
            return length // blocks
    return length


# Beyond this many documents a sequence, cuDNN's bookkeeping for each costs more than a mask
# (docs/diary.md, "One H200").
_MOST_PACKED = 96


def _cudnn(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT, max_segments):
    attention = jax.nn.dot_product_attention
    if segment_ids_BT is None:
        return attention(q_BTNH, k_BSKH, v_BSKH, is_causal=True, implementation="cudnn")
    if 0 < max_segments <= _MOST_PACKED and _is_hopper_or_later():
        return _cudnn_packed(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT, max_segments)
    # JAX hands cuDNN a mask as an additive bias that broadcasts over the heads: B*T*T numbers,
    # which cost bandwidth, but not B*N*T*T.
    mask_B1TS = visible(q_BTNH.shape[1], segment_ids_BT)
    return attention(q_BTNH, k_BSKH, v_BSKH, mask=mask_B1TS, implementation="cudnn")


def _is_hopper_or_later() -> bool:
    """Whether the GPU can do cuDNN's packed layout."""
    return float(getattr(jax.local_devices()[0], "compute_capability", 0)) >= 9.0


def _cudnn_packed(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT, max_segments):
    """cuDNN's packed layout: each document is computed on its own and the rest is never touched.

    The function under `jax.nn.dot_product_attention`, whose arguments for this are not public.
    """
    from jax._src.cudnn.fused_attention_stablehlo import MaskType, dot_product_attention

    # A multiple of 8, so that corpora that differ little share a compiled program.
    begins_BM, lengths_BM = document_bounds(segment_ids_BT, -(-max_segments // 8) * 8)
    # One column more than documents: it takes where they begin, and not where the last one ends.
    offsets_BM = jnp.pad(begins_BM, ((0, 0), (0, 1)), constant_values=-1)
    return dot_product_attention(
        q_BTNH,
        k_BSKH,
        v_BSKH,
        q_seqlen=lengths_BM,
        kv_seqlen=lengths_BM,
        q_offsets=offsets_BM,
        kv_offsets=offsets_BM,
        scale=1 / math.sqrt(q_BTNH.shape[-1]),
        mask_type=MaskType.PADDING_CAUSAL,
    )


def document_bounds(segment_ids_BT: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
    """Returns where each segment begins and how long it is, int32 (B, most), then -1."""
    B, T = segment_ids_BT.shape
    changes_BT = jnp.diff(segment_ids_BT, axis=1, prepend=segment_ids_BT[:, :1] - 1) != 0
    # The place of the m-th change is how many positions have seen at most m changes.
    number_BT = jnp.cumsum(changes_BT, axis=1) - 1
    begins_BM = jnp.sum(number_BT[:, None] < jnp.arange(most)[:, None], axis=2, dtype=jnp.int32)
    lengths_BM = jnp.diff(begins_BM, axis=1, append=T)
    there_BM = begins_BM < T
    return jnp.where(there_BM, begins_BM, -1), jnp.where(there_BM, lengths_BM, -1)


def _on_each_device(kernel, q_BTNH, k_BSKH, v_BSKH, segment_ids_BT):
    """Runs a kernel that knows one device only on each device's rows and heads."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return kernel(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT)
    if segment_ids_BT is None:
        segment_ids_BT = jnp.zeros(q_BTNH.shape[:2], jnp.int32)
    heads, keys = spec("BTNH"), spec("BTKH")
    return jax.shard_map(
        kernel, in_specs=(heads, keys, keys, spec("BT")), out_specs=heads, check_vma=False
    )(q_BTNH, k_BSKH, v_BSKH, segment_ids_BT)


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
