"""Tokens on disk: a corpus becomes ArrayRecord shards of packed sequences, in parallel, resumably.

One process reads the corpus and writes; the others tokenize. The output depends on the corpus, the
tokenizer and the settings alone: documents go to shards in order, by their size in bytes, whichever
process tokenized them. Format: docs/formats.md.
"""

import collections
import contextlib
import dataclasses
import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from synthdiv.claims import claim
from synthdiv.config import settle
from synthdiv.data.packing import (
    Sequences,
    StreamPacker,
    encode_records,
    token_dtype,
)
from synthdiv.data.token_source import FORMAT, PLAN
from synthdiv.data.tokenizer import (
    Tokenizer,
    TokenizerConfig,
    load_tokenizer,
    train_tokenizer,
)
from synthdiv.data.workers import Encoded, tokenizers
from synthdiv.engine import LOCAL, Crew, Engine
from synthdiv.errors import UserError
from synthdiv.files import (
    Corpus,
    atomic_path,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
)
from synthdiv.progress import Progress

_CHUNK_BYTES = 1 << 20  # text handed to a worker at a time


@dataclasses.dataclass(frozen=True)
class TokenizeConfig:
    """How a corpus becomes tokens. Gin name `Tokenize`.

    Attributes:
        sequence_length: tokens that a model reads at once.
        shard_bytes: bytes of text in a shard. An interruption costs at most one shard.
        workers: processes that tokenize; 0 for threads alone; None for one per core where
            that is faster: on more than four cores, after the first 8 MB. A Ray cluster is
            given twice as many chunks at once.
    """

    sequence_length: int = 2048
    shard_bytes: int = 1 << 28
    workers: int | None = None

    def __post_init__(self) -> None:
        settle(self)


def tokenize_corpora(
    corpora: Sequence[Corpus],
    output: str | Path,
    tokenizer: TokenizerConfig,
    config: TokenizeConfig = TokenizeConfig(),  # noqa: B008  frozen
    engine: Engine = LOCAL,
) -> list[dict[str, Any]]:
    """Tokenizes corpora with one tokenizer, loaded or trained on them.

    Args:
        corpora: one goes to `output`, several to `output/NAME` each.
        output: a tokenizer that was trained is in `output/tokenizer`.
        tokenizer: which one.
        config: how.
        engine: where; a tokenizer is trained in this process.

    Returns:
        The manifests.

    Raises:
        UserError: as `load_tokenizer`, `train_tokenizer` and `tokenize_corpus`; two corpora of one
            name.
    """
    output = Path(output)
    names = [c.name for c in corpora]
    if len(set(names)) != len(names):
        raise UserError(f"two corpora are called {max(names, key=names.count)!r}: rename one")
    if tokenizer.path is not None:
        loaded = load_tokenizer(tokenizer.path)
    else:
        try:
            loaded = train_tokenizer(
                corpora,
                output / "tokenizer",
                tokenizer.vocab_size,
                tokenizer.kind,
                tokenizer.max_bytes,
            )
        except UserError:
            _remove_empty(output / "tokenizer", output)
            raise
    return [
        tokenize_corpus(
            corpus,
            output if len(corpora) == 1 else output / corpus.name,
            loaded,
            config.sequence_length,
            config.shard_bytes,
            config.workers,
            engine,
        )
        for corpus in corpora
    ]


def estimate_tokens(
    corpora: Sequence[Corpus],
    tokenizer: TokenizerConfig,
    config: TokenizeConfig = TokenizeConfig(),  # noqa: B008  frozen
) -> list[dict[str, Any]]:
    """Estimates what tokenizing would give from the sizes of all documents and the tokens of a few.

    Writes nothing. For a tokenizer that has yet to be trained, 4 bytes a token are assumed and
    `seconds` is None.
    """
    loaded = load_tokenizer(tokenizer.path) if tokenizer.path is not None else None
    width = token_dtype(loaded.vocab_size if loaded else tokenizer.vocab_size).itemsize
    estimates = []
    for corpus in corpora:
        documents = size = sampled = 0
        sample = []
        for document in corpus:
            text = document.text.encode("utf-8", "surrogatepass")
            documents, size = documents + 1, size + len(text)
            if sampled < _CHUNK_BYTES:
                sample.append(text.decode("utf-8", "replace"))
                sampled += len(text)
        bytes_a_token, seconds = 4.0, None
        if loaded and sampled:
            began = time.perf_counter()
            bytes_a_token = sampled / int(loaded.encode_flat(sample)[1].sum())
            seconds = (time.perf_counter() - began) * size / sampled
        tokens = round(size / bytes_a_token) + documents
        sequences = -(-tokens // config.sequence_length)
        estimates.append(
            {
                "corpus_name": corpus.name,
                "documents": documents,
                "bytes": size,
                "tokens": tokens,
                "sequences": sequences,
                # ArrayRecord keeps about a hundred bytes beside each record.
                "disk_bytes": tokens * width + sequences * (100 + config.sequence_length // 8),
                "seconds": seconds,
            }
        )
    return estimates


def tokenize_corpus(
    corpus: Corpus,
    output: str | Path,
    tokenizer: Tokenizer,
    sequence_length: int = 2048,
    shard_bytes: int = 1 << 28,
    workers: int | None = None,
    engine: Engine = LOCAL,
) -> dict[str, Any]:
    """Tokenizes and packs a corpus; resumes after the shards that are already there.

    Args:
        corpus: the documents; empty ones are counted and left out.
        output: directory for shards, tokenizer and manifest.
        tokenizer: its end-of-text ends each document.
        sequence_length: see TokenizeConfig, as are `shard_bytes` and `workers`.
        engine: where documents are tokenized.

    Returns:
        The manifest: sequences, tokens (targets, end-of-text included), documents, bytes, ...

    Raises:
        UserError: `output` has tokens of another corpus, tokenizer or setting; or no document has
            any text.
    """
    if sequence_length < 2:
        raise UserError(f"a sequence of {sequence_length} tokens is too short to predict anything")
    if not any(document.text for document in corpus):
        raise UserError(f"corpus {corpus.origin!r} has no document with any text")
    output = Path(output)
    plan = {
        "format": FORMAT,
        "corpus": corpus.fingerprint,
        "corpus_bytes": corpus.bytes_sha256,
        "text_column": corpus.text_column,
        "tokenizer_sha256": tokenizer.sha256,
        "eot_id": tokenizer.eot_id,
        "vocab_size": tokenizer.vocab_size,
        "sequence_length": sequence_length,
        "shard_bytes": shard_bytes,
    }
    if any(output.glob("tokens-*.array_record")) and not (output / PLAN).exists():
        raise UserError(f"{str(output)!r} has tokens that this command did not write")
    with claim(output / PLAN, plan, "set of tokens"):
        if manifest := read_manifest(output):
            return manifest
        with tokenizers(tokenizer, workers, engine) as crew:
            return _finish(corpus, output, tokenizer, plan, crew)


def _finish(
    corpus: Corpus,
    output: Path,
    tokenizer: Tokenizer,
    plan: dict[str, Any],
    crew: Crew[list[bytes], Encoded],
) -> dict[str, Any]:
    """Writes the shards that are not there yet, and the manifest."""
    for left_over in output.glob(".tokens-*.tmp"):  # of a run that was killed
        left_over.unlink()
    tokenizer.save(output / "tokenizer")
    done = _finished_shards(output)
    digest = hashlib.sha256()
    documents = _encoded(corpus, digest)
    left_out = _skip(documents, sum(s["documents"] for s in done))
    try:
        with Progress(None, f"tokenizing {corpus.name}", "documents") as progress:
            progress.update(sum(s["documents"] for s in done))
            shards = _split(documents, plan["shard_bytes"], left_out)
            while (shard := next(shards, None)) is not None:
                done.append(_write_shard(output, len(done), shard, crew, tokenizer, plan, progress))
    except UserError as error:
        # Broken text never becomes whole tokens, but a disk that failed may be readable later.
        if not isinstance(error.__context__, OSError):
            _remove(output)
        raise
    totals = {k: sum(s[k] for s in done) for k in ("sequences", "tokens", "documents", "bytes")}
    manifest = plan | {
        **totals,
        "most_documents": max(s["most_documents"] for s in done),
        "empty_documents": left_out[0],
        "corpus_name": corpus.name,
        "corpus_sha256": digest.hexdigest(),
        "shards": done,
    }
    write_manifest(output, manifest)
    return manifest


def _remove(output: Path) -> None:
    """Removes the tokens begun in `output`, and the directory if nothing else is in it."""
    for path in [output / PLAN, *output.glob("tokens-*")]:
        path.unlink(missing_ok=True)
    shutil.rmtree(output / "tokenizer", ignore_errors=True)
    _remove_empty(output)


def _remove_empty(*directories: Path) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):  # not there, or something is in it
            directory.rmdir()


def _finished_shards(output: Path) -> list[dict[str, Any]]:
    """The statistics of the shards that are whole: a shard's .json is written after the shard."""
    done: list[dict[str, Any]] = []
    while (path := output / f"tokens-{len(done):05d}.json").exists():
        done.append(read_json(path))
    return done


def _encoded(corpus: Corpus, digest: Any) -> Iterator[bytes]:
    """Yields each document in UTF-8 and updates `digest`, which ends as `corpus.sha256`."""
    for document in corpus:
        text = document.text.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
        yield text


def _skip(documents: Iterator[bytes], number: int) -> list[int]:
    """Skips `number` documents with text; returns a counter of the empty ones among them."""
    empty = [0]
    while number:
        document = next(documents, None)
        if document is None:
            raise UserError("the corpus has become shorter since these tokens were begun")
        number -= bool(document)
        empty[0] += not document
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
            following = next_with_text()
            if following is None:
                ended = True
                return
            document = following

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
    crew: Crew[list[bytes], Encoded],
    tokenizer: Tokenizer,
    plan: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    from array_record.python.array_record_module import ArrayRecordWriter

    name = f"tokens-{number:05d}"
    dtype = token_dtype(tokenizer.vocab_size)
    packer = StreamPacker(plan["sequence_length"], tokenizer.eot_id, dtype)
    counts: collections.Counter[str] = collections.Counter()
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
            counts["most_documents"] = max(counts["most_documents"], sequences.max_segments)

        try:
            for tokens, lengths, sizes in crew.map(_chunks(documents)):
                write(packer.add(tokens, lengths, sizes))
                counts["documents"] += len(lengths)
                progress.update(len(lengths))
            write(packer.finish())
        finally:
            writer.close()
    statistics = {"name": f"{name}.array_record", **counts}
    write_json(output / f"{name}.json", statistics)
    return statistics
