"""Submits a synthdiv command to Kubernetes (GKE), on TPUs or GPUs: a JobSet, or an indexed Job.

    python launch/gke.py --image=REGISTRY/synthdiv:tpu --bucket=my-bucket \\
        --accelerator=tpu-v5-lite-podslice --topology=4x4 --chips=4 \\
        pretrain --config=configs/pretrain/350m.gin --workdir=/mnt/my-bucket/runs/350m

    python launch/gke.py --image=REGISTRY/synthdiv:cuda --bucket=my-bucket --array=24 --at_once=8 \\
        --accelerator=nvidia-l4 --chips=1 \\
        study --config=configs/study/paper_topics.gin --workdir=/mnt/my-bucket/runs/topics

launch/docker/ makes the images. One pod a machine. A pod that is evicted is sent SIGTERM, saves a
checkpoint and exits with 75; that and any other disruption starts all pods again without counting
as a failure, unless --max_restarts=0. Exit 2, a mistake in the command, ends the job at once. With
--array each pod does one part of a study's training runs (--shard) on its own. Keys reach the pods
from a Kubernetes secret (--secret) and stand in no manifest.
"""

import json
import math
import re
import shlex
import subprocess
from typing import Any

from absl import flags
from job import (
    FLAGS,
    PAUSED_EXIT,
    array_flags,
    check_array,
    found,
    job_name,
    read_command,
    restarts,
    run,
    warn_of,
)

from synthdiv.errors import UserError

array_flags("Pods")
flags.DEFINE_string("image", None, "Container image that has synthdiv.")
flags.DEFINE_string("accelerator", None, "GKE's name, as tpu-v5-lite-podslice or nvidia-h100-80gb.")
flags.DEFINE_string("topology", None, "Of a TPU slice, for example 4x4.")
flags.DEFINE_integer("slices", 1, "TPU slices of that topology.", lower_bound=1)
flags.DEFINE_integer("chips", None, "TPU chips or GPUs a pod.", lower_bound=1)
flags.DEFINE_integer("nodes", 1, "Pods, for GPUs.", lower_bound=1)
flags.DEFINE_string("namespace", "default", "Kubernetes namespace.")
flags.DEFINE_string("service_account", None, "Kubernetes service account of the pods.")
flags.DEFINE_string("bucket", None, "Cloud Storage bucket to mount at /mnt/BUCKET.")
flags.DEFINE_string("secret", None, "Kubernetes secret whose keys become environment variables.")
flags.DEFINE_bool("spot", False, "Run on spot machines.")
flags.DEFINE_integer("grace", 300, "Seconds between SIGTERM and SIGKILL.", lower_bound=10)

COORDINATOR_PORT = 8476
CRASHES = 3
USER = 1000  # who the images of launch/docker/ run as
WORKERS = "slice"  # the JobSet's name for its jobs: each has the pods of one slice


def pods() -> int:
    """Pods of a slice: of a TPU, its chips over the chips of a machine.

    Raises:
        UserError: the topology is no product of numbers, or not a multiple of --chips.
    """
    if not FLAGS.topology:
        return FLAGS.nodes
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", FLAGS.topology):
        raise UserError(f"--topology={FLAGS.topology}: write it as 4x4 or 2x2x4")
    chips = math.prod(int(side) for side in FLAGS.topology.split("x"))
    if FLAGS.chips is None or chips % FLAGS.chips:
        raise UserError(f"--topology={FLAGS.topology} has {chips} chips: give --chips a machine")
    return chips // FLAGS.chips


def check_flags() -> None:
    """Refuses what does not go together.

    Raises:
        UserError: names the flags.
    """
    if not FLAGS.image:
        raise UserError("--image is required: the container image that has synthdiv")
    if FLAGS.accelerator and not FLAGS.chips:
        raise UserError(f"--accelerator={FLAGS.accelerator}: give --chips, how many a pod has")
    if FLAGS.chips and not FLAGS.accelerator:
        raise UserError(f"--chips={FLAGS.chips} of which --accelerator?")
    if FLAGS.accelerator and FLAGS.accelerator.startswith("tpu") != bool(FLAGS.topology):
        raise UserError("--topology is of TPU slices, and each --accelerator=tpu-... needs one")
    if FLAGS.topology and FLAGS.nodes > 1:
        raise UserError("--nodes is for GPUs; a TPU's --topology and --chips give its pods")
    if FLAGS.slices > 1 and not FLAGS.topology:
        raise UserError("--slices is for TPUs, with the --topology of a slice")


def environment(name: str) -> list[dict[str, Any]]:
    """What tells a GPU pod who the others are; on TPUs GKE tells JAX itself."""
    if FLAGS.topology or pods() == 1:
        return []
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    first = f"{name}-{WORKERS}-0-0.{name}"
    return [
        {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{first}:{COORDINATOR_PORT}"},
        {"name": "JAX_NUM_PROCESSES", "value": str(pods())},
        {"name": "JAX_PROCESS_ID", "valueFrom": {"fieldRef": {"fieldPath": index}}},
    ]


def volumes() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of the pod, and where the container sees them."""
    given: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if not FLAGS.topology and FLAGS.accelerator:  # NCCL's shared memory is larger than the default
        given.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if FLAGS.bucket:
        options = f"implicit-dirs,uid={USER},gid={USER}"
        source = {"bucketName": FLAGS.bucket, "mountOptions": options}
        driver = {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": source}
        given.append({"name": "bucket", "csi": driver})
        mounts.append({"name": "bucket", "mountPath": f"/mnt/{FLAGS.bucket}"})
    return given, mounts


def start(words: list[str]) -> list[str]:
    """The container's command; a pod of an array has its number from Kubernetes, from 0 on."""
    if not FLAGS.array:
        return ["python", *words]
    line = f"exec {shlex.join(['python', *words])} --shard=$((JOB_COMPLETION_INDEX + 1))/"
    return ["sh", "-c", f"{line}{FLAGS.array}"]


def pod(name: str, words: list[str]) -> dict[str, Any]:
    """The pod template."""
    given, mounts = volumes()
    container: dict[str, Any] = {
        "name": "synthdiv",
        "image": FLAGS.image,
        "command": start(words),
        "env": environment(name),
    }
    if FLAGS.secret:
        container["envFrom"] = [{"secretRef": {"name": FLAGS.secret}}]
    selector = {}
    if FLAGS.accelerator:
        kind = "google.com/tpu" if FLAGS.topology else "nvidia.com/gpu"
        label = "gke-tpu-accelerator" if FLAGS.topology else "gke-accelerator"
        selector[f"cloud.google.com/{label}"] = FLAGS.accelerator
        container["resources"] = {"requests": {kind: FLAGS.chips}, "limits": {kind: FLAGS.chips}}
    if FLAGS.topology:
        selector["cloud.google.com/gke-tpu-topology"] = FLAGS.topology
    if FLAGS.spot:
        selector["cloud.google.com/gke-spot"] = "true"
    container["volumeMounts"] = mounts
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": FLAGS.grace,
        "nodeSelector": selector,
        "containers": [container],
        "volumes": given,
    }
    if FLAGS.service_account:
        spec["serviceAccountName"] = FLAGS.service_account
    notes = {"gke-gcsfuse/volumes": "true"} if FLAGS.bucket else {}
    return {"metadata": {"annotations": notes}, "spec": spec}


def policy(disrupted: str, stopped: str) -> dict[str, Any]:
    """What becomes of a pod that ends: with 2, with its machine, or with 75."""

    def on_exit(action: str, code: int) -> dict[str, Any]:
        codes = {"containerName": "synthdiv", "operator": "In", "values": [code]}
        return {"action": action, "onExitCodes": codes}

    lost = [{"type": "DisruptionTarget", "status": "True"}]
    return {
        "rules": [
            on_exit("FailJob", 2),
            {"action": disrupted, "onPodConditions": lost},
            on_exit(stopped, PAUSED_EXIT),
        ]
    }


def array(name: str, words: list[str], again: bool) -> dict[str, Any]:
    """A Job whose pods know nothing of each other: each starts again by itself."""
    spec = {
        "completions": FLAGS.array,
        "parallelism": FLAGS.at_once or FLAGS.array,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": CRASHES,
        "podFailurePolicy": policy("Ignore", "Ignore" if again else "FailIndex"),
        "template": pod(name, words),
    }
    meta = {"name": name, "namespace": FLAGS.namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def jobset(name: str, words: list[str], again: bool) -> dict[str, Any]:
    """A JobSet with a Job for each slice, whose pods find each other and start again together.

    One pod that ends makes its Job fail, and the JobSet reads in the Job's message why: a mistake
    ends all; a clean stop or a disruption starts all again, which does not count; anything else is
    a crash, and counts.
    """
    spec = {
        "parallelism": pods(),
        "completions": pods(),
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": policy("FailJob", "FailJob"),
        "template": pod(name, words),
    }
    final = [2] if again else [2, PAUSED_EXIT]
    rules: list[dict[str, Any]] = [
        {
            "name": "ended",
            "action": "FailJobSet",
            "onJobFailureReasons": ["PodFailurePolicy"],
            "onJobFailureMessagePatterns": [
                f".* failed with exit code {code} .*" for code in final
            ],
        },
        {
            "name": "stopped",
            "action": "RestartJobSetAndIgnoreMaxRestarts",
            "onJobFailureReasons": ["PodFailurePolicy"],
        },
    ]
    meta: dict[str, Any] = {"name": name, "namespace": FLAGS.namespace}
    if FLAGS.topology:  # the pods of a slice on the machines of one slice
        pool = "cloud.google.com/gke-nodepool"
        meta["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": pool}
    jobs = [{"name": WORKERS, "replicas": FLAGS.slices, "template": {"spec": spec}}]
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": meta,
        "spec": {
            "network": {"enableDNSHostnames": True, "subdomain": name},
            "failurePolicy": {"maxRestarts": CRASHES, "rules": rules},
            "replicatedJobs": jobs,
        },
    }


def to_yaml(value: object, indent: int = 0) -> str:
    """YAML of nested dicts and lists, keys bare and whatever is not nested as JSON."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        parts = []
        for key, inner in value.items():
            nested = isinstance(inner, dict | list) and inner
            text = to_yaml(inner, indent + 1)
            parts.append(f"{pad}{key}:" + (f"\n{text}" if nested else f" {text}\n"))
        return "".join(parts)
    if isinstance(value, list) and value:
        return "".join(
            f"{pad}- {to_yaml(inner, indent + 1).lstrip()}"
            if isinstance(inner, dict | list)
            else f"{pad}- {json.dumps(inner)}\n"
            for inner in value
        )
    return json.dumps(value)


def main(rest: list[str]) -> int:
    check_flags()
    several = pods() * FLAGS.slices
    words = read_command(rest, several)
    check_array(words)
    warn_of(bool(FLAGS.accelerator), words, "--accelerator")
    again = restarts(words, saves=FLAGS.array > 0) > 0
    make = array if FLAGS.array else jobset
    text = to_yaml(make(job_name(words), words, again))
    kubectl = ["kubectl", "apply", "-f", "-"]
    if FLAGS.dry_run:
        print(f"# {shlex.join(kubectl)}\n{text}", end="")
        return 0
    return subprocess.run(found(kubectl), input=text, text=True).returncode


if __name__ == "__main__":
    run(main)
