"""`synthdiv pretrain` as a command, on whatever device is there: goodput, a kill, and a restart.

    synthdiv tokenize --input=CORPUS --output=TOKENS --tokenizer=TOKENIZER --sequence_length=2048
    python benchmarks/pretrain.py --tokens=TOKENS --workdir=DIR --batch=32 --minutes=10
    python benchmarks/pretrain.py --tokens=TOKENS --workdir=DIR --batch=32 --minutes=4 \\
        --xla_flags=--xla_gpu_deterministic_ops=true

Prints one line of JSON a part:

bare        the step alone, on random tokens (benchmarks/train_step.py)
whole       a run that nothing disturbs, as long as --minutes say at the bare step's speed, with
            --saves checkpoints: tokens a second over its whole time after its first line, beside
            the bare step's (goodput), and seconds to compile
killed      the same run under SIGKILL in its middle, and then resumed: seconds to compile from the
            disk cache, seconds to the first line it logs after that, and whether losses, parameters
            and optimizer are the whole run's bit for bit

--figure=FILE.svg draws both loss curves.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def bare_step(args: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of the step alone, with this model and batch."""
    command = [sys.executable, str(ROOT / "benchmarks/train_step.py"), "--only=ours"]
    command += [f"--model={args.model}", f"--batch={args.batch}", f"--length={args.length}"]
    command += [f"--cache={args.workdir / 'bare'}", "--documents=web", f"--changes={args.try_}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(args))
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def environment(args: argparse.Namespace) -> dict[str, str]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} {args.xla_flags}".strip()
    return os.environ | {"XLA_FLAGS": flags, "JAX_LOG_COMPILES": "1"}


def start(args: argparse.Namespace, name: str, steps: int) -> subprocess.Popen:
    """Starts the command; its log goes beside its directory."""
    binds = [
        f"Mixture.sources=(('{args.tokens}', None),)",
        f"Pretrain.batch_size={args.batch}",
        f"Pretrain.tokens={steps * args.batch * args.length}",
        f"Pretrain.log_every={max(1, steps // 200)}",
        f"Pretrain.checkpoint_every={max(1, steps // (args.saves + 1))}",
        f"Pretrain.compile_cache='{args.workdir / 'xla'}'",
        f"Pretrain.workers={args.workers}",
    ]
    binds += [f"Model.{word}" for word in args.try_.split()]
    command = [sys.executable, "-m", "synthdiv.pretrain", f"--workdir={args.workdir / name}"]
    command += [f"--config=configs/model/{args.model}.gin", *(f"--bind={bind}" for bind in binds)]
    with (args.workdir / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment(args), stdout=log, stderr=log)


def logged(workdir: Path) -> list[dict[str, Any]]:
    """Returns the whole lines of a run's metrics."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def finish(process: subprocess.Popen, log: Path) -> None:
    if process.wait():
        raise SystemExit(log.read_text()[-3000:])


def compile_seconds(log: Path) -> list[float]:
    """Seconds that each process of a log took to compile the step, or to load it."""
    found = re.findall(
        r"Finished XLA compilation of jit\(train_step\) in ([\d.]+)", log.read_text()
    )
    return [float(seconds) for seconds in found]


def speed(args: argparse.Namespace, lines: list[dict[str, Any]]) -> dict[str, float]:
    """Tokens a second over the run after its first logged step, and of its median stretch."""
    first, last = lines[0], lines[-1]
    seconds = last["seconds"] - first["seconds"]
    return {
        "tokens_per_second": (last["tokens"] - first["tokens"]) / seconds,
        "median_tokens_per_second": statistics.median(
            line["tokens_per_second"] for line in lines[1:]
        ),
        "seconds": seconds,
        "seconds_to_first_line": first["seconds"],
    }


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of a run's last checkpoint."""
    import jax
    import orbax.checkpoint as ocp

    checkpoint = Path(json.loads((workdir / "done.json").read_text())["checkpoint"])
    found = {}
    with ocp.PyTreeCheckpointer() as reader:
        for part in ("params", "optimizer", "progress"):
            shapes = reader.metadata(checkpoint / part).item_metadata.tree
            whole = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            tree = reader.restore(checkpoint / part, restore_args=whole)
            for path, array in jax.tree_util.tree_flatten_with_path(tree)[0]:
                found[part + jax.tree_util.keystr(path)] = np.asarray(array)
    return found


def differences(a: Path, b: Path) -> dict[str, Any]:
    """How two runs differ: in their losses, and in the arrays of their last checkpoints."""
    losses = [[line["loss"] for line in logged(workdir)] for workdir in (a, b)]
    ours, theirs = arrays(a), arrays(b)
    unequal = [name for name in ours if not np.array_equal(ours[name], theirs[name])]
    return {
        "bit_equal": not unequal and losses[0] == losses[1] and ours.keys() == theirs.keys(),
        "unequal_arrays": len(unequal),
        "arrays": len(ours),
        "largest_loss_difference": max(
            abs(x - y) for x, y in zip(losses[0], losses[1], strict=True)
        ),
    }


def report(part: str, figures: dict[str, Any]) -> None:
    print(json.dumps({"part": part} | figures), flush=True)


def draw(figure: Path, whole: Path, killed: Path, stopped: int) -> None:
    """Draws the loss of both runs over their steps."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    plot, axes = pyplot.subplots(figsize=(7, 3.5))
    for workdir, style in ((whole, "-"), (killed, ":")):
        lines = logged(workdir)
        steps = [line["step"] for line in lines]
        axes.plot(steps, [line["loss"] for line in lines], style, label=workdir.name)
    axes.axvline(stopped, color="grey", linewidth=0.8, label="SIGKILL")
    axes.set(xlabel="step", ylabel="loss, nats a token")
    axes.legend()
    plot.savefig(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=Path, required=True, help="what synthdiv tokenize wrote")
    parser.add_argument("--workdir", type=Path, required=True, help="gets both runs")
    parser.add_argument("--model", default="350m", help="a name in configs/model")
    parser.add_argument("--batch", type=int, default=32, help="sequences")
    parser.add_argument("--minutes", type=float, default=10, help="length of the whole run")
    parser.add_argument("--steps", type=int, default=0, help="length in steps; 0: by --minutes")
    parser.add_argument("--saves", type=int, default=4, help="checkpoints before the last one")
    parser.add_argument("--workers", type=int, default=2, help="threads that prepare batches")
    parser.add_argument(
        "--try", dest="try_", default="", help="settings of the model, as NAME=VALUE"
    )
    parser.add_argument("--xla_flags", default="", help="for every process")
    parser.add_argument("--figure", type=Path, help="an SVG file for the loss curves")
    args = parser.parse_args()
    args.tokens, args.workdir = args.tokens.resolve(), args.workdir.resolve()
    args.workdir.mkdir(parents=True, exist_ok=True)
    args.length = json.loads((args.tokens / "manifest.json").read_text())["sequence_length"]

    bare = bare_step(args)
    names = (
        "device",
        "attention",
        "settings",
        "tokens_per_second",
        "mfu",
        "compile_seconds",
        "jax",
    )
    report("bare", {name: bare[name] for name in names})
    a_step = args.batch * args.length / bare["tokens_per_second"]
    steps = args.steps or max(20, round(60 * args.minutes / a_step))

    whole, killed = args.workdir / "whole", args.workdir / "killed"
    finish(start(args, "whole", steps), args.workdir / "whole.log")
    lines = logged(whole)
    figures = speed(args, lines)
    goodput = figures["tokens_per_second"] / bare["tokens_per_second"]
    compiled = compile_seconds(args.workdir / "whole.log")
    last = {"steps": steps, "last_loss": lines[-1]["loss"], "mfu": lines[-1]["mfu"]}
    report("whole", figures | last | {"goodput": goodput, "compile_seconds": compiled})

    process = start(args, "killed", steps)
    while process.poll() is None:
        lines = logged(killed)
        if lines and lines[-1]["step"] >= steps // 2:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.01)
    if process.returncode != -signal.SIGKILL:
        raise SystemExit("the run ended before it could be killed: give it more --steps")
    stopped = logged(killed)[-1]["step"]
    finish(start(args, "killed", steps), args.workdir / "killed.log")
    clocks = [line["seconds"] for line in logged(killed)]
    went_on = next(
        after for before, after in zip(clocks, clocks[1:], strict=False) if after < before
    )
    compiled = compile_seconds(args.workdir / "killed.log")
    resumed = {"killed_after_step": stopped, "seconds_to_go_on": went_on}
    report("killed", resumed | {"compile_seconds": compiled} | differences(whole, killed))
    if args.figure:
        draw(args.figure, whole, killed, stopped)


if __name__ == "__main__":
    main()
