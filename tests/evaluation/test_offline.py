"""The command with the network off from its first second: the package and data files are enough."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthdiv.evaluation.tasks import PAPER, PAPER_METRICS

# Where namespaces are not permitted: Python loads this before anything else.
_NO_SOCKETS = """
import socket

def refuse(*unused, **unused_too):
    raise AssertionError("the network was used")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""
# No interface but a loopback that is down; shows that it is so before it goes on.
_NO_ROUTE = 'test -z "$(cat /proc/net/route | tail -n +2)" && exec "$@"'


_ENTER = ["unshare", "--map-root-user", "--net", "sh", "-c", _NO_ROUTE, "sh"]


def _permitted() -> bool:
    found = shutil.which("unshare")
    return bool(found) and subprocess.run([*_ENTER, "true"], capture_output=True).returncode == 0


@pytest.mark.slow  # test_run.py has the same of the library
def test_the_command_needs_no_network(checkpoint, suite, tokenizer_dir, tmp_path):
    entered = _permitted()
    if not entered:
        (tmp_path / "sitecustomize.py").write_text(_NO_SOCKETS)
    (tmp_path / "home").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),  # no cache of the hub
        "HF_HUB_OFFLINE": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{tmp_path}:{Path.cwd()}",
    }
    output = tmp_path / "results.json"
    command = [
        *(_ENTER if entered else []),
        sys.executable,
        "-m",
        "synthdiv.evaluate",
        f"--checkpoint={checkpoint}",
        f"--tasks={PAPER}",
        f"--data_dir={suite}",
        f"--corpus={tokenizer_dir.parent / 'pages.jsonl'}",
        "--bind=TextLoss.max_documents=2",
        f"--output={output}",
    ]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    results = json.loads(output.read_text())
    assert set(results["tasks"]) == set(PAPER_METRICS)
    assert results["bits_per_byte"] > 0
