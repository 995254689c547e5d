"""Llama in Flax NNX: RMSNorm, RoPE, grouped-query attention, SwiGLU, tied or untied embeddings.

The layers' parameters are stacked, (L, ...), whether the layers are scanned or written out, so a
checkpoint does not know how it was run. Master weights are float32; they are cast to `config.dtype`
where they are used.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from synthdiv.errors import UserError
from synthdiv.model import rope
from synthdiv.model.attention import attend, choose_backend
from synthdiv.model.config import ModelConfig
from synthdiv.model.partition import constrain


class Layers(nnx.Module):
    """The stacked parameters of all layers; the letters of each are its dimensions."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        L, D, F = config.layers, config.hidden, config.mlp
        N, K, H = config.heads, config.num_kv_heads, config.head_size
        # The two products that add to the residual stream start smaller, so that its variance does
        # not grow with depth (GPT-2's rule).
        inner, outer = config.init_std, config.init_std / (2 * L) ** 0.5

        def normal(shape: tuple[int, ...], letters: str, std: float) -> nnx.Param:
            value = std * jax.random.normal(rngs.params(), shape, jnp.float32)
            return nnx.Param(value, letters=letters)

        self.attention_norm = nnx.Param(jnp.ones((L, D)), letters="LD")
        self.query = normal((L, D, N, H), "LDNH", inner)
        self.key = normal((L, D, K, H), "LDKH", inner)
        self.value = normal((L, D, K, H), "LDKH", inner)
        self.output = normal((L, N, H, D), "LNHD", outer)
        self.mlp_norm = nnx.Param(jnp.ones((L, D)), letters="LD")
        self.gate = normal((L, D, F), "LDF", inner)
        self.up = normal((L, D, F), "LDF", inner)
        self.down = normal((L, F, D), "LFD", outer)


class Llama(nnx.Module):
    """A decoder-only language model.

    `nnx.split(model)` gives its graph and its state; `nnx.merge(graph, params)` takes the state or
    the plain dict of arrays that `nnx.to_pure_dict` makes of it.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        V, D = config.vocab_size, config.hidden
        table_VD = config.init_std * jax.random.normal(rngs.params(), (V, D), jnp.float32)
        self.embedding = nnx.Param(table_VD, letters="VD")
        self.layers = Layers(config, rngs)
        self.final_norm = nnx.Param(jnp.ones((D,)), letters="D")
        if not config.tie_embeddings:
            head_VD = config.init_std * jax.random.normal(rngs.params(), (V, D), jnp.float32)
            self.head = nnx.Param(head_VD, letters="VD")

    def __call__(self, tokens_BT, segment_ids_BT=None, positions_BT=None, *, dropout_key=None):
        """Returns logits (B, T, V), float32, for token ids (B, T); see `hidden` for the rest."""
        x_BTD = self.hidden(tokens_BT, segment_ids_BT, positions_BT, dropout_key=dropout_key)
        head_VD = self.head_table().astype(x_BTD.dtype)
        logits_BTV = jnp.einsum("BTD,VD->BTV", x_BTD, head_VD, preferred_element_type=jnp.float32)
        return constrain(logits_BTV, "BTV")

    def head_table(self) -> jax.Array:
        """Returns the output embedding, (V, D), float32: the input embedding if they are tied."""
        return (self.embedding if self.config.tie_embeddings else self.head)[...]

    def hidden(
        self,
        tokens_BT,
        segment_ids_BT=None,
        positions_BT=None,
        *,
        dropout_key=None,
        max_segments=0,
    ):
        """Returns the last layer's normed output, (B, T, D), in `config.dtype`.

        Args:
            tokens_BT: int token ids.
            segment_ids_BT: int; positions see only their own segment. None: one segment.
            positions_BT: int positions for RoPE. None: 0, 1, 2, ... in every sequence.
            max_segments: no sequence has more segments than this; 0: unknown. Faster on NVIDIA.
            dropout_key: turns `config.attention_dropout` on; None is how a model is evaluated.

        Raises:
            UserError: the sequence is longer than `config.max_length`, or the attention backend
                that the config names cannot run here.
        """
        config = self.config
        B, T = tokens_BT.shape
        if config.max_length < T:
            raise UserError(
                f"a sequence of {T} tokens is longer than the model's context of "
                f"{config.max_length} (Model.max_length)"
            )
        dropout = config.attention_dropout if dropout_key is not None else 0.0
        backend, _ = choose_backend(
            config.attention,
            dtype=config.dtype,
            head_dim=config.head_size,
            dropout=dropout,
            length=T,
        )
        if positions_BT is None:
            positions_BT = jnp.arange(T)[None]
        cosine, sine = rope.angles(config, positions_BT)
        block = functools.partial(
            _block,
            config=config,
            backend=backend,
            dropout=dropout,
            cosine=cosine,
            sine=sine,
            segment_ids_BT=segment_ids_BT,
            max_segments=max_segments,
        )
        keys_L = jax.random.split(dropout_key, config.layers) if dropout else None
        x_BTD = constrain(self.embedding[...].astype(config.dtype)[tokens_BT], "BTD")
        layers = nnx.to_pure_dict(nnx.state(self.layers))
        x_BTD = _run_layers(block, config, config.scans(backend), layers, keys_L, x_BTD)
        return _rms_norm(x_BTD, self.final_norm[...], config.norm_eps)


def _run_layers(
    block, config: ModelConfig, looped: bool, layers: dict, keys_L, x_BTD: jax.Array
) -> jax.Array:
    if config.remat != "none":
        block = jax.checkpoint(block, policy=_remat_policy(config.remat))
    if looped:

        def step(x_BTD, layer_and_key):
            return block(x_BTD, *layer_and_key), None

        return jax.lax.scan(step, x_BTD, (layers, keys_L))[0]
    # lax.split, unlike indexing, has a concatenation as its transpose: the stacked gradient is
    # written once instead of being summed from L padded copies.
    pieces = jax.tree.map(lambda w: [p[0] for p in jax.lax.split(w, [1] * config.layers)], layers)
    for i in range(config.layers):
        layer = {name: pieces[name][i] for name in layers}
        x_BTD = block(x_BTD, layer, None if keys_L is None else keys_L[i])
    return x_BTD


def _remat_policy(name: str):
    """What a layer keeps for its backward pass; the rest is computed again.

    full: nothing; dots: every matrix product with a weight; attention: the attention's output;
    mlp: all that `dots` keeps but the two wide products of the MLP.
    """
    policies = jax.checkpoint_policies
    return {
        "full": policies.nothing_saveable,
        "dots": policies.dots_with_no_batch_dims_saveable,
        "attention": policies.save_only_these_names("attention"),
        "mlp": policies.save_only_these_names("query", "key", "value", "attention", "residual"),
    }[name]


def _rms_norm(x: jax.Array, scale_D: jax.Array, eps: float) -> jax.Array:
    """Returns x / rms(x) * scale over the last dimension, computed in float32, in x's dtype."""
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * inverse * scale_D).astype(x.dtype)


def _block(
    x_BTD, layer, key, *, config, backend, dropout, cosine, sine, segment_ids_BT, max_segments
):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x)). `layer` has no L dimension."""
    w = {name: value.astype(x_BTD.dtype) for name, value in layer.items() if "norm" not in name}

    y_BTD = _rms_norm(x_BTD, layer["attention_norm"], config.norm_eps)
    q_BTNH = checkpoint_name(_product(y_BTD, w["query"]), "query")
    k_BTKH = checkpoint_name(_product(y_BTD, w["key"]), "key")
    v_BTKH = checkpoint_name(_product(y_BTD, w["value"]), "value")
    a_BTNH = attend(
        constrain(rope.rotate(q_BTNH, cosine, sine), "BTNH"),
        constrain(rope.rotate(k_BTKH, cosine, sine), "BTKH"),
        constrain(v_BTKH, "BTKH"),
        segment_ids_BT,
        backend=backend,
        max_segments=max_segments,
        dropout=dropout,
        dropout_key=key,
    )
    a_BTNH = checkpoint_name(constrain(a_BTNH, "BTNH"), "attention")
    x_BTD = x_BTD + constrain(_product(a_BTNH, w["output"], inputs=2), "BTD")
    x_BTD = checkpoint_name(x_BTD, "residual")

    y_BTD = _rms_norm(x_BTD, layer["mlp_norm"], config.norm_eps)
    z_BTF = jax.nn.silu(_product(y_BTD, w["gate"])) * _product(y_BTD, w["up"])
    return x_BTD + constrain(_product(constrain(z_BTF, "BTF"), w["down"]), "BTD")


def _product(x: jax.Array, weight: jax.Array, inputs: int = 1) -> jax.Array:
    """Returns x (B, T, ...) times a weight whose first `inputs` dimensions are x's last ones.

    As one product of two matrices: its gradients are too, where those of a product over (B, T) make
    XLA's CPU backend transpose its operands first.
    """
    flat = x.reshape(x.shape[0] * x.shape[1], -1)
    out = flat @ weight.reshape(flat.shape[1], -1)
    return out.reshape(*x.shape[:2], *weight.shape[inputs:])
