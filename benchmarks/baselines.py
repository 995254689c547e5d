"""Speed, memory and scaling of the baseline metrics, beside the package `diversity`.

    python benchmarks/baselines.py               # 20 MB beside the peer, then 10 MB to 1 GB
    python benchmarks/baselines.py --input=books.jsonl.gz       # the real text to use
    python benchmarks/baselines.py --sizes= --documents=1000000 # a million of 600 words

Prints JSON. Every measurement is a process of its own: wall seconds and CPU seconds from the first
document to the last figure, and the peak of its resident memory. Without --input the real text is
the source of Python's standard library. Larger corpora are made from it by repetition with noise:
sentences drawn at random, every eighth word replaced by a random one.

The peer is needed for the comparison only:
    pip install nltk tqdm numpy && pip install --no-deps diversity==0.3.1
"""

import argparse
import importlib
import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from synthdiv.baselines import BaselineConfig, compute_baselines  # noqa: E402
from synthdiv.files import Corpus, CorpusWriter  # noqa: E402

PEER_METRICS = ("ngram_diversity", "self_repetition", "compression")
DOCUMENT_WORDS = 600


def real_documents(inputs: list[str]) -> Iterator[str]:
    """Documents of real text: the given corpora, or the standard library's source in pieces."""
    if inputs:
        for path in inputs:
            for document in Corpus(path):
                yield document.text
        return
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for start in range(0, len(text), 4000):
            yield text[start : start + 4000]


def cut_to(texts: Iterator[str], size: int) -> list[str]:
    """The first documents that hold `size` bytes, in pieces of about DOCUMENT_WORDS words."""
    held, total = [], 0
    for text in texts:
        for start in range(0, len(text), 4000):
            piece = text[start : start + 4000]
            held.append(piece)
            total += len(piece.encode())
            if total >= size:
                return held
    raise SystemExit(f"only {total / 1e6:.1f} MB of real text: give more with --input")


def noisy_documents(base: list[str], words: int, seed: int) -> Iterator[str]:
    """Endless documents of about `words` words: runs of real words, a random one after seven."""
    generator = random.Random(seed)
    runs = []
    for text in base:
        split = text.split()
        runs += [" ".join(split[i : i + 7]) for i in range(0, len(split) - 6, 7)]
    while True:
        chosen = generator.choices(runs, k=words // 8)
        noise = generator.getrandbits(20 * len(chosen))
        yield " ".join([f"{run} x{(noise >> 20 * i) & 0xFFFFF}" for i, run in enumerate(chosen)])


def write_corpus(path: Path, texts: Iterator[str], size: int = 0, documents: int = 0) -> None:
    writer = CorpusWriter(path)
    held: list[dict] = []
    total = count = 0
    for text in texts:
        held.append({"id": str(count), "text": text})
        total += len(text)
        count += 1
        done = total >= size if size else count >= documents
        if len(held) == 10_000 or done:
            writer.write(held)
            held = []
        if done:
            break
    writer.close({"documents": count})


def peer_functions() -> types.SimpleNamespace | None:
    """The package's own functions; its package module imports spaCy, so it is passed by."""
    spec = importlib.util.find_spec("diversity")
    if spec is None:
        return None
    package = types.ModuleType("diversity")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["diversity"] = package
    load = importlib.import_module
    return types.SimpleNamespace(
        ngram_diversity=load("diversity.ngram_diversity").ngram_diversity_score,
        self_repetition=lambda texts: load("diversity.self_repetition").self_repetition_score(
            texts, verbose=False
        ),
        compression=load("diversity.compression").compression_ratio,
    )


def measure(kind: str, corpus: str) -> dict:
    """Runs in a process of its own."""
    if kind == "all":
        start, cpu = time.perf_counter(), time.process_time()
        figures = compute_baselines(Corpus(corpus), BaselineConfig())
        parts = {}
    else:
        texts = [document.text for document in Corpus(corpus)]
        figures, parts = {}, {}
        if kind == "ours":
            compute_baselines(texts[:10])  # loads what is loaded on first use
            config = BaselineConfig(metrics=PEER_METRICS, compressors=("gzip",))
            start, cpu = time.perf_counter(), time.process_time()
            figures = compute_baselines(texts, config)
        else:
            peer = peer_functions()
            start, cpu = time.perf_counter(), time.process_time()
            for name in PEER_METRICS:
                part = time.perf_counter()
                figures[name] = float(getattr(peer, name)(texts))
                parts[name] = time.perf_counter() - part
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "figures": figures,
        **({"seconds_of": parts} if parts else {}),
    }


def in_own_process(kind: str, corpus: Path) -> dict:
    command = [sys.executable, __file__, "--measure", kind, str(corpus)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return json.loads(ended.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", action="append", default=[], help="corpus of real text")
    parser.add_argument("--peer_mb", type=float, default=20, help="0 leaves the peer out")
    parser.add_argument("--sizes", default="10,100,1000", help="MB, for scaling")
    parser.add_argument("--documents", type=int, default=0, help="of 600 words; 0 leaves it out")
    parser.add_argument("--scratch", default=None, help="directory for the corpora that are made")
    parser.add_argument("--measure", nargs=2, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(*asked.measure)))
        return
    result: dict = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
    base = cut_to(real_documents(asked.input), int(max(asked.peer_mb, 10) * 1e6))
    with tempfile.TemporaryDirectory(dir=asked.scratch) as scratch:
        if asked.peer_mb:
            path = Path(scratch) / "real"
            write_corpus(path, iter(base), documents=len(base))
            ours = in_own_process("ours", path)
            result["peer"] = {"megabytes": asked.peer_mb, "documents": len(base), "ours": ours}
            if importlib.util.find_spec("diversity"):
                theirs = in_own_process("peer", path)
                result["peer"]["diversity"] = theirs
                result["peer"]["times_faster"] = theirs["seconds"] / ours["seconds"]
        result["scaling"] = []
        for size in filter(None, asked.sizes.split(",")):
            path = Path(scratch) / f"{size}mb"
            noisy = noisy_documents(base, DOCUMENT_WORDS, seed=0)
            write_corpus(path, noisy, size=int(float(size) * 1e6))
            found = in_own_process("all", path)
            found["seconds_per_gb"] = found["seconds"] / float(size) * 1000
            result["scaling"].append({"megabytes": float(size)} | found)
        if asked.documents:
            path = Path(scratch) / "documents"
            noisy = noisy_documents(base, DOCUMENT_WORDS, seed=1)
            write_corpus(path, noisy, documents=asked.documents)
            result["documents"] = in_own_process("all", path)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
