"""Loads what is evaluated: parameters, placed on all devices, a tokenizer, and a fingerprint."""

import dataclasses
from pathlib import Path

import jax

from synthdiv.data.chat import ChatTemplate
from synthdiv.data.tokenizer import Tokenizer, load_tokenizer
from synthdiv.errors import UserError
from synthdiv.evaluation.scoring import Model
from synthdiv.model.config import DTYPES
from synthdiv.model.devices import check_devices
from synthdiv.model.digests import digest, digest_of_json
from synthdiv.model.weights import ABOUT, find_checkpoint, load_params, read_about


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model to evaluate.

    Attributes:
        path: where it was loaded from.
        model: its parameters, placed.
        tokenizer: its own.
        template: the chat template and system prompt that it was fine-tuned with, or the template
            beside its tokenizer; None if it has none.
        tuned: whether it is a checkpoint that we fine-tuned.
        fingerprint: hex; equal for equal parameters, configuration, tokenizer and dtype.
    """

    path: Path
    model: Model
    tokenizer: Tokenizer
    template: ChatTemplate | None
    tuned: bool
    fingerprint: str


def load_checkpoint(
    path: str | Path,
    dtype: str = "",
    batch_tokens: int = 0,
    max_length: int = 0,
    tokenizer: str | Path | None = None,
) -> Checkpoint:
    """Loads one of our checkpoints (or a workdir's newest) or a Hugging Face Llama.

    Args:
        path: the checkpoint.
        dtype: of the computation; "" for the checkpoint's own.
        batch_tokens: positions in a batch, over all devices; 0 chooses by the kind of device.
        max_length: the longest sequence to read; 0 for the model's context.
        tokenizer: for a checkpoint that comes without one.

    Raises:
        UserError: no checkpoint there, no tokenizer, or one that does not fit the model.
    """
    if dtype and dtype not in DTYPES:
        raise UserError(f"Evaluate.dtype={dtype!r} is not one of {', '.join(DTYPES)}")
    check_devices()
    params, config, tokenizer_dir = load_params(path)
    loaded = tokenizer_of(path, tokenizer or tokenizer_dir)
    if loaded.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer of {str(path)!r} has {loaded.vocab_size:,} tokens, more than the "
            f"model's vocabulary of {config.vocab_size:,}"
        )
    config = dataclasses.replace(config, dtype=dtype or config.dtype)
    fingerprint = digest_of_json([dataclasses.asdict(config), loaded.sha256, digest(params)])
    batch_tokens = batch_tokens or (4096 if jax.default_backend() == "cpu" else 32_768)
    model = Model(params, config, batch_tokens, max_length or None)
    template, tuned = template_of(find_checkpoint(path), tokenizer_dir)
    return Checkpoint(Path(path), model, loaded, template, tuned, fingerprint)


def tokenizer_of(checkpoint: str | Path, source: str | Path | None) -> Tokenizer:
    """Loads the tokenizer that goes with a checkpoint.

    Args:
        checkpoint: its name, for the message.
        source: of the tokenizer: the one given, or the checkpoint's own; None if it has none.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if source is None:
        raise UserError(
            f"checkpoint {str(checkpoint)!r} has no tokenizer; name one with `tokenizer`"
        )
    return load_tokenizer(source)


def template_of(checkpoint: Path, tokenizer: Path | None) -> tuple[ChatTemplate | None, bool]:
    """Returns the template that belongs to a checkpoint, and whether we fine-tuned with it."""
    about = read_about(checkpoint) if (checkpoint / ABOUT).exists() else {}
    used = about.get("run", {}).get("template")
    own = ChatTemplate(system=used["system"] if used else "").of_model(tokenizer)
    if own.text:
        return own, used is not None
    if used is None:
        return None, False
    return ChatTemplate(used["path"], used["system"]), True
