"""Submits a synthdiv command to Slurm.

    python launch/slurm.py --nodes=4 --gpus_per_node=8 --time=24:00:00 \\
        pretrain --config=configs/pretrain/350m.gin --workdir=/shared/runs/350m

    python launch/slurm.py --array=24 --at_once=8 \\
        study --config=configs/study/paper_topics.gin --workdir=/shared/runs/topics

One process a GPU; JAX finds the others from Slurm's own variables. Before the time limit, and when
it is preempted, the job is sent SIGTERM, saves a checkpoint and exits with 75, and is then queued
again. `--array=N` submits N jobs, of which each does one part of a study's training runs (--shard),
and a last one that waits for them and writes the study's results. The script goes to sbatch on its
standard input and runs in the directory where it was submitted; the environment (API keys too)
travels as sbatch always passes it and is written nowhere.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from absl import flags
from job import (
    ACCELERATED,
    FLAGS,
    PAUSED_EXIT,
    array_flags,
    check_array,
    command_of,
    found,
    is_shared,
    job_name,
    read_command,
    restarts,
    run,
    warn_of,
)

from synthdiv.errors import UserError
from synthdiv.files import output_dir

array_flags("Jobs")
flags.DEFINE_integer("nodes", 1, "Nodes.", lower_bound=1)
flags.DEFINE_integer(
    "gpus_per_node",
    None,
    f"GPUs a node, a process each. By default 1 for {', '.join(ACCELERATED)}.",
    lower_bound=0,
)
flags.DEFINE_string("gpu_type", None, "Type of GPU as the cluster calls it, for example h100.")
flags.DEFINE_integer("cpus_per_task", 8, "CPU cores a process.", lower_bound=1)
flags.DEFINE_string("time", "24:00:00", "Time limit, after which the job is queued again.")
flags.DEFINE_integer("grace", 300, "Seconds between SIGTERM and the time limit.", lower_bound=10)
flags.DEFINE_string("logs", "runs/slurm", "Directory of the job's output.")
flags.DEFINE_multi_string("sbatch", [], "Further option, for example --sbatch=--partition=gpu.")
flags.DEFINE_multi_string("setup", [], "Shell line to run first, for example 'module load cuda'.")
flags.DEFINE_string("python", sys.executable, "Interpreter on the nodes that has synthdiv.")
flags.DEFINE_bool("test_only", False, "Let sbatch check the script and tell when it would start.")


def seconds(time: str) -> int | None:
    """Seconds of a time limit as Slurm writes it; 0 or None where it has no end.

    Minutes, minutes:seconds, hours:minutes:seconds, and with days: days-hours[:minutes[:seconds]].
    """
    read = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if read is None:
        return None
    days, *rest = read.groups()
    numbers = [int(one) for one in rest if one is not None]
    if days is None and len(numbers) < 3:
        numbers = [0, *numbers]  # minutes come first
    hours, minutes, more = [*numbers, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + more


def sbatch_script(words: list[str], gpus: int, array: int) -> str:
    """The job script for the command `words`: one job, or an array of them."""
    tasks = max(1, gpus) if is_shared(words) else 1  # another command's one process has all GPUs
    kind = f"{FLAGS.gpu_type}:" if FLAGS.gpu_type else ""
    bound = f"%{FLAGS.at_once}" if FLAGS.at_once else ""
    name = job_name(words) + ("-results" if FLAGS.array and not array else "")
    options = [
        f"--job-name={name}",
        f"--nodes={FLAGS.nodes}",
        f"--ntasks-per-node={tasks}",
        f"--cpus-per-task={FLAGS.cpus_per_task}",
        *([f"--gpus-per-node={kind}{gpus}"] if gpus else []),
        f"--time={FLAGS.time}",
        f"--signal=TERM@{FLAGS.grace}",
        "--requeue",
        "--open-mode=append",
        *([f"--array=1-{array}{bound}"] if array else []),
        shlex.quote(f"--output={Path(FLAGS.logs).resolve()}/%x-{'%A_%a' if array else '%j'}.log"),
        *FLAGS.sbatch,
    ]
    most = restarts(words, saves=FLAGS.array > 0)
    job, part = "$SLURM_JOB_ID", ""
    if array:
        job = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
        part = f' --shard="$SLURM_ARRAY_TASK_ID"/{array}'
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in options),
        "set -uo pipefail",
        *FLAGS.setup,
        # srun does not take over the cores that sbatch was asked for. One process that ends (a
        # crash, or the stop that --signal asked for) leaves the others this long to end by
        # themselves; srun returns the highest of their exit codes.
        f"srun --cpus-per-task={FLAGS.cpus_per_task} --wait={FLAGS.grace} "
        f"{shlex.join([FLAGS.python, *words])}{part}",
        "code=$?",
        f'if [ "$code" -eq {PAUSED_EXIT} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most} ]; then',
        f'    scontrol requeue "{job}"',
        "fi",
        'exit "$code"',
    ]
    return "\n".join(lines) + "\n"


def sbatch(script: str, *options: str) -> tuple[int, str]:
    """Submits a script, or with --dry_run prints it; returns sbatch's exit code and the job."""
    words = ["sbatch", "--parsable", *(["--test-only"] if FLAGS.test_only else []), *options]
    if FLAGS.dry_run:
        print(f"# {shlex.join(words)}\n{script}", end="")
        return 0, "JOB"
    done = subprocess.run(found(words), input=script, stdout=subprocess.PIPE, text=True)
    job = done.stdout.strip().partition(";")[0]  # JOB;CLUSTER
    if job:
        print(f"submitted job {job}; its output goes to {Path(FLAGS.logs).resolve()}")
    return done.returncode, job


def main(rest: list[str]) -> int:
    gpus = FLAGS.gpus_per_node
    if gpus is None:
        gpus = 1 if command_of(rest) in ACCELERATED else 0
    several = FLAGS.nodes * max(1, gpus)
    words = read_command(rest, several if FLAGS.nodes > 1 or is_shared(rest) else 1)
    check_array(words)
    limit = seconds(FLAGS.time)
    if limit and limit <= FLAGS.grace:
        raise UserError(f"--time={FLAGS.time} leaves nothing before --grace={FLAGS.grace} seconds")
    warn_of(gpus > 0, words, "--gpus_per_node")
    if not FLAGS.dry_run:
        output_dir(FLAGS.logs)
    code, job = sbatch(sbatch_script(words, gpus, FLAGS.array))
    if code and FLAGS.gpus_per_node is None and gpus:
        print("on a cluster without GPUs, say --gpus_per_node=0", file=sys.stderr)
    if FLAGS.array and not code and not FLAGS.test_only:
        last = [f"--dependency=afterok:{job}", "--kill-on-invalid-dep=yes"]
        code, _ = sbatch(sbatch_script(words, 0, 0), *last)
    return code


if __name__ == "__main__":
    run(main)
