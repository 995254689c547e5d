"""Submits a synthdiv command to Slurm.

    python launch/slurm.py --nodes=4 --gpus_per_node=8 --time=24:00:00 \\
        pretrain --config=configs/pretrain/350m.gin --workdir=/shared/runs/350m

    python launch/slurm.py --array=24 --gpus_per_node=1 \\
        study --config=configs/study/paper_topics.gin --workdir=/shared/runs/topics

`--array=N` submits N jobs, of which each does one part of a study's training runs (--shard) and
the last one gathers. One process a GPU; JAX finds the others from Slurm's own variables. Before the
time limit, and when it is preempted, the job is sent SIGTERM, saves a checkpoint and exits with 75,
and is then queued again. The script goes to sbatch on its standard input; the environment (API keys
too) travels as sbatch always passes it and is written nowhere.
"""

import shlex
import sys
from pathlib import Path

from absl import flags
from job import (
    FLAGS,
    PAUSED_EXIT,
    STUDY,
    is_shared,
    job_name,
    read_command,
    restarts,
    run,
    submit,
)

from synthdiv.errors import UserError
from synthdiv.files import output_dir

ROOT = Path(__file__).resolve().parent.parent

flags.DEFINE_integer("nodes", 1, "Nodes.", lower_bound=1)
flags.DEFINE_integer("gpus_per_node", 0, "GPUs a node, each with a process.", lower_bound=0)
flags.DEFINE_integer("array", 0, "Jobs that a study's runs are shared out to.", lower_bound=0)
flags.DEFINE_string("gpu_type", None, "Type of GPU as the cluster calls it, for example h100.")
flags.DEFINE_integer("cpus_per_task", 8, "CPU cores a process.", lower_bound=1)
flags.DEFINE_string("time", "24:00:00", "Time limit, after which the job is queued again.")
flags.DEFINE_integer("grace", 300, "Seconds between SIGTERM and the time limit.", lower_bound=10)
flags.DEFINE_string("logs", "runs/slurm", "Directory of the job's output.")
flags.DEFINE_multi_string("sbatch", [], "Further option, for example --sbatch=--partition=gpu.")
flags.DEFINE_multi_string("setup", [], "Shell line to run first, for example 'module load cuda'.")
flags.DEFINE_string("python", sys.executable, "Interpreter on the nodes that has synthdiv.")


def sbatch_script(words: list[str]) -> str:
    """The job script for the command `words`."""
    tasks = processes(words)
    kind = f"{FLAGS.gpu_type}:" if FLAGS.gpu_type else ""
    options = [
        f"--job-name={job_name(words)}",
        f"--nodes={FLAGS.nodes}",
        f"--ntasks-per-node={tasks}",
        f"--cpus-per-task={FLAGS.cpus_per_task}",
        *([f"--gpus-per-node={kind}{FLAGS.gpus_per_node}"] if FLAGS.gpus_per_node else []),
        f"--time={FLAGS.time}",
        f"--signal=TERM@{FLAGS.grace}",
        "--requeue",
        "--open-mode=append",
        *([f"--array=1-{FLAGS.array}"] if FLAGS.array else []),
        f"--output={Path(FLAGS.logs).resolve()}/%x-{'%A_%a' if FLAGS.array else '%j'}.log",
        *FLAGS.sbatch,
    ]
    most = restarts(words, saves=FLAGS.array > 0)
    job, part = "$SLURM_JOB_ID", ""
    if FLAGS.array:
        job = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
        part = f' --shard="$SLURM_ARRAY_TASK_ID"/{FLAGS.array}'
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in options),
        "set -uo pipefail",
        f"cd {shlex.quote(str(ROOT))}",
        *FLAGS.setup,
        # One process that ends (a crash, or the stop that --signal asked for) leaves the others
        # this long to end by themselves; srun returns the highest of their exit codes.
        f"srun --wait={FLAGS.grace} {shlex.join([FLAGS.python, *words])}{part}",
        "code=$?",
        f'if [ "$code" -eq {PAUSED_EXIT} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most} ]; then',
        f'    scontrol requeue "{job}"',
        "fi",
        'exit "$code"',
    ]
    return "\n".join(lines) + "\n"


def processes(words: list[str]) -> int:
    """How many a node: one a GPU, or one for all of them where a command runs as one process."""
    return max(1, FLAGS.gpus_per_node) if is_shared(words) else 1


def main(rest: list[str]) -> int:
    several = FLAGS.nodes * max(1, FLAGS.gpus_per_node)
    words = read_command(rest, several if FLAGS.nodes > 1 or is_shared(rest) else 1)
    if FLAGS.array and words[1] != STUDY:
        command = words[1].removeprefix("synthdiv.")
        raise UserError(f"--array shares out the runs of a study; {command} has none")
    script = sbatch_script(words)
    if not FLAGS.dry_run:
        output_dir(FLAGS.logs)
    return submit(["sbatch"], script)


if __name__ == "__main__":
    run(main)
