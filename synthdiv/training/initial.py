"""The checkpoint that pre-training starts from: its weights, and whether the run's model fits them.

Weights alone are taken over: optimizer, learning rate, step and data position are the new run's.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthdiv.data import Batches, tokenizer_files
from synthdiv.errors import UserError
from synthdiv.files import sha256_file
from synthdiv.model import weights
from synthdiv.model.config import FUNCTION, ModelConfig

_NAMED = 3  # differences told


def model_from(wanted: ModelConfig, checkpoint: Path) -> ModelConfig:
    """Returns the model of a run that starts from a checkpoint.

    Where nothing that decides the function is bound, all of it is the checkpoint's, and its
    context too; how the model is computed (`dtype`, `remat`, dropout, ...) stays the run's.

    Raises:
        UserError: what was bound differs from the checkpoint; names the fields.
    """
    own, default = weights.describe(checkpoint)[0], ModelConfig()
    if all(getattr(wanted, name) == getattr(default, name) for name in FUNCTION):
        taken = {name: getattr(own, name) for name in FUNCTION}
        taken["rope_original_length"] = _value(own, "rope_original_length")
        if wanted.max_length == default.max_length:
            taken["max_length"] = own.max_length
        return dataclasses.replace(wanted, **taken)
    differing = [
        f"Model.{name} is {there!r} there and {here!r} here"
        for name in FUNCTION
        if (there := _value(own, name)) != (here := _value(wanted, name))
    ]
    if differing:
        more = f"; and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        raise UserError(
            f"{checkpoint} is another model than this run's: {'; '.join(differing[:_NAMED])}{more} "
            "(bind no sizes of the model, and they are the checkpoint's)"
        )
    return wanted


def _value(config: ModelConfig, name: str) -> Any:
    """A field's value; for a 0 that means "computed from other fields", the computed one."""
    if name == "rope_original_length" and config.rope_scaling in ("llama3", "yarn"):
        return config.rope_original_length or config.max_length
    computed = {"kv_heads": config.num_kv_heads, "head_dim": config.head_size}
    return computed.get(name, getattr(config, name))


def params_of(checkpoint: Path, model: ModelConfig) -> Callable[[Any], Any]:
    """Returns a function that reads the checkpoint's weights onto the shardings it is given."""

    def first_params(shardings: Any) -> Any:
        return weights.read_any_params(checkpoint, model, shardings)

    return first_params


def check_tokenizer(checkpoint: Path, data: Batches) -> None:
    """Refuses tokens of another tokenizer than the checkpoint's, where that has one.

    Raises:
        UserError: their numbers would mean other words to the model.
    """
    tokenizer = weights.describe(checkpoint)[1]
    if tokenizer is None:
        return
    if data.tokenizer_sha256 not in map(sha256_file, tokenizer_files(tokenizer)):
        raise UserError(
            f"the tokens were not made with the tokenizer of {checkpoint}: tokenize the corpora "
            f"with `tokenizer={tokenizer}`"
        )
