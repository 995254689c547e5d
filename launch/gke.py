"""Submits a synthdiv command to Kubernetes (GKE) as an indexed Job, on TPUs or GPUs.

    python launch/gke.py --image=REGISTRY/synthdiv:TAG --bucket=my-bucket \\
        --accelerator=tpu-v5-lite-podslice --topology=4x4 --chips=4 \\
        pretrain --config=configs/pretrain/350m.gin --workdir=/mnt/my-bucket/runs/350m

The image has synthdiv[tpu] or synthdiv[cuda] installed (docs/launch.md shows a Dockerfile). One pod
a machine. A pod that is evicted is sent SIGTERM, saves a checkpoint and exits with 75; that and any
other disruption starts it again without counting as a failure, unless --max_restarts=0. Exit 2, a
mistake in the command, ends the job at once. Keys reach the pods from a Kubernetes secret
(--secret) and stand in no manifest.
"""

import json
import math

from absl import flags
from job import FLAGS, PAUSED_EXIT, job_name, read_command, restarts, run, submit

from synthdiv.errors import UserError

flags.DEFINE_string("image", None, "Container image that has synthdiv.")
flags.DEFINE_string("accelerator", None, "GKE's name, as tpu-v5-lite-podslice or nvidia-h100-80gb.")
flags.DEFINE_string("topology", None, "Of a TPU slice, for example 4x4; its chips give the pods.")
flags.DEFINE_integer("chips", None, "TPU chips or GPUs a pod.", lower_bound=1)
flags.DEFINE_integer("nodes", 1, "Pods, for GPUs.", lower_bound=1)
flags.DEFINE_string("namespace", "default", "Kubernetes namespace.")
flags.DEFINE_string("service_account", None, "Kubernetes service account of the pods.")
flags.DEFINE_string("bucket", None, "Cloud Storage bucket to mount at /mnt/BUCKET.")
flags.DEFINE_string("secret", None, "Kubernetes secret whose keys become environment variables.")
flags.DEFINE_bool("spot", False, "Run on spot machines.")
flags.DEFINE_integer("grace", 300, "Seconds between SIGTERM and SIGKILL.", lower_bound=10)

COORDINATOR_PORT = 8476
CRASHES_A_POD = 3


def pods() -> int:
    """Pods of the job: of a TPU slice, its chips over the chips of a machine.

    Raises:
        UserError: the topology is no product of numbers, or not a multiple of --chips.
    """
    if not FLAGS.topology:
        return FLAGS.nodes
    try:
        chips = math.prod(int(side) for side in FLAGS.topology.split("x"))
    except ValueError:
        raise UserError(f"--topology={FLAGS.topology}: write it as 4x4 or 2x2x4") from None
    if FLAGS.chips is None or chips % FLAGS.chips:
        raise UserError(f"--topology={FLAGS.topology} has {chips} chips: give --chips a machine")
    return chips // FLAGS.chips


def environment(name: str) -> list[dict]:
    """What tells a GPU pod who the others are; on TPUs GKE tells JAX itself."""
    if FLAGS.topology or pods() == 1:
        return []
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return [
        {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{name}-0.{name}:{COORDINATOR_PORT}"},
        {"name": "JAX_NUM_PROCESSES", "value": str(pods())},
        {"name": "JAX_PROCESS_ID", "valueFrom": {"fieldRef": {"fieldPath": index}}},
    ]


def volumes() -> tuple[list[dict], list[dict]]:
    """Volumes of the pod, and where the container sees them."""
    given, mounts = [], []
    if not FLAGS.topology and FLAGS.accelerator:  # NCCL's shared memory is larger than the default
        given.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if FLAGS.bucket:
        source = {"bucketName": FLAGS.bucket, "mountOptions": "implicit-dirs"}
        driver = {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": source}
        given.append({"name": "bucket", "csi": driver})
        mounts.append({"name": "bucket", "mountPath": f"/mnt/{FLAGS.bucket}"})
    return given, mounts


def pod(name: str, words: list[str]) -> dict:
    """The pod template."""
    given, mounts = volumes()
    container = {"name": "synthdiv", "image": FLAGS.image, "command": ["python", *words]}
    container["env"] = environment(name)
    if FLAGS.secret:
        container["envFrom"] = [{"secretRef": {"name": FLAGS.secret}}]
    selector = {}
    if FLAGS.accelerator and FLAGS.chips:
        kind = "google.com/tpu" if FLAGS.topology else "nvidia.com/gpu"
        label = "gke-tpu-accelerator" if FLAGS.topology else "gke-accelerator"
        selector[f"cloud.google.com/{label}"] = FLAGS.accelerator
        container["resources"] = {"limits": {kind: FLAGS.chips}}
    if FLAGS.topology:
        selector["cloud.google.com/gke-tpu-topology"] = FLAGS.topology
    if FLAGS.spot:
        selector["cloud.google.com/gke-spot"] = "true"
    container["volumeMounts"] = mounts
    spec = {
        "subdomain": name,
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


def manifest(words: list[str]) -> list[dict]:
    """The headless service by which pods find the first one, and the job."""
    name = job_name(words)
    meta = {"name": name, "namespace": FLAGS.namespace}

    def on_exit(action: str, code: int) -> dict:
        codes = {"containerName": "synthdiv", "operator": "In", "values": [code]}
        return {"action": action, "onExitCodes": codes}

    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    rules = [
        on_exit("FailJob", 2),
        on_exit("Ignore" if restarts(words) else "FailJob", PAUSED_EXIT),
        {"action": "Ignore", "onPodConditions": disrupted},
    ]
    service = {"clusterIP": "None", "selector": {"job-name": name}}
    job = {
        "completions": pods(),
        "parallelism": pods(),
        "completionMode": "Indexed",
        "backoffLimit": CRASHES_A_POD * pods(),
        "podFailurePolicy": {"rules": rules},
        "template": pod(name, words),
    }
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": job},
    ]


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
    if not FLAGS.image:
        raise UserError("--image is required: the container image that has synthdiv")
    words = read_command(rest, pods())
    text = "---\n".join(to_yaml(document) for document in manifest(words))
    return submit(["kubectl", "apply", "-f", "-"], text)


if __name__ == "__main__":
    run(main)
