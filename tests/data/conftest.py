"""A small corpus that random documents make, and tokenizers trained on it."""

import json
import random
from pathlib import Path

import pytest

from synthdiv.data import Tokenizer, train_tokenizer
from synthdiv.files import Corpus

WORDS = ["the", "a", "model", "reads", "writes", "text", "corpus", "of", "tokens", "über", "naïve"]
WORDS += ["東京", "data", "x1", "==", "\n\n", "\t", "3.14", ""]


def random_text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words)).strip() + "."


def write_corpus(path: Path, texts: list[str | None]) -> Corpus:
    lines = (json.dumps({"id": str(i), "text": t}) for i, t in enumerate(texts))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Corpus(path)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    draw = random.Random(7)
    return [random_text(draw, draw.choice((1, 5, 40, 200))) for _ in range(400)]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "words.jsonl", texts)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Tokenizer:
    return train_tokenizer([corpus], tmp_path_factory.mktemp("tokenizer"), 300)
