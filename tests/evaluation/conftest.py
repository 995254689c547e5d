"""The small checkpoint and the small suite, made once a session."""

from pathlib import Path

import jax
import pytest

from tests.evaluation import small


@pytest.fixture(autouse=True, scope="module")
def quick_to_compile():
    """Small programs that run a few times are compiled without most optimizations."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer_dir: Path) -> Path:
    return small.write_checkpoint(tmp_path_factory.mktemp("checkpoint"), tokenizer_dir)


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_suite(tmp_path_factory.mktemp("suite"))
