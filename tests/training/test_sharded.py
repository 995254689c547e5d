"""The whole step, sharded over eight devices, is the step on one: losses, norms and weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import QUICKLY_COMPILED

ROOT = Path(__file__).resolve().parents[2]


def on_meshes(steps: int, *meshes: str) -> dict:
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.on_meshes", str(steps), *meshes],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"} | QUICKLY_COMPILED,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_equal_to_one_device(results: dict) -> None:
    alone = results.pop("1")
    for mesh, run in results.items():
        assert run["first"] == pytest.approx(alone["first"], rel=1e-6), (
            mesh
        )  # the same random weights
        for step, (ours, single) in enumerate(zip(run["metrics"], alone["metrics"], strict=True)):
            for name in ("loss", "nll", "tokens", "grad_norm", "param_norm"):
                np.testing.assert_allclose(
                    ours[name], single[name], rtol=1e-5, err_msg=f"{mesh} step {step} {name}"
                )
        a, b = np.array(run["params"]), np.array(alone["params"])
        assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b), mesh


def test_mixed_mesh_is_one_device() -> None:
    results = on_meshes(4, "2,2,2")
    assert results["2,2,2"]["shard"] == [48, 16]  # V over tensor, D over fsdp
    assert_equal_to_one_device(results)


@pytest.mark.slow
def test_every_mesh_is_one_device_over_ten_steps() -> None:
    meshes = ("8,1,1", "1,8,1", "1,1,8", "2,2,2", "4,2,1,2")
    results = on_meshes(10, *meshes)
    shards = {mesh: results[mesh]["shard"] for mesh in meshes}
    assert shards["8,1,1"] == [96, 32]  # whole on every device
    assert shards["1,8,1"] == [96, 4]
    assert shards["1,1,8"] == [12, 32]
    assert_equal_to_one_device(results)
