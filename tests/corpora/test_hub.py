"""The Hugging Face hub, on the loopback address in a process of its own: corpora and tokenizers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthdiv.corpora import Corpus
from synthdiv.data import train_tokenizer

pytest.importorskip("datasets")

SERVER = Path(__file__).resolve().parents[1] / "hub_server.py"
CARD = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
- config_name: old
  data_files: old/all.jsonl
---
"""
# What a process with that hub finds; HF_ENDPOINT is read when the libraries are imported.
_READ = """
import json, sys
from synthdiv.corpora import Corpus
from synthdiv.errors import UserError
found = {}
for address in sys.argv[1:]:
    try:
        corpus = Corpus(address)
        found[address] = [corpus.name, [d.text for d in corpus], corpus.fingerprint]
    except UserError as error:
        found[address] = str(error)
print(json.dumps(found))
"""


def write(path: Path, word: str, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": f"{word} {i}"}) + "\n" for i in range(count)))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder behind the hub, and the environment of a process that uses it."""
    root = tmp_path_factory.mktemp("hub")
    tales = root / "datasets" / "org" / "tales"
    write(tales / "data" / "train-00000.jsonl", "tale", 20)
    write(tales / "data" / "test-00000.jsonl", "test", 5)
    write(tales / "old" / "all.jsonl", "old", 7)
    (tales / "README.md").write_text(CARD)
    pages = [Corpus.of([f"page {i} of a book" for i in range(50)])]
    train_tokenizer(pages, root / "models" / "org" / "words", 300)
    server = subprocess.Popen(
        [sys.executable, str(SERVER), str(root)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    environment = os.environ | {
        "HF_ENDPOINT": server.stdout.readline().strip(),
        "HF_HOME": str(root / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    yield root, environment
    server.terminate()
    server.wait()


def test_data_sets_of_the_hub(hub: tuple[Path, dict[str, str]]) -> None:
    root, environment = hub
    base = "hf://datasets/org/tales"
    asked = [
        *(f"{base}?split=train", f"{base}?split=test[1:3]", f"{base}/old", base),
        *(f"{base}/data/test-00000.jsonl", f"{base}?split=dev", "hf://datasets/org/none"),
    ]
    read = subprocess.run(
        [sys.executable, "-c", _READ, *asked],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert read.returncode == 0, read.stderr
    train, part, old, undecided, file, no_split, none = json.loads(read.stdout).values()
    assert train[:2] == ["tales", [f"tale {i}" for i in range(20)]]
    assert train[2] == Corpus.of(train[1]).sha256
    assert part[1] == ["test 1", "test 2"] and old[1] == [f"old {i}" for i in range(7)]
    assert file[1] == [f"test {i}" for i in range(5)]
    assert "'train', 'test'" in undecided and "dev" in no_split and "org/none" in none
    assert all("\n" not in line for line in (undecided, no_split, none))

    away = subprocess.run(
        [sys.executable, "-c", _READ, f"{base}/old", "hf://datasets/org/other"],
        env=environment | {"HF_ENDPOINT": "http://127.0.0.1:9"},  # where nobody listens
        capture_output=True,
        text=True,
        timeout=240,
    )
    kept, other = json.loads(away.stdout).values()
    assert kept == old, "out of the cache"
    assert other.endswith("http://127.0.0.1:9 does not answer, and its cache has none")
    assert "Retry" not in away.stderr and "Error" not in away.stderr


@pytest.mark.slow
def test_what_is_no_corpus_is_fetched_by_its_address(hub: tuple[Path, dict[str, str]]) -> None:
    _, environment = hub
    code = """
import sys
from synthdiv.errors import UserError
from synthdiv.storage import fetch
for address in sys.argv[1:]:
    try:
        found = fetch(address)
        print(sorted(p.name for p in found.iterdir()) if found.is_dir() else found.name)
    except UserError as error:
        print(error)
"""
    places = ("org/words", "datasets/org/tales/data", "datasets/org/tales/README.md")
    asked = [f"hf://{place}" for place in (*places, "datasets/org/tales/no", "org/none")]
    read = subprocess.run(
        [sys.executable, "-c", code, *asked],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert read.returncode == 0, read.stderr
    words, data, card, no, none = read.stdout.splitlines()
    assert "tokenizer.json" in words and card == "README.md"
    assert data == "['test-00000.jsonl', 'train-00000.jsonl']"
    assert (
        no == "nothing is at hf://datasets/org/tales/no" and "hf://org/none cannot be had" in none
    )


def test_a_tokenizer_by_its_name(hub: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """It is fetched once: a second run, with the hub gone, finds it in the cache."""
    root, environment = hub
    write(tmp_path / "c.jsonl", "a page of a book", 30)
    command = [sys.executable, "-m", "synthdiv.tokenize", "--input=c.jsonl"]

    def tokenize(name: str, output: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, f"--tokenizer={name}", f"--output={output}", "--sequence_length=16"],
            env=environment | more,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )

    done = tokenize("org/words", "out")
    assert done.returncode == 0, done.stderr
    own = (root / "models" / "org" / "words" / "tokenizer.json").read_bytes()
    assert (tmp_path / "out" / "tokenizer" / "tokenizer.json").read_bytes() == own
    again = tokenize("org/words", "again", HF_HUB_OFFLINE="1")
    assert again.returncode == 0 and again.stdout == done.stdout
    none = tokenize("org/nothing", "none")
    assert none.returncode == 2 and none.stderr.count("\n") == 1
    assert "no tokenizer 'org/nothing' here, and none from the hub" in none.stderr


def test_a_checkpoint_by_its_name(hub: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """`find_checkpoint`, by which evaluate, export and sft go; a slip in a path asks no hub."""
    root, environment = hub
    repository = root / "models" / "org" / "llama"
    repository.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "training_log.bin"):
        (repository / name).write_text(name)
    (tmp_path / "runs").mkdir()
    code = (
        "import sys; from synthdiv import hub\n"
        "for name in sys.argv[1:]:\n"
        "    path = hub.find_checkpoint(name)\n"
        "    print(path.exists() and sorted(p.name for p in path.iterdir()))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, "org/llama", "runs/llamma", "llama"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "['config.json', 'model.safetensors', 'tokenizer.json']",
        "False",
        "False",
    ]
    assert "runs" not in (root / "requests.txt").read_text()
