"""Tokenizes in parallel: chunks of documents go to processes and come back in order.

A small corpus is tokenized in this process by the tokenizer's own threads, in less time than other
processes take to start. The tokens are the same either way.
"""

import collections
import math
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from synthdiv.data.packing import token_dtype
from synthdiv.data.tokenizer import Tokenizer, load_tokenizer
from synthdiv.processes import worker_pool

# Tokens of a chunk's documents one after the other, the number of each, and their sizes in bytes.
Encoded = tuple[np.ndarray, np.ndarray, np.ndarray]

_HERE_BYTES = 8 << 20  # text tokenized in this process before others are started
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


_worker_tokenizer: Tokenizer | None = None


def _start_worker(directory: str) -> None:
    global _worker_tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"
    _worker_tokenizer = load_tokenizer(directory)


def _work(chunk: list[bytes]) -> Encoded:
    assert _worker_tokenizer is not None, "the worker was not started by _start_worker"
    return encode_chunk(_worker_tokenizer, chunk)


class Workers:
    """Tokenizes chunks of documents; a context manager.

    Args:
        tokenizer: for the chunks that are tokenized in this process.
        directory: where the workers load it from.
        workers: processes; 0 for none; None for one per core where there are more than a few
            cores and more than a few MB, where a tokenizer's own threads no longer suffice.
    """

    def __init__(self, tokenizer: Tokenizer, directory: Path, workers: int | None) -> None:
        self._tokenizer, self._directory = tokenizer, directory
        cores = os.cpu_count() or 1
        self._here_bytes = 0.0
        if workers is None:
            workers = cores
            self._here_bytes = math.inf if cores <= _THREADS_ENOUGH else _HERE_BYTES
        elif not workers:
            self._here_bytes = math.inf
        self._processes = workers
        self._here: ThreadPoolExecutor | None = None
        self._others: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        for pool in (self._here, self._others):
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def encode(self, chunks: Iterator[list[bytes]]) -> Iterator[Encoded]:
        """Yields the tokens of each chunk, in order; reads ahead by two chunks a worker."""
        pending: collections.deque[Future[Encoded]] = collections.deque()
        for chunk in chunks:
            pending.append(self._submit(chunk))
            if len(pending) > (2 if self._others is None else 2 * self._processes):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _submit(self, chunk: list[bytes]) -> "Future[Encoded]":
        if self._here_bytes <= 0:
            return self._process_pool().submit(_work, chunk)
        self._here_bytes -= sum(map(len, chunk))
        if self._here is None:
            # Two: while one turns its tokens into arrays, the tokenizer's threads have the other.
            self._here = ThreadPoolExecutor(2)
        return self._here.submit(encode_chunk, self._tokenizer, chunk)

    def _process_pool(self) -> ProcessPoolExecutor:
        if self._others is None:
            self._others = worker_pool(self._processes, _start_worker, str(self._directory))
        return self._others
