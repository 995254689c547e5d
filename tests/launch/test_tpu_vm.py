"""The gcloud calls that make a slice, install there, and run until the command has ended."""

import functools
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.launch.in_process import launch

PRETRAIN = ["pretrain", "--config=a.gin", "--workdir=/mnt/b/run"]
FLAGS = ["--zone=us-west4-a", "--type=v5litepod-16", "--poll=0", "--name=llama"]


def verbs(cluster) -> list[str]:
    """The calls in order: the verb, and for ssh whether it installs or runs."""
    found = []
    for call in cluster.calls("gcloud"):
        words = call["words"]
        assert words[:3] == ["compute", "tpus", "queued-resources"] and "--zone=us-west4-a" in words
        verb = words[3]
        if verb == "ssh":
            verb = "install" if "launch/environment.sh" in " ".join(words) else "run"
        found.append(verb)
    return found


def test_a_slice_is_made_used_and_kept(cluster) -> None:
    states = [("", 1), ("PROVISIONING", 0), ("ACTIVE", 0)]
    cluster.install("gcloud", {"describe": states}, reads=False)
    result = cluster.launch("tpu_vm", *FLAGS, *PRETRAIN)
    assert result.returncode == 0, result.stderr
    made = ["describe", "create", "describe", "describe", "scp", "install", "run", "describe"]
    assert verbs(cluster) == made
    calls = [" ".join(call["words"]) for call in cluster.calls("gcloud")]
    assert "--accelerator-type=v5litepod-16" in calls[1]
    assert calls[4].endswith("llama:synthdiv.tar.gz --node=all --worker=all --zone=us-west4-a")
    assert "prepare tpu tpu" in calls[5]
    assert "--node-id=llama" in calls[1]
    assert "--node=all --worker=all" in calls[6]
    (line,) = (word for word in cluster.calls("gcloud")[6]["words"] if "--command=" in word)
    assert line.endswith("-m synthdiv.pretrain --config=a.gin --workdir=/mnt/b/run --distributed")
    assert "queued-resources delete llama" in result.stderr


def test_a_clean_stop_runs_again_without_installing(cluster) -> None:
    cluster.install(
        "gcloud",
        {"describe": [("ACTIVE", 0)], "synthdiv.pretrain": [("", 75), ("", 255), ("", 0)]},
        reads=False,
    )
    result = cluster.launch("tpu_vm", *FLAGS, "--delete", *PRETRAIN)
    assert result.returncode == 0, result.stderr
    found = [verb for verb in verbs(cluster) if verb != "describe"]
    assert found == ["scp", "install", "run", "run", "run", "delete"]


def test_a_preempted_slice_is_made_anew(cluster) -> None:
    states = ["ACTIVE", "SUSPENDED", "SUSPENDED", "WAITING_FOR_RESOURCES", "ACTIVE"]
    cluster.install(
        "gcloud",
        {
            "describe": [(state, 0) for state in states],
            "synthdiv.pretrain": [("", 1), ("", 0)],
        },
        reads=False,
    )
    result = cluster.launch("tpu_vm", *FLAGS, "--spot", *PRETRAIN)
    assert result.returncode == 0, result.stderr
    found = [verb for verb in verbs(cluster) if verb != "describe"]
    assert found == ["scp", "install", "run", "delete", "create", "scp", "install", "run"]


def test_failures_and_pauses_end_it(cluster) -> None:
    answers = {"describe": [("ACTIVE", 0)], "-m synthdiv.": [("", 1), ("", 75)]}
    cluster.install("gcloud", answers, reads=False)
    assert cluster.launch("tpu_vm", *FLAGS, *PRETRAIN).returncode == 1
    score = ["score", "--input=a", "--output=b", "--llm=batch"]
    assert cluster.launch("tpu_vm", *FLAGS, *score).returncode == 75
    runs = [c for c in cluster.calls("gcloud") if "synthdiv.score" in " ".join(c["words"])]
    assert len(runs) == 1 and "--worker=0" in runs[0]["words"]


def test_slices_are_nodes_of_one_resource(cluster) -> None:
    cluster.install("gcloud", {"describe": [("", 1), ("ACTIVE", 0)]}, reads=False)
    result = cluster.launch("tpu_vm", *FLAGS, "--slices=2", *PRETRAIN)
    assert result.returncode == 0, result.stderr
    words = cluster.calls("gcloud")[1]["words"]
    assert {"--node-count=2", "--node-prefix=llama"} < set(words) and "--node-id" not in str(words)


def test_each_part_of_a_study_has_a_slice(cluster) -> None:
    answers = {"describe": [("ACTIVE", 0)], "shard=2/2": [("out of memory", 1)]}
    cluster.install("gcloud", answers, reads=False)
    study = ["study", "--config=a.gin", "--workdir=/mnt/b/study"]
    # One after the other: the stand-in counts its calls in a file.
    result = cluster.launch("tpu_vm", *FLAGS, "--array=2", "--at_once=1", "--delete", *study)
    assert result.returncode == 1  # one part failed, and the others were done
    assert "[2] out of memory\n" in result.stdout
    done = [" ".join(call["words"]) for call in cluster.calls("gcloud")]
    for number in (1, 2):
        mine = [line for line in done if f"llama-{number}" in line]
        assert any(f"--shard={number}/2" in line and "--worker=0" in line for line in mine)
        assert "delete" in mine[-1]


def test_a_gcloud_that_fails_ends_it(cluster) -> None:
    cluster.install("gcloud", {"describe": [("", 1)], "create": [("no quota", 1)]}, reads=False)
    result = cluster.launch("tpu_vm", *FLAGS, *PRETRAIN)
    assert result.returncode == 1
    assert result.stderr.startswith("error: gcloud ended with 1") and "create" in result.stderr


def test_mistakes_are_one_line() -> None:
    for arguments, words in [
        (PRETRAIN, "--zone is required"),
        ([*FLAGS, "--slices=2", "score", "--input=a"], "score runs as one process"),
        ([*FLAGS, "--array=2", *PRETRAIN], "pretrain has none"),
        ([*FLAGS, "--export=rm", *PRETRAIN], "write it as NAME=VALUE"),
    ]:
        result = launch("tpu_vm", *arguments)
        assert result.code == 2 and words in result.err and result.err.count("\n") == 1


@functools.cache
def explained(*words: str) -> str:
    """What gcloud says of a command."""
    help_ = ["gcloud", *words, "--help"]
    return subprocess.run(help_, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tpu_vm_pretrain", "tpu_vm_study"])
def test_gcloud_knows_the_flags(name: str) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    lines = (Path(__file__).with_name("golden") / f"{name}.txt").read_text().splitlines()[1:]
    for line in lines:
        _, *words = shlex.split(line)
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = explained(*words[:4])
        unknown = [flag for flag in flags if flag not in known]
        assert flags and set(unknown) <= {"--project", "--quiet"}, line  # these are of all commands
