"""Runs a synthdiv command on a Cloud TPU slice, with gcloud.

    python launch/tpu_vm.py --zone=us-west4-a --type=v5litepod-16 --runtime=v2-alpha-tpuv5-lite \\
        --name=llama-350m --spot \\
        pretrain --config=configs/pretrain/350m.gin --workdir=/mnt/bucket/runs/350m

It asks for the slice (a queued resource) and waits for it, copies the committed tree to every
worker, installs synthdiv[tpu] there at the locked versions, and runs the command on all workers (on
the first one, if it runs as one process). After a clean stop (exit 75), a lost connection or a
preemption it does so again, in a new slice if need be; the work directory must therefore lie where
all workers see it and where it outlives them: mount a bucket with --setup. The slice stays until
--delete, and costs money while it does.
"""

import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags
from job import FLAGS, PAUSED_EXIT, SHARED, call, job_name, read_command, restarts, run

from synthdiv.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = "synthdiv.tar.gz"
LOST_CONNECTION = 255  # ssh's own exit code
PYTHON = "command -v python3.12 || command -v python3.11 || sudo apt-get install -y python3.11-venv"

flags.DEFINE_string("zone", None, "Zone of the slice.")
flags.DEFINE_string("type", "v5litepod-8", "Accelerator type.")
flags.DEFINE_string("runtime", "v2-alpha-tpuv5-lite", "Runtime version of the TPU's machines.")
flags.DEFINE_string("project", None, "Project, if not gcloud's own.")
flags.DEFINE_bool("spot", False, "Ask for a spot slice.")
flags.DEFINE_multi_string("setup", [PYTHON], "Shell line for every worker before the installation.")
flags.DEFINE_multi_string("export", [], "NAME=VALUE for the command's environment; not for keys.")
flags.DEFINE_float("poll", 30.0, "Seconds between looks at a slice that is being made.")
flags.DEFINE_bool("delete", False, "Delete the slice when the command has ended.")


class Slice:
    """A queued resource and the TPU machines that it becomes."""

    def __init__(self, name: str) -> None:
        self.name = name
        project = [f"--project={FLAGS.project}"] if FLAGS.project else []
        self._where = [f"--zone={FLAGS.zone}", *project]

    def _words(self, group: str, verb: str, *rest: str) -> list[str]:
        return ["gcloud", "compute", "tpus", group, verb, *rest, *self._where]

    def create(self) -> list[str]:
        spot = ["--spot"] if FLAGS.spot else []
        return self._words(
            "queued-resources",
            "create",
            self.name,
            f"--node-id={self.name}",
            f"--accelerator-type={FLAGS.type}",
            f"--runtime-version={FLAGS.runtime}",
            *spot,
        )

    def delete(self) -> list[str]:
        return self._words("queued-resources", "delete", self.name, "--force", "--quiet")

    def describe(self) -> list[str]:
        return self._words("queued-resources", "describe", self.name, "--format=value(state.state)")

    def copy(self, archive: Path) -> list[str]:
        target = f"{self.name}:{ARCHIVE}"
        return self._words("tpu-vm", "scp", str(archive), target, "--worker=all")

    def ssh(self, worker: str, line: str) -> list[str]:
        return self._words("tpu-vm", "ssh", self.name, f"--worker={worker}", f"--command={line}")

    def state(self) -> str:
        """The queued resource's state, or "" where there is none of this name."""
        try:
            result = subprocess.run(self.describe(), capture_output=True, text=True)
        except FileNotFoundError:
            raise UserError("gcloud is not on the PATH here; --dry_run prints its calls") from None
        return result.stdout.strip() if result.returncode == 0 else ""

    def make_active(self) -> bool:
        """Asks for the slice if need be and waits for it; True if it is a new one."""
        new = False
        while (state := self.state()) != "ACTIVE":
            if state in ("FAILED", "SUSPENDED", "SUSPENDING"):  # a preempted slice is suspended
                must(self.delete())
                state = ""
            if not state:
                must(self.create())
                new = True
            else:
                print(f"{self.name}: {state}", file=sys.stderr)
            time.sleep(FLAGS.poll)
        return new


def must(words: list[str]) -> None:
    """Runs a gcloud or git command that has to succeed, and ends with 1 where it does not."""
    if code := call(words):
        sys.exit(f"error: {words[0]} ended with {code}: {shlex.join(words)}")


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


def run_on_slice(target: Slice, worker: str, words: list[str]) -> int:
    """Gets the slice, installs where that is new, and runs the command until it has ended."""
    code = PAUSED_EXIT
    for attempt in range(restarts(words) + 1):
        if target.make_active() or not attempt:
            with tempfile.TemporaryDirectory() as directory:
                archive = Path(directory, ARCHIVE)
                pack = ["git", "-C", str(ROOT), "archive", "--format=tar.gz", "-o", str(archive)]
                must([*pack, "HEAD"])
                must(target.copy(archive))
            must(target.ssh("all", install_line()))
        code = call(target.ssh(worker, run_line(words)))
        if code not in (PAUSED_EXIT, LOST_CONNECTION) and target.state() == "ACTIVE":
            break
    return code


def main(rest: list[str]) -> int:
    if not FLAGS.zone:
        raise UserError("--zone is required")
    words = read_command(rest, 1)
    shared = words[1].removeprefix("synthdiv.") in SHARED
    if shared:
        words = read_command(rest, 2)  # a slice may be several machines; one also takes the flag
    worker = "all" if shared else "0"
    target = Slice(job_name(words))
    if FLAGS.dry_run:
        steps = [target.create(), target.copy(Path(ARCHIVE)), target.ssh("all", install_line())]
        steps += [target.ssh(worker, run_line(words))]
        steps += [target.delete()] if FLAGS.delete else []
        print("\n".join(shlex.join(step) for step in steps))
        return 0
    code = run_on_slice(target, worker, words)
    if FLAGS.delete:
        must(target.delete())
    else:
        print(f"the slice is still there; {shlex.join(target.delete())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    run(main)
