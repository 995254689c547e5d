"""Tokens on disk: a corpus becomes ArrayRecord shards of packed sequences, in parallel, resumably.

One process reads the corpus and writes; the others tokenize. What is written depends on the corpus,
the tokenizer and the settings alone: documents go to shards by their size in bytes, in order, and
nothing depends on who tokenized them. Format: docs/formats.md.
"""

import collections
import dataclasses
import hashlib
import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.data.packing import (
    Sequences,
    StreamPacker,
    decode_records,
    encode_records,
    token_dtype,
)
from synthdiv.data.tokenizer import Tokenizer, load_tokenizer
from synthdiv.errors import UserError
from synthdiv.files import (
    MANIFEST,
    Corpus,
    atomic_path,
    output_dir,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
)
from synthdiv.progress import Progress

FORMAT = "synthdiv-tokens-1"
_PLAN = "plan.json"
_CHUNK_BYTES = 1 << 20  # text handed to a worker at a time
_INLINE_BYTES = 8 << 20  # a corpus below this is done before worker processes have started
_PIECE_CHARS = 1 << 18  # a document above this is tokenized in pieces, where that changes nothing


@dataclasses.dataclass(frozen=True)
class TokenizeConfig:
    """How a corpus becomes tokens. Gin name `Tokenize`.

    Attributes:
        sequence_length: tokens that a model reads at once.
        shard_bytes: text a shard; a shard is what an interruption can cost.
        workers: processes that tokenize; None for one a core, where the corpus is large enough to
            gain from it; 0 for none.
    """

    sequence_length: int = 2048
    shard_bytes: int = 1 << 28
    workers: int | None = None


def tokenize_corpus(
    corpus: Corpus,
    output: str | Path,
    tokenizer: Tokenizer,
    sequence_length: int = 2048,
    shard_bytes: int = 1 << 28,
    workers: int | None = None,
) -> dict[str, Any]:
    """Tokenizes and packs a corpus; goes on after the shards that are there already.

    Args:
        corpus: the documents; empty ones are counted and left out.
        output: directory for shards, tokenizer and manifest.
        tokenizer: ends each document with its end-of-text.
        sequence_length: see TokenizeConfig, as are `shard_bytes` and `workers`.

    Returns:
        The manifest: sequences, tokens (targets, end-of-text included), documents, bytes, ...

    Raises:
        UserError: `output` has tokens of another corpus, tokenizer or setting; or no document has
            any text.
    """
    if sequence_length < 2:
        raise UserError(f"a sequence of {sequence_length} tokens is too short to predict anything")
    output = output_dir(output)
    plan = {
        "format": FORMAT,
        "corpus": _fingerprint(corpus),
        "text_column": corpus.text_column,
        "tokenizer_sha256": tokenizer.sha256,
        "eot_id": tokenizer.eot_id,
        "vocab_size": tokenizer.vocab_size,
        "sequence_length": sequence_length,
        "shard_bytes": shard_bytes,
    }
    _same_plan(output, plan)
    if manifest := read_manifest(output):
        return manifest
    tokenizer.save(output / "tokenizer")
    done = _finished_shards(output)
    digest = hashlib.sha256()
    documents = _encoded(corpus, digest)
    left_out = _skip(documents, sum(s["documents"] for s in done))
    with (
        Progress(None, f"tokenizing {corpus.name}", "documents") as progress,
        _Workers(tokenizer, output / "tokenizer", workers) as pool,
    ):
        progress.update(sum(s["documents"] for s in done))
        shards = _split(documents, shard_bytes, left_out)
        while (shard := next(shards, None)) is not None:
            done.append(_write_shard(output, len(done), shard, pool, tokenizer, plan, progress))
    if not done:
        raise UserError(f"corpus {str(corpus.path)!r} has no document with any text")
    totals = {k: sum(s[k] for s in done) for k in ("sequences", "tokens", "documents", "bytes")}
    manifest = plan | {
        **totals,
        "empty_documents": left_out[0],
        "corpus_name": corpus.name,
        "corpus_sha256": digest.hexdigest(),
        "shards": done,
    }
    write_manifest(output, manifest)
    return manifest


def _fingerprint(corpus: Corpus) -> str:
    """Tells corpora apart by their files' names and sizes, without reading them."""
    files = [(p.name, p.stat().st_size) for p in corpus.shards]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _same_plan(output: Path, plan: dict[str, Any]) -> None:
    path = output / _PLAN
    if not path.exists():
        if any(output.glob("tokens-*.array_record")):
            raise UserError(f"{str(output)!r} has tokens that this command did not write")
        write_json(path, plan)
        return
    before = read_json(path)
    differing = [k for k in plan if before.get(k) != plan[k]]
    if differing:
        raise UserError(
            f"{str(output)!r} has tokens of another {differing[0].replace('_', ' ')}: "
            "remove it or choose another --output"
        )


def _finished_shards(output: Path) -> list[dict[str, Any]]:
    """The statistics of the shards that are whole: a shard's .json is written after the shard."""
    done = []
    for number in itertools.count():
        path = output / f"tokens-{number:05d}.json"
        if not path.exists():
            return done
        done.append(read_json(path))
    raise AssertionError


def _encoded(corpus: Corpus, digest: Any) -> Iterator[bytes]:
    """UTF-8 of each document; `digest` becomes `corpus.sha256` as they go by."""
    for document in corpus:
        text = document.text.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
        yield text


def _skip(documents: Iterator[bytes], number: int) -> list[int]:
    """Reads past `number` documents; returns a counter of the empty ones among them."""
    empty = [0]
    while number:
        if next(documents, b""):
            number -= 1
        else:
            empty[0] += 1
    return empty


def _split(
    documents: Iterator[bytes], shard_bytes: int, empty: list[int]
) -> Iterator[Iterator[bytes]]:
    """Yields the documents of each shard; each must be read to its end before the next."""
    ended = False

    def shard(first: bytes) -> Iterator[bytes]:
        nonlocal ended
        size, document = 0, first
        while True:
            yield document
            size += len(document)
            if size >= shard_bytes:
                return
            document = next_with_text()
            if document is None:
                ended = True
                return

    def next_with_text() -> bytes | None:
        for document in documents:
            if document:
                return document
            empty[0] += 1
        return None

    while not ended and (first := next_with_text()) is not None:
        yield shard(first)


def _chunks(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    chunk, size = [], 0
    for document in documents:
        chunk.append(document)
        size += len(document)
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _write_shard(
    output: Path,
    number: int,
    documents: Iterator[bytes],
    pool: "_Workers",
    tokenizer: Tokenizer,
    plan: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    from array_record.python.array_record_module import ArrayRecordWriter

    name = f"tokens-{number:05d}"
    dtype = token_dtype(tokenizer.vocab_size)
    packer = StreamPacker(plan["sequence_length"], tokenizer.eot_id, dtype)
    counts = collections.Counter()
    with atomic_path(output / f"{name}.array_record") as temporary:
        writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")

        def write(sequences: Sequences | None) -> None:
            if sequences is None:
                return
            for record in encode_records(sequences, dtype):
                writer.write(record)
            counts["sequences"] += len(sequences)
            counts["tokens"] += int(sequences.targets.sum())
            counts["bytes"] += int(sequences.bytes.sum())

        try:
            for tokens, lengths, sizes in pool.encode(_chunks(documents)):
                write(packer.add(tokens, lengths, sizes))
                counts["documents"] += len(lengths)
                progress.update(len(lengths))
            write(packer.finish())
        finally:
            writer.close()
    statistics = {"name": f"{name}.array_record", **counts}
    write_json(output / f"{name}.json", statistics)
    return statistics


def _encode_chunk(
    tokenizer: Tokenizer, chunk: list[bytes]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens of a chunk's documents, their lengths, and their sizes in bytes."""
    sizes = np.fromiter(map(len, chunk), np.int64, len(chunk))
    texts, parts = [], np.ones(len(chunk), np.int64)
    for index, document in enumerate(chunk):
        text = document.decode("utf-8", "replace")  # what was a lone surrogate
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
    """Cuts a long text before single spaces between letters, where no tokenizer's word can span."""
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
    import multiprocessing

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"
    parent = multiprocessing.parent_process()

    def leave_with_parent() -> None:  # a parent that is killed cannot tell its workers
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    _worker_tokenizer = load_tokenizer(directory)


def _work(chunk: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _encode_chunk(_worker_tokenizer, chunk)


class _Workers:
    """Tokenizes chunks in order: in this process at first, in others once it is worth their start."""

    def __init__(self, tokenizer: Tokenizer, directory: Path, workers: int | None) -> None:
        self._tokenizer, self._directory = tokenizer, directory
        self._number = (os.cpu_count() or 1) if workers is None else workers
        if self._number == 1 and workers is None:
            self._number = 0
        self._inline_bytes = _INLINE_BYTES if workers is None else 0
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def encode(
        self, chunks: Iterator[list[bytes]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        if self._pool is None:
            for chunk in chunks:
                yield _encode_chunk(self._tokenizer, chunk)
                self._inline_bytes -= sum(map(len, chunk))
                if self._number and self._inline_bytes <= 0:
                    break
            else:
                return
            self._start()
        pending: collections.deque[Future] = collections.deque()
        for chunk in chunks:
            pending.append(self._pool.submit(_work, chunk))
            if len(pending) > 2 * self._number:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _start(self) -> None:
        import multiprocessing

        # Not fork: the caller may have started JAX, whose threads do not survive it.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(
            self._number,
            mp_context=context,
            initializer=_start_worker,
            initargs=(str(self._directory),),
        )


class TokenSource:
    """The sequences of a directory of tokens, by number.

    Args:
        directory: what `tokenize_corpus` wrote.

    Raises:
        UserError: no such directory, not tokens, or not complete.
    """

    def __init__(self, directory: str | Path) -> None:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise UserError(f"no tokens {str(directory)!r}: make them with synthdiv tokenize")
        self.manifest = read_manifest(self.directory)
        if self.manifest is None:
            unfinished = (self.directory / _PLAN).exists()
            raise UserError(
                f"the tokens in {str(directory)!r} are not complete: run the same synthdiv tokenize "
                "again"
                if unfinished
                else f"{str(directory)!r} holds no tokens ({MANIFEST} is missing)"
            )
        if self.manifest.get("format") != FORMAT:
            raise UserError(f"{str(directory)!r} is not a directory of tokens ({FORMAT})")
        self.sequence_length: int = self.manifest["sequence_length"]
        self._dtype = token_dtype(self.manifest["vocab_size"])
        self._records = ArrayRecordDataSource(
            [f"{self.directory / s['name']}[0:{s['sequences']}]" for s in self.manifest["shards"]]
        )

    def __len__(self) -> int:
        return self.manifest["sequences"]

    @property
    def tokens(self) -> int:
        """Targets in one epoch."""
        return self.manifest["tokens"]

    def read(self, indices: np.ndarray) -> Sequences:
        """Returns the sequences numbered `indices`, in that order."""
        records = self._records.__getitems__([int(i) for i in indices])
        return decode_records(records, self.sequence_length, self._dtype)

