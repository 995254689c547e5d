"""What the compiler makes of the training step for accelerators that are not here.

    python benchmarks/programs.py                                       # the cases below
    python benchmarks/programs.py --target=h200 --model=350m --try='batch=32 documents=24'
    python benchmarks/programs.py --target=h100x8 --mesh=1,8,1 --model=7b --try='batch=16'

JAX compiles for an accelerator from its description. That needs the accelerator's compiler and no
device: `pip install "jax-cuda12-plugin[with-cuda]"` for GPUs, `libtpu` for TPUs. Nothing runs.
Prints one line of JSON a case: seconds to compile, memory a device, which kernels attention became,
the types that matrix products multiply, each kind of collective with its bytes and how often it
runs (in a loop or not), and for GPUs the step's expected time by the model of docs/scaling.md.
"""

import argparse
import collections
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["JAX_PLATFORMS"] = "cpu"

from benchmarks import hlo  # noqa: E402
from benchmarks.train_step import model_config, parse_changes  # noqa: E402
from synthdiv.model.config import ModelConfig  # noqa: E402
from synthdiv.training.hardware import device_named  # noqa: E402

# What XLA asks about a GPU: NVIDIA's data sheets, and the CUDA programming guide's table of compute
# capability 9.0.
HOPPER = """
platform_name: "CUDA"
device_description_str: "{name}"
dnn_version_info {{ major: 9 minor: 19 }}
gpu_device_info {{
  name: "{name}" device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  driver_version: "13.0.0" runtime_version: "12.9.0" compile_time_toolkit_version: "12.9.0"
  dnn_version: "9.19.0"
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 threads_per_warp: 32
  device_memory_size: {memory} memory_bandwidth: {bandwidth} l2_cache_size: 52428800
  device_address_bits: 64
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
}}
"""
GPUS: dict[str, dict[str, Any]] = {
    "h200": {"name": "NVIDIA H200", "memory": 141 * 10**9, "bandwidth": 4800 * 10**9},
    "h100": {"name": "NVIDIA H100 80GB HBM3", "memory": 80 * 10**9, "bandwidth": 3350 * 10**9},
}
HOST = 8  # GPUs that NVLink joins
PEAK = device_named("H100").bf16_flops

CASES = (
    ("h200", "1,1,1", "350m", "batch=32"),
    ("h200", "1,1,1", "350m", "batch=32 documents=24"),
    ("h200", "1,1,1", "350m", "batch=16 attention_dropout=0.1"),
    ("h200", "1,1,1", "1b4", "batch=16"),
    ("h100x8", "1,8,1", "1b4", "batch=128"),
    ("h100x8", "1,4,2", "1b4", "batch=64"),
    ("h100x64", "8,8,1", "1b4", "batch=1024"),
    ("h100x64", "1,64,1", "1b4", "batch=1024"),
    ("h100x64", "8,8,1", "7b", "batch=256 remat='mlp'"),
    ("v5p:2x2x2", "1,8,1", "1b4", "batch=32"),
)

# The model of docs/scaling.md, of what one device does in a second.
PRODUCTS = 711e12  # FLOPs of matrix products: the 1.4B's step on one H200 (docs/diary.md)
ATTENTION = 280e12  # FLOPs of attention's causal half: its 55 ms of that step
REST = 62e-3 * 4800e9 / (16 * 2048 * 16 * 2048)  # bytes a token, layer and hidden unit: its rest
NVLINK, NETWORK = 450e9, 50e9  # bytes sent by a GPU: fourth generation; 400 Gb/s
REACHED = 0.8  # of a link, by large collectives


def devices_of(target: str) -> list[Any]:
    """Returns devices to compile for: "h200", "h100x64" (in hosts of 8), "v5p:2x2x2".

    Raises:
        SystemExit: the compiler for it is not installed.
    """
    from jax.experimental import topologies

    kind, _, number = target.partition("x")
    try:
        if kind not in GPUS:
            return topologies.get_topology_desc(target, "tpu").devices
        count = int(number or 1)
        shape = f"1x{max(1, count // HOST)}x{min(count, HOST)}"
        spec = HOPPER.format(**GPUS[kind])
        topology = topologies.get_topology_desc(target, "cuda", topology=shape, target_config=spec)
        return topology.devices
    except Exception as error:  # JAX raises several kinds, with a long trace
        reason = str(error).strip().splitlines()[-1]
        raise SystemExit(
            f"cannot compile for {target}: {reason}; is its compiler there?"
        ) from error


@contextlib.contextmanager
def standing_in(devices: list[Any]) -> Iterator[None]:
    """Makes the choice of kernels ask these devices instead of this machine's."""
    import jax
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    capability = tuple(map(int, getattr(devices[0], "compute_capability", "0.0").split(".")))
    with (
        mock.patch.object(jax, "default_backend", lambda: devices[0].platform),
        mock.patch.object(jax, "local_devices", lambda: devices),
        mock.patch.object(cudnn, "check_cudnn_version", lambda: 91900),
        mock.patch.object(
            cudnn,
            "check_compute_capability",
            lambda least: capability >= tuple(map(int, least.split("."))),
        ),
    ):
        yield


def compile_step(target: str, mesh: str, model: str, changes: str, length: int = 2048):
    """Returns the compiled step, its ModelConfig, sequences a device, and the seconds it took."""
    import jax

    from synthdiv.training.mesh import MeshConfig, in_force, make_mesh
    from synthdiv.training.optimizer import OptimizerConfig
    from synthdiv.training.step import StepConfig, abstract_batch, abstract_state, compiled_step

    jax.devices()  # this machine's own, before another stands in
    made = make_mesh(MeshConfig(*map(int, mesh.split(","))), devices_of(target))
    settings = {"dtype": "bfloat16"} | parse_changes(changes)
    batch, documents = settings.pop("batch", 16), settings.pop("documents", 0)
    flags = {name: settings.pop(name) for name in list(settings) if name.startswith("xla_")}
    config = model_config(model, length, settings)
    step = StepConfig(config, OptimizerConfig(), segments=documents > 0, max_segments=documents)
    with standing_in(list(made.devices.flat)), in_force(made):
        lowered = compiled_step(step, made).jitted.lower(  # type: ignore[attr-defined]
            abstract_state(step, made), abstract_batch(made, batch, length)
        )
        start = time.perf_counter()
        compiled = lowered.compile(compiler_options=flags or None)
    parts = made.shape["data"] * made.shape["fsdp"]
    return compiled, config, batch / parts, time.perf_counter() - start


def measure(target: str, mesh: str, model: str, changes: str, length: int = 2048) -> dict:
    """Compiles one case and returns its figures."""
    compiled, config, rows, seconds = compile_step(target, mesh, model, changes, length)
    program = hlo.read(compiled.as_text())
    memory = compiled.memory_analysis()
    products: dict[str, float] = collections.defaultdict(float)
    kernels: dict[str, int] = collections.defaultdict(int)
    collectives: dict[tuple, list[float]] = {}
    for one, runs, looped in program:
        if one.product:
            products[one.product] += one.flops * runs if one.flops else runs
        if "fmha" in one.target or one.target == "tpu_custom_call":
            kernels[one.target] += runs
        if one.collective:
            kinds = {kind for shape in one.operand_shapes for kind, _ in hlo.arrays(shape)}
            where = "in a loop" if looped else "once"
            key = (one.collective, "+".join(sorted(kinds)), one.groups.shape[1], where)
            entry = collectives.setdefault(key, [0, 0.0])
            entry[0] += runs
            entry[1] += one.moved * runs
    figures = {
        "target": target,
        "mesh": mesh,
        "model": model,
        "changes": changes,
        "compile_seconds": seconds,
        "state_gb": memory.argument_size_in_bytes / 1e9,
        "temporary_gb": memory.temp_size_in_bytes / 1e9,
        "attention": dict(kernels),
        "products": dict(products),
        "collectives": [
            {"kind": k, "types": t, "devices": n, "where": w, "runs": runs, "sent_gb": sent / 1e9}
            for (k, t, n, w), (runs, sent) in sorted(collectives.items())
        ],
    }
    if target.partition("x")[0] in GPUS:
        tensor = int(mesh.split(",")[2])
        figures |= expected(program, config, target, rows, tensor, length)
    return figures


def expected(
    program: hlo.Program, config: ModelConfig, target: str, rows: float, tensor: int, length: int
) -> dict[str, float]:
    """Returns the step's expected time on GPUs, and what of the collectives is in the open.

    A collective hides behind what the schedule puts between its start and its end; the rest of its
    time is the step's. `rows` are a device's sequences, `tensor` the devices that share them.
    """
    kind = target.partition("x")[0]
    heads = config.heads * config.head_size / tensor
    attention = 4 * rows * length**2 / 2 * heads / ATTENTION
    fused = {name for one, _, _ in program if one.opcode == "fusion" for name in one.called}
    inside = {
        name: sum(one.flops for one in program.computations[name]) / PRODUCTS for name in fused
    }
    runs_of = {id(one): runs for one, runs, _ in program}
    busy = needed = exposed = 0.0
    for name, instructions in program.computations.items():
        if name in fused:
            continue
        under_way: dict[str, list[float]] = {}  # collective: seconds it needs, seconds covered
        for one in instructions:
            runs = runs_of.get(id(one), 0)
            if not runs:
                continue  # a loop's condition, a reduction's sum
            seconds = one.flops / PRODUCTS
            if one.opcode == "fusion":
                seconds += sum(inside[called] for called in one.called)
            if "fmha" in one.target:
                seconds += attention * (2.5 if "Backward" in one.target else 1)
            busy += seconds * runs
            for entry in under_way.values():
                entry[1] += seconds
            if one.collective:
                far = (one.groups // HOST != one.groups[:, :1] // HOST).any()
                seconds = one.moved / (REACHED * (NETWORK if far else NVLINK))
                needed += seconds * runs
                if one.opcode.endswith("-start"):
                    under_way[one.name] = [seconds, 0.0]
                else:
                    exposed += seconds * runs
            elif one.opcode.endswith("-done") and one.operands[0] in under_way:
                seconds, covered = under_way.pop(one.operands[0])
                exposed += max(0.0, seconds - covered) * runs
    tokens = rows * length / tensor
    rest = tokens * config.layers * config.hidden * REST / GPUS[kind]["bandwidth"]
    step = busy + rest + exposed
    return {
        "products_and_attention_ms": busy * 1e3,
        "rest_ms": rest * 1e3,
        "collectives_ms": needed * 1e3,
        "collectives_in_the_open_ms": exposed * 1e3,
        "expected_step_ms": step * 1e3,
        "expected_tokens_per_second_per_device": tokens / step,
        "expected_mfu": tokens / step * config.flops_per_token(length) / PEAK,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", help="h200, h100, h100xN, or a TPU topology such as v5p:2x2x2")
    parser.add_argument("--mesh", default="1,1,1", help="data,fsdp,tensor")
    parser.add_argument("--model", default="1b4", help="a name in configs/model")
    parser.add_argument("--try", dest="try_", default="batch=16", help="settings, xla_* flags too")
    args = parser.parse_args()
    cases = ((args.target, args.mesh, args.model, args.try_),) if args.target else CASES
    for case in cases:
        print(json.dumps(measure(*case)), flush=True)


if __name__ == "__main__":
    main()
