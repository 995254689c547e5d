"""What several tests share: the real data beside the project, and quiet, reproducible processes."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text, labels and evaluation sets that lies beside a full checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared/data with real texts is not beside this checkout")
    return SHARED
