"""The peak performance of devices, and the share of it that a run reaches (MFU)."""

import jax

from synthdiv.errors import UserError, closest
from synthdiv.model.config import ModelConfig

# Dense bf16 FLOP/s (no sparsity) and bytes of memory, from the makers' data sheets. The first name
# that JAX's name of the device contains counts.
DEVICES: dict[str, tuple[float, float]] = {
    "GB200": (2.5e15, 186e9),
    "B200": (2.25e15, 180e9),
    "H200": (989e12, 141e9),
    "H100 PCIe": (756e12, 80e9),
    "H100": (989e12, 80e9),
    "A100-SXM4-40GB": (312e12, 40e9),
    "A100": (312e12, 80e9),
    "L40S": (362e12, 48e9),
    "L4": (121e12, 24e9),
    "A10": (125e12, 24e9),
    "V100": (125e12, 32e9),
    "RTX 4090": (165e12, 24e9),
    "TPU v6": (918e12, 32e9),
    "TPU v5p": (459e12, 95e9),
    "TPU v5 lite": (197e12, 16e9),
    "TPU v5e": (197e12, 16e9),
    "TPU v5": (459e12, 95e9),
    "TPU v4": (275e12, 32e9),
    "TPU v3": (123e12, 32e9),
}


def peak_flops(device: jax.Device) -> float | None:
    """Returns the device's dense bf16 FLOP/s, or None for a device that is not in the table."""
    found = _row(device.device_kind)
    return found[0] if found else None


def peak_of(name: str) -> float:
    """Returns the dense bf16 FLOP/s of a device by its name, "h100" or "tpu v5p".

    Raises:
        UserError: it is not in the table.
    """
    found = _row(name) or _row(f"TPU {name}")
    if found is None:
        known = ", ".join(DEVICES)
        raise UserError(f"no device {name!r} is known{closest(name, DEVICES)}; known: {known}")
    return found[0]


def memory_bytes(device: jax.Device) -> float | None:
    """Returns the bytes of memory that a program can use on the device, or None if unknown."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    found = _row(device.device_kind)
    return found[1] if found else None


def _row(kind: str) -> tuple[float, float] | None:
    return next((row for name, row in DEVICES.items() if name.lower() in kind.lower()), None)


def mfu(config: ModelConfig, length: int, tokens_per_second: float, devices: list) -> float | None:
    """Returns model FLOPs utilisation: the share of the devices' peak that the model's FLOPs take.

    A token costs 6 * matmul parameters + 12 * layers * hidden * length; attention has no causal
    discount and recomputation does not count. None where the peak is unknown (CPU).
    """
    peak = peak_flops(devices[0])
    if peak is None:
        return None
    return tokens_per_second * config.flops_per_token(length) / (peak * len(devices))
