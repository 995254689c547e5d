"""What a document costs on processors: whole commands on two sizes of corpus, and bytes on disk.

    python benchmarks/processors.py    # minutes; writes benchmarks/processors.json

Seconds of the processor, of a command and its children, so that other work on the machine counts
little; the difference of the two sizes is what documents cost, the rest is fixed.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = (2_000, 8_000)  # documents of the two corpora
WORDS = 200  # of each
TOPICS = 100  # of the corpora that the offline writer writes, for bytes on disk
BASELINES = """
import sys
from synthdiv.baselines import compute_baselines
from synthdiv.files import Corpus
compute_baselines(Corpus(sys.argv[1]))
"""


def measure() -> dict[str, object]:
    """Returns seconds of the processor a document of each command, and bytes on disk."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        corpora = [_corpus(scratch, size) for size in SIZES]
        tokenizer = scratch / "first" / "tokenizer"
        tokenize = ["-m", "synthdiv.tokenize", "--input={0}", "--output={0}.tokens", "--workers=0"]
        train = [word.format(corpora[0]).replace(".tokens", ".first") for word in tokenize]
        _run([*train, "--tokenizer=bpe", f"--output={tokenizer.parent}"])
        commands = {
            "filter, all checks": ["-m", "synthdiv.filter", "--input={0}", "--output={0}.filtered"],
            "tokenize": [*tokenize, f"--tokenizer={tokenizer}"],
        }
        spent = {
            name: [_run([word.format(corpus) for word in command]) for corpus in corpora]
            for name, command in commands.items()
        }
        spent["baselines, all"] = [_run(["-c", BASELINES, str(corpus)]) for corpus in corpora]
        small, large = (_written(scratch / f"{each}", each) for each in (2, 8))
    more = TOPICS * (8 - 2)
    each = {name: (many - few) / (SIZES[1] - SIZES[0]) for name, (few, many) in spent.items()}
    return {
        "command": "python benchmarks/processors.py",
        "commands": {
            name: {
                "cpu_seconds_a_document": one,
                "fixed_cpu_seconds": max(spent[name][0] - one * SIZES[0], 0.0),
            }
            for name, one in each.items()
        },
        "corpus_bytes_a_document": (large[0] - small[0]) / more,
        "store_bytes_a_call": (large[1] - small[1]) / more,
    }


def _corpus(folder: Path, size: int) -> Path:
    """Writes documents of random words, none like another."""
    from pydoc_data.topics import topics

    draw, words = random.Random(0), " ".join(topics.values()).split()
    path = folder / f"{size}.jsonl"
    with path.open("w") as file:
        for number in range(size):
            text = " ".join([str(number), *draw.choices(words, k=WORDS)])
            file.write(json.dumps({"text": text}) + "\n")
    return path


def _written(output: Path, generations: int) -> tuple[int, int]:
    """Bytes of the shards and of the store of a corpus by the offline writer."""
    settings = f"--bind=Generate.topics={TOPICS} --bind=Generate.generations={generations}"
    command = f"-m synthdiv.generate --output={output} --config=generate/topic.gin {settings}"
    _run(command.split())
    sizes = [
        sum(file.stat().st_size for file in output.glob(pattern))
        for pattern in ("*.parquet", "answers.sqlite*")
    ]
    return sizes[0], sizes[1]


def _run(arguments: Sequence[str]) -> float:
    """Runs Python and returns the seconds of the processor that it and its children took."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)[:200]} failed")
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    found = json.dumps(measure(), indent=2) + "\n"
    (ROOT / "benchmarks" / "processors.json").write_text(found)
    print(found)
