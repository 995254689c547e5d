"""A Slurm cluster of this machine alone, in a temporary directory, on ports of its own."""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
PR_SET_PDEATHSIG = 1  # of prctl(2)
PATIENCE_S = 1800.0  # for anything that a test waits for

CONFIGURATION = """\
ClusterName=own
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
ProctrackType=proctrack/linuxproc
JobAcctGatherType=jobacct_gather/none
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=120
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Gres=gpu:pretended:4
PartitionName=all Nodes=ALL Default=YES State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL State=UP PriorityTier=2
"""


class OwnSlurm:
    """The running cluster; `launch` submits to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | {
            "SLURM_CONF": str(directory / "slurm.conf"),
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }

    def start(self) -> None:
        """Starts the daemons and waits until the node is there."""
        for name in ("munge", "state", "spool"):
            (self.directory / name).mkdir(mode=0o700)
        munge = self.directory / "munge"
        key = munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            ports = [one.getsockname()[1], other.getsockname()[1]]
        (self.directory / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                directory=self.directory,
                ports=ports,
            )
        )
        for number in range(4):
            (self.directory / f"gpu{number}").touch()
        gpus = f"Name=gpu Type=pretended File={self.directory}/gpu[0-3]\n"
        (self.directory / "gres.conf").write_text(gpus)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid"}
        files |= {"log-file": "log", "seed-file": "seed"}
        flags = [f"--{flag}={munge / name}" for flag, name in files.items()]
        self.daemon("munged", "--foreground", "--force", *flags)
        self.wait("munged", (munge / "socket").exists)
        self.daemon("slurmctld", "-D")
        self.daemon("slurmd", "-D")
        self.wait("a node", lambda: self.run("sinfo", "--noheader", "--format=%T") == "idle\n")

    def daemon(self, *words: str) -> None:
        """Starts a daemon that ends with this process, however that ends."""
        with (self.directory / f"{words[0]}.out").open("w") as out:
            self.daemons.append(
                subprocess.Popen(
                    words,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
                )
            )

    def stop(self) -> None:
        """Ends all jobs and then the daemons."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.run("scancel", "--user=root")
            self.wait("all jobs to end", lambda: not self.run("squeue", "--noheader"), 60.0)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait(60)

    def run(self, *words: str) -> str:
        """The output of one of Slurm's programs, which has to succeed."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise subprocess.SubprocessError(f"{words}: {done.stderr}{self.said()}")
        return done.stdout

    def launch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs launch/slurm.py with these arguments, in the cluster's directory."""
        return subprocess.run(
            [sys.executable, str(ROOT / "launch" / "slurm.py"), "--logs=the logs", *arguments],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def submit(self, *arguments: str) -> list[str]:
        """The jobs that the launcher has submitted."""
        done = self.launch("--cpus_per_task=1", *arguments)
        assert done.returncode == 0, done.stderr
        return re.findall(r"submitted job (\d+)", done.stdout)

    def job(self, number: str) -> dict[str, str]:
        """What Slurm says of a job, or of all jobs of an array: the values of `scontrol show`."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", number)))

    def seconds(self, number: str) -> int:
        """For how long a job has been running."""
        hours, minutes, seconds = self.job(number)["RunTime"].split(":")
        return (int(hours) * 60 + int(minutes)) * 60 + int(seconds)

    def release(self, number: str) -> None:
        """Lets a job that was queued again start at once, and not after Slurm's two minutes."""
        self.wait(
            f"job {number} to be queued again",
            lambda: self.job(number)["Reason"] == "BeginTime",
        )
        self.run("scontrol", "update", f"JobId={number}", "StartTime=now")

    def ended(self, number: str) -> tuple[str, str]:
        """Waits until a job has ended; its state and "EXIT:SIGNAL"."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        self.wait(f"job {number} to end", lambda: self.job(number)["JobState"] in over)
        job = self.job(number)
        return job["JobState"], job["ExitCode"]

    def wait(self, what: str, until: Callable[[], bool], patience: float = PATIENCE_S) -> None:
        """Waits for something, and fails with all logs where it does not come."""
        deadline = time.monotonic() + patience
        while not until():
            if time.monotonic() > deadline:
                raise subprocess.SubprocessError(f"waited in vain for {what}\n{self.said()}")
            time.sleep(0.2)

    def said(self) -> str:
        """The ends of the jobs' logs and of Slurm's own."""
        logs = [*self.directory.glob("the logs/*.log"), *self.directory.glob("*.log")]
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs)


@contextlib.contextmanager
def own_slurm() -> Iterator[OwnSlurm]:
    """A cluster that is gone afterwards; skips where Slurm is not installed."""
    missing = [
        name for name in PROGRAMS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    ]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install slurm-wlm munge")
    if os.getuid():
        pytest.skip("slurmd runs as root only")
    # Its sockets' paths must be short.
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as directory:
        cluster = OwnSlurm(Path(directory))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
