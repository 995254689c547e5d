"""The config.json of Hugging Face Llamas, Mistrals and Qwens, read and written.

Every field that changes what the model computes is taken over or refused by name.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError
from synthdiv.files import read_json
from synthdiv.model.config import ModelConfig
from synthdiv.progress import say

Fields = Mapping[str, Any]

_ROPE_FIELDS = {  # ours -> the name inside Hugging Face's rope_parameters
    "rope_factor": "factor",
    "rope_low_freq_factor": "low_freq_factor",
    "rope_high_freq_factor": "high_freq_factor",
    "rope_beta_fast": "beta_fast",
    "rope_beta_slow": "beta_slow",
    "rope_attention_factor": "attention_factor",
    "rope_truncate": "truncate",
    "rope_original_length": "original_max_position_embeddings",
}
_ROPE_USED: dict[str, tuple[str, ...]] = {
    "none": (),
    "linear": ("rope_factor",),
    "llama3": (
        "rope_factor",
        "rope_low_freq_factor",
        "rope_high_freq_factor",
        "rope_original_length",
    ),
    "yarn": (
        "rope_factor",
        "rope_beta_fast",
        "rope_beta_slow",
        "rope_attention_factor",
        "rope_truncate",
        "rope_original_length",
    ),
}
# Fields of rope_parameters that are read elsewhere, or describe nothing that is computed.
_ROPE_OTHERS = ("rope_type", "type", "rope_theta", "mscale", "mscale_all_dim", "finetuned")

_FIXED: dict[str, tuple[Any, ...]] = {  # fields of which this Llama has one value only
    "hidden_act": ("silu", "swish"),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1, None),
    "quantization_config": (None,),
}
# What `transformers` takes where the file has no such field, other than for a Llama.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
    },
    "qwen2": {"num_key_value_heads": 32, "max_position_embeddings": 32768},
    "qwen3": {"num_key_value_heads": 32, "max_position_embeddings": 32768, "head_dim": 128},
}
_TAKEN = (
    "model_type",
    "attention_bias",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "layer_types",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "tie_word_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "original_max_position_embeddings",
    "attention_dropout",
)
# Fields that change nothing about the logits of a forward pass.
HARMLESS = (
    "transformers_version",
    "architectures",
    "output_hidden_states",
    "output_attentions",
    "return_dict",
    "torch_dtype",
    "dtype",
    "chunk_size_feed_forward",
    "is_encoder_decoder",
    "id2label",
    "label2id",
    "problem_type",
    "use_cache",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "pretraining_tp",
    "_name_or_path",
)


def config_from_hf(path: Path) -> ModelConfig:
    """Reads the config.json of a Hugging Face directory: a Llama, Mistral, Qwen2 or Qwen3.

    Where attention slides over a window, the context is the window: within it nothing slides.

    Raises:
        UserError: it is another model, lacks a field, or has a setting that is not known here.
    """
    file = path / "config.json"
    raw = read_json(file)
    if not isinstance(raw, dict):
        raise UserError(f"{file} is not a JSON object")
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in _DEFAULTS:
        raise UserError(f"{path} holds a {kind!r} model, not a Llama, Mistral, Qwen2 or Qwen3")
    raw = _DEFAULTS[kind] | raw
    for name, values in _FIXED.items():
        if name in raw and raw[name] not in values:
            raise UserError(f"{file} has {name}={raw[name]!r}; only {values[0]!r} is known here")
    unknown = [
        name
        for name, value in raw.items()
        if name not in (*_TAKEN, *_FIXED, *HARMLESS) and value not in (None, False, {}, [])
    ]
    if unknown:
        say(f"warning: {file} has fields that are not known here and are left out: {unknown}")

    def whole(name: str, default: int | None = None) -> int:
        return int(_number(file, raw, name, int, default))

    def number(name: str, default: float) -> float:
        return float(_number(file, raw, name, float, default))

    theta, rope, scaling = _rope(file, raw)
    length = whole("max_position_embeddings", 2048)
    window = _window(file, raw, kind)
    if window and window < length:
        say(f"{file}: attention slides over {window:,} positions; longer texts are not read")
        if rope in ("llama3", "yarn"):
            scaling["rope_original_length"] = scaling.get("rope_original_length") or length
    return ModelConfig(
        vocab_size=whole("vocab_size"),
        hidden=whole("hidden_size"),
        mlp=whole("intermediate_size"),
        layers=whole("num_hidden_layers"),
        heads=whole("num_attention_heads"),
        kv_heads=whole("num_key_value_heads", 0),
        head_dim=whole("head_dim", 0),
        max_length=min(length, window or length),
        attention_bias=_biases(file, raw, kind),
        qk_norm=kind == "qwen3",
        tie_embeddings=bool(raw.get("tie_word_embeddings", False)),
        norm_eps=number("rms_norm_eps", 1e-6),
        init_std=number("initializer_range", 0.02),
        rope_theta=theta,
        rope_scaling=rope,
        **scaling,
        attention_dropout=number("attention_dropout", 0.0),
        dtype="float32",
    )


def _biases(file: Path, raw: Fields, kind: str) -> str:
    """Returns which products of the attention have a bias."""
    given = raw.get("attention_bias")
    if given not in (None, True, False):
        raise UserError(f"{file} has attention_bias={given!r}, which is not true or false")
    if kind in ("llama", "qwen3"):
        return "all" if given else "none"
    return "qkv" if kind == "qwen2" else "none"


def _window(file: Path, raw: Fields, kind: str) -> int:
    """Returns over how many positions some layer's attention slides; 0: over none."""
    slides = kind == "mistral" or (kind != "llama" and raw.get("use_sliding_window"))
    layers = raw.get("layer_types")
    if kind != "llama" and isinstance(layers, list):
        unknown = sorted({str(one) for one in layers} - {"full_attention", "sliding_attention"})
        if unknown:
            raise UserError(f"{file} has layer_types that are not known here: {unknown[0]}")
    if not slides or raw.get("sliding_window") is None:
        return 0
    return int(_number(file, raw, "sliding_window", int))


def _rope(file: Path, raw: Fields) -> tuple[float, str, dict[str, Any]]:
    """Returns the base, the kind of scaling, and our settings of it."""
    given = [raw[name] for name in ("rope_scaling", "rope_parameters") if raw.get(name)]
    rope: dict[str, Any] = {}
    for each in given:
        if not isinstance(each, dict):
            raise UserError(f"{file} has RoPE settings that are no JSON object")
        for name, value in each.items():
            if rope.setdefault(name, value) != value:
                raise UserError(f"{file} has {name} twice, in rope_scaling and rope_parameters")
    kind = rope.get("rope_type", rope.get("type", "default"))
    kind = "none" if kind == "default" else kind
    if not isinstance(kind, str) or kind not in _ROPE_USED:
        raise UserError(f"{file} has RoPE scaling {kind!r}, which is not known here")
    if rope.get("partial_rotary_factor", 1) not in (1, None):
        raise UserError(f"{file} rotates only a part of each head, which is not known here")
    known = (*_ROPE_FIELDS.values(), *_ROPE_OTHERS, "partial_rotary_factor")
    unknown = [name for name in rope if name not in known]
    if unknown:
        raise UserError(f"{file} has RoPE settings that are not known here: {', '.join(unknown)}")
    if raw.get("original_max_position_embeddings") is not None:
        rope["original_max_position_embeddings"] = raw["original_max_position_embeddings"]
    theta = float(_number(file, {**raw, **rope}, "rope_theta", float, 10000.0))
    used = {ours: _ROPE_FIELDS[ours] for ours in _ROPE_USED[kind]}
    kinds: dict[str, type] = {"rope_original_length": int, "rope_truncate": bool}
    scaling = {
        ours: _number(file, rope, theirs, kinds.get(ours, float))
        for ours, theirs in used.items()
        if rope.get(theirs) is not None
    }
    if kind == "yarn":
        scaling = _yarn(file, raw, rope, scaling)
    elif kind != "none" and "rope_factor" not in scaling:
        raise UserError(f"{file} has RoPE scaling {kind!r} without its factor")
    return theta, kind, scaling


def _yarn(file: Path, raw: Fields, rope: Fields, scaling: dict[str, Any]) -> dict[str, Any]:
    """Fills in what YaRN computes from other fields: the factor, and mscale's attention factor."""
    length = int(_number(file, raw, "max_position_embeddings", int, 2048))
    original = scaling.get("rope_original_length") or length
    factor = scaling.setdefault("rope_factor", length / original)
    scales = [_number(file, rope, name, float, 0) for name in ("mscale", "mscale_all_dim")]
    if "rope_attention_factor" not in scaling and all(scales):
        above, below = (
            1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0 for scale in scales
        )
        if not below:
            raise UserError(f"{file} has an mscale_all_dim that leaves nothing of the attention")
        scaling["rope_attention_factor"] = above / below
    return scaling


def _number(
    file: Path, fields: Fields, name: str, kind: type, default: float | None = None
) -> float:
    value: Any = fields.get(name)
    if value is None:
        if default is None:
            raise UserError(f"{file} has no {name}")
        return default
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{file} has {name}={value!r}, which is not {_WORDS[kind]}")
    return fields[name]


_WORDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def config_to_hf(config: ModelConfig, dtype: str = "float32") -> dict[str, Any]:
    """Returns the config.json that makes `transformers` build the same model.

    A Qwen where it has biases or norms as one; everything else, a Mistral too, is a Llama.

    Raises:
        UserError: no model of `transformers` has such biases and norms together.
    """
    kind, name = "llama", "Llama"
    if config.qk_norm:
        kind, name = "qwen3", "Qwen3"
    elif config.attention_bias == "qkv":
        kind, name = "qwen2", "Qwen2"
    if config.qk_norm and config.attention_bias == "qkv":
        raise UserError(
            "Model.qk_norm with Model.attention_bias='qkv' is no model of `transformers`: it has "
            "'none' and 'all' beside it"
        )
    rope: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if config.rope_scaling != "none":
        rope["rope_type"] = config.rope_scaling
        used = _ROPE_USED[config.rope_scaling]
        rope |= {_ROPE_FIELDS[name]: getattr(config, name) for name in used}
        if rope.get("original_max_position_embeddings") == 0:
            rope["original_max_position_embeddings"] = config.max_length
        if not rope.get("attention_factor", 1):
            del rope["attention_factor"]  # computed from the factor
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    return {
        "architectures": [f"{name}ForCausalLM"],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_size,
        "max_position_embeddings": config.max_length,
        "tie_word_embeddings": config.tie_embeddings,
        "rms_norm_eps": config.norm_eps,
        "initializer_range": config.init_std,
        "hidden_act": "silu",
        "attention_bias": config.attention_bias == "all",
        "mlp_bias": False,
        "attention_dropout": config.attention_dropout,
        # transformers 4 reads the first two, 5 reads the third.
        "rope_theta": config.rope_theta,
        "rope_scaling": None if config.rope_scaling == "none" else scaling,
        "rope_parameters": rope,
        "torch_dtype": dtype,
        "use_cache": True,
    }
