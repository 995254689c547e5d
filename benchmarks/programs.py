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
import json
import math
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["JAX_PLATFORMS"] = "cpu"

from benchmarks import hlo  # noqa: E402
from benchmarks.train_step import model_config, parse_changes  # noqa: E402
from synthdiv.model.config import ModelConfig  # noqa: E402
from synthdiv.training.absent import absent_devices, standing_in  # noqa: E402
from synthdiv.training.hardware import Device, device_named  # noqa: E402

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
    ("v5px8", "1,8,1", "1b4", "batch=32"),
)

# The model of docs/scaling.md, of what one device does in a second.
PRODUCTS = 711e12  # FLOPs of matrix products: the 1.4B's step on one H200 (docs/diary.md)
ATTENTION = 280e12  # FLOPs of attention's causal half: its 55 ms of that step
REST = 62e-3 * 4800e9 / (16 * 2048 * 16 * 2048)  # bytes a token, layer and hidden unit: its rest
NVLINK, NETWORK = 450e9, 50e9  # bytes sent by a GPU: fourth generation; 400 Gb/s
REACHED = 0.8  # of a link, by large collectives


def device_of(target: str) -> tuple[Device, int]:
    """Returns what "h200", "h100x64" and "v5p:x8" name, and how many."""
    kind, _, number = target.replace(":", "").partition("x")
    return device_named(kind), int(number or 1)


def compile_step(target: str, mesh: str, model: str, changes: str, length: int = 2048):
    """Returns the compiled step, its ModelConfig, sequences a device, and the seconds it took."""

    from synthdiv.training.mesh import MeshConfig, in_force, make_mesh
    from synthdiv.training.optimizer import OptimizerConfig
    from synthdiv.training.step import StepConfig, abstract_batch, abstract_state, compiled_step

    made = make_mesh(MeshConfig(*map(int, mesh.split(","))), absent_devices(*device_of(target)))
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
    if device_of(target)[0].platform == "gpu":
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
    rest = (
        tokens * config.layers * config.hidden * REST / (device_of(target)[0].bandwidth or math.nan)
    )
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
    parser.add_argument("--target", help="h200, h100, h100xN, v5pxN, v5exN")
    parser.add_argument("--mesh", default="1,1,1", help="data,fsdp,tensor")
    parser.add_argument("--model", default="1b4", help="a name in configs/model")
    parser.add_argument("--try", dest="try_", default="batch=16", help="settings, xla_* flags too")
    args = parser.parse_args()
    cases = ((args.target, args.mesh, args.model, args.try_),) if args.target else CASES
    for case in cases:
        print(json.dumps(measure(*case)), flush=True)


if __name__ == "__main__":
    main()
