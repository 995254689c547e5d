"""The weights of Hugging Face directories, read and written, and whole directories written.

Of Llamas, Mistrals and Qwens, which have the same names.

Weights only change their shape and order of dimensions on the way, so a round trip is exact.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.errors import UserError, first_line
from synthdiv.files import atomic_path, output_dir, read_json, write_json
from synthdiv.model.config import ModelConfig
from synthdiv.model.hf_config import config_to_hf

SHARD_BYTES = 5_000_000_000
_READABLE = ("F64", "F32", "F16", "BF16")


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
            return array if self.inputs else array.reshape(-1)
        flat = array.reshape(int(np.prod(self.shape[: self.inputs])), -1)
        return np.ascontiguousarray(flat.T)

    def from_hf(self, array: np.ndarray) -> np.ndarray:
        return (array.T if self.transposed else array).reshape(self.shape)


def _weights(config: ModelConfig) -> Iterator[_Weight]:
    D, F, V = config.hidden, config.mlp, config.vocab_size
    N, K, H = config.heads, config.num_kv_heads, config.head_size
    vectors: list[tuple[str, str, tuple[int, ...], int]] = []
    if config.attention_bias != "none":
        vectors = [
            ("query_bias", "self_attn.q_proj.bias", (N, H), 0),
            ("key_bias", "self_attn.k_proj.bias", (K, H), 0),
            ("value_bias", "self_attn.v_proj.bias", (K, H), 0),
        ]
    if config.attention_bias == "all":
        vectors.append(("output_bias", "self_attn.o_proj.bias", (D,), 0))
    if config.qk_norm:
        vectors.append(("query_norm", "self_attn.q_norm.weight", (H,), 0))
        vectors.append(("key_norm", "self_attn.k_norm.weight", (H,), 0))
    yield _Weight(("embedding",), None, "model.embed_tokens.weight", (V, D), False, 1)
    for i in range(config.layers):
        for ours, theirs, shape, inputs in (
            ("attention_norm", "input_layernorm.weight", (D,), 0),
            ("query", "self_attn.q_proj.weight", (D, N, H), 1),
            ("key", "self_attn.k_proj.weight", (D, K, H), 1),
            ("value", "self_attn.v_proj.weight", (D, K, H), 1),
            ("output", "self_attn.o_proj.weight", (N, H, D), 2),
            ("mlp_norm", "post_attention_layernorm.weight", (D,), 0),
            ("gate", "mlp.gate_proj.weight", (D, F), 1),
            ("up", "mlp.up_proj.weight", (D, F), 1),
            ("down", "mlp.down_proj.weight", (F, D), 1),
            *vectors,
        ):
            name = f"model.layers.{i}.{theirs}"
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
        UserError: there are none, one is missing or cut short, or a tensor is missing, does not fit
            config.json or is quantized.
    """
    from safetensors import SafetensorError

    try:
        read = _tensor_reader(path)
        read(f"model.layers.{config.layers - 1}.input_layernorm.weight")  # before room is made
        return params_from_hf(read, config)
    except ValueError as error:
        raise UserError(f"{path}: a tensor does not fit config.json: {error}") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read the weights in {path}: {first_line(error)}") from error


def _tensor_reader(path: Path) -> Callable[[str], np.ndarray]:
    """Returns a function that reads a tensor by its Hugging Face name."""
    from safetensors import safe_open

    index, single = path / "model.safetensors.index.json", path / "model.safetensors"
    if index.exists():
        raw = read_json(index)
        file_of = raw.get("weight_map") if isinstance(raw, dict) else None
        if not isinstance(file_of, dict):
            raise UserError(f"{index} has no weight_map")
    elif single.exists():
        with safe_open(single, framework="np") as file:
            file_of = dict.fromkeys(file.keys(), single.name)
    else:
        raise UserError(f"{path} has no model.safetensors")
    named = {str(name) for name in file_of.values()}
    missing = sorted(name for name in named if not (path / name).is_file())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{path} lacks {missing[0]}{more}, which its index names")
    opened = {name: safe_open(path / name, framework="np") for name in sorted(named)}

    def read(name: str) -> np.ndarray:
        if name not in file_of or not isinstance(file_of[name], str):
            raise UserError(f"{path} has no tensor {name}, which its config.json asks for")
        kind = opened[file_of[name]].get_slice(name).get_dtype()
        if kind not in _READABLE:
            raise UserError(f"{path}: tensor {name} is of type {kind}; quantized is not read here")
        return opened[file_of[name]].get_tensor(name)

    return read


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
