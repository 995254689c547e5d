"""Tokenizes in parallel: chunks of documents go to workers and come back in order.

A small corpus is tokenized in this process by the tokenizer's own threads, in less time than other
processes take to start. The tokens are the same either way.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synthdiv.data.packing import token_dtype
from synthdiv.data.tokenizer import Tokenizer, load_tokenizer
from synthdiv.engine import Crew, Engine, crew

# Tokens of a chunk's documents one after the other, the number of each, and their sizes in bytes.
Encoded = tuple[np.ndarray, np.ndarray, np.ndarray]

_HERE = 8  # chunks tokenized in this process before others are started
_THREADS_ENOUGH = 4  # cores that a tokenizer's own threads keep busy
_PIECE_CHARS = 1 << 18  # a document above this is tokenized in pieces, where that changes nothing


def encode_chunk(tokenizer: Tokenizer, chunk: list[bytes]) -> Encoded:
    """Tokenizes documents given in UTF-8; a lone surrogate counts as U+FFFD."""
    sizes = np.fromiter(map(len, chunk), np.int64, len(chunk))
    texts, parts = [], np.ones(len(chunk), np.int64)
    for index, document in enumerate(chunk):
        text = document.decode("utf-8", "replace")
        if tokenizer.cuttable and len(text) > _PIECE_CHARS:
            pieces = list(_pieces(text))
            parts[index] = len(pieces)
            texts += pieces
        else:
            texts.append(text)
    tokens, lengths = tokenizer.encode_flat(texts)
    if len(texts) > len(chunk):
        lengths = np.add.reduceat(lengths, np.concatenate([[0], np.cumsum(parts)[:-1]]))
    return tokens.astype(token_dtype(tokenizer.vocab_size)), lengths, sizes


def _pieces(text: str) -> Iterator[str]:
    """Cuts a long text before single spaces between letters, which no word of a tokenizer spans."""
    begin = 0
    while len(text) - begin > _PIECE_CHARS:
        at = begin + _PIECE_CHARS
        while at < len(text) and not (
            text[at] == " " and text[at - 1].isalpha() and text[at + 1 : at + 2].isalpha()
        ):
            at += 1
        yield text[begin:at]
        begin = at
    if begin < len(text):
        yield text[begin:]


class _Encoding:
    """`encode_chunk` with a tokenizer, which goes to other processes as its files."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, chunk: list[bytes]) -> Encoded:
        return encode_chunk(self._tokenizer, chunk)

    def __getstate__(self) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as directory:
            self._tokenizer.save(directory)
            return {path.name: path.read_bytes() for path in Path(directory).iterdir()}

    def __setstate__(self, files: dict[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            for name, content in files.items():
                (Path(directory) / name).write_bytes(content)
            self._tokenizer = load_tokenizer(directory)


def tokenizers(
    tokenizer: Tokenizer, workers: int | None, engine: Engine
) -> Crew[list[bytes], Encoded]:
    """Makes the crew that tokenizes chunks of documents.

    Args:
        tokenizer: for all of them.
        workers: processes; 0 for none; None for one per core where there are more than a few
            cores and more than a few MB, where a tokenizer's own threads no longer suffice.
        engine: where they work.
    """
    here = _HERE if workers is None else 0
    if workers is None and (os.cpu_count() or 1) <= _THREADS_ENOUGH and engine.name == "local":
        workers = 0
    # Two: while one turns its tokens into arrays, the tokenizer's threads have the other.
    return crew(_Encoding(tokenizer), engine, workers, threads=2, here=here)
