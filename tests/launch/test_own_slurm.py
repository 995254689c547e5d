"""The launcher and its jobs under a real Slurm: started here, and gone afterwards."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.own_slurm import PATIENCE_S, ROOT, OwnSlurm, own_slurm

pytest.importorskip("jax")
pytest.importorskip("lm_eval")

from tests.faults.test_train_killed import (  # noqa: E402  it needs JAX
    assert_same_run,
    logged,
    settings,
)

__all__ = ["settings"]
pytestmark = pytest.mark.slow

TWO_PROCESSES = ["--gpus_per_node=2", "--gpu_type=pretended"]  # JAX_PLATFORMS=cpu


@pytest.fixture(scope="module")
def slurm() -> Iterator[OwnSlurm]:
    with own_slurm() as cluster:
        yield cluster


def pretrain(settings: Path, workdir: Path, steps: int) -> list[str]:
    """Steps of some 50 ms, so that a signal comes before the last of them."""
    binds = [f"Pretrain.tokens={steps * 16 * 32}", "Pretrain.checkpoint_every=100"]
    binds += ["Model.hidden=256", "Model.mlp=1024"]
    return [
        "pretrain",
        f"--config={settings}",
        f"--workdir={workdir}",
        *(f"--bind={bind}" for bind in binds),
    ]


def log(slurm: OwnSlurm, job: str) -> str:
    (file,) = slurm.directory.glob(f"the logs/*-{job}.log")
    return file.read_text()


def test_a_mistake_fails_the_job_and_is_not_queued_again(slurm: OwnSlurm) -> None:
    (job,) = slurm.submit("--gpus_per_node=0", "pretrain", "--config=none.gin", "--workdir=w")
    assert slurm.ended(job) == ("FAILED", "2:0")
    assert slurm.job(job)["Restarts"] == "0"
    assert log(slurm, job).startswith("error: no config file 'none.gin'\n")


def test_a_script_is_tried_without_being_queued(slurm: OwnSlurm) -> None:
    tried = slurm.launch("--test_only", "--cpus_per_task=1", "pretrain", "--workdir=w")
    assert tried.returncode == 0 and "to start at" in tried.stderr
    # More cores than the node has.
    tried = slurm.launch("--test_only", "--cpus_per_task=99", "pretrain", "--workdir=w")
    assert tried.returncode == 1
    assert slurm.run("squeue", "--noheader") == ""


def test_commands_get_what_they_need(slurm: OwnSlurm) -> None:
    (job,) = slurm.submit("--sbatch=--hold", "--name=trains", *TWO_PROCESSES, "pretrain")
    asked = slurm.job(job)
    assert (asked["NumTasks"], asked["NumCPUs"]) == ("2", "2")
    assert asked["TresPerNode"] == "gres:gpu:pretended:2"
    (job,) = slurm.submit("--sbatch=--hold", "tokenize")
    assert "TresPerNode" not in slurm.job(job)
    slurm.run("scancel", "--user=root")


def test_each_process_has_its_cores(slurm: OwnSlurm, tmp_path: Path) -> None:
    """The step has the cores of all its processes."""
    show = 'exec scontrol show step "$SLURM_JOB_ID.$SLURM_STEP_ID"'
    (tmp_path / "python").write_text(f"#!/bin/sh\n{show}\n")
    (tmp_path / "python").chmod(0o755)
    flags = [f"--python={tmp_path / 'python'}", "--cpus_per_task=2", *TWO_PROCESSES]
    (job,) = slurm.submit(*flags, "pretrain")
    assert slurm.ended(job) == ("COMPLETED", "0:0")
    assert log(slurm, job).count("CPUs=4 Tasks=2") == 2


def test_preempted_and_queued_again_it_ends_in_the_same_bits(
    slurm: OwnSlurm, settings: Path, tmp_path: Path
) -> None:
    whole, disturbed = tmp_path / "whole", tmp_path / "disturbed"
    steps = 90
    (job,) = slurm.submit(*TWO_PROCESSES, *pretrain(settings, whole, steps))
    assert slurm.ended(job) == ("COMPLETED", "0:0"), slurm.said()

    (job,) = slurm.submit(*TWO_PROCESSES, *pretrain(settings, disturbed, steps))
    slurm.wait("a third of the steps", lambda: len(logged(disturbed)) > steps // 3)
    slurm.run("scontrol", "requeue", job)
    slurm.release(job)
    reached = len(logged(disturbed))
    assert steps // 3 < reached < steps
    slurm.wait("two thirds of the steps", lambda: len(logged(disturbed)) > 2 * steps // 3)
    urgent = ["--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true"]
    slurm.run("sbatch", *urgent)
    slurm.release(job)
    assert len(logged(disturbed)) < steps
    assert slurm.ended(job) == ("COMPLETED", "0:0"), slurm.said()
    assert slurm.job(job)["Restarts"] == "2"
    assert log(slurm, job).count("paused: asked to stop") == 4  # two processes, twice
    assert_same_run(whole, disturbed)


def test_before_the_time_limit_it_saves_and_is_queued_again(
    slurm: OwnSlurm, settings: Path, tmp_path: Path
) -> None:
    workdirs = [tmp_path / "again", tmp_path / "once"]
    endless = [pretrain(settings, workdir, 10_000_000) for workdir in workdirs]
    (again,) = slurm.submit("--grace=120", *TWO_PROCESSES, *endless[0])
    (once,) = slurm.submit("--grace=120", "--max_restarts=0", "--gpus_per_node=1", *endless[1])
    slurm.wait("both to train", lambda: all(map(logged, workdirs)))
    for job in (again, once):  # the limit comes near, however long it took to start
        minutes = slurm.seconds(job) // 60 + 3
        slurm.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
    assert slurm.ended(once) == ("FAILED", "75:0")
    slurm.wait("the job to be queued again", lambda: slurm.job(again)["Restarts"] == "1")
    slurm.run("scancel", again)
    for job, workdir in zip((again, once), workdirs, strict=True):
        assert "paused: asked to stop at step" in log(slurm, job)
        assert list((workdir / "checkpoints").iterdir())


def test_an_array_of_six_finds_what_one_process_finds(slurm: OwnSlurm, tmp_path: Path) -> None:
    study = [
        "study",
        f"--config={ROOT}/configs/study/smoke.gin",
        "--bind=Study.seeds=[0, 1]",
        "--bind=Study.phases=['pretrain']",
        "--bind=Study.synthetic_tokens=8_000",
        "--bind=Study.real_tokens=8_000",
        "--bind=Score.rounds=30",
    ]
    environment = slurm.environment | {"HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    whole = [sys.executable, "-m", "synthdiv.study", *study[1:], f"--workdir={tmp_path / 'one'}"]
    subprocess.run(whole, env=environment, check=True, capture_output=True, timeout=PATIENCE_S)
    array, last = slurm.submit("--array=6", *study, f"--workdir={tmp_path / 'six'}")
    assert slurm.job(last)["Dependency"].startswith(f"afterok:{array}_*")
    assert slurm.ended(last) == ("COMPLETED", "0:0"), slurm.said()
    for number in range(1, 7):
        assert slurm.ended(f"{array}_{number}") == ("COMPLETED", "0:0")
    assert "nothing to do" in log(slurm, last)
    one, six = (results(tmp_path / name) for name in ("one", "six"))
    assert one == six and len(six["cells"]) == 3


def results(workdir: Path) -> dict:
    """What a study found, without what differs from run to run."""
    found = json.loads((workdir / "study.json").read_text())
    return {name: value for name, value in found.items() if name not in ("seconds", "command")}
