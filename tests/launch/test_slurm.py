"""The job script that Slurm is given, and what it does when it runs."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

PRETRAIN = ["pretrain", "--config=configs/pretrain/350m.gin", "--workdir=/shared/a run"]


def options(script: str) -> list[str]:
    return [line.split(" ", 1)[1] for line in script.splitlines() if line.startswith("#SBATCH ")]


def test_the_script_goes_to_sbatch(cluster) -> None:
    cluster.install("sbatch", {"": [("Submitted batch job 12", 0)]})
    result = cluster.launch(
        "slurm",
        "--nodes=4",
        "--gpus_per_node=8",
        "--gpu_type=h100",
        "--time=02:00:00",
        "--sbatch=--partition=gpu",
        "--setup=module load cuda",
        *PRETRAIN,
    )
    assert result.returncode == 0, result.stderr
    assert "Submitted batch job 12" in result.stdout
    (call,) = cluster.calls("sbatch")
    assert call["words"] == []
    script = call["input"]
    assert {
        "--job-name=synthdiv-pretrain",
        "--nodes=4",
        "--ntasks-per-node=8",
        "--gpus-per-node=h100:8",
        "--time=02:00:00",
        "--partition=gpu",
        "--requeue",
    } <= set(options(script))
    assert script.index("module load cuda") < script.index("srun ")
    (srun,) = (shlex.split(line) for line in script.splitlines() if line.startswith("srun "))
    assert srun[-5:] == ["-m", "synthdiv.pretrain", *PRETRAIN[1:], "--distributed"]
    assert (cluster.directory / "runs" / "slurm").is_dir()


def test_dry_run_prints_the_same_and_touches_nothing(cluster) -> None:
    cluster.install("sbatch")
    arguments = ["--nodes=2", "--gpus_per_node=4", *PRETRAIN]
    assert cluster.launch("slurm", *arguments).returncode == 0
    printed = cluster.launch("slurm", "--dry_run", *arguments)
    assert printed.stdout == "# sbatch\n" + cluster.calls("sbatch")[0]["input"]
    assert len(cluster.calls("sbatch")) == 1


STUDY = ["study", "--config=configs/study/smoke.gin", "--workdir=/shared/a run"]


def test_a_study_is_an_array_of_jobs_each_with_its_shard(cluster) -> None:
    flags = ["--array=24", "--gpus_per_node=8", "--dry_run"]
    script = cluster.launch("slurm", *flags, *STUDY).stdout.removeprefix("# sbatch\n")
    assert {
        "--job-name=synthdiv-study",
        "--array=1-24",
        "--requeue",
        "--ntasks-per-node=1",  # one process that has all of a node's GPUs
        "--gpus-per-node=8",
    } <= set(options(script))
    (output,) = (option for option in options(script) if option.startswith("--output="))
    assert output.endswith("/runs/slurm/%x-%A_%a.log")
    cluster.install("srun", {"": [("", 75)]}, reads=False)
    cluster.install("scontrol", reads=False)
    environment = {
        **os.environ,
        "PATH": f"{cluster.bin}:{os.environ['PATH']}",
        **{"SLURM_JOB_ID": "40", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "7"},
    }
    ended = subprocess.run(["bash"], input=script, env=environment, text=True, timeout=60)
    assert ended.returncode == 75
    (srun,) = cluster.calls("srun")
    assert srun["words"][2:] == ["-m", "synthdiv.study", *STUDY[1:], "--shard=7/24"]
    assert [call["words"] for call in cluster.calls("scontrol")] == [["requeue", "12_7"]]


def run_script(cluster, code: int, restarts: int, *flags: str) -> subprocess.CompletedProcess:
    """Runs the job script as a node would, where srun ends with `code`."""
    script = cluster.launch("slurm", "--dry_run", *flags, *PRETRAIN).stdout
    cluster.install("srun", {"": [("", code)]}, reads=False)
    cluster.install("scontrol", reads=False)
    environment = {
        **os.environ,
        "PATH": f"{cluster.bin}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "12",
        "SLURM_RESTART_COUNT": str(restarts),
    }
    return subprocess.run(
        ["bash"], input=script, env=environment, text=True, capture_output=True, timeout=60
    )


def test_a_clean_stop_is_queued_again(cluster) -> None:
    assert run_script(cluster, 75, restarts=3).returncode == 75
    assert [call["words"] for call in cluster.calls("scontrol")] == [["requeue", "12"]]


def test_restarts_are_bounded_and_failures_stay_failures(cluster) -> None:
    assert run_script(cluster, 75, 2, "--max_restarts=3").returncode == 75
    assert len(cluster.calls("scontrol")) == 1
    assert run_script(cluster, 75, 3, "--max_restarts=3").returncode == 75
    assert run_script(cluster, 1, 0).returncode == 1
    assert run_script(cluster, 0, 0).returncode == 0
    assert len(cluster.calls("scontrol")) == 1
    assert len(cluster.calls("srun")) == 4


def test_a_pause_for_answers_is_not_queued_again(cluster) -> None:
    script = cluster.launch("slurm", "--dry_run", "score", "--input=a", "--output=b").stdout
    assert "-lt 0 ]" in script
    assert "--distributed" not in script


def test_mistakes_are_one_line(cluster) -> None:
    for arguments, words in [
        (["--nodes=2", "score", "--input=a"], "score runs as one process"),
        (["--nodes=2", "--array=2", *STUDY], "study runs as one process"),
        (["--array=2", *PRETRAIN], "--array shares out the runs of a study; pretrain has none"),
        (["pretran"], "did you mean 'pretrain'?"),
        ([], "name the command"),
        (["--nodez=2", *PRETRAIN], "nodez"),
        (["--name=My_Job", *PRETRAIN], "lower-case"),
        (PRETRAIN, "sbatch is not on the PATH"),
    ]:
        result = cluster.launch("slurm", *arguments)
        assert result.returncode == 2, result.stderr
        assert words in result.stderr and result.stderr.count("\n") == 1


def test_no_key_is_written(cluster, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-a-test")
    for script, flags in [
        ("slurm", []),
        ("gke", ["--image=i", "--secret=s"]),
        ("tpu_vm", ["--zone=z"]),
        ("local", []),
    ]:
        printed = cluster.launch(script, "--dry_run", *flags, *PRETRAIN)
        assert printed.returncode == 0, printed.stderr
        assert "a-key-of-a-test" not in printed.stdout
    assert not list(Path(cluster.directory).glob("runs/**/*"))


@pytest.mark.parametrize("script", ["local", "slurm", "gke", "tpu_vm"])
def test_every_launcher_explains_itself(cluster, script) -> None:
    shown = cluster.launch(script, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"python launch/{script}.py" in shown.stdout and "--max_restarts" in shown.stdout
    assert list(cluster.directory.glob("*.calls")) == []
