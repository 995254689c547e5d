"""The sizes and settings of one Llama, a frozen dataclass, with the figures derived from them."""

import dataclasses
import math

from synthdiv.errors import UserError, closest

ROPE_SCALINGS = ("none", "linear", "llama3", "yarn")
REMAT_POLICIES = ("none", "full", "dots", "attention", "mlp")
BACKENDS = ("auto", "xla", "cudnn", "splash")
BIASES = ("none", "qkv", "all")
DTYPES = ("float32", "bfloat16", "float16")
_LARGEST = 2**31 - 1  # size of an array's dimension

# What two models must agree in for one to take the other's weights.
ARCHITECTURE = (
    "vocab_size",
    "hidden",
    "mlp",
    "layers",
    "heads",
    "kv_heads",
    "head_dim",
    "tie_embeddings",
    "attention_bias",
    "qk_norm",
)
# And for equal weights to be the same function.
FUNCTION = (
    *ARCHITECTURE,
    "norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_factor",
    "rope_low_freq_factor",
    "rope_high_freq_factor",
    "rope_beta_fast",
    "rope_beta_slow",
    "rope_attention_factor",
    "rope_truncate",
    "rope_original_length",
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A Llama, Mistral or Qwen. The defaults are the paper's 350M (appendix A).

    `kv_heads` and `head_dim` of 0 mean "as many as heads" and "hidden / heads". Nothing that can be
    computed from other fields is a field.

    Raises:
        UserError: the sizes do not fit each other; names the field.
    """

    vocab_size: int = 50304
    hidden: int = 960
    mlp: int = 2560
    layers: int = 28
    heads: int = 15
    kv_heads: int = 0
    head_dim: int = 0
    max_length: int = 2048  # context: the longest sequence the model is asked to read
    tie_embeddings: bool = True
    attention_bias: str = "none"  # added to queries, keys, values ("qkv"), and the output ("all")
    qk_norm: bool = False  # queries and keys are normed, each head by itself, before RoPE
    norm_eps: float = 1e-5
    init_std: float = 0.02

    rope_theta: float = 10000.0
    rope_scaling: str = "none"
    rope_factor: float = 1.0
    rope_low_freq_factor: float = 1.0  # llama3
    rope_high_freq_factor: float = 4.0  # llama3
    rope_beta_fast: float = 32.0  # yarn
    rope_beta_slow: float = 1.0  # yarn
    rope_attention_factor: float = 0.0  # yarn: of cosine and sine; 0: computed from rope_factor
    rope_truncate: bool = True  # yarn: its ramp begins and ends at whole pairs
    rope_original_length: int = 0  # llama3 and yarn: the context before scaling; 0: max_length

    attention_dropout: float = 0.0  # the paper trains with 0.1
    attention: str = "auto"  # backend; see synthdiv.model.attention
    dtype: str = "bfloat16"  # of activations, and of weights when they are used
    fp8: bool = False  # pre-train with the layers' products in 8 bits; see synthdiv.model.fp8
    # One compiled layer, looped (True), or every layer compiled on its own (False). None: looped if
    # there are more than 8, but not with cuDNN's attention: a loop costs a sixth of the speed.
    scan_layers: bool | None = None
    remat: str = "none"  # what the backward pass recomputes; see synthdiv.model.block
    loss_chunk: int = 8192  # positions whose logits a device holds at one time
    vocab_chunk: int = 0  # vocabulary entries whose logits exist at one time; 0: all

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden", "mlp", "layers", "heads", "max_length", "loss_chunk"):
            if getattr(self, name) < 1:
                raise UserError(f"Model.{name} must be at least 1, not {getattr(self, name)}")
            if getattr(self, name) > _LARGEST:
                raise UserError(f"Model.{name} must be at most {_LARGEST}")
        for name in ("kv_heads", "head_dim", "vocab_chunk", "rope_original_length"):
            if not 0 <= getattr(self, name) <= _LARGEST:
                raise UserError(f"Model.{name} must be 0 to {_LARGEST}, not {getattr(self, name)}")
        self._check_numbers()
        if not self.head_dim and self.hidden % self.heads:
            raise UserError(
                f"Model.hidden={self.hidden} does not divide into Model.heads={self.heads}; "
                "set Model.head_dim or change one of them"
            )
        if self.heads % self.num_kv_heads:
            raise UserError(
                f"Model.heads={self.heads} does not divide into Model.kv_heads={self.kv_heads}"
            )
        if self.head_size % 2:
            raise UserError(f"the head dimension must be even for RoPE, not {self.head_size}")
        for name, known in (
            ("rope_scaling", ROPE_SCALINGS),
            ("attention_bias", BIASES),
            ("remat", REMAT_POLICIES),
            ("attention", BACKENDS),
            ("dtype", DTYPES),
        ):
            value = getattr(self, name)
            if value not in known:
                raise UserError(
                    f"Model.{name}={value!r} is not one of {', '.join(known)}"
                    f"{closest(value, known)}"
                )
        if not 0 <= self.attention_dropout < 1:
            raise UserError("Model.attention_dropout must be at least 0 and below 1")
        if self.vocab_chunk and self.vocab_size % self.vocab_chunk:
            raise UserError(
                f"Model.vocab_chunk={self.vocab_chunk} does not divide "
                f"Model.vocab_size={self.vocab_size}"
            )

    def _check_numbers(self) -> None:
        for name, least in (
            ("norm_eps", 0),
            ("init_std", 0),
            ("rope_theta", 1),
            ("rope_factor", 0),
            ("rope_beta_slow", 0),
        ):
            value = getattr(self, name)
            if not (value > least and math.isfinite(value)):
                raise UserError(f"Model.{name} must be a number above {least}, not {value}")
        for low, high in (
            ("rope_low_freq_factor", "rope_high_freq_factor"),
            ("rope_beta_slow", "rope_beta_fast"),
        ):
            if not getattr(self, low) < getattr(self, high) <= _LARGEST:
                raise UserError(f"Model.{high} must be above Model.{low}")
        if not 0 <= self.rope_attention_factor < math.inf:
            raise UserError("Model.rope_attention_factor must be a number, at least 0")

    @property
    def num_kv_heads(self) -> int:
        """K, the number of key/value heads."""
        return self.kv_heads or self.heads

    @property
    def head_size(self) -> int:
        """H, the dimension of one head."""
        return self.head_dim or self.hidden // self.heads

    def scans(self, backend: str) -> bool:
        """Returns whether the layers run as a loop with that attention backend."""
        if self.scan_layers is not None:
            return self.scan_layers
        return self.layers > 8 and backend != "cudnn"

    @property
    def matmul_parameters(self) -> int:
        """Parameters that a token is multiplied with: all but the norms and the input embedding."""
        per_head = self.hidden * self.head_size
        attention = 2 * per_head * (self.heads + self.num_kv_heads)
        block = attention + 3 * self.hidden * self.mlp
        return self.layers * block + self.hidden * self.vocab_size

    @property
    def parameters(self) -> int:
        """All trained parameters."""
        embedding = 0 if self.tie_embeddings else self.hidden * self.vocab_size
        norms = self.hidden * (2 * self.layers + 1)
        if self.qk_norm:
            norms += 2 * self.layers * self.head_size
        width = {
            "none": 0,
            "qkv": self.head_size * (self.heads + 2 * self.num_kv_heads),
        }
        width["all"] = width["qkv"] + self.hidden
        return self.matmul_parameters + embedding + norms + self.layers * width[self.attention_bias]

    def flops_per_token(self, length: int) -> int:
        """Training FLOPs a token: 6 * matmul parameters + 12 * layers * hidden * length.

        The second term is attention without a discount for the causal mask; `hidden` is the heads'
        whole width. Recomputation (remat) is not counted.
        """
        width = self.heads * self.head_size
        return 6 * self.matmul_parameters + 12 * self.layers * width * length
