"""The manifest that Kubernetes is given."""

import yaml

PRETRAIN = ["pretrain", "--config=configs/pretrain/350m.gin", "--workdir=/mnt/b/run"]
IMAGE = "--image=example.invalid/synthdiv:1"


def submitted(cluster, *arguments: str) -> tuple[dict, dict]:
    cluster.install("kubectl")
    result = cluster.launch("gke", *arguments)
    assert result.returncode == 0, result.stderr
    call = cluster.calls("kubectl")[-1]
    assert call["words"] == ["apply", "-f", "-"]
    service, job = yaml.safe_load_all(call["input"])
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    return service, job


def container(job: dict) -> dict:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return only


def test_a_tpu_slice_has_a_pod_a_machine(cluster) -> None:
    service, job = submitted(
        cluster,
        IMAGE,
        "--accelerator=tpu-v5-lite-podslice",
        "--topology=4x4",
        "--chips=4",
        "--bucket=b",
        "--secret=keys",
        "--spot",
        *PRETRAIN,
    )
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 4
    assert job["spec"]["completionMode"] == "Indexed"
    pod = job["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert pod["restartPolicy"] == "Never"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert container(job)["resources"]["limits"] == {"google.com/tpu": 4}
    assert container(job)["command"] == [
        *["python", "-m", "synthdiv.pretrain", *PRETRAIN[1:], "--distributed"]
    ]
    assert container(job)["env"] == []  # GKE tells JAX who the others are
    assert container(job)["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert {"name": "bucket", "mountPath": "/mnt/b"} in container(job)["volumeMounts"]
    assert job["spec"]["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}


def test_gpu_pods_find_the_first_one(cluster) -> None:
    _, job = submitted(
        cluster, IMAGE, "--accelerator=nvidia-h100-80gb", "--chips=8", "--nodes=2", *PRETRAIN
    )
    environment = {entry["name"]: entry for entry in container(job)["env"]}
    address = environment["JAX_COORDINATOR_ADDRESS"]["value"]
    assert address == "synthdiv-pretrain-0.synthdiv-pretrain:8476"
    assert environment["JAX_NUM_PROCESSES"]["value"] == "2"
    index = environment["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert container(job)["resources"]["limits"] == {"nvidia.com/gpu": 8}


def rules(job: dict) -> dict[int, str]:
    """What becomes of each exit code that the manifest names."""
    named = [r for r in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in r]
    return {code: rule["action"] for rule in named for code in rule["onExitCodes"]["values"]}


def test_a_clean_stop_starts_again_and_a_mistake_does_not(cluster) -> None:
    _, job = submitted(cluster, IMAGE, *PRETRAIN)
    assert rules(job) == {2: "FailJob", 75: "Ignore"}
    _, job = submitted(cluster, IMAGE, "--max_restarts=0", *PRETRAIN)
    assert rules(job) == {2: "FailJob", 75: "FailJob"}
    _, job = submitted(cluster, IMAGE, "score", "--input=a", "--output=b", "--llm=batch")
    assert rules(job) == {2: "FailJob", 75: "FailJob"}


def test_arguments_keep_their_quotes(cluster) -> None:
    bind = "--bind=Study.cells = [\"a: b\", 'c']  # $HOME\n- x"
    _, job = submitted(cluster, IMAGE, *PRETRAIN, bind)
    assert bind in container(job)["command"]


def test_mistakes_are_one_line(cluster) -> None:
    for arguments, words in [
        (PRETRAIN, "--image is required"),
        ([IMAGE, "--topology=4by4", "--chips=4", *PRETRAIN], "write it as 4x4"),
        ([IMAGE, "--topology=4x4", "--chips=5", *PRETRAIN], "has 16 chips"),
        ([IMAGE, "--nodes=2", "generate"], "generate runs as one process"),
    ]:
        result = cluster.launch("gke", *arguments)
        assert result.returncode == 2, result.stderr
        assert words in result.stderr and result.stderr.count("\n") == 1
