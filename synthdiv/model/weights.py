"""Loads a model from one of our checkpoints or from a Hugging Face Llama, and saves the latter.

A checkpoint is `workdir/checkpoints/STEP/`, written by Orbax: `params/` (this module reads it),
`about/metadata` (JSON: the model's config, digests of everything else, and more), `tokenizer/`, and
the rest of the training state, which only `synthdiv.training` reads.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from synthdiv import hub
from synthdiv.errors import UserError, first_line
from synthdiv.files import read_json, sha256_file
from synthdiv.model import digests, hf
from synthdiv.model.config import ModelConfig
from synthdiv.model.hf_config import config_from_hf
from synthdiv.model.llama import Llama
from synthdiv.progress import say

CHECKPOINTS = "checkpoints"
ABOUT = "about/metadata"
COMMIT_MARK = "commit_success.txt"  # Orbax puts one into every directory of a checkpoint


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model and what is needed to use it. Unpacks as (model, config, tokenizer)."""

    model: Llama
    config: ModelConfig
    tokenizer: Path | None  # directory

    def __iter__(self):
        return iter((self.model, self.config, self.tokenizer))


def graph(config: ModelConfig) -> nnx.GraphDef:
    """Returns the structure of the Llama of `config`; `nnx.merge(graph, params)` is the model."""
    return nnx.split(_abstract(config))[0]


def abstract_params(config: ModelConfig) -> dict[str, Any]:
    """Returns shapes and dtypes (jax.ShapeDtypeStruct) of the parameters, as nested plain dicts."""
    return nnx.to_pure_dict(nnx.split(_abstract(config))[1])


def letters(config: ModelConfig) -> dict[str, Any]:
    """Returns the dimensions' letters of each parameter, in the structure of the parameters."""
    state = nnx.split(_abstract(config))[1]
    return nnx.to_pure_dict(
        jax.tree.map(
            lambda v: v.replace(v.get_metadata("letters")),
            state,
            is_leaf=lambda v: isinstance(v, nnx.Variable),
        )
    )


@functools.lru_cache(maxsize=64)
def _abstract(config: ModelConfig) -> Llama:
    return nnx.eval_shape(lambda: Llama(config, nnx.Rngs(0)))


def steps_in(directory: Path) -> list[int]:
    """Returns the steps that have a checkpoint in `directory`, oldest first.

    A checkpoint gets its name when it is whole: one that lacks a file has lost it since.
    """
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit() and p.is_dir())


def find_checkpoint(path: str | Path) -> Path:
    """Returns the directory of one checkpoint.

    Args:
        path: the checkpoint itself, a workdir (its newest), or the hub's ORG/NAME, which is fetched
            into the hub's cache.

    Raises:
        UserError: there is no checkpoint, or the newest is damaged.
    """
    path = hub.find_checkpoint(path)
    if (path / ABOUT).exists() or (path / "config.json").exists():
        return path
    for directory in (path / CHECKPOINTS, path):
        steps = steps_in(directory)
        if steps:
            newest = directory / str(steps[-1])
            if not (newest / ABOUT).exists():
                raise UserError(f"{newest} is damaged: {ABOUT} is missing")
            return newest
    raise UserError(f"no checkpoint in {path}: neither one of ours nor a Hugging Face Llama")


def seal(about: dict[str, Any]) -> dict[str, Any]:
    """Returns what a checkpoint says about itself with a digest of it."""
    return about | {"sha256": digests.digest_of_json(about)}


def read_about(checkpoint: Path) -> dict[str, Any]:
    """Returns what one of our checkpoints says about itself.

    Raises:
        UserError: it is damaged.
    """
    about = read_json(checkpoint / ABOUT)
    if not isinstance(about, dict) or not isinstance(about.get("model"), dict):
        raise UserError(f"{checkpoint / ABOUT} does not describe a model")
    sealed = about.pop("sha256", None)
    checked = sealed is not None or "digests" in about  # else it is of a version without either
    if checked and sealed != digests.digest_of_json(about):
        raise UserError(f"{checkpoint / ABOUT} is damaged: its digest is not the one saved with it")
    return about


def tokenizer_digests(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a tokenizer."""
    files = sorted(path for path in directory.iterdir() if path.is_file())
    return {path.name: sha256_file(path) for path in files if path.name != COMMIT_MARK}


def content_digest(checkpoint: Path) -> str:
    """Returns a digest of a checkpoint's weights, the same wherever the checkpoint lies.

    The one that was saved with the weights, or where none was, that of their files.
    """
    if (checkpoint / ABOUT).exists():
        saved = read_about(checkpoint).get("digests")
        if saved is not None:
            return saved["params"]
        files = [p for p in (checkpoint / "params").rglob("*") if p.is_file()]
    else:
        files = [checkpoint / "config.json", *checkpoint.glob("*.safetensors")]
    words = [(str(file.relative_to(checkpoint)), sha256_file(file)) for file in sorted(files)]
    return digests.digest_of_json(words)


def read_params(checkpoint: Path, config: ModelConfig, shardings: Any = None) -> dict[str, Any]:
    """Reads the parameters, float32, of one of our checkpoints, placed as `shardings` says.

    They are compared with the digest that was saved with them; a checkpoint of a version that saved
    none is taken as it is, and that is said.

    Args:
        checkpoint: its directory.
        config: the model's.
        shardings: in the structure of the parameters; None: all on the default device.

    Raises:
        UserError: the parameters are missing, damaged, or of another architecture.
    """
    import orbax.checkpoint as ocp

    if shardings is None:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: device, abstract_params(config))
    wanted = jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s),
        abstract_params(config),
        shardings,
    )
    saved = read_about(checkpoint).get("digests")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            params = checkpointer.restore((checkpoint / "params").absolute(), wanted)
    except Exception as error:  # Orbax raises many kinds
        line = first_line(error)
        raise UserError(f"cannot read the parameters in {checkpoint}: {line}") from error
    if saved is None:
        say(f"{checkpoint} was saved without digests, so its parameters cannot be checked")
    else:
        digests.check(params, saved["params"], f"the parameters in {checkpoint}")
    return params


def describe(checkpoint: Path) -> tuple[ModelConfig, Path | None]:
    """Returns config and tokenizer directory of a checkpoint of ours or a Hugging Face Llama.

    Raises:
        UserError: its description is damaged, or it is not a Llama.
    """
    if (checkpoint / ABOUT).exists():
        known = {f.name for f in dataclasses.fields(ModelConfig)}
        about = read_about(checkpoint)
        saved = {k: v for k, v in about["model"].items() if k in known}
        # What was trained in 8 bits is used, as everything is, in its dtype.
        config = ModelConfig(**saved | {"fp8": False})
        tokenizer = checkpoint / "tokenizer"
        if not tokenizer.is_dir():
            return config, None
        files = about.get("digests", {}).get("tokenizer")
        if files is not None and files != tokenizer_digests(tokenizer):
            raise UserError(f"the files in {tokenizer} are not the ones that were saved there")
        return config, tokenizer
    names = ("tokenizer.json", "tokenizer.model")
    has_tokenizer = any((checkpoint / name).exists() for name in names)
    return config_from_hf(checkpoint), checkpoint if has_tokenizer else None


def read_any_params(checkpoint: Path, config: ModelConfig, shardings: Any = None) -> dict[str, Any]:
    """Reads the parameters of a checkpoint or a Hugging Face Llama, placed as `shardings` says."""
    if (checkpoint / ABOUT).exists():
        return read_params(checkpoint, config, shardings)
    return jax.device_put(hf.read_weights(checkpoint, config), shardings)


def load_params(path: str | Path) -> tuple[dict[str, Any], ModelConfig, Path | None]:
    """Reads parameters, config and tokenizer directory of a checkpoint or Hugging Face Llama."""
    checkpoint = find_checkpoint(path)
    config, tokenizer = describe(checkpoint)
    return read_any_params(checkpoint, config), config, tokenizer


def load_model(path: str | Path, **overrides: Any) -> Loaded:
    """Loads a model for use: evaluation, fine-tuning, export.

    Args:
        path: a checkpoint of ours, a workdir (its newest checkpoint), or a Hugging Face Llama.
        overrides: fields of ModelConfig that do not change the parameters, e.g. dtype="float32".

    Raises:
        UserError: there is none, it is damaged, or it is not a Llama.
    """
    params, config, tokenizer = load_params(path)
    config = dataclasses.replace(config, **overrides)
    return Loaded(nnx.merge(graph(config), params), config, tokenizer)


def save_hf(
    model: Llama,
    config: ModelConfig,
    tokenizer_dir: Path | None,
    output: str | Path,
    dtype: str = "float32",
) -> Path:
    """Writes the model as a Hugging Face Llama directory that `transformers` loads.

    Raises:
        UserError: the directory cannot be written.
    """
    params = jax.device_get(nnx.to_pure_dict(nnx.split(model)[1]))
    files = sorted(p for p in Path(tokenizer_dir).iterdir() if p.is_file()) if tokenizer_dir else []
    files = [p for p in files if p.name != COMMIT_MARK]
    return hf.write(params, config, files, Path(output), dtype)
