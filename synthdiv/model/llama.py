"""Llama in Flax NNX: RMSNorm, RoPE, grouped-query attention, SwiGLU, tied or untied embeddings.

Biases of the attention make it a Qwen2, norms of queries and keys a Qwen3; a Mistral is a Llama.

The layers' parameters are stacked, (L, ...), whether the layers are scanned or written out, so
checkpoints are the same. Master weights are float32; they are cast to `config.dtype` where they are
used.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from synthdiv.errors import UserError
from synthdiv.model.attention import attend, choose_backend
from synthdiv.model.block import Params, forward, head_table
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
        if config.attention_bias != "none":
            self.query_bias = nnx.Param(jnp.zeros((L, N, H)), letters="LNH")
            self.key_bias = nnx.Param(jnp.zeros((L, K, H)), letters="LKH")
            self.value_bias = nnx.Param(jnp.zeros((L, K, H)), letters="LKH")
        if config.attention_bias == "all":
            self.output_bias = nnx.Param(jnp.zeros((L, D)), letters="LD")
        if config.qk_norm:
            self.query_norm = nnx.Param(jnp.ones((L, H)), letters="LH")
            self.key_norm = nnx.Param(jnp.ones((L, H)), letters="LH")
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

    def __call__(
        self,
        tokens_BT: jax.Array,
        segment_ids_BT: jax.Array | None = None,
        positions_BT: jax.Array | None = None,
        *,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Returns logits (B, T, V), float32, for token ids (B, T); see `hidden` for the rest."""
        x_BTD = self.hidden(tokens_BT, segment_ids_BT, positions_BT, dropout_key=dropout_key)
        head_VD = self.head_table().astype(x_BTD.dtype)
        logits_BTV = jnp.einsum("BTD,VD->BTV", x_BTD, head_VD, preferred_element_type=jnp.float32)
        return constrain(logits_BTV, "BTV")

    def params(self) -> Params:
        """Returns the parameters as nested plain dicts of arrays."""
        return nnx.to_pure_dict(nnx.state(self))

    def head_table(self) -> jax.Array:
        """Returns the output embedding, (V, D), float32: the input embedding if they are tied."""
        return head_table(self.params())

    def hidden(
        self,
        tokens_BT: jax.Array,
        segment_ids_BT: jax.Array | None = None,
        positions_BT: jax.Array | None = None,
        *,
        dropout_key: jax.Array | None = None,
        max_segments: int = 0,
    ) -> jax.Array:
        """Returns the last layer's normed output, (B, T, D), in `config.dtype`.

        Args:
            tokens_BT: int token ids.
            segment_ids_BT: int; positions see only their own segment. None: one segment.
            positions_BT: int positions for RoPE. None: 0, 1, 2, ... in every sequence.
            dropout_key: turns `config.attention_dropout` on; None is how a model is evaluated.
            max_segments: no sequence has more segments than this; 0: unknown. Faster on NVIDIA.

        Raises:
            UserError: the sequence is longer than `config.max_length`, or the attention backend
                that the config names cannot run here.
        """
        config = self.config
        T = tokens_BT.shape[1]
        if config.max_length < T:
            raise UserError(
                f"a sequence of {T} tokens is longer than the model's context of "
                f"{config.max_length} (Model.max_length)"
            )
        dropout, keys_L = 0.0, None
        if dropout_key is not None and config.attention_dropout:
            dropout, keys_L = (
                config.attention_dropout,
                jax.random.split(dropout_key, config.layers),
            )
        backend, _ = choose_backend(
            config.attention,
            dtype=config.dtype,
            head_dim=config.head_size,
            dropout=dropout,
            length=T,
        )
        if positions_BT is None:
            positions_BT = jnp.arange(T)[None]

        def attention(
            q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, key: jax.Array | None
        ) -> tuple[jax.Array, None]:
            a_BTNH = attend(
                q_BTNH,
                k_BTKH,
                v_BTKH,
                segment_ids_BT,
                backend=backend,
                max_segments=max_segments,
                dropout=dropout,
                dropout_key=key,
            )
            return a_BTNH, None

        looped = config.scans(backend)
        return forward(
            self.params(), config, tokens_BT, positions_BT, attention, keys_L, looped=looped
        )[0]
