"""Tokenizing and loading, each beside the bare library that it is made of, and memory over size.

    python benchmarks/data.py                      # minutes; figures on stdout as JSON
    python benchmarks/data.py --memory_mb=10,200,2000   # memory alone, up to 2 GB of text

Text is the standard library's documentation, its words reordered by a seed so that no two documents
are equal, or --input. Each pair is measured in turns (ours, bare, ours, bare, ...) on the same text
and cores, and the medians are compared, so that a busy machine is unfair to neither.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from synthdiv.data import (
    MixtureConfig,
    Tokenizer,
    batches,
    load_tokenizer,
    stdlib_corpus,
    tokenize_corpus,
    train_tokenizer,
)
from synthdiv.data.packing import decode_records, token_dtype
from synthdiv.files import Corpus, CorpusWriter, read_manifest

MB = 1_000_000


def write_text(source: Corpus, output: Path, megabytes: float) -> Corpus:
    """Writes a corpus of a given size: the source's documents with their sentences shuffled."""
    documents = [d.text for d in source]
    draw = random.Random(0)
    writer, rows, size, number = CorpusWriter(output), [], 0, 0
    while size < megabytes * MB:
        sentences = draw.choice(documents).split(". ")
        draw.shuffle(sentences)
        text = f"{number}. " + ". ".join(sentences)
        rows.append({"id": str(number), "text": text})
        size, number = size + len(text.encode()), number + 1
        if len(rows) == 20_000:
            writer.write(rows)
            rows = []
    if rows:
        writer.write(rows)
    writer.close({"documents": number, "bytes": size})
    return Corpus(output)


class Timer:
    """Wall and CPU seconds of a stretch, those of processes that ended within it included."""

    def __enter__(self) -> "Timer":
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(self, *exception: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = _cpu_seconds() - self._cpu


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


def in_turns(
    ours: Callable[[], Timer], bare: Callable[[], Timer], rounds: int, amount: float
) -> dict[str, object]:
    """Runs both in turns and compares neighbours, so that drift cancels.

    On a machine that does other work too, CPU time is the steadier of the two.
    """
    pairs = []
    for turn in range(rounds):
        if turn % 2:
            right = bare()
            pairs.append((ours(), right))
        else:
            pairs.append((ours(), bare()))
    figures: dict[str, object] = {}
    for kind in ("wall", "cpu"):
        seconds = [(getattr(o, kind), getattr(b, kind)) for o, b in pairs]
        figures[f"per_{kind}_second"] = {
            "ours": amount / statistics.median(o for o, _ in seconds),
            "bare": amount / statistics.median(b for _, b in seconds),
            "ratio": statistics.median(b / o for o, b in seconds),
            "ratios": [round(b / o, 3) for o, b in seconds],
        }
    return figures


def tokenize_rates(corpus: Corpus, tokenizer: Tokenizer, rounds: int, root: Path) -> dict:
    """MB of text a second: Parquet to ArrayRecord shards, against texts in memory to ids alone."""
    texts = [d.text for d in corpus]
    size = sum(len(t.encode()) for t in texts) / MB
    calls = 0

    def ours() -> Timer:
        nonlocal calls
        calls += 1
        output = root / f"tokens-{tokenizer.sha256[:6]}-{calls}"
        with Timer() as timer:
            tokenize_corpus(corpus, output, tokenizer, 2048)
        return timer

    def bare() -> Timer:
        with Timer() as timer:
            for begin in range(0, len(texts), 1000):
                _bare_encode(tokenizer, texts[begin : begin + 1000])
        return timer

    return {"unit": "MB", "megabytes": size} | in_turns(ours, bare, rounds, size)


def _bare_encode(tokenizer: Tokenizer, texts: list[str]) -> None:
    """What the library does by itself, with all cores: ids in its own objects."""
    if hasattr(tokenizer, "_model"):
        tokenizer._model.encode(texts, num_threads=os.cpu_count())
    else:
        tokenizer._tokenizer.encode_batch_fast(texts, add_special_tokens=False)


def loader_rates(tokens: Path, batch_size: int, rounds: int) -> dict:
    """Tokens a second in whole batches, against Grain reading, shuffling and batching records."""
    import grain

    manifest = read_manifest(tokens)
    length, dtype = manifest["sequence_length"], token_dtype(manifest["vocab_size"])
    number = 100  # batches

    def read(stream: Iterator) -> Timer:
        next(stream)
        with Timer() as timer:
            for _ in range(number):
                next(stream)
        return timer

    def ours() -> Timer:
        data = batches(MixtureConfig(((str(tokens), None),)), batch_size)
        try:
            return read(data)
        finally:
            data.close()

    def bare() -> Timer:
        source = grain.sources.ArrayRecordDataSource(
            [str(tokens / s["name"]) for s in manifest["shards"]]
        )
        dataset = (
            grain.MapDataset.source(source)
            .shuffle(seed=0)
            .repeat()
            .map(lambda record: decode_records([record], length, dtype).tokens[0])
            .batch(batch_size)
            .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=500))
        )
        return read(iter(dataset))

    amount = number * batch_size * length
    return {"unit": "tokens", "batch": [batch_size, length]} | in_turns(ours, bare, rounds, amount)


def memory(sizes: list[float], source: Corpus, tokenizer_dir: Path, root: Path) -> list[dict]:
    """Peak resident memory of tokenizing and of reading it all, in processes of their own."""
    found = []
    for size in sizes:
        text, tokens = root / f"text-{size}", root / f"memory-{size}"
        write_text(source, text, size)
        row: dict[str, float] = {"megabytes": size}
        for what in ("tokenize", "load"):
            command = [sys.executable, __file__, "--measure", what, str(text), str(tokens)]
            done = subprocess.run(
                [*command, str(tokenizer_dir)], check=True, capture_output=True, text=True
            )
            row |= json.loads(done.stdout)
        found.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return found


def measure(what: str, text: str, tokens: str, tokenizer: str) -> dict[str, float]:
    """Runs in a process of its own; returns its peaks in MB."""
    began = time.perf_counter()
    if what == "tokenize":
        tokenize_corpus(Corpus(text), tokens, load_tokenizer(tokenizer), 2048)
    else:
        data = batches(MixtureConfig(((tokens, None),)), 64)
        for _ in range(data.steps):
            next(data)
        data.close()
    seconds = time.perf_counter() - began
    # Not getrusage, whose maximum goes on from the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {f"{what}_s": round(seconds, 1), f"{what}_peak_mb": round(peak)}


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", help="a corpus; default the standard library's documentation")
    parser.add_argument("--tokenizer", help="a tokenizer to measure beside those trained here")
    parser.add_argument("--megabytes", type=float, default=40, help="text to tokenize")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory_mb", default="", help="sizes of text, comma-separated")
    parser.add_argument("--memory_kind", default="bpe", help="bpe or sentencepiece")
    parser.add_argument("--only", choices=["tokenize", "load", "memory"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source = Corpus(arguments.input or stdlib_corpus(root / "stdlib"))
        tokenizers = {"bpe": train_tokenizer([source], root / "bpe", 16_384)}
        figures: dict = {
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
            "load_average": os.getloadavg()[0],
        }
        if arguments.only != "memory":
            corpus = write_text(source, root / "text", arguments.megabytes)
            tokenize_corpus(corpus, root / "tokens", tokenizers["bpe"], 2048)
        if arguments.only in (None, "tokenize"):
            tokenizers["sentencepiece"] = train_tokenizer(
                [source], root / "unigram", 8192, "sentencepiece"
            )
            if arguments.tokenizer:
                tokenizers["given"] = load_tokenizer(arguments.tokenizer)
            figures["tokenize"] = {
                kind: tokenize_rates(corpus, tokenizer, arguments.rounds, root)
                for kind, tokenizer in tokenizers.items()
            }
        if arguments.only in (None, "load"):
            figures["load"] = loader_rates(root / "tokens", 64, arguments.rounds)
        if arguments.only == "memory" or arguments.memory_mb:
            sizes = [float(s) for s in (arguments.memory_mb or "10,100").split(",")]
            kind = arguments.memory_kind
            train_tokenizer([source], root / f"memory-{kind}", 8192, kind)
            figures["memory"] = memory(sizes, source, root / f"memory-{kind}", root)
    print(json.dumps(figures, indent=2, default=np.ndarray.tolist))


if __name__ == "__main__":
    main()
