"""Hugging Face Llama directories, read and written: config.json, safetensors, tokenizer files.

Weights only change their shape and order of dimensions on the way, so a round trip is exact.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.errors import UserError
from synthdiv.files import atomic_path, output_dir, read_json, write_json
from synthdiv.model.config import ModelConfig

SHARD_BYTES = 5_000_000_000
ROPE_FIELDS = {  # ours -> the name inside Hugging Face's rope_parameters
    "rope_factor": "factor",
    "rope_low_freq_factor": "low_freq_factor",
    "rope_high_freq_factor": "high_freq_factor",
    "rope_beta_fast": "beta_fast",
    "rope_beta_slow": "beta_slow",
    "rope_original_length": "original_max_position_embeddings",
}
ROPE_USED = {
    "none": (),
    "linear": ("rope_factor",),
    "llama3": (
        "rope_factor",
        "rope_low_freq_factor",
        "rope_high_freq_factor",
        "rope_original_length",
    ),
    "yarn": ("rope_factor", "rope_beta_fast", "rope_beta_slow", "rope_original_length"),
}


def config_from_hf(path: Path) -> ModelConfig:
    """Reads the config.json of a Hugging Face Llama directory.

    Raises:
        UserError: it is not a Llama, or has a setting that this Llama does not have.
    """
    raw = read_json(path / "config.json")
    if raw.get("model_type") != "llama":
        raise UserError(f"{path} holds a {raw.get('model_type')!r} model, not a Llama")
    for name, ours in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if raw.get(name, ours) != ours:
            raise UserError(f"{path}/config.json has {name}={raw[name]!r}; only {ours!r} is known")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    kind = "none" if kind == "default" else kind
    if kind not in ROPE_USED:
        raise UserError(f"{path}/config.json has RoPE scaling {kind!r}, which is not known here")
    scaling = {
        ours: rope[theirs] for ours, theirs in ROPE_FIELDS.items() if rope.get(theirs) is not None
    }
    return ModelConfig(
        vocab_size=raw["vocab_size"],
        hidden=raw["hidden_size"],
        mlp=raw["intermediate_size"],
        layers=raw["num_hidden_layers"],
        heads=raw["num_attention_heads"],
        kv_heads=raw.get("num_key_value_heads") or 0,
        head_dim=raw.get("head_dim") or 0,
        max_length=raw.get("max_position_embeddings", 2048),
        tie_embeddings=raw.get("tie_word_embeddings", False),
        norm_eps=raw.get("rms_norm_eps", 1e-6),
        init_std=raw.get("initializer_range", 0.02),
        rope_theta=rope.get("rope_theta", raw.get("rope_theta", 10000.0)),
        rope_scaling=kind,
        **(scaling if kind != "none" else {}),
        attention_dropout=raw.get("attention_dropout", 0.0),
        dtype="float32",
    )


def config_to_hf(config: ModelConfig, dtype: str = "float32") -> dict[str, Any]:
    """Returns the config.json that makes `transformers` build the same Llama."""
    rope: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if config.rope_scaling != "none":
        rope["rope_type"] = config.rope_scaling
        used = ROPE_USED[config.rope_scaling]
        rope |= {ROPE_FIELDS[name]: getattr(config, name) for name in used}
        if rope.get("original_max_position_embeddings") == 0:
            rope["original_max_position_embeddings"] = config.max_length
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
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
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": config.attention_dropout,
        # transformers 4 reads the first two, 5 reads the third.
        "rope_theta": config.rope_theta,
        "rope_scaling": None if config.rope_scaling == "none" else scaling,
        "rope_parameters": rope,
        "torch_dtype": dtype,
        "use_cache": True,
    }


@dataclasses.dataclass(frozen=True)
class _Weight:
    """One matrix: where it is in our parameters and what its Hugging Face name and shape are."""

    path: tuple[str, ...]
    layer: int | None
    name: str
    shape: tuple[int, ...]  # ours, without L
    transposed: bool  # Hugging Face keeps a product's weight as (out, in)
    inputs: int  # how many of our dimensions are the input

    def to_hf(self, array: np.ndarray) -> np.ndarray:
        if not self.transposed:
            return array
        flat = array.reshape(int(np.prod(self.shape[: self.inputs])), -1)
        return np.ascontiguousarray(flat.T)

    def from_hf(self, array: np.ndarray) -> np.ndarray:
        return (array.T if self.transposed else array).reshape(self.shape)


def _weights(config: ModelConfig) -> Iterator[_Weight]:
    D, F, V = config.hidden, config.mlp, config.vocab_size
    N, K, H = config.heads, config.num_kv_heads, config.head_size
    yield _Weight(("embedding",), None, "model.embed_tokens.weight", (V, D), False, 1)
    for i in range(config.layers):
        for ours, theirs, shape, inputs in (
            ("attention_norm", "input_layernorm", (D,), 0),
            ("query", "self_attn.q_proj", (D, N, H), 1),
            ("key", "self_attn.k_proj", (D, K, H), 1),
            ("value", "self_attn.v_proj", (D, K, H), 1),
            ("output", "self_attn.o_proj", (N, H, D), 2),
            ("mlp_norm", "post_attention_layernorm", (D,), 0),
            ("gate", "mlp.gate_proj", (D, F), 1),
            ("up", "mlp.up_proj", (D, F), 1),
            ("down", "mlp.down_proj", (F, D), 1),
        ):
            name = f"model.layers.{i}.{theirs}.weight"
            yield _Weight(("layers", ours), i, name, shape, inputs > 0, inputs)
    yield _Weight(("final_norm",), None, "model.norm.weight", (D,), False, 0)
    if not config.tie_embeddings:
        yield _Weight(("head",), None, "lm_head.weight", (V, D), False, 1)


def params_from_hf(read: Callable[[str], np.ndarray], config: ModelConfig) -> dict[str, Any]:
    """Returns our parameters, float32 NumPy, from a function that reads a tensor by its HF name."""
    layers: dict[str, np.ndarray] = {}
    params: dict[str, Any] = {"layers": layers}
    for weight in _weights(config):
        array = weight.from_hf(np.asarray(read(weight.name), dtype=np.float32))
        if weight.layer is None:
            params[weight.path[0]] = array
        else:
            name = weight.path[1]
            if name not in layers:
                layers[name] = np.empty((config.layers, *weight.shape), np.float32)
            layers[name][weight.layer] = array
    return params


def params_to_hf(params: dict[str, Any], config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the HF name and tensor, float32, of every matrix of our parameters."""
    for weight in _weights(config):
        array: Any = params
        for key in weight.path:
            array = array[key]
        array = array if weight.layer is None else array[weight.layer]
        yield weight.name, weight.to_hf(np.asarray(array, dtype=np.float32))


def read_weights(path: Path, config: ModelConfig) -> dict[str, Any]:
    """Reads the safetensors of a Hugging Face Llama directory, whole or in shards.

    Raises:
        UserError: there are none, or a tensor is missing or does not fit config.json.
    """
    from safetensors import safe_open

    index = path / "model.safetensors.index.json"
    if index.exists():
        file_of = read_json(index)["weight_map"]
    elif (path / "model.safetensors").exists():
        with safe_open(path / "model.safetensors", framework="np") as file:
            file_of = dict.fromkeys(file.keys(), "model.safetensors")
    else:
        raise UserError(f"{path} has no model.safetensors")
    opened = {
        name: safe_open(path / name, framework="np") for name in sorted(set(file_of.values()))
    }

    def read(name: str) -> np.ndarray:
        if name not in file_of:
            raise UserError(f"{path} has no tensor {name}, which its config.json asks for")
        return opened[file_of[name]].get_tensor(name)

    try:
        return params_from_hf(read, config)
    except ValueError as error:
        raise UserError(f"{path}: a tensor does not fit config.json: {error}") from error


def write(
    params: dict[str, Any],
    config: ModelConfig,
    tokenizer: Sequence[Path],
    output: Path,
    dtype: str = "float32",
) -> Path:
    """Writes a Hugging Face Llama directory; config.json comes last and marks it complete.

    Args:
        params: our parameters (arrays of any kind).
        tokenizer: its files, copied along; empty: no tokenizer.
        dtype: "float32" (exact), "bfloat16" or "float16".

    Raises:
        UserError: the dtype is unknown or the directory cannot be written.
    """
    import ml_dtypes
    from safetensors.numpy import save_file

    dtypes = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
    if dtype not in dtypes:
        raise UserError(f"dtype {dtype!r} is not one of {', '.join(dtypes)}")
    output = output_dir(output)
    shards: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for name, array in params_to_hf(params, config):
        array = array.astype(dtypes[dtype])
        if size and size + array.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = array
        size += array.nbytes
    file_of: dict[str, str] = {}
    for i, shard in enumerate(shards, start=1):
        name = "model.safetensors"
        if len(shards) > 1:
            name = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        with atomic_path(output / name) as temporary:
            save_file(shard, str(temporary), metadata={"format": "pt"})
        file_of |= dict.fromkeys(shard, name)
    if len(shards) > 1:
        total = sum(array.nbytes for shard in shards for array in shard.values())
        index = {"metadata": {"total_size": total}, "weight_map": file_of}
        write_json(output / "model.safetensors.index.json", index)
    hf_config = config_to_hf(config, dtype)
    for file in tokenizer:
        shutil.copyfile(file, output / file.name)
    hf_config |= _special_tokens(output)
    write_json(output / "config.json", hf_config)
    return output


def _special_tokens(directory: Path) -> dict[str, int]:
    """Returns the ids of the tokenizer's special tokens under the names that config.json has."""
    settings, vocabulary = directory / "tokenizer_config.json", directory / "tokenizer.json"
    if not (settings.exists() and vocabulary.exists()):
        return {}
    named = read_json(settings)
    ids = {
        token["content"]: token["id"]
        for token in json.loads(vocabulary.read_text(encoding="utf-8")).get("added_tokens", [])
    }
    found = {}
    for role in ("bos", "eos", "pad"):
        token = named.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token in ids:
            found[f"{role}_token_id"] = ids[token]
    return found
