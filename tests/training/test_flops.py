"""MFU is the stated formula over the device's peak; unknown devices have none."""

import types

import pytest

from synthdiv.model import ModelConfig
from synthdiv.training.flops import memory_bytes, mfu, peak_flops


def _device(kind: str):
    return types.SimpleNamespace(device_kind=kind, platform="gpu", memory_stats=lambda: None)


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA GB200", 2.5e15),
        ("NVIDIA L40S", 362e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("cpu", None),
    ],
)
def test_peaks(kind: str, peak: float | None) -> None:
    assert peak_flops(_device(kind)) == peak


def test_memory_of_known_devices() -> None:
    assert memory_bytes(_device("NVIDIA H200")) == 141e9
    assert memory_bytes(_device("a new one")) is None


def test_the_formula() -> None:
    model = ModelConfig()
    per_token = 6 * model.matmul_parameters + 12 * 28 * 960 * 2048
    expected = 100_000 * per_token / (2 * 989e12)
    assert mfu(model, 2048, 100_000, [_device("NVIDIA H200")] * 2) == pytest.approx(expected)
    assert mfu(model, 2048, 100_000, [_device("cpu")]) is None
