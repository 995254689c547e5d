"""The forward pass over plain arrays: one block, which is handed its attention.

Training, scoring and generation run the same layers over the same parameters. They differ in which
positions see each other and in whether keys and values are kept, and both are up to the attention.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from synthdiv.model import fp8, rope
from synthdiv.model.config import ModelConfig
from synthdiv.model.partition import constrain

Params = dict[str, Any]
# (q_BTNH, k_BTKH, v_BTKH, what is a layer's own) -> (what the queries read, what the layer keeps)
Attention = Callable[[jax.Array, jax.Array, jax.Array, Any], tuple[jax.Array, Any]]
Block = Callable[[jax.Array, Params, Any], tuple[jax.Array, Any]]


def forward(
    params: Params,
    config: ModelConfig,
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    attention: Attention,
    per_layer: Any = None,
    *,
    looped: bool = True,
) -> tuple[jax.Array, Any]:
    """Runs all layers.

    Args:
        params: nested dict of arrays, as `nnx.to_pure_dict` makes it of a `Llama`. Matrices are
            cast to `config.dtype` where they are used; norms are applied in float32.
        config: the model's sizes; `dtype` is what is computed in.
        tokens_BT: int token ids.
        positions_BT: int positions for RoPE.
        attention: called by every layer with its queries, keys and values (queries and keys already
            rotated) and its part of `per_layer`.
        per_layer: arrays whose first dimension is L, such as dropout keys or a cache.
        looped: compile one layer and loop over it, rather than every layer on its own.

    Returns:
        The last layer's normed output (B, T, D), in `config.dtype`, and what the attention of each
        layer returned beside its output, stacked along L.
    """
    rotation = rope.angles(config, positions_BT)

    def block(x_BTD: jax.Array, layer: Params, own: Any) -> tuple[jax.Array, Any]:
        return _block(x_BTD, layer, own, config, rotation, attention)

    step: Block = block
    if config.remat != "none":
        step = jax.checkpoint(block, policy=_remat_policy(config.remat))
    x_BTD = constrain(params["embedding"].astype(config.dtype)[tokens_BT], "BTD")
    run = _looped if looped else _written_out
    x_BTD, kept = run(step, x_BTD, params["layers"], per_layer)
    return rms_norm(x_BTD, params["final_norm"], config.norm_eps), kept


def head_table(params: Params) -> jax.Array:
    """Returns the output embedding, (V, D): the input embedding where the two are tied."""
    return params["head"] if "head" in params else params["embedding"]


def rms_norm(x: jax.Array, scale_D: jax.Array, eps: float) -> jax.Array:
    """Returns x / rms(x) * scale over the last dimension, computed in float32, in x's dtype."""
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * inverse * scale_D).astype(x.dtype)


def _block(
    x_BTD: jax.Array,
    layer: Params,
    own: Any,
    config: ModelConfig,
    rotation: tuple[jax.Array, jax.Array],
    attention: Attention,
) -> tuple[jax.Array, Any]:
    """One layer: x + attention(norm(x)), then x + mlp(norm(x)). `layer` has no L dimension."""
    w = {name: value.astype(x_BTD.dtype) for name, value in layer.items() if "norm" not in name}

    y_BTD = rms_norm(x_BTD, layer["attention_norm"], config.norm_eps)
    product = functools.partial(_product, fp8_products=config.fp8)

    def projected(x: jax.Array, name: str, inputs: int = 1) -> jax.Array:
        out = product(x, w[name], inputs=inputs)
        return out + w[f"{name}_bias"] if f"{name}_bias" in w else out

    q_BTNH = checkpoint_name(projected(y_BTD, "query"), "query")
    k_BTKH = checkpoint_name(projected(y_BTD, "key"), "key")
    v_BTKH = checkpoint_name(projected(y_BTD, "value"), "value")
    if config.qk_norm:
        q_BTNH = rms_norm(q_BTNH, layer["query_norm"], config.norm_eps)
        k_BTKH = rms_norm(k_BTKH, layer["key_norm"], config.norm_eps)
    a_BTNH, kept = attention(
        constrain(rope.rotate(q_BTNH, *rotation), "BTNH"),
        constrain(rope.rotate(k_BTKH, *rotation), "BTKH"),
        constrain(v_BTKH, "BTKH"),
        own,
    )
    a_BTNH = checkpoint_name(constrain(a_BTNH, "BTNH"), "attention")
    x_BTD = x_BTD + constrain(projected(a_BTNH, "output", inputs=2), "BTD")
    x_BTD = checkpoint_name(x_BTD, "residual")

    y_BTD = rms_norm(x_BTD, layer["mlp_norm"], config.norm_eps)
    z_BTF = jax.nn.silu(product(y_BTD, w["gate"])) * product(y_BTD, w["up"])
    return x_BTD + constrain(product(constrain(z_BTF, "BTF"), w["down"]), "BTD"), kept


def _looped(
    block: Block, x_BTD: jax.Array, layers: Params, per_layer: Any
) -> tuple[jax.Array, Any]:
    def step(x_BTD: jax.Array, layer_and_own: tuple[Params, Any]) -> tuple[jax.Array, Any]:
        return block(x_BTD, *layer_and_own)

    return jax.lax.scan(step, x_BTD, (layers, per_layer))


def _written_out(
    block: Block, x_BTD: jax.Array, layers: Params, per_layer: Any
) -> tuple[jax.Array, Any]:
    # lax.split, unlike indexing, has a concatenation as its transpose: the stacked gradient is
    # written once instead of being summed from L padded copies.
    number = len(next(iter(layers.values())))
    pieces = jax.tree.map(lambda w: [p[0] for p in jax.lax.split(w, [1] * number)], layers)
    kept = []
    for i in range(number):
        layer = {name: pieces[name][i] for name in layers}
        x_BTD, one = block(x_BTD, layer, jax.tree.map(lambda a, i=i: a[i], per_layer))
        kept.append(one)
    return x_BTD, jax.tree.map(lambda *each: jnp.stack(each), *kept)


def _remat_policy(name: str) -> Callable[..., Any]:
    """Returns what a layer keeps for its backward pass; the rest is computed again.

    full: nothing; dots: every matrix product with a weight; attention: the attention's output;
    mlp: all that `dots` keeps except the two wide products of the MLP.
    """
    policies = jax.checkpoint_policies
    return {
        "full": policies.nothing_saveable,
        "dots": policies.dots_with_no_batch_dims_saveable,
        "attention": policies.save_only_these_names("attention"),
        "mlp": policies.save_only_these_names("query", "key", "value", "attention", "residual"),
    }[name]


def _product(
    x: jax.Array, weight: jax.Array, inputs: int = 1, *, fp8_products: bool = False
) -> jax.Array:
    """Returns x (B, T, ...) times a weight whose first `inputs` dimensions are x's last ones.

    Written as one product of two matrices, so that its gradients are too; for a product over (B, T)
    XLA's CPU backend would transpose the operands first.
    """
    flat = x.reshape(x.shape[0] * x.shape[1], -1)
    weight_DF = weight.reshape(flat.shape[1], -1)
    out = fp8.product(flat, weight_DF) if fp8_products else flat @ weight_DF
    return out.reshape(*x.shape[:2], *weight.shape[inputs:])
