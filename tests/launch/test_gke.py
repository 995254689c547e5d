"""The manifest that Kubernetes is given; tests/launch/golden/ has it to the letter."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.launch.in_process import launch

PRETRAIN = ["pretrain", "--config=configs/pretrain/350m.gin", "--workdir=/mnt/b/run"]
STUDY = ["study", "--config=configs/study/smoke.gin", "--workdir=/mnt/b/study"]
IMAGE = "--image=example.invalid/synthdiv:1"
TPU = ["--accelerator=tpu-v5-lite-podslice", "--topology=4x4", "--chips=4"]
GPU = ["--accelerator=nvidia-h100-80gb", "--chips=8"]


def submitted(*arguments: str) -> dict[str, Any]:
    printed = launch("gke", "--dry_run", IMAGE, *arguments)
    assert printed.code == 0, printed.err
    assert printed.out.startswith("# kubectl apply -f -\n")
    return yaml.safe_load(printed.out)


def jobs(manifest: dict[str, Any]) -> dict[str, Any]:
    """The Job of a JobSet's only replicated job."""
    (only,) = manifest["spec"]["replicatedJobs"]
    return only["template"]["spec"]


def container(job: dict[str, Any]) -> dict[str, Any]:
    (only,) = job["template"]["spec"]["containers"]
    return only


def test_kubectl_is_given_what_a_dry_run_prints(cluster) -> None:
    cluster.install("kubectl")
    result = cluster.launch("gke", IMAGE, *TPU, *PRETRAIN)
    assert result.returncode == 0, result.stderr
    (call,) = cluster.calls("kubectl")
    assert call["words"] == ["apply", "-f", "-"]
    assert yaml.safe_load(call["input"]) == submitted(*TPU, *PRETRAIN)


def test_each_slice_is_a_job_with_a_pod_a_machine() -> None:
    manifest = submitted(*TPU, "--slices=3", *PRETRAIN)
    assert manifest["spec"]["replicatedJobs"][0]["replicas"] == 3
    job = jobs(manifest)
    assert job["completions"] == job["parallelism"] == 4
    assert job["template"]["spec"]["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    assert container(job)["resources"]["limits"] == {"google.com/tpu": 4}
    assert container(job)["env"] == []  # GKE tells JAX who the others are
    (note,) = manifest["metadata"]["annotations"].items()
    assert note == (
        "alpha.jobset.sigs.k8s.io/exclusive-topology",
        "cloud.google.com/gke-nodepool",
    )


def test_gpu_pods_find_the_first_one_under_the_name_that_jobset_gives_it() -> None:
    manifest = submitted(*GPU, "--nodes=2", *PRETRAIN)
    name, network = manifest["metadata"]["name"], manifest["spec"]["network"]
    (replicated,) = manifest["spec"]["replicatedJobs"]
    environment = {entry["name"]: entry for entry in container(jobs(manifest))["env"]}
    first = f"{name}-{replicated['name']}-0-0.{network['subdomain']}"
    assert environment["JAX_COORDINATOR_ADDRESS"]["value"] == f"{first}:8476"
    assert environment["JAX_NUM_PROCESSES"]["value"] == "2"
    assert network["enableDNSHostnames"]
    index = environment["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    # A pod is called NAME-slice-SLICE-POD-xxxxx, of 63 characters at most.
    assert len(f"{'n' * 40}-{replicated['name']}-99-9999-xxxxx") <= 63


def fate(manifest: dict[str, Any], message: str, reason: str = "PodFailurePolicy") -> str:
    """What the JobSet controller does after a Job that failed with this message."""
    for rule in manifest["spec"]["failurePolicy"]["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [])
        if reason in rule["onJobFailureReasons"] and (
            not patterns or any(re.search(pattern, message) for pattern in patterns)
        ):
            return rule["action"]
    return "RestartJobSet"


def ended_with(code: int) -> str:
    """As the Job controller writes it."""
    start = f"Container synthdiv for pod default/x-2-75 failed with exit code {code} "
    return f"{start}matching FailJob rule at index 0"


LOST = "Pod default/x-2-75 has condition DisruptionTarget matching FailJob rule at index 1"
AGAIN = "RestartJobSetAndIgnoreMaxRestarts"


@pytest.mark.parametrize(
    ("arguments", "stopped"),
    [
        (PRETRAIN, AGAIN),
        (["--max_restarts=0", *PRETRAIN], "FailJobSet"),
        (["score", "--input=a", "--output=b", "--llm=batch"], "FailJobSet"),
    ],
)
def test_a_clean_stop_starts_again_and_a_mistake_does_not(arguments, stopped) -> None:
    manifest = submitted(*arguments)
    assert fate(manifest, ended_with(2)) == "FailJobSet"
    assert fate(manifest, ended_with(75)) == stopped
    assert fate(manifest, LOST) == AGAIN
    assert fate(manifest, "Job has reached the limit", "BackoffLimitExceeded") == "RestartJobSet"
    # Every pod that ends so makes its Job fail, and with it all others.
    assert jobs(manifest)["backoffLimit"] == 0
    rules = jobs(manifest)["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["FailJob"] * 3


def test_an_array_has_pods_that_start_again_alone() -> None:
    manifest = submitted("--array=6", "--at_once=2", *GPU, *STUDY, "--bind=Study.seeds=[0, 1]")
    assert manifest["kind"] == "Job"
    job = manifest["spec"]
    assert (job["completions"], job["parallelism"]) == (6, 2)
    actions = [rule["action"] for rule in job["podFailurePolicy"]["rules"]]
    assert actions == ["FailJob", "Ignore", "Ignore"]
    stopped = submitted("--array=6", "--max_restarts=0", *STUDY)["spec"]["podFailurePolicy"]
    assert stopped["rules"][2]["action"] == "FailIndex"


def test_the_command_of_an_array_s_pod(tmp_path: Path) -> None:
    """The shell line gives the number that Kubernetes counts from 0, and keeps quotes."""
    (tmp_path / "python").write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    (tmp_path / "python").chmod(0o755)
    command = container(submitted("--array=6", *STUDY, "--bind=A.b='$x c'")["spec"])["command"]
    done = subprocess.run(
        command,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "5"},
        capture_output=True,
        text=True,
    )
    words = ["-m", "synthdiv.study", *STUDY[1:], "--bind=A.b='$x c'", "--shard=6/6"]
    assert done.stdout.splitlines() == words


def test_arguments_keep_their_quotes() -> None:
    bind = "--bind=Study.cells = [\"a: b\", 'c']  # $HOME\n- x"
    command = container(jobs(submitted(*PRETRAIN, bind)))["command"]
    assert bind in command, json.dumps(command)


def test_mistakes_are_one_line() -> None:
    for arguments, words in [
        (PRETRAIN, "--image is required"),
        ([IMAGE, *TPU[:1], "--topology=4by4", "--chips=4", *PRETRAIN], "write it as 4x4"),
        ([IMAGE, *TPU[:1], "--topology=0x4", "--chips=4", *PRETRAIN], "write it as 4x4"),
        ([IMAGE, *TPU[:2], "--chips=5", *PRETRAIN], "has 16 chips"),
        ([IMAGE, *GPU[:1], *PRETRAIN], "give --chips"),
        ([IMAGE, "--chips=1", *PRETRAIN], "of which --accelerator?"),
        ([IMAGE, *GPU, "--topology=4x4", *PRETRAIN], "--topology is of TPU slices"),
        ([IMAGE, TPU[0], TPU[2], *PRETRAIN], "--topology is of TPU slices"),
        ([IMAGE, *TPU, "--nodes=2", *PRETRAIN], "--nodes is for GPUs"),
        ([IMAGE, *GPU, "--slices=2", *PRETRAIN], "--slices is for TPUs"),
        ([IMAGE, *TPU, "--array=2", *STUDY], "study runs as one process"),
        ([IMAGE, *GPU, "--array=2", *PRETRAIN], "pretrain has none"),
        ([IMAGE, "--nodes=2", "generate"], "generate runs as one process"),
    ]:
        result = launch("gke", *arguments)
        assert result.code == 2, result.err
        assert words in result.err and result.err.count("\n") == 1
