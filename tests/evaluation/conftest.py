"""The small checkpoint and the small suite, made once a session."""

from pathlib import Path

import pytest

from tests.evaluation import small


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer_dir: Path) -> Path:
    return small.write_checkpoint(tmp_path_factory.mktemp("checkpoint"), tokenizer_dir)


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_suite(tmp_path_factory.mktemp("suite"))
