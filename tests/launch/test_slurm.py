"""The job script that Slurm is given, and what it does when it runs."""

import os
import re
import subprocess

import pytest

from tests.launch.in_process import launch, load

PRETRAIN = ["pretrain", "--config=configs/pretrain/350m.gin", "--workdir=/shared/a run"]


STUDY = ["study", "--config=configs/study/smoke.gin", "--workdir=/shared/a run"]


def test_the_script_goes_to_sbatch_as_a_dry_run_prints_it(cluster) -> None:
    cluster.install("sbatch", {"": [("12;cluster", 0)]})
    arguments = ["--nodes=2", "--gpus_per_node=4", *PRETRAIN]
    result = cluster.launch("slurm", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("submitted job 12; its output goes to ")
    assert (cluster.directory / "runs" / "slurm").is_dir()
    (call,) = cluster.calls("sbatch")
    assert call["words"] == ["--parsable"]
    printed = cluster.launch("slurm", "--dry_run", *arguments)
    assert printed.stdout == "# sbatch --parsable\n" + call["input"]
    assert len(cluster.calls("sbatch")) == 1


def test_a_study_is_an_array_and_a_job_that_waits_for_it(cluster) -> None:
    cluster.install("sbatch", {"dependency": [("13", 0)], "": [("12", 0)]})
    result = cluster.launch("slurm", "--array=24", "--gpus_per_node=8", *STUDY)
    assert result.returncode == 0, result.stderr
    array, last = cluster.calls("sbatch")
    assert "#SBATCH --array=1-24\n" in array["input"]
    assert "#SBATCH --ntasks-per-node=1\n" in array["input"]  # a process has a node's GPUs
    assert last["words"][1:] == ["--dependency=afterok:12", "--kill-on-invalid-dep=yes"]
    assert "--shard" not in last["input"] and "--gpus" not in last["input"]

    cluster.install("srun", {"": [("", 75)]}, reads=False)
    cluster.install("scontrol", reads=False)
    environment = {
        **os.environ,
        "PATH": f"{cluster.bin}:{os.environ['PATH']}",
        **{"SLURM_JOB_ID": "40", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "7"},
    }
    ended = subprocess.run(["bash"], input=array["input"], env=environment, text=True, timeout=60)
    assert ended.returncode == 75
    (srun,) = cluster.calls("srun")
    assert srun["words"][3:] == ["-m", "synthdiv.study", *STUDY[1:], "--shard=7/24"]
    assert [call["words"] for call in cluster.calls("scontrol")] == [["requeue", "12_7"]]


def test_an_array_that_sbatch_refuses_has_no_last_job(cluster) -> None:
    cluster.install("sbatch", {"": [("", 1)]})
    result = cluster.launch("slurm", "--array=2", *STUDY)
    assert result.returncode == 1 and result.stderr.endswith("say --gpus_per_node=0\n")
    assert len(cluster.calls("sbatch")) == 1


@pytest.mark.parametrize(
    ("command", "gpus"),
    [("pretrain", True), ("sft", True), ("evaluate", True), ("study", True), ("sample", True)]
    + [(name, False) for name in ("tokenize", "score", "generate", "topics", "filter")],
)
def test_gpus_are_asked_for_by_what_trains(command: str, gpus: bool) -> None:
    printed = launch("slurm", "--dry_run", command)
    assert ("#SBATCH --gpus-per-node=1\n" in printed.out) == gpus
    assert "warning" not in printed.err


def test_idle_gpus_and_training_without_any_are_warnings() -> None:
    for flag, command, warning in [
        ("--gpus_per_node=0", "sft", "warning: sft without --gpus_per_node runs on the CPU\n"),
        ("--gpus_per_node=1", "score", "warning: score uses no accelerator; leave "),
    ]:
        assert launch("slurm", "--dry_run", flag, command).err.startswith(warning)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("5", 300), ("5:30", 330), ("1:00:00", 3600), ("1-2", 93600), ("1-2:30", 95400)]
    + [("2-00:00:10", 172810), ("0", 0), ("UNLIMITED", None)],
)
def test_time_limits_as_slurm_writes_them(time: str, seconds: int | None) -> None:
    assert load("slurm")["seconds"](time) == seconds


def run_script(cluster, code: int, restarts: int, *flags: str) -> subprocess.CompletedProcess:
    """Runs the job script as a node would, where srun ends with `code`."""
    script = launch("slurm", "--dry_run", *flags, *PRETRAIN).out
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


def test_mistakes_are_one_line() -> None:
    for arguments, words in [
        (["--nodes=2", "score", "--input=a"], "score runs as one process"),
        (["--nodes=2", "--array=2", *STUDY], "study runs as one process"),
        (["--array=2", *PRETRAIN], "--array shares out the runs of a study; pretrain has none"),
        (["--array=2", *STUDY, "--shard=1/2"], "leave it out"),
        (["--at_once=2", *STUDY], "none was asked for"),
        (["--time=5", *PRETRAIN], "--time=5 leaves nothing before --grace=300 seconds"),
        (["pretran"], "did you mean 'pretrain'?"),
        ([], "name the command"),
        (["--nodez=2", *PRETRAIN], "nodez"),
        (["--name=My_Job", *PRETRAIN], "lower-case"),
        ([f"--name={'a' * 41}", *PRETRAIN], "40 at most"),
    ]:
        result = launch("slurm", *arguments)
        assert result.code == 2, result.err
        assert words in result.err and result.err.count("\n") == 1


def test_a_cluster_without_slurm_is_said(cluster) -> None:
    result = cluster.launch("slurm", *PRETRAIN)
    assert result.returncode == 2
    assert "sbatch is not on the PATH" in result.stderr and result.stderr.count("\n") == 1


def test_no_key_is_written(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-a-test")
    for script, flags in [
        ("slurm", []),
        ("gke", ["--image=i", "--secret=s"]),
        ("tpu_vm", ["--zone=z"]),
        ("local", []),
    ]:
        printed = launch(script, "--dry_run", *flags, *PRETRAIN)
        assert printed.code == 0, printed.err
        assert "a-key-of-a-test" not in printed.out


@pytest.mark.parametrize("script", ["local", "slurm", "gke", "tpu_vm"])
def test_every_launcher_explains_itself_with_a_line_for_each_flag(script) -> None:
    shown = launch(script, "--help")
    assert shown.code == 0, shown.err
    doc, _, flags = shown.out.partition("\nFlags, before the command:\n")
    assert f"python launch/{script}.py" in doc
    lines = flags.splitlines()
    assert all(re.match(r"  --(\[no\])?\w+ +\S.*", line) for line in lines)
    assert {"dry_run", "help", "name", "max_restarts"} <= {
        re.match(r"  --(?:\[no\])?(\w+)", line)[1] for line in lines
    }
    assert max(map(len, lines)) <= 110
