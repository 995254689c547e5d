"""How a step could be laid out so that it fits the memory of its devices."""

import dataclasses
from collections.abc import Iterator

from synthdiv.errors import UserError
from synthdiv.training.hardware import Device
from synthdiv.training.memory import estimate, state_bytes
from synthdiv.training.mesh import MeshConfig, abstract_mesh, check_fits
from synthdiv.training.step import StepConfig

USABLE = 0.92  # share of a device's memory; the allocator and the libraries take the rest
_REMAT = ("mlp", "full")  # in the order of what they cost
_MOST_DEVICES = 4096
_MOST_TENSOR = 8


def fitting(
    config: StepConfig, mesh: MeshConfig, device: Device, count: int, batch_size: int, length: int
) -> tuple[StepConfig, MeshConfig] | None:
    """Returns the step and the mesh that fit and cost least, or None if none fits.

    Tried in this order, the first that fits counts: the mesh as it is, weights cut over linked
    devices, over all, and then tensor parallelism; for each, recomputing nothing, the MLP, all; and
    for each of these the fewest micro-batches.

    Args:
        config: the step as it was asked for.
        mesh: as it was asked for.
        device: one of the devices; its memory is known.
        count: how many.
        batch_size: sequences in one update.
        length: tokens a sequence.
    """
    for layout in _meshes(mesh, device, count):
        try:
            made = abstract_mesh(layout, count)
            check_fits(config.model, made, batch_size)
        except UserError:
            continue
        if state_bytes(config, made) > USABLE * device.memory:
            continue
        rows = made.shape["data"] * made.shape["fsdp"]
        for remat in dict.fromkeys((config.model.remat, *_REMAT)):
            model = dataclasses.replace(config.model, remat=remat)
            for accumulate in _divisors(batch_size // rows):
                if accumulate < config.accumulate:
                    continue
                tried = dataclasses.replace(config, model=model, accumulate=accumulate)
                memory = estimate(tried, made, batch_size, length, device.platform)
                if memory.total <= USABLE * device.memory:
                    return tried, layout
    return None


def devices_needed(
    config: StepConfig, device: Device, count: int, batch_size: int, length: int
) -> int | None:
    """Returns the next power of two times `count` of devices for which a layout fits, if any is."""
    while count < _MOST_DEVICES:
        count *= 2
        if fitting(config, MeshConfig(), device, count, batch_size, length):
            return count
    return None


def _meshes(asked: MeshConfig, device: Device, count: int) -> Iterator[MeshConfig]:
    """Meshes of `count` devices: as asked, then ever more of the model cut, ever farther."""
    seen = {asked}
    yield asked
    if asked.slices > 1:  # what the network joins is the user's to say
        return
    near = max(n for n in _divisors(count) if n <= device.linked)
    for tensor in (n for n in _divisors(near) if n <= _MOST_TENSOR):
        for fsdp in _divisors(count // tensor):
            if tensor * fsdp < near:
                continue
            layout = MeshConfig(count // (tensor * fsdp), fsdp, tensor)
            if layout not in seen:
                seen.add(layout)
                yield layout


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
