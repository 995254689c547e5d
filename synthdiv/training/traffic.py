"""What the devices of a mesh send each other in a step, by a model of its collectives.

Weights travel in the type of the products: along `fsdp` they are gathered for the forward pass, and
again where layers are recomputed, and gradients are reduce-scattered; along `data` a device's share
of the gradients is summed; along `tensor` the activations of every layer are, twice each way.
A micro-batch does all of it. Compiled programs sent 0 to 12% more (docs/scaling.md).
"""

import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh

from synthdiv.training.hardware import Device
from synthdiv.training.step import StepConfig

REACHED = 0.8  # of a link's bytes a second, by large collectives


def sent_bytes(
    config: StepConfig, mesh: Mesh | AbstractMesh, batch_size: int, length: int
) -> dict[str, float]:
    """Returns the bytes that each device sends in one update, by the axis along which it does."""
    model = config.model
    data, fsdp, tensor = (mesh.shape[axis] for axis in ("data", "fsdp", "tensor"))
    width = jnp.dtype(model.dtype).itemsize
    again = model.remat != "none"
    weights = width * model.parameters / tensor * config.accumulate
    activations = width * batch_size / (data * fsdp) * length * model.hidden
    return {
        "data": 2 * (data - 1) / data * weights / fsdp,
        "fsdp": (fsdp - 1) / fsdp * weights * (3 if again else 2),
        "tensor": 2 * (tensor - 1) / tensor * activations * model.layers * (6 if again else 4),
    }


def seconds(
    sent: dict[str, float], mesh: Mesh | AbstractMesh, device: Device, slices: int = 1
) -> float | None:
    """Returns how long that takes if nothing hides it, or None where a link's speed is unknown."""
    linked, span, total = min(device.linked, mesh.size // slices), 1, 0.0
    for axis in ("tensor", "fsdp", "data"):  # neighbours first
        span *= mesh.shape[axis]
        if sent[axis]:
            speed = device.link if span <= linked else device.network
            if speed is None:
                return None
            total += sent[axis] / (REACHED * speed)
    return total
