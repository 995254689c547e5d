"""The script that measures whole runs works from end to end, on a CPU as on a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_whole_run_is_measured_killed_and_resumed(tokens, tmp_path) -> None:
    command = [sys.executable, ROOT / "benchmarks/pretrain.py", f"--tokens={tokens[0]}"]
    command += [f"--workdir={tmp_path}", "--model=tiny", "--batch=8", "--steps=40", "--workers=0"]
    done = subprocess.run(
        command,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    parts = {line["part"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert list(parts) == ["bare", "whole", "killed"]
    assert parts["whole"]["goodput"] > 0
    killed = parts["killed"]
    assert 0 < killed["killed_after_step"] < 40 and len(killed["compile_seconds"]) == 2
    assert killed["bit_equal"] and killed["arrays"] > 20
