"""The mesh of devices, (data, fsdp, tensor), on one chip, a pod, or several slices.

What each axis cuts is the table in `synthdiv.model.partition`: `data` copies the model and cuts the
batch; `fsdp` cuts the batch and the weights; `tensor` cuts heads, MLP and vocabulary.
"""

import contextlib
import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding

from synthdiv.errors import UserError, first_line
from synthdiv.model.config import ModelConfig
from synthdiv.model.partition import MESH_AXES, spec


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; one axis may be -1, which takes all that are left.

    `slices` is the number of groups of devices between which the network is slow (TPU slices, or
    hosts without a common fast fabric); they become the outer part of `data`.
    """

    data: int = 1
    fsdp: int = -1
    tensor: int = 1
    slices: int = 1

    def sizes(self, devices: int) -> tuple[int, int, int]:
        """Returns how many of `devices` lie along (data, fsdp, tensor).

        Raises:
            UserError: the axes do not multiply to the number of devices.
        """
        axes = [self.data, self.fsdp, self.tensor]
        written = " x ".join(f"{name}={size}" for name, size in zip(MESH_AXES, axes, strict=True))
        if axes.count(-1) > 1 or any(size < 1 and size != -1 for size in axes):
            raise UserError(f"Mesh {written}: sizes are 1 or more, and at most one is -1")
        known = int(np.prod([size for size in axes if size != -1]))
        if -1 in axes:
            if devices % known:
                raise UserError(f"Mesh {written} does not divide the {devices} devices")
            axes[axes.index(-1)] = devices // known
        elif known != devices:
            raise UserError(f"Mesh {written} needs {known} devices, and there are {devices}")
        return axes[0], axes[1], axes[2]


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """Returns the mesh of `config` over all devices of all processes.

    Raises:
        UserError: the sizes do not multiply to the number of devices.
    """
    devices = list(devices if devices is not None else jax.devices())
    abstract_mesh(config, len(devices))  # refuses what does not divide
    data, fsdp, tensor = config.sizes(len(devices))
    if config.slices > 1:
        grid = _hybrid(devices, config.slices, data // config.slices, fsdp, tensor)
    elif devices[0].platform == "cpu":
        grid = np.array(devices).reshape(data, fsdp, tensor)
    else:
        from jax.experimental import mesh_utils

        grid = mesh_utils.create_device_mesh((data, fsdp, tensor), devices)
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * 3)


def abstract_mesh(config: MeshConfig, devices: int) -> AbstractMesh:
    """Returns the mesh of `config` over so many devices, which need not be here.

    Raises:
        UserError: as `make_mesh`.
    """
    sizes = config.sizes(devices)
    if config.slices > 1 and sizes[0] % config.slices:
        raise UserError(f"Mesh.data={sizes[0]} does not divide into Mesh.slices={config.slices}")
    return AbstractMesh(sizes, MESH_AXES, axis_types=(AxisType.Auto,) * 3)


def _hybrid(
    devices: list[jax.Device], slices: int, data: int, fsdp: int, tensor: int
) -> np.ndarray:
    from jax.experimental import mesh_utils

    by_slice = hasattr(devices[0], "slice_index")
    groups = len({d.slice_index if by_slice else d.process_index for d in devices})
    if groups == slices:
        return mesh_utils.create_hybrid_device_mesh(
            (data, fsdp, tensor), (slices, 1, 1), devices, process_is_granule=not by_slice
        )
    # Several processes per slice, or slices that JAX does not know of: devices are numbered process
    # by process, so neighbours are close together.
    return np.array(devices).reshape(slices * data, fsdp, tensor)


def join_processes() -> None:
    """Makes this process one of several that train together.

    On Slurm, GKE and TPU pods JAX finds the others by itself; elsewhere the environment names them:
    JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES, JAX_PROCESS_ID. Call it before anything
    else touches a device.

    Raises:
        UserError: the others cannot be found.
    """
    import os

    # It would take SIGTERM away from the command, and the loop agrees on its own when to stop.
    jax.config.update("jax_enable_preemption_service", False)
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    given = [os.environ.get(name, "") for name in names]
    try:
        if all(given):
            address, count, index = given
            jax.distributed.initialize(address, int(count), int(index))
        else:
            jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        line = first_line(error)
        raise UserError(
            f"cannot join the other processes ({line}); set {', '.join(names)}"
        ) from error


def in_force(mesh: Mesh) -> contextlib.AbstractContextManager:
    """Returns a context in which functions are traced for `mesh` and cut activations along it."""
    return jax.set_mesh(mesh)


def shardings(mesh: Mesh | AbstractMesh, letters: Any) -> Any:
    """Returns the sharding of each array of a tree, given the letters of its dimensions."""
    return jax.tree.map(lambda word: NamedSharding(mesh, spec(word)), letters)


def check_fits(
    model: ModelConfig, mesh: Mesh | AbstractMesh, batch_size: int, accumulate: int = 1
) -> None:
    """Refuses a mesh that does not divide the model or the batch.

    Raises:
        UserError: names the axis and the size that do not go together.
    """
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % (rows * accumulate):
        raise UserError(
            f"a batch of {batch_size} sequences does not divide into {rows} parts "
            f"(data={mesh.shape['data']} x fsdp={mesh.shape['fsdp']})"
            + (f" x {accumulate} accumulated" if accumulate > 1 else "")
        )
    for axis, name, size in (
        ("tensor", "heads", model.heads),
        ("tensor", "kv_heads", model.num_kv_heads),
        ("tensor", "mlp", model.mlp),
        ("tensor", "vocab_size", model.vocab_size),
        ("fsdp", "hidden", model.hidden),
    ):
        if size % mesh.shape[axis]:
            raise UserError(f"Mesh.{axis}={mesh.shape[axis]} does not divide Model.{name}={size}")
