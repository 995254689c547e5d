"""Tokens a second and MFU of the training step, beside transformers + PyTorch on the same shapes.

    python benchmarks/train_step.py                             # this device's usual shapes
    python benchmarks/train_step.py --model=1b4 --batch=16      # one of configs/model, on a GPU
    python benchmarks/train_step.py --model=1b4 --peer=0 --batch=16 \\
        --try='scan_layers=False' --try='scan_layers=False batch=24' --try='remat="dots" batch=48'

Needs jax, flax, optax and numpy, and for the peer torch and transformers; nothing else of what
synthdiv requires. Prints one line of JSON a measurement, and at the end the ratios. Every
measurement is a process of its own, so that neither library holds the other's memory; our steps are
compiled twice, without and with the disk cache. Tokens are random; the loss is over all positions.

The peer is LlamaForCausalLM under torch.compile with SDPA, fused AdamW and gradient clipping: bf16
autocast over float32 masters on a GPU, float32 on a CPU. Ours does the same work: bf16 compute over
float32 masters (float32 on a CPU), AdamW, clipping. documents="web" (in --try; "code" or
"synthetic") makes ours keep documents apart, of such lengths as benchmarks/document_lengths.json
has, and attention_dropout=0.1 makes it drop attention weights; the peer does neither. What each
--try costs beside the first one is at the end.
"""

import argparse
import ast
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LENGTHS = ROOT / "benchmarks/document_lengths.json"
GPU_DEFAULTS = (("350m", 32, 2048), ("1b4", 16, 2048))
CPU_DEFAULTS = (("tiny", 16, 256), ("10m", 4, 512), ("140m", 2, 256))


def model_config(name: str, length: int, changes: dict):
    """The ModelConfig that configs/model/NAME.gin describes, read without gin."""
    from synthdiv.model.config import ModelConfig

    fields = {}
    for line in (ROOT / "configs/model" / f"{name}.gin").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.startswith("Model."):
            fields[key.strip().removeprefix("Model.")] = ast.literal_eval(value.strip())
    fields |= {"max_length": max(length, fields["max_length"])} | changes
    return ModelConfig(**fields)


def document_starts(kind: str, batch: int, length: int):
    """Returns where documents begin in packed sequences, bool (batch, length).

    Documents of drawn lengths follow each other, end-of-text before each, and are cut where a
    sequence ends, as `synthdiv tokenize` cuts them. One document a sequence if `kind` is "".
    """
    import numpy as np

    starts = np.zeros(batch * length, bool)
    if kind:
        known = json.loads(LENGTHS.read_text())[kind]
        drawn = np.random.default_rng(0).choice(known, starts.size) + 1
        firsts = np.cumsum(drawn) - drawn
        starts[firsts[firsts < starts.size]] = True
    starts = starts.reshape(batch, length)
    starts[:, 0] = True
    return starts


def timed(step, groups: int, each: int) -> dict[str, float]:
    """Seconds a step over several groups of steps; `step(n)` makes n and waits for the last."""
    walls, cpus = [], []
    for _ in range(groups):
        wall, cpu = time.perf_counter(), time.process_time()
        step(each)
        walls.append((time.perf_counter() - wall) / each)
        cpus.append((time.process_time() - cpu) / each)
    return {
        "step_seconds": statistics.median(walls),
        "best_step_seconds": min(walls),
        "cpu_seconds_a_step": statistics.median(cpus),
    }


def kernels(run, directory: str, steps: int, most: int = 25) -> list[list]:
    """Traces `run(steps)` and returns its costliest kernels: [ms a step, calls a step, name].

    The trace stays in the directory; TensorBoard's profile plugin and Perfetto open it.
    """
    import jax

    with jax.profiler.trace(directory):
        run(steps)
    newest = max(Path(directory).rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    spent, calls = {}, {}
    for plane in jax.profiler.ProfileData.from_file(str(newest)).planes:
        if not plane.name.startswith("/device:"):
            continue
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                spent[event.name] = spent.get(event.name, 0) + event.duration_ns
                calls[event.name] = calls.get(event.name, 0) + 1
    rows = sorted(spent, key=spent.get, reverse=True)
    whole = [round(sum(spent.values()) / 1e6 / steps, 3), sum(calls.values()) / steps, "all"]
    return [whole] + [
        [round(spent[name] / 1e6 / steps, 3), calls[name] / steps, name[:90]]
        for name in rows[:most]
    ]


def measure_ours(args, changes: dict) -> dict:
    """Runs in its own process: compiles and times our step."""
    from synthdiv.training.host import prepare

    prepare(args.cache)
    import jax
    import numpy as np

    from synthdiv.model.attention import choose_backend
    from synthdiv.training.flops import mfu
    from synthdiv.training.mesh import MeshConfig, in_force, make_mesh
    from synthdiv.training.optimizer import OptimizerConfig
    from synthdiv.training.step import (
        StepConfig,
        abstract_batch,
        abstract_state,
        batch_shardings,
        compiled_step,
        init_state,
    )

    batch = changes.pop("batch", args.batch)
    documents = changes.pop("documents", args.documents)
    accumulate = changes.pop("accumulate", 1)
    optimizer = OptimizerConfig(name=changes.pop("optimizer", "adamw"))
    on_cpu = jax.default_backend() == "cpu"
    defaults = {"dtype": "float32" if on_cpu else "bfloat16"}
    if on_cpu:
        defaults |= {"scan_layers": False, "loss_chunk": 512}
    config = model_config(args.model, args.length, defaults | changes)
    mesh = make_mesh(MeshConfig())
    backend, sentence = choose_backend(
        config.attention,
        dtype=config.dtype,
        head_dim=config.head_size,
        dropout=config.attention_dropout,
        length=args.length,
    )
    draw = np.random.default_rng(0)
    shape = (batch, args.length)
    starts = document_starts(documents, batch, args.length)
    segment_ids = np.cumsum(starts, axis=1).astype(np.int32)
    settings = StepConfig(
        config,
        optimizer,
        accumulate=accumulate,
        segments=bool(documents),
        max_segments=int(starts.sum(axis=1).max()),
    )
    place = np.arange(args.length, dtype=np.int32)[None].repeat(batch, axis=0)
    begun = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    tokens = draw.integers(0, config.vocab_size, (batch, args.length + 1)).astype(np.int32)
    data = {
        "tokens": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "segment_ids": segment_ids,
        "positions": place - begun,
        "loss_mask": np.ones(shape, np.float32),
        "source": np.zeros(batch, np.int32),
        "bytes": np.full(batch, 4 * args.length, np.int32),
    }
    data = jax.device_put(data, batch_shardings(mesh))

    step = compiled_step(settings, mesh)
    start = time.perf_counter()
    with in_force(mesh):
        program = step.jitted.lower(
            abstract_state(settings, mesh), abstract_batch(mesh, batch, args.length)
        ).compile()
    compile_seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    state = init_state(settings, mesh, 0, 1000)
    losses = []

    def run(n: int) -> None:
        nonlocal state
        for _ in range(n):
            with in_force(mesh):
                state, metrics = program(state, data)
        losses.append(float(metrics["loss"]))

    run(args.warmup)
    times = timed(run, args.groups, args.steps)
    speed = batch * args.length / times["step_seconds"]
    stats = (jax.devices()[0].memory_stats() or {}) if not on_cpu else {}
    extra = {"kernels": kernels(run, args.profile, args.steps)} if args.profile else {}
    return {
        "what": "synthdiv",
        "device": jax.devices()[0].device_kind,
        "attention": sentence,
        "settings": {
            "batch": batch,
            "length": args.length,
            "documents": documents,
            "documents_a_sequence": float(starts.sum(axis=1).mean()),
            "scan_layers": config.scans(backend),
            **{k: getattr(config, k) for k in ("dtype", "remat", "loss_chunk")},
            **changes,
        },
        "parameters": config.parameters,
        "tokens_per_second": speed,
        "mfu": mfu(config, args.length, speed, jax.devices()),
        "flops_per_second": speed * config.flops_per_token(args.length),
        "compile_seconds": compile_seconds,
        "state_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "peak_bytes": stats.get("peak_bytes_in_use"),
        "first_and_last_loss": [losses[0], losses[-1]],
        "jax": jax.__version__,
        **times,
        **extra,
    }


def measure_peer(args) -> dict:
    """Runs in its own process: compiles and times the peer's step."""
    import torch
    import transformers

    from synthdiv.model.hf_config import config_to_hf

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    config = model_config(args.model, args.length, {})
    settings = config_to_hf(config) | {"attn_implementation": "sdpa", "use_cache": False}
    for name in ("architectures", "model_type", "torch_dtype"):
        settings.pop(name)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).to(device)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    tokens = torch.randint(config.vocab_size, (args.batch, args.length), device=device)

    def forward():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=cuda):
            return model(input_ids=tokens, labels=tokens).loss

    if args.compile:
        forward = torch.compile(forward)
    losses = []

    def run(n: int) -> None:
        for _ in range(n):
            loss = forward()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())  # waits for the device

    start = time.perf_counter()
    run(1)
    compile_seconds = time.perf_counter() - start
    run(args.warmup)
    times = timed(run, args.groups, args.steps)
    speed = args.batch * args.length / times["step_seconds"]
    return {
        "what": "transformers + PyTorch" + (", compiled" if args.compile else ", eager"),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "settings": {"batch": args.batch, "length": args.length, "bf16 autocast": cuda},
        "tokens_per_second": speed,
        "flops_per_second": speed * config.flops_per_token(args.length),
        "compile_seconds": compile_seconds,
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "first_and_last_loss": [losses[0], losses[-1]],
        "versions": [torch.__version__, transformers.__version__],
        **times,
    }


def parse_changes(words: str) -> dict:
    """'remat="dots" batch=8' -> {"remat": "dots", "batch": 8}."""
    pairs = (word.partition("=") for word in words.split())
    return {key: ast.literal_eval(value) for key, _, value in pairs}


def in_own_process(args, **changes) -> dict:
    """Runs this script for one measurement and returns what it printed last."""
    values = vars(args) | changes
    command = [sys.executable, __file__]
    for name, value in values.items():
        if name != "try_" and value is not None:
            command.append(f"--{name}={value}")
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        reason = [line for line in done.stderr.strip().splitlines() if line.strip()]
        return {"error": reason[-1] if reason else done.returncode, "only": values["only"]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(result: dict) -> dict:
    print(json.dumps(result), flush=True)
    return result


def compare(args) -> dict | None:
    """Measures one shape: ours as each --try says, and the peer; prints as it goes."""
    with tempfile.TemporaryDirectory() as cache:
        ours = []
        for changes in args.try_ or [""]:
            run = functools.partial(in_own_process, args, only="ours", changes=changes)
            result = report(run(cache=cache))
            if "error" in result:
                continue
            again = run(cache=cache, groups=1, steps=1, warmup=1)
            ours.append(result)
            report({"changes": changes, "compile_seconds_with_cache": again["compile_seconds"]})
    if not ours:
        return None
    first = ours[0]["tokens_per_second"]
    costs = [
        {"settings": one["settings"], "slower_by": first / one["tokens_per_second"] - 1}
        for one in ours[1:]
    ]
    if costs:
        report({"first": ours[0]["settings"], "others": costs})
    if not args.peer:
        return None
    peers = [in_own_process(args, only="peer", compile=c) for c in (1, 0)]
    peers = [report(peer) for peer in peers]
    known = [peer for peer in peers if "error" not in peer]
    if not known:
        return None
    best, peer = (max(r, key=lambda x: x["tokens_per_second"]) for r in (ours, known))
    return {
        "model": args.model,
        "batch": args.batch,
        "length": args.length,
        "tokens_per_second": best["tokens_per_second"],
        "peer_tokens_per_second": peer["tokens_per_second"],
        "ratio": best["tokens_per_second"] / peer["tokens_per_second"],
        "ratio_of_best_steps": peer["best_step_seconds"] / best["best_step_seconds"],
        "ratio_of_cpu_seconds": peer["cpu_seconds_a_step"] / best["cpu_seconds_a_step"],
        "peer": peer["what"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a name in configs/model")
    parser.add_argument("--batch", type=int, help="sequences")
    parser.add_argument("--length", type=int, help="tokens a sequence")
    parser.add_argument("--documents", default="", help="keep such documents apart")
    parser.add_argument("--try", dest="try_", action="append", help="settings to measure")
    parser.add_argument("--peer", type=int, default=1, help="0: leave the peer out")
    parser.add_argument("--groups", type=int, default=5, help="the median of so many")
    parser.add_argument("--steps", type=int, default=4, help="steps in a group")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--profile", default="", help="a directory: trace our steps into it")
    parser.add_argument("--only", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--changes", default="", help=argparse.SUPPRESS)
    parser.add_argument("--cache", default="", help=argparse.SUPPRESS)
    parser.add_argument("--compile", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only == "ours":
        print(json.dumps(measure_ours(args, parse_changes(args.changes))))
    elif args.only == "peer":
        print(json.dumps(measure_peer(args)))
    else:
        on_gpu = Path("/proc/driver/nvidia").exists() or Path("/usr/local/nvidia").exists()
        shapes = GPU_DEFAULTS if on_gpu else CPU_DEFAULTS
        if args.model:
            known = {name: (name, batch, length) for name, batch, length in shapes}
            shapes = (known.get(args.model, (args.model, 8, 2048)),)
        ratios = []
        for name, batch, length in shapes:
            one = argparse.Namespace(**vars(args))
            one.model = name
            one.batch, one.length = args.batch or batch, args.length or length
            ratios.append(compare(one))
        print(json.dumps({"ratios": [r for r in ratios if r]}))


if __name__ == "__main__":
    main()
