"""Several processes on this machine: joined by JAX, stopped together, started again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def launch(code: str, *flags: str) -> subprocess.Popen:
    """Runs launch/local.py where the command that it starts is the Python text `code`."""
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "launch")!r})
import job, local
job.COMMANDS["probe"] = ""
job.SHARED = (*job.SHARED, "probe")
local.read_command = lambda rest, processes: ["-c", {code!r}, *rest]
job.restarts = local.restarts = lambda words: local.FLAGS.max_restarts or 0
sys.argv = ["local.py", *{list(flags)!r}, "probe"]
job.run(local.main)
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def test_every_process_knows_the_others() -> None:
    code = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if 'JAX' in k}))"
    returned, output = finish(launch(code, "--processes=3", "--devices=2"))
    assert returned == 0, output
    lines = sorted(output.splitlines())
    assert [line[:4] for line in lines] == ["[0] ", "[1] ", "[2] "]
    settings = [json.loads(line[4:]) for line in lines]
    assert [s["JAX_PROCESS_ID"] for s in settings] == ["0", "1", "2"]
    assert {s["JAX_NUM_PROCESSES"] for s in settings} == {"3"}
    assert len({s["JAX_COORDINATOR_ADDRESS"] for s in settings}) == 1


def test_jax_joins_them() -> None:
    pytest.importorskip("jax")
    code = """
from synthdiv.training import join_processes
join_processes()
import jax
print("devices", jax.process_count(), jax.local_device_count(), jax.device_count())
"""
    returned, output = finish(launch(code, "--processes=2", "--devices=2"))
    assert returned == 0, output
    assert output.count("devices 2 2 4") == 2


def test_one_failure_stops_all() -> None:
    code = (
        "import os, sys, time; time.sleep(600 * (os.environ['JAX_PROCESS_ID'] == '0'))\n"
        "print('slept' if os.environ['JAX_PROCESS_ID'] == '0' else 'failed'); sys.exit(3)"
    )
    returned, output = finish(launch(code, "--processes=2"))
    assert returned == 3
    assert "failed" in output and "slept" not in output


def test_a_clean_stop_starts_again(tmp_path: Path) -> None:
    code = f"""
import os, sys
path = {str(tmp_path)!r} + "/" + os.environ["JAX_PROCESS_ID"]
open(path, "a").write("x")
sys.exit(75 if len(open(path).read()) < 3 else 0)
"""
    assert finish(launch(code, "--max_restarts=5"))[0] == 0
    assert [(tmp_path / name).read_text() for name in "01"] == ["xxx", "xxx"]
    assert finish(launch("import sys; sys.exit(75)", "--max_restarts=1"))[0] == 75


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_reaches_every_process(number: signal.Signals) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved"), sys.exit(75)))
print("ready")
time.sleep(60)
"""
    process = launch(code, "--max_restarts=5")
    for _ in range(2):
        assert "ready" in process.stdout.readline()
    process.send_signal(number)
    returned, output = finish(process)
    assert returned == 75
    assert output.count("saved") == 2 and "starting again" not in output
