"""Starts a synthdiv command as several processes on this machine, as a cluster would.

    python launch/local.py --processes=2 --devices=4 \\
        pretrain --config=configs/pretrain/quickstart.gin --workdir=runs/local

The processes find each other on the loopback interface. Each line of output is marked with its
process. Ctrl-C and SIGTERM reach all of them; when one fails, the others are stopped. Stopped
cleanly (exit 75) all are started again, at most --max_restarts times, unless it was this launcher
that was told to stop.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

from absl import flags
from job import FLAGS, PAUSED_EXIT, read_command, restarts, run, show

flags.DEFINE_integer("processes", 2, "Processes.", lower_bound=1)
flags.DEFINE_integer("devices", 0, "Pretended CPU devices a process, by default the real ones.")
flags.DEFINE_integer("grace", 60, "Seconds to end by itself after a stop.", lower_bound=0)

POLL_SECONDS = 0.1


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(index: int, port: int) -> dict[str, str]:
    """What tells process `index` who the others are."""
    added = {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(FLAGS.processes),
        "JAX_PROCESS_ID": str(index),
        "PYTHONUNBUFFERED": "1",
    }
    if FLAGS.devices:
        count = f"--xla_force_host_platform_device_count={FLAGS.devices}"
        added["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()
        added["JAX_PLATFORMS"] = "cpu"
    return {**os.environ, **added}


def stop(processes: list[subprocess.Popen]) -> None:
    """Sends SIGTERM to all, and SIGKILL to those that are still there after the grace."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + FLAGS.grace
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def failure(processes: list[subprocess.Popen]) -> int:
    """The code of the first process that has failed, or 0."""
    codes = (process.poll() for process in processes)
    return next((code for code in codes if code and code != PAUSED_EXIT), 0)


def start(words: list[str], told: threading.Event) -> int:
    """Runs all processes once; returns the code of the first to fail, or 75 or 0 of all."""
    port = free_port()
    processes = [
        subprocess.Popen(
            words,
            env=environment(index, port),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the launcher, which stops them cleanly
        )
        for index in range(FLAGS.processes)
    ]
    readers = [
        threading.Thread(target=show, args=(f"[{index}] ", process.stdout))
        for index, process in enumerate(processes)
    ]
    for reader in readers:
        reader.start()
    while any(process.poll() is None for process in processes):
        if failure(processes) or told.is_set():
            break
        time.sleep(POLL_SECONDS)
    failed = failure(processes)  # before the others are stopped
    if failed or told.is_set():
        stop(processes)
    for reader in readers:
        reader.join()
    codes = [process.wait() for process in processes]
    return failed or failure(processes) or max(codes)


def main(rest: list[str]) -> int:
    command = read_command(rest, FLAGS.processes)
    words = [sys.executable, *command]
    if FLAGS.dry_run:
        for index in range(FLAGS.processes):
            settings = environment(index, 0)
            added = [f"{k}={v}" for k, v in settings.items() if os.environ.get(k) != v]
            print(shlex.join([*added, *words]).replace("127.0.0.1:0", "127.0.0.1:PORT"))
        return 0
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    for _ in range(restarts(command) + 1):
        code = start(words, told)
        if code != PAUSED_EXIT or told.is_set():
            break
        print("stopped cleanly; starting again", file=sys.stderr)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    run(main)
