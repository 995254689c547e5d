"""How well a model predicts text: bits per byte, whatever its tokenizer, and loss by position."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthdiv.errors import UserError
from synthdiv.files import Corpus

if TYPE_CHECKING:
    from synthdiv.evaluation.harness import SynthdivLM


@dataclasses.dataclass(frozen=True)
class TextLossConfig:
    """How much of a corpus is read. Gin name `TextLoss`.

    Attributes:
        max_documents: read at most this many documents, from the first on; 0 for all.
        max_bytes: stop after the document that reaches this many bytes; 0 for no limit.
    """

    max_documents: int = 0
    max_bytes: int = 0


def text_loss(lm: "SynthdivLM", corpus: Corpus, config: TextLossConfig) -> dict[str, Any]:
    """Measures a corpus document by document, each starting from end-of-text.

    Args:
        lm: the model.
        corpus: documents; each is scored by itself, as lm-eval's rolling log likelihood does.
        config: how much of it.

    Returns:
        bits_per_byte: -sum(log2 p) / UTF-8 bytes, over all documents; its standard_error treats the
        documents as the sample; nats_per_token; documents, tokens, bytes; by_position: for
        positions [from, to) in a document, within the model's context, the mean nats per token and
        the number of tokens.

    Raises:
        UserError: the corpus has no text.
    """
    texts = read_texts(corpus, config)
    losses = lm.score_texts(texts)
    nats = np.array([-sum(w.sum(dtype=np.float64) for w in windows) for windows in losses])
    size = np.array([bytes_of(text) for text in texts], np.float64)
    tokens = sum(len(w) for windows in losses for w in windows)
    ratio = nats.sum() / size.sum()
    # Delta method for the ratio of two sums over documents.
    residual = nats - ratio * size
    n = len(texts)
    error = math.sqrt(n / (n - 1) * np.square(residual).sum()) / size.sum() if n > 1 else None
    return {
        "bits_per_byte": float(ratio / math.log(2)),
        "standard_error": None if error is None else float(error / math.log(2)),
        "nats_per_token": float(nats.sum() / tokens),
        "documents": n,
        "tokens": tokens,
        "bytes": int(size.sum()),
        "by_position": _by_position(losses, lm.model.max_length),
    }


def read_texts(corpus: Corpus, config: TextLossConfig) -> list[str]:
    """Returns the texts that a corpus is measured on, the empty ones left out.

    Raises:
        UserError: the corpus has no text.
    """
    texts: list[str] = []
    size = 0
    for document in corpus:
        if (config.max_documents and len(texts) >= config.max_documents) or (
            config.max_bytes and size >= config.max_bytes
        ):
            break
        if document.text:
            texts.append(document.text)
            size += bytes_of(document.text)
    if not texts:
        raise UserError(f"corpus {corpus.origin!r} has no text to measure bits per byte on")
    return texts


def bytes_of(text: str) -> int:
    """Returns the UTF-8 bytes of a text."""
    return len(text.encode("utf-8", "surrogatepass"))


def _by_position(losses: list[list[np.ndarray]], max_length: int) -> list[dict[str, Any]]:
    """Mean loss by position in a document, in bands that double: [0, 1), [1, 2), [2, 4), ...

    Only a document's first window counts, where position is the number of tokens before.
    """
    total, count = np.zeros(max_length), np.zeros(max_length, np.int64)
    for windows in losses:
        for window in windows[:1]:
            total[: len(window)] -= window
            count[: len(window)] += 1
    bands, start = [], 0
    while start < max_length:
        end = min(max(1, 2 * start), max_length)
        if seen := int(count[start:end].sum()):
            mean = float(total[start:end].sum() / seen)
            bands.append({"from": start, "to": end, "nats_per_token": mean, "tokens": seen})
        start = end
    return bands


def bits_per_byte(
    checkpoint: str | Path, corpus: str | Path | Corpus, config: TextLossConfig | None = None
) -> dict[str, Any]:
    """Loads a checkpoint and measures it on a corpus; see `text_loss` for what is returned."""
    from synthdiv.evaluation.harness import SynthdivLM

    return text_loss(SynthdivLM(checkpoint), Corpus.of(corpus), config or TextLossConfig())
