"""What a run would take, before it runs: parameters, FLOPs, memory a device, time and money.

For the devices at hand, or for others by the table of `synthdiv.training.hardware`. Parameters,
FLOPs and the state are exact, from shapes; what else a step keeps, and what devices send each
other, is estimated in seconds. The compiler can be asked for the memory instead: it compiles the
step, without creating any array, for a few sequences a device and for one more, and the difference
is what a sequence costs.
"""

import contextlib
import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh

from synthdiv.errors import UserError
from synthdiv.model.attention import backend_of
from synthdiv.plans import Plan
from synthdiv.progress import say
from synthdiv.training import traffic
from synthdiv.training.absent import absent_devices, standing_in
from synthdiv.training.fitting import USABLE, devices_needed, fitting
from synthdiv.training.flops import memory_bytes
from synthdiv.training.hardware import MFU, TABLE, Device, check_mfu, device_named, of_kind
from synthdiv.training.memory import estimate, state_bytes
from synthdiv.training.mesh import MeshConfig, abstract_mesh, check_fits, make_mesh
from synthdiv.training.step import (
    StepConfig,
    abstract_batch,
    abstract_state,
    compiled_step,
)


@dataclasses.dataclass(frozen=True)
class Target:
    """What a plan is made for.

    Attributes:
        device: its name, as "h100"; "": the devices at hand.
        devices: how many; 0: those at hand, or one of those named.
        mfu: the share of their peak that training is taken to reach.
        table: a file of devices beside ours.
        compile: whether the compiler is asked for the memory, in minutes; see
            `synthdiv.training.absent` for devices that are not here.
    """

    device: str = ""
    devices: int = 0
    mfu: float = MFU
    table: str | Path | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        check_mfu(self.mfu)

    @property
    def count(self) -> int:
        """How many devices."""
        return self.devices or (1 if self.device else jax.device_count())

    def find(self) -> Device:
        """Returns the device, with what is known of it.

        Raises:
            UserError: it is not in the table.
        """
        if self.device:
            return device_named(self.device, self.table)
        here = jax.devices()[0]
        known, capacity = of_kind(here.device_kind, self.table), memory_bytes(here)
        if known is not None:
            return dataclasses.replace(known, memory=capacity or known.memory)
        if capacity is None and here.platform == "cpu":
            shared = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            capacity = shared / len(jax.local_devices())
        return Device(here.device_kind, 0, capacity or 0)


def plan(
    config: StepConfig,
    mesh: MeshConfig,
    batch_size: int,
    length: int,
    steps: int,
    target: Target | None = None,
    scope: str = "Pretrain",
) -> Plan:
    """Returns what a run would take; its figures are in bytes, FLOPs, tokens, hours and dollars.

    Where the run does not fit, it says what would.

    Args:
        config: what the step is compiled for.
        mesh: how the devices are laid out.
        batch_size: sequences in one update, over all devices.
        length: tokens a sequence.
        steps: updates.
        target: the devices; None: those at hand.
        scope: of gin, that the run's settings are bound in.

    Raises:
        UserError: the mesh, the model and the batch do not go together on these devices, and
            nothing else was found; or a device that is not known.
    """
    target = target or Target()
    device, count = target.find(), target.count
    refused = ""
    try:
        made = abstract_mesh(mesh, count)
        check_fits(config.model, made, batch_size, config.accumulate)
    except UserError as error:
        found = None
        if device.memory and (target.device or target.devices):
            found = fitting(config, mesh, device, count, batch_size, length)
        if not found:
            raise
        said = _changes(scope, config, mesh, *found)
        refused = f"{error}; planned with {said} instead"
        config, mesh = found
        made = abstract_mesh(mesh, count)
    figures = _cost(config, made, mesh.slices, batch_size, length, steps, device, target.mfu)
    if target.compile:
        absent = absent_devices(device, count) if target.device or target.devices else None
        whole = make_mesh(mesh, absent)
        with standing_in(absent) if absent else contextlib.nullcontext():
            figures |= _compiled(config, whole, batch_size, length, device)
    else:
        figures |= _estimated(config, made, batch_size, length, device)
    capacity = device.memory or None
    figures["memory_per_device"] = capacity
    figures["fits"] = None if capacity is None else figures["bytes_per_device"] <= USABLE * capacity
    facts = _in_words(figures, device, target)
    if refused:
        facts["not as asked"] = refused
    elif figures["fits"] is False:
        asked = (config, mesh, device, count, batch_size, length)
        facts["what would fit"] = _what_would(scope, *asked)
    return Plan(facts, figures)


def too_large(
    config: StepConfig, mesh: MeshConfig, batch_size: int, length: int, steps: int
) -> UserError:
    """Returns what to tell of a run that does not fit its devices: the batch that would."""
    data, fsdp, _ = mesh.sizes(jax.device_count())
    micro, rows = batch_size // config.accumulate, data * fsdp
    planned = plan(config, mesh, batch_size, length, steps, Target(compile=True))
    largest = planned.figures["largest_micro_batch"]
    said = f"a micro-batch of {micro:,} sequences of {length:,} tokens does not fit the devices"
    fewer = [
        parts
        for parts in range(1, batch_size // rows + 1)
        if batch_size % (parts * rows) == 0 and batch_size // parts <= min(largest or 0, micro - 1)
    ]
    if not fewer:
        return UserError(
            f"{said}, and no smaller one would: cut the model over more devices (Mesh.fsdp), or "
            "recompute more (Model.remat)"
        )
    return UserError(
        f"{said}; {largest:,} would: accumulate={fewer[0]} cuts the batch of {batch_size:,} into "
        f"micro-batches of {batch_size // fewer[0]:,}"
    )


def _cost(
    config: StepConfig,
    mesh: AbstractMesh,
    slices: int,
    batch_size: int,
    length: int,
    steps: int,
    device: Device,
    mfu: float,
) -> dict[str, Any]:
    """What the run takes beside memory."""
    model, tokens = config.model, steps * batch_size * length
    flops, by_6nd = tokens * model.flops_per_token(length), 6 * model.parameters * tokens
    rate = mfu * device.bf16_flops * mesh.size or None
    hours = rate and flops / rate / 3600
    sent = traffic.sent_bytes(config, mesh, batch_size, length)
    return {
        "parameters": model.parameters,
        "matmul_parameters": model.matmul_parameters,
        "flops_per_token": model.flops_per_token(length),
        "batch_size": batch_size,
        "length": length,
        "tokens": tokens,
        "steps": steps,
        "flops": flops,
        "flops_6nd": by_6nd,
        "device": device.name,
        "devices": mesh.size,
        "mesh": dict(mesh.shape),
        "attention": backend_of(model, length, device.platform)[1].removeprefix("attention: "),
        "mfu": mfu,
        "tokens_per_second": rate and rate / model.flops_per_token(length),
        "hours": hours,
        "device_hours": hours and hours * mesh.size,
        "device_hours_6nd": rate and by_6nd / rate / 3600 * mesh.size,
        "usd": hours and device.usd_per_hour and hours * mesh.size * device.usd_per_hour,
        "sent_bytes_per_step": sum(sent.values()),
        "network_seconds_per_step": traffic.seconds(sent, mesh, device, slices),
    }


def _estimated(
    config: StepConfig, mesh: AbstractMesh, batch_size: int, length: int, device: Device
) -> dict[str, Any]:
    """The memory of each device, from shapes."""
    memory = estimate(config, mesh, batch_size, length, device.platform)
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    largest = None
    if device.memory:
        largest = rows * memory.most_sequences(USABLE * device.memory)
    return {
        "memory": dataclasses.asdict(memory),
        "state_bytes_per_device": memory.state,
        "bytes_per_device": memory.total,
        "largest_micro_batch": largest,
    }


def _compiled(
    config: StepConfig, mesh: Mesh, batch_size: int, length: int, device: Device
) -> dict[str, Any]:
    """The memory of each device, as the compiler states it."""
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    sequences = batch_size // (rows * config.accumulate)
    # Below the chunk that logits are computed in, they grow with the batch; above, they do not.
    few = min(sequences, -(-config.model.loss_chunk // length))
    say(f"compiling the step for {few} and for {few + 1} sequences a device")
    programs = [_lowered(config, mesh, n * rows, length) for n in (few, few + 1)]
    with ThreadPoolExecutor() as pool:  # the compiler does not hold Python's lock
        one, two = pool.map(_temporary_bytes, programs, [device.platform] * 2)
    state, a_sequence = state_bytes(config, mesh), max(two - one, 1)
    largest = None
    if device.memory:
        room = USABLE * device.memory - state - (one - few * a_sequence)
        largest = max(0, int(room // a_sequence)) * rows
    return {
        "state_bytes_per_device": state,
        "bytes_per_device": state + one + a_sequence * (sequences - few),
        "largest_micro_batch": largest,
    }


def _lowered(config: StepConfig, mesh: Mesh, batch_size: int, length: int) -> jax.stages.Lowered:
    """Returns the step for micro-batches of `batch_size`, to be compiled."""
    whole = batch_size * config.accumulate
    return compiled_step(config, mesh).lower(
        abstract_state(config, mesh), abstract_batch(mesh, whole, length)
    )


def _temporary_bytes(lowered: jax.stages.Lowered, platform: str) -> int:
    """Returns the bytes per device that a step takes beyond its state."""
    # How the CPU's instructions are chosen moves no memory and takes half the time.
    options: dict[str, str | bool] = {}
    if platform == "cpu":
        options["xla_backend_optimization_level"] = "0"
    analysis = lowered.compile(options).memory_analysis()
    assert analysis is not None, "the compiler tells no memory"
    return analysis.temp_size_in_bytes


def _what_would(
    scope: str,
    config: StepConfig,
    mesh: MeshConfig,
    device: Device,
    count: int,
    batch_size: int,
    length: int,
) -> str:
    """Names the settings, or the number of devices, with which a run would fit."""
    found = fitting(config, mesh, device, count, batch_size, length)
    if found:
        made = abstract_mesh(found[1], count)
        needed = estimate(found[0], made, batch_size, length, device.platform).total
        return f"{_changes(scope, config, mesh, *found)} ({_gigabytes(needed)})"
    more = devices_needed(config, device, count, batch_size, length)
    if more:
        return f"no setting on {count:,} of them; --devices={more} would"
    return "no setting, on however many of them: a smaller model, or shorter sequences"


def _changes(
    scope: str, config: StepConfig, mesh: MeshConfig, other: StepConfig, layout: MeshConfig
) -> str:
    """The bindings that make a step and a mesh of others."""
    computed = "SFT" if scope == "SFT" else "Model"
    found = {}
    if layout != mesh:
        sizes, before = dataclasses.asdict(layout), dataclasses.asdict(mesh)
        found = {f"Mesh.{name}": str(n) for name, n in sizes.items() if n != before[name]}
    if other.model.remat != config.model.remat:
        found[f"{computed}.remat"] = repr(other.model.remat)
    if other.accumulate != config.accumulate:
        found[f"{scope}.accumulate"] = str(other.accumulate)
    return " ".join(
        f'--bind="{name}={value}"' if "'" in value else f"--bind={name}={value}"
        for name, value in found.items()
    )


def _gigabytes(size: float | None) -> str:
    return "unknown" if size is None else f"{size / 1e9:,.2f} GB"


def _in_words(figures: dict[str, Any], device: Device, target: Target) -> dict[str, str]:
    mesh = " x ".join(f"{name}={size}" for name, size in figures["mesh"].items())
    capacity, memory = figures["memory_per_device"], figures.get("memory")
    facts = {
        "parameters": f"{figures['parameters']:,} "
        f"({figures['matmul_parameters']:,} in matrix products)",
        "tokens": f"{figures['tokens']:,} in {figures['steps']:,} steps of "
        f"{figures['batch_size']:,} sequences of {figures['length']:,}",
        "FLOPs": f"{figures['flops']:.3g} ({figures['flops_per_token']:.3g} a token); "
        f"{figures['flops_6nd']:.3g} by 6ND",
        "devices": f"{figures['devices']:,} x {figures['device']}, mesh {mesh}",
        "memory a device": f"{_gigabytes(figures['bytes_per_device'])} of {_gigabytes(capacity)}"
        f"{f' ({USABLE:.0%} usable)' if capacity else ''}, "
        f"the state {_gigabytes(figures['state_bytes_per_device'])} of it",
    }
    facts["attention"] = figures["attention"]
    if memory:
        parts = ("weights", "activations", "logits", "gradients", "summed")
        said = ", ".join(f"{name} {_gigabytes(memory[name])}" for name in parts if memory[name])
        facts["beside the state"] = f"{said}; gradients come as activations go"
    if figures["largest_micro_batch"] is not None:
        fits = "fits" if figures["fits"] else "DOES NOT FIT"
        facts["largest micro-batch"] = (
            f"{figures['largest_micro_batch']:,} sequences; this run {fits}"
        )
    if figures["hours"]:
        facts |= _time_in_words(figures, device, target)
    if memory:
        facts["how"] = (
            "from shapes, exact; estimated are the memory beside the state, to about a tenth, and "
            "the network; --compile asks the compiler for the memory, in minutes"
        )
    return facts


def _time_in_words(figures: dict[str, Any], device: Device, target: Target) -> dict[str, str]:
    step = figures["batch_size"] * figures["length"] / figures["tokens_per_second"]
    facts = {
        "speed": f"{figures['tokens_per_second']:,.0f} tokens/s, a step {step:,.3g} s, at "
        f"{100 * figures['mfu']:g}% MFU (--mfu)",
        "time": f"{figures['hours']:,.1f} hours, {figures['device_hours']:,.1f} device-hours "
        f"({figures['device_hours_6nd']:,.1f} by 6ND)",
    }
    if figures["sent_bytes_per_step"]:
        seconds = figures["network_seconds_per_step"]
        open_ = "at a speed that is not known"
        if seconds is not None:
            share = figures["mfu"] * step / (step + seconds)
            open_ = f"{seconds:,.3g} s; {100 * share:.1f}% MFU if nothing hid it"
        facts["network"] = f"{_gigabytes(figures['sent_bytes_per_step'])} sent a step, {open_}"
    table = f"{TABLE}{f' and {target.table}' if target.table else ''}"
    if figures["usd"] is None:
        facts["cost"] = f"unknown: {table} has no price of {device.name}"
    else:
        facts["cost"] = (
            f"{figures['usd']:,.0f} USD at {device.usd_per_hour:,.2f} a device-hour ({table})"
        )
    return facts
