"""Perplexity of documents under causal language models, and the gap between two of them.

A model is a Hugging Face name or directory (which needs the packages transformers and torch), or a
checkpoint of ours (which needs the extra `train`). Their packages are imported on first use.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from synthdiv.errors import UserError, first_line

_BATCH = 8  # windows at once
_WINDOW = 1024  # tokens at most; a model with a shorter context has its own
_STEP = 128  # windows are padded to multiples of this


class _Scorer(Protocol):
    """A loaded model.

    Attributes:
        context: tokens that it takes at once, the starting one included.
        start: the token that stands before a window.
    """

    context: int
    start: int

    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...

    def losses(self, tokens_BT: np.ndarray) -> np.ndarray:
        """Negative log-likelihoods in nats, [B, T - 1], of all tokens but the first."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """How well a model predicts some documents.

    Attributes:
        nats: negative log-likelihood, summed over the tokens.
        tokens: number of tokens, in the model's own tokenization.
        bytes: size of the documents in UTF-8.
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens); 0 of no tokens."""
        return math.exp(min(self.nats / self.tokens, 700)) if self.tokens else 0.0

    @property
    def bits_per_byte(self) -> float:
        """Comparable between models with different tokenizers; 0 of no bytes."""
        return self.nats / math.log(2) / self.bytes if self.bytes else 0.0


def perplexity(texts: Sequence[str], model: str) -> Loss:
    """Scores documents with a causal language model; `.perplexity` is exp(mean nats a token).

    Every document starts after the model's end-of-text token and is cut into windows of at most
    1,024 tokens (fewer where the context is shorter) that do not see each other. The mean is over
    all tokens of all documents.
    Source: the paper's Table 1 (GPT-2-L), there from one open implementation; windows are ours.
    Direction: none: fluent and repetitive text has low perplexity, and so has text the model was
    trained on; noise has high perplexity.
    Confounds: the model's training data, language, quality, length of documents.

    Args:
        texts: documents.
        model: a Hugging Face name or directory, or a checkpoint or workdir of ours.

    Raises:
        UserError: there is no such model, or what loads it is not installed.
    """
    scorer = _load(model)
    nats, tokens = 0.0, 0
    for batch, lengths in _windows(scorer, texts):
        losses = scorer.losses(batch)
        shown = np.arange(losses.shape[1]) < np.asarray(lengths)[:, None]
        nats += float(losses[shown].sum(dtype=np.float64))
        tokens += int(shown.sum())
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return Loss(nats, tokens, size)


def perplexity_metrics(texts: Sequence[str], models: Sequence[str]) -> dict[str, float]:
    """Perplexity under the first model and, with two, the absolute difference to the second's.

    Source: the paper's Table 1: |PPL(GPT-2-L) - PPL(GPT-2-XL)|. Direction and confounds as
    `perplexity`; the gap means something only between models that share a tokenizer.
    """
    losses = [perplexity(texts, model) for model in models]
    found = {
        "perplexity": losses[0].perplexity,
        "perplexity_bits_per_byte": losses[0].bits_per_byte,
        "perplexity_documents": len(texts),
    }
    if len(losses) == 2:
        found["perplexity_gap"] = abs(losses[0].perplexity - losses[1].perplexity)
    return found


def _windows(scorer: _Scorer, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Yields (tokens [8, T], tokens to score in each row), long ones first.

    Rows are padded at the end, and the last batch with empty rows: few shapes to compile.
    """
    room = min(scorer.context, _WINDOW + 1) - 1
    cut = [
        tokens[start : start + room]
        for tokens in scorer.encode(texts)
        for start in range(0, len(tokens), room)
    ]
    cut.sort(key=len, reverse=True)
    for start in range(0, len(cut), _BATCH):
        rows = cut[start : start + _BATCH]
        width = min(-(-len(rows[0]) // _STEP) * _STEP, room)
        rows += [[]] * (_BATCH - len(rows))
        batch = np.full((_BATCH, width + 1), scorer.start, np.int32)
        for row, tokens in zip(batch, rows, strict=True):
            row[1 : len(tokens) + 1] = tokens
        yield batch, list(map(len, rows))


def _load(model: str) -> _Scorer:
    path = Path(model)
    ours = path.is_dir() and not (path / "config.json").exists()
    return _Checkpoint(path) if ours else _HuggingFace(model)


class _HuggingFace:
    """Any causal model that transformers loads, on a GPU where there is one."""

    def __init__(self, model: str) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise UserError(
                f"perplexity under {model!r} needs transformers and torch: "
                f"pip install transformers torch ({error.name} is not installed)"
            ) from None
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(model)
        except (OSError, ValueError) as error:
            reason = first_line(error)
            raise UserError(f"cannot load the language model {model!r}: {reason}") from None
        self.torch = torch
        self.model = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        config = loaded.config
        self.context = getattr(config, "max_position_embeddings", None) or _WINDOW + 1
        ids = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, 0)
        self.start = next(i for i in ids if i is not None)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return encoded["input_ids"]

    def losses(self, tokens_BT: np.ndarray) -> np.ndarray:
        torch = self.torch
        with torch.inference_mode():
            tokens = torch.as_tensor(tokens_BT.astype(np.int64), device=self.model.device)
            logits = self.model(tokens).logits[:, :-1].float()
            targets = tokens[:, 1:, None]
            losses = logits.logsumexp(-1) - logits.gather(-1, targets)[..., 0]
        return losses.cpu().numpy()


class _Checkpoint:
    """A checkpoint of ours."""

    def __init__(self, path: Path) -> None:
        try:
            from synthdiv.data import load_tokenizer
            from synthdiv.model import load_model
            from synthdiv.model.likelihood import token_losses
        except ImportError as error:
            raise UserError(
                f"perplexity under our checkpoint {str(path)!r} needs the extra 'train': "
                f"pip install 'synthdiv[train]' ({error.name} is not installed)"
            ) from None
        loaded = load_model(path)
        if loaded.tokenizer is None:
            raise UserError(f"the checkpoint {str(path)!r} has no tokenizer beside it")
        self.tokenizer = load_tokenizer(loaded.tokenizer)
        self.model = loaded.model
        self.token_losses: Callable[..., Any] = token_losses
        self.context = loaded.config.max_length
        self.start = self.tokenizer.eot_id

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(map(int, tokens)) for tokens in self.tokenizer.encode_batch(list(texts))]

    def losses(self, tokens_BT: np.ndarray) -> np.ndarray:
        return np.asarray(self.token_losses(self.model, tokens_BT))
