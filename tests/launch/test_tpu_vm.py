"""The gcloud calls that make a slice, install there, and run until the command has ended."""

import shlex

PRETRAIN = ["pretrain", "--config=a.gin", "--workdir=/mnt/b/run"]
FLAGS = ["--zone=us-west4-a", "--type=v5litepod-16", "--poll=0", "--name=llama"]


def verbs(cluster) -> list[str]:
    """The calls in order: the verb, and for ssh whether it installs or runs."""
    found = []
    for call in cluster.calls("gcloud"):
        words = call["words"]
        assert words[:2] == ["compute", "tpus"] and "--zone=us-west4-a" in words
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
    assert calls[4].endswith("llama:synthdiv.tar.gz --worker=all --zone=us-west4-a")
    assert "prepare tpu tpu" in calls[5]
    assert "--worker=all" in calls[6]
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


def test_dry_run_calls_nothing(cluster) -> None:
    cluster.install("gcloud", reads=False)
    result = cluster.launch("tpu_vm", "--dry_run", "--delete", *FLAGS, *PRETRAIN)
    assert result.returncode == 0
    lines = [shlex.split(line) for line in result.stdout.splitlines()]
    assert [line[4] for line in lines] == ["create", "scp", "ssh", "ssh", "delete"]
    assert cluster.calls("gcloud") == []


def test_a_gcloud_that_fails_ends_it(cluster) -> None:
    cluster.install("gcloud", {"describe": [("", 1)], "create": [("no quota", 1)]}, reads=False)
    result = cluster.launch("tpu_vm", *FLAGS, *PRETRAIN)
    assert result.returncode == 1
    assert result.stderr.startswith("error: gcloud ended with 1") and "create" in result.stderr
