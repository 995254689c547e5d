"""Runs a synthdiv command on Cloud TPU slices, with gcloud.

    python launch/tpu_vm.py --zone=us-west4-a --type=v5litepod-16 --runtime=v2-alpha-tpuv5-lite \\
        --name=llama-350m --spot --slices=2 \\
        pretrain --config=configs/pretrain/350m.gin --workdir=/mnt/bucket/runs/350m \\
        --bind=Mesh.data=2 --bind=Mesh.slices=2

    python launch/tpu_vm.py --zone=us-west4-a --type=v5litepod-8 --array=24 --at_once=4 --delete \\
        study --config=configs/study/paper_topics.gin --workdir=/mnt/bucket/runs/topics

It asks for the slices (a queued resource) and waits for them, copies the committed tree to every
worker, installs synthdiv[tpu] there at the locked versions, and runs the command on all workers (on
the first one, if it runs as one process). After a clean stop (exit 75), a lost connection or a
preemption it does so again, on new slices if need be; the work directory must therefore lie where
all workers see it and where it outlives them: mount a bucket with --setup. With --array each part
of a study's training runs (--shard) has a slice of its own. Slices stay until --delete, and cost
money while they do.
"""

import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import flags
from job import (
    FLAGS,
    PAUSED_EXIT,
    array_flags,
    check_array,
    found,
    is_shared,
    job_name,
    read_command,
    restarts,
    run,
    show,
    warn_of,
)

from synthdiv.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = "synthdiv.tar.gz"
LOST_CONNECTION = 255  # ssh's own exit code
PYTHON = "command -v python3.12 || command -v python3.11 || sudo apt-get install -y python3.11-venv"

array_flags("Slices")
flags.DEFINE_string("zone", None, "Zone of the slices.")
flags.DEFINE_string("type", "v5litepod-8", "Accelerator type of a slice.")
flags.DEFINE_integer("slices", 1, "Slices that work together.", lower_bound=1)
flags.DEFINE_string("runtime", "v2-alpha-tpuv5-lite", "Runtime version of the TPU's machines.")
flags.DEFINE_string("project", None, "Project, if not gcloud's own.")
flags.DEFINE_bool("spot", False, "Ask for spot slices.")
flags.DEFINE_multi_string("setup", [PYTHON], "Shell line for every worker before the installation.")
flags.DEFINE_multi_string("export", [], "NAME=VALUE for the command's environment, not for keys.")
flags.DEFINE_float("poll", 30.0, "Seconds between looks at a slice that is being made.")
flags.DEFINE_bool("delete", False, "Delete the slices when the command has ended.")


class Failed(Exception):
    """A gcloud or git command that has to succeed did not."""


class Slices:
    """A queued resource and the TPU machines that it becomes."""

    def __init__(self, name: str, mark: str = "") -> None:
        self.name = name
        self._mark = mark
        project = [f"--project={FLAGS.project}"] if FLAGS.project else []
        self._where = [f"--zone={FLAGS.zone}", *project]

    def _words(self, verb: str, *rest: str) -> list[str]:
        resources = ["gcloud", "compute", "tpus", "queued-resources"]
        return [*resources, verb, *rest, *self._where]

    def create(self) -> list[str]:
        several = [f"--node-count={FLAGS.slices}", f"--node-prefix={self.name}"]
        return self._words(
            "create",
            self.name,
            *(several if FLAGS.slices > 1 else [f"--node-id={self.name}"]),
            f"--accelerator-type={FLAGS.type}",
            f"--runtime-version={FLAGS.runtime}",
            *(["--spot"] if FLAGS.spot else []),
        )

    def delete(self) -> list[str]:
        return self._words("delete", self.name, "--force", "--quiet")

    def describe(self) -> list[str]:
        return self._words("describe", self.name, "--format=value(state.state)")

    def copy(self, archive: Path) -> list[str]:
        return self._words("scp", str(archive), f"{self.name}:{ARCHIVE}", *on("all"))

    def ssh(self, workers: str, line: str) -> list[str]:
        return self._words("ssh", self.name, *on(workers), f"--command={line}")

    def steps(self, workers: str, words: list[str]) -> list[list[str]]:
        """The calls of a run in which nothing goes wrong."""
        steps = [self.create(), self.copy(Path(ARCHIVE)), self.ssh("all", install_line())]
        return [
            *steps,
            self.ssh(workers, run_line(words)),
            *([self.delete()] if FLAGS.delete else []),
        ]

    def state(self) -> str:
        """The queued resource's state, or "" where there is none of this name."""
        result = subprocess.run(self.describe(), capture_output=True, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""

    def make_active(self) -> bool:
        """Asks for the slices if need be and waits for them; True if they are new."""
        new = False
        while (state := self.state()) != "ACTIVE":
            if state in ("FAILED", "SUSPENDED", "SUSPENDING"):  # a preempted slice is suspended
                self.must(self.delete())
                state = ""
            if not state:
                self.must(self.create())
                new = True
            else:
                print(f"{self.name}: {state}", file=sys.stderr)
            time.sleep(FLAGS.poll)
        return new

    def call(self, words: Sequence[str]) -> int:
        """Runs a command, whose output is marked where several run; returns its exit code."""
        if not self._mark:
            return subprocess.run(words).returncode
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            show(self._mark, process.stdout)
        return process.returncode

    def must(self, words: Sequence[str]) -> None:
        """Runs a command that has to succeed.

        Raises:
            Failed: it did not.
        """
        if code := self.call(words):
            raise Failed(f"{words[0]} ended with {code}: {shlex.join(words)}")

    def run(self, workers: str, words: list[str], again: int) -> int:
        """Gets the slices, installs where they are new, and runs the command until it has ended."""
        code = PAUSED_EXIT
        for attempt in range(again + 1):
            if self.make_active() or not attempt:
                with tempfile.TemporaryDirectory() as directory:
                    archive = Path(directory, ARCHIVE)
                    pack = ["git", "-C", str(ROOT), "archive", "--format=tar.gz", "-o"]
                    self.must([*pack, str(archive), "HEAD"])
                    self.must(self.copy(archive))
                self.must(self.ssh("all", install_line()))
            code = self.call(self.ssh(workers, run_line(words)))
            if code not in (PAUSED_EXIT, LOST_CONNECTION) and self.state() == "ACTIVE":
                break
        if FLAGS.delete:
            self.must(self.delete())
        else:
            print(f"{self.name} is still there: {shlex.join(self.delete())}", file=sys.stderr)
        return code


def on(workers: str) -> list[str]:
    """Flags that name all workers of all slices, or the first one of the first."""
    return [f"--node={workers}", f"--worker={workers}"]


def install_line() -> str:
    """Shell line that unpacks and installs the tree on a worker."""
    return " && ".join(
        [
            *(f"{{ {line}; }}" for line in FLAGS.setup),
            f"mkdir -p synthdiv && tar -xzf {ARCHIVE} -C synthdiv && cd synthdiv",
            "bash -c 'set -eu; source launch/environment.sh; prepare tpu tpu'",
        ]
    )


def run_line(words: list[str]) -> str:
    """Shell line that runs the command; the lock lets one whose connection was lost end first."""
    command = shlex.join(["env", *FLAGS.export, "flock", ".lock", ".venv/bin/python", *words])
    return f"cd synthdiv && {command}"


def main(rest: list[str]) -> int:
    if not FLAGS.zone:
        raise UserError("--zone is required")
    for setting in FLAGS.export:
        if not re.match(r"[A-Za-z_]\w*=", setting):
            raise UserError(f"--export={setting}: write it as NAME=VALUE")
    # A slice may be several machines; a command that knows of it takes one as well.
    words = read_command(rest, 2 if is_shared(rest) or FLAGS.slices > 1 else 1)
    check_array(words)
    warn_of(True, words, "the TPU")
    workers = "all" if is_shared(words) else "0"
    name = job_name(words)
    parts = [(Slices(name), words)]
    if FLAGS.array:
        numbers = range(1, FLAGS.array + 1)
        shards = [[*words, f"--shard={number}/{FLAGS.array}"] for number in numbers]
        slices = [Slices(f"{name}-{number}", f"[{number}] ") for number in numbers]
        parts = list(zip(slices, shards, strict=True))
    if FLAGS.dry_run:
        for target, part in parts:
            print("\n".join(map(shlex.join, target.steps(workers, part))))
        return 0
    again = restarts(words, saves=FLAGS.array > 0)

    def run_part(part: tuple[Slices, list[str]]) -> int:
        target, words = part
        try:
            return target.run(workers, words, again)
        except Failed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    found(["gcloud"])
    with ThreadPoolExecutor(FLAGS.at_once or len(parts)) as pool:
        return max(pool.map(run_part, parts))


if __name__ == "__main__":
    run(main)
