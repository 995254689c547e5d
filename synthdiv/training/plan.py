"""What a run would take, before it runs: parameters, FLOPs, memory a device, the largest batch.

Memory is not estimated by a formula: the compiler is asked. The step is compiled, without creating
any array, for one and for two sequences per device, and the difference is what a sequence costs.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
from jax.sharding import Mesh

from synthdiv.errors import UserError
from synthdiv.plans import Plan
from synthdiv.training.flops import memory_bytes, peak_flops
from synthdiv.training.step import StepConfig, abstract_batch, abstract_state, compiled_step

USABLE = 0.92  # share of a device's memory; the allocator and the libraries take the rest
TYPICAL_MFU = 0.45  # for a first idea of how long a run takes


def plan(config: StepConfig, mesh: Mesh, batch_size: int, length: int, steps: int) -> Plan:
    """Returns what a run would take; its figures are in bytes, FLOPs, tokens and hours.

    Args:
        config: what the step is compiled for.
        batch_size: sequences in one update, over all devices.
        length: tokens a sequence.
        steps: updates.
    """
    model, device = config.model, jax.devices()[0]
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    tokens = steps * batch_size * length
    programs = [_lowered(config, mesh, n * rows, length) for n in (1, 2)]
    with ThreadPoolExecutor() as pool:  # the compiler does not hold Python's lock
        one, two = pool.map(_temporary_bytes, programs)
    state = _bytes_a_device(abstract_state(config, mesh))
    a_sequence = max(two - one, 1)
    per_device = batch_size // (rows * config.accumulate)
    needed = state + one + a_sequence * (per_device - 1)
    capacity = memory_bytes(device)
    if capacity is None and device.platform == "cpu":
        shared = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        capacity = shared / len(jax.local_devices())
    largest = None
    if capacity is not None:
        room = USABLE * capacity - state - (one - a_sequence)
        largest = max(0, int(room // a_sequence)) * rows
    peak = peak_flops(device)
    flops = tokens * model.flops_per_token(length)
    figures = {
        "parameters": model.parameters,
        "matmul_parameters": model.matmul_parameters,
        "flops_per_token": model.flops_per_token(length),
        "tokens": tokens,
        "steps": steps,
        "flops": flops,
        "devices": f"{mesh.size} x {device.device_kind}",
        "mesh": dict(mesh.shape),
        "state_bytes_per_device": state,
        "bytes_per_device": needed,
        "memory_per_device": capacity,
        "fits": None if capacity is None else needed <= USABLE * capacity,
        "largest_micro_batch": largest,
        "hours_at_45%_mfu": peak and flops / (TYPICAL_MFU * peak * mesh.size) / 3600,
    }
    return Plan(_in_words(figures), figures)


def too_large(
    config: StepConfig, mesh: Mesh, batch_size: int, length: int, steps: int
) -> UserError:
    """Returns what to tell of a run that does not fit its devices: the batch that would."""
    micro, rows = batch_size // config.accumulate, mesh.shape["data"] * mesh.shape["fsdp"]
    largest = plan(config, mesh, batch_size, length, steps).figures["largest_micro_batch"]
    said = f"a micro-batch of {micro:,} sequences of {length:,} tokens does not fit the devices"
    fitting = [
        parts
        for parts in range(1, batch_size // rows + 1)
        if batch_size % (parts * rows) == 0 and batch_size // parts <= min(largest or 0, micro - 1)
    ]
    if not fitting:
        return UserError(
            f"{said}, and no smaller one would: cut the model over more devices (Mesh.fsdp), or "
            "recompute more (Model.remat)"
        )
    return UserError(
        f"{said}; {largest:,} would: accumulate={fitting[0]} cuts the batch of {batch_size:,} into "
        f"micro-batches of {batch_size // fitting[0]:,}"
    )


def _in_words(figures: dict[str, Any]) -> dict[str, str]:
    def gigabytes(size: float | None) -> str:
        return "unknown" if size is None else f"{size / 1e9:,.2f} GB"

    mesh = " x ".join(f"{name}={size}" for name, size in figures["mesh"].items())
    facts = {
        "parameters": f"{figures['parameters']:,} "
        f"({figures['matmul_parameters']:,} in matrix products)",
        "tokens": f"{figures['tokens']:,} in {figures['steps']:,} steps",
        "FLOPs": f"{figures['flops']:.3g} ({figures['flops_per_token']:.3g} a token)",
        "devices": f"{figures['devices']}, mesh {mesh}",
        "memory a device": f"{gigabytes(figures['bytes_per_device'])} of "
        f"{gigabytes(figures['memory_per_device'])}, the state "
        f"{gigabytes(figures['state_bytes_per_device'])} of it",
    }
    if figures["largest_micro_batch"] is not None:
        fits = "fits" if figures["fits"] else "DOES NOT FIT: raise accumulate or lower batch_size"
        facts["largest micro-batch"] = (
            f"{figures['largest_micro_batch']:,} sequences; this run {fits}"
        )
    if figures["hours_at_45%_mfu"]:
        facts["time"] = f"{figures['hours_at_45%_mfu']:,.1f} hours at 45% MFU"
    return facts


def _lowered(config: StepConfig, mesh: Mesh, batch_size: int, length: int) -> jax.stages.Lowered:
    """Returns the step for micro-batches of `batch_size`, to be compiled."""
    whole = batch_size * config.accumulate
    return compiled_step(config, mesh).lower(
        abstract_state(config, mesh), abstract_batch(mesh, whole, length)
    )


def _temporary_bytes(lowered: jax.stages.Lowered) -> int:
    """Returns the bytes per device that a step takes beyond its state."""
    # How the CPU's instructions are chosen moves no memory and takes half the time.
    on_cpu = jax.devices()[0].platform == "cpu"
    options: dict[str, str | bool] = {"xla_backend_optimization_level": "0"} if on_cpu else {}
    analysis = lowered.compile(options).memory_analysis()
    assert analysis is not None, "the compiler tells no memory"
    return analysis.temp_size_in_bytes


def _bytes_a_device(tree: Any) -> int:
    return sum(
        math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(tree)
    )
