"""Corpora to tokens, and tokens to batches that are packed, mixed by weight, and resumable.

Nothing here imports JAX until `batches` or `sft_batches` is called (Grain does); batches are NumPy.

A batch, from `batches` and `sft_batches` alike, is a dict of arrays; B is this process's share of
the global batch and L the sequence length:

    tokens       int32   [B, L]  what the model reads; 0 where padded
    targets      int32   [B, L]  the next token; 0 where padded
    segment_ids  int32   [B, L]  1, 2, ... per packed document; 0 where padded
    positions    int32   [B, L]  0, 1, ... within each segment; 0 where padded
    loss_mask    float32 [B, L]  1 where the target counts; 0 in padding and, in SFT, in the prompt
    source       int32   [B]     index into `Batches.source_names` (loss per source)
    bytes        int32   [B]     UTF-8 bytes of the text of this sequence's targets (bits per byte);
                                 0 in SFT

Every document is read as `eot d1 ... dn` and predicted as `d1 ... dn eot`: end-of-text begins each
segment, so the first token is predicted too, and no target ever lies in another document. A caller
that scores text must therefore put `tokenizer.eot_id` in front of it.
"""

from synthdiv.data.chat import ChatTemplate
from synthdiv.data.mixture import Batches, MixtureConfig, batches
from synthdiv.data.sft import sft_batches, sft_examples
from synthdiv.data.stdlib import stdlib_corpus, stdlib_instructions, stdlib_pages
from synthdiv.data.tokenizer import (
    TOKENIZER_KINDS,
    Tokenizer,
    TokenizerConfig,
    load_tokenizer,
    tokenizer_files,
    train_tokenizer,
)
from synthdiv.data.tokens import (
    TokenizeConfig,
    estimate_tokens,
    tokenize_corpora,
    tokenize_corpus,
)

__all__ = [
    "TOKENIZER_KINDS",
    "Batches",
    "ChatTemplate",
    "MixtureConfig",
    "TokenizeConfig",
    "Tokenizer",
    "TokenizerConfig",
    "batches",
    "estimate_tokens",
    "load_tokenizer",
    "sft_batches",
    "sft_examples",
    "stdlib_corpus",
    "stdlib_instructions",
    "stdlib_pages",
    "tokenize_corpora",
    "tokenize_corpus",
    "tokenizer_files",
    "train_tokenizer",
]
