"""Real tokens, made once: pages of Python's own reference, a small tokenizer, short sequences."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from synthdiv.model import ModelConfig
from synthdiv.training import OptimizerConfig, PretrainConfig, pretrain

LENGTH = 32  # of the packed sequences
TINY = ModelConfig(
    vocab_size=512,
    hidden=32,
    mlp=64,
    layers=2,
    heads=8,
    max_length=96,
    dtype="float32",
    loss_chunk=64,
)


def write_tokens(directory: Path) -> tuple[Path, Path]:
    """Writes two directories of tokens, of one tokenizer, that make a mixture."""
    from pydoc_data.topics import topics

    from synthdiv.data import tokenize_corpus, train_tokenizer
    from synthdiv.files import Corpus

    pages = [topics[name] for name in sorted(topics)][:24]
    sources = []
    for name, part in (("even", pages[::2]), ("odd", pages[1::2])):
        file = directory / f"{name}.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in part))
        sources.append(Corpus(file))
    tokenizer = train_tokenizer(sources, directory / "tokenizer", TINY.vocab_size)
    for corpus in sources:
        tokenize_corpus(corpus, directory / corpus.name, tokenizer, LENGTH, workers=0)
    return directory / sources[0].name, directory / sources[1].name


@contextlib.contextmanager
def _quick_to_compile() -> Iterator[None]:
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(autouse=True, scope="module")
def quick_to_compile():
    """Small programs that run a few times are compiled without most optimizations."""
    with _quick_to_compile():
        yield


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="session")
def run(tokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of four steps with two checkpoints; to be copied."""
    from synthdiv.data import MixtureConfig

    config = PretrainConfig(
        batch_size=8,
        tokens=4 * 8 * LENGTH,
        checkpoint_every=2,
        tensorboard=False,
        compile_cache="",
        model=TINY,
        mixture=MixtureConfig(sources=((str(tokens[0]), None),)),
    )
    with _quick_to_compile():
        return pretrain(config, tmp_path_factory.mktemp("run")).parents[1]


@pytest.fixture
def config(tokens) -> PretrainConfig:
    """Twelve steps of a tiny model."""
    from synthdiv.data import MixtureConfig

    return PretrainConfig(
        batch_size=8,
        tokens=12 * 8 * LENGTH,
        log_every=3,
        checkpoint_every=0,
        tensorboard=False,
        compile_cache="",
        model=TINY,
        optimizer=OptimizerConfig(learning_rate=1e-2),
        mixture=MixtureConfig(sources=((str(tokens[0]), 9000.0), (str(tokens[1]), None))),
    )


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def state_of(checkpoint: Path) -> dict:
    """Every array of a checkpoint as NumPy, whatever devices it was saved from."""
    state = {}
    with ocp.PyTreeCheckpointer() as reader:
        for name in ("params", "optimizer", "progress"):
            shapes = reader.metadata(checkpoint / name).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            state[name] = reader.restore(checkpoint / name, restore_args=as_numpy)
    return state
