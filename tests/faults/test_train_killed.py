"""A run that is killed again and again ends in the same bits as one that is left alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import QUICKLY_COMPILED
from tests.training.conftest import state_of, write_tokens

ROOT = Path(__file__).resolve().parents[2]
SEED = 20241010


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gin file of a run with every random part: dropout, two sources, accumulation."""
    directory = tmp_path_factory.mktemp("killed")
    even, odd = write_tokens(directory)
    file = directory / "run.gin"
    file.write_text(
        f"""
        Mixture.sources = (("{even}", 9000), ("{odd}", 5000))
        Model.vocab_size = 512
        Model.hidden = 64
        Model.mlp = 128
        Model.layers = 2
        Model.heads = 8
        Model.max_length = 32
        Model.dtype = "float32"
        Model.attention_dropout = 0.1
        Optimizer.learning_rate = 1e-2
        Pretrain.batch_size = 16
        Pretrain.accumulate = 2
        Pretrain.log_every = 1
        Pretrain.checkpoint_every = 7
        Pretrain.tensorboard = False
        Pretrain.compile_cache = "{directory / "xla"}"
        """
    )
    return file


def start(settings: Path, workdir: Path, steps: int, devices: int, **environment: str):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "synthdiv.pretrain",
            f"--config={settings}",
            f"--workdir={workdir}",
            f"--bind=Pretrain.tokens={steps * 16 * 32}",
            *(["--distributed"] if environment else []),
        ],
        cwd=ROOT,
        env=os.environ
        | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        | QUICKLY_COMPILED
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    return err


def logged(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def kill_at(process, workdir: Path, step: int, how: int, delay: float = 0.0) -> None:
    """Sends a signal once the run has logged `step`."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        done = logged(workdir)
        if done and done[-1]["step"] >= step:
            time.sleep(delay)
            process.send_signal(how)
            break
        time.sleep(0.002)
    process.communicate(timeout=300)


def final_state(workdir: Path) -> dict:
    return state_of(Path(json.loads((workdir / "done.json").read_text())["checkpoint"]))


def position_of(workdir: Path) -> dict:
    checkpoint = Path(json.loads((workdir / "done.json").read_text())["checkpoint"])
    return json.loads((checkpoint / "about/metadata").read_text())["position"]


def assert_same_run(a: Path, b: Path) -> None:
    import jax

    jax.tree.map(np.testing.assert_array_equal, final_state(a), final_state(b))
    assert position_of(a) == position_of(b)
    for x, y in zip(logged(a), logged(b), strict=True):
        for name in ("step", "loss", "loss/even", "loss/odd", "grad_norm", "epochs"):
            assert x.get(name) == y.get(name), (x["step"], name)


def killed_and_resumed(settings: Path, workdir: Path, steps: int, devices: int, kills: int):
    draw = random.Random(SEED)
    for part in range(kills):
        low, high = part * steps // kills, (part + 1) * steps // kills
        step = draw.randint(low + 1, max(low + 1, high - 3))
        while True:
            process = start(settings, workdir, steps, devices)
            kill_at(process, workdir, step, signal.SIGKILL, draw.random() * 0.05)
            if process.returncode == -signal.SIGKILL:
                break
            assert process.returncode == 0
            shutil.rmtree(workdir)  # on a busy machine it may end before anybody looks: once more
    finish(start(settings, workdir, steps, devices))


@pytest.mark.slow  # tests/training/test_interruptions.py goes on from what kills leave
@pytest.mark.parametrize("devices", [1, 8])
def test_five_kills_change_nothing(settings, tmp_path, devices: int) -> None:
    finish(start(settings, tmp_path / "whole", 60, devices))
    killed_and_resumed(settings, tmp_path / "killed", 60, devices, kills=5)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_devices(settings, tmp_path) -> None:
    finish(start(settings, tmp_path / "eight", 40, devices=8))
    for devices in (4, 2):
        workdir = tmp_path / str(devices)
        shutil.copytree(tmp_path / "eight", workdir)
        (workdir / "done.json").unlink()
        for step in (35, 40):
            shutil.rmtree(workdir / "checkpoints" / str(step))
        assert "28" in finish(start(settings, workdir, 40, devices))
        assert position_of(workdir) == position_of(tmp_path / "eight")
        for x, y in zip(logged(workdir), logged(tmp_path / "eight"), strict=True):
            assert x["epochs"] == y["epochs"]
            for name in ("loss", "loss/even", "loss/odd"):
                assert abs(x[name] - y[name]) < 1e-5, (x["step"], name)


@pytest.mark.slow
def test_two_processes_are_one(settings, tmp_path) -> None:
    """Four devices in each of two processes that find each other over the loopback."""
    import socket

    finish(start(settings, tmp_path / "one", 20, devices=8))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        start(
            settings,
            tmp_path / "two",
            20,
            devices=4,
            JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(i),
        )
        for i in range(2)
    ]
    for process in processes:
        finish(process)
    assert position_of(tmp_path / "one") == position_of(tmp_path / "two")
    for x, y in zip(logged(tmp_path / "one"), logged(tmp_path / "two"), strict=True):
        assert x["epochs"] == y["epochs"]
        assert abs(x["loss"] - y["loss"]) < 1e-5
    a, b = (final_state(tmp_path / name)["params"]["embedding"] for name in ("one", "two"))
    assert np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(a)
