"""The peak performance of devices, and the share of it that a run reaches (MFU)."""

import jax

from synthdiv.model.config import ModelConfig
from synthdiv.training.hardware import of_kind


def peak_flops(device: jax.Device) -> float | None:
    """Returns the device's dense bf16 FLOP/s, or None for a device that is not in the table."""
    found = of_kind(device.device_kind)
    return found.bf16_flops if found else None


def memory_bytes(device: jax.Device) -> float | None:
    """Returns the bytes of memory that a program can use on the device, or None if unknown."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    found = of_kind(device.device_kind)
    return found.memory if found else None


def mfu(config: ModelConfig, length: int, tokens_per_second: float, devices: list) -> float | None:
    """Returns model FLOPs utilisation: the share of the devices' peak that the model's FLOPs take.

    A token costs 6 * matmul parameters + 12 * layers * hidden * length; attention has no causal
    discount and recomputation does not count. None where the peak is unknown (CPU).
    """
    peak = peak_flops(devices[0])
    if peak is None:
        return None
    return tokens_per_second * config.flops_per_token(length) / (peak * len(devices))
