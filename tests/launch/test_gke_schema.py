"""The manifests against the published API: no unknown field, no wrong type.

The models are generated from the OpenAPI descriptions of JobSet and Kubernetes, and drop what they
do not know: a manifest that comes back from them whole has nothing else in it.
"""

from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow  # the models take seconds to load
models = pytest.importorskip("kubeflow_trainer_api.models")

MANIFESTS = sorted(Path(__file__).with_name("golden").glob("gke_*.txt"))


def read(file: Path) -> dict:
    return yaml.safe_load(file.read_text().partition("# kubectl apply -f -\n")[2])


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_a_manifest_has_the_published_fields(file: Path) -> None:
    given = read(file)
    model = {"JobSet": models.JobsetV1alpha2JobSet, "Job": models.IoK8sApiBatchV1Job}
    assert model[given["kind"]].from_dict(given).to_dict() == given


def test_an_unknown_field_would_be_seen() -> None:
    given = read(MANIFESTS[0])
    given["spec"]["failurePolicy"]["maxRestart"] = 1
    assert models.JobsetV1alpha2JobSet.from_dict(given).to_dict() != given


def test_the_actions_are_those_that_there_are() -> None:
    known = models.JobsetV1alpha2FailurePolicyRule.model_fields["action"].description
    jobsets = [spec for file in MANIFESTS if (spec := read(file)["spec"]).get("failurePolicy")]
    for spec in jobsets:
        for rule in spec["failurePolicy"]["rules"]:
            assert f"{rule['action']}," in known or f"{rule['action']}." in known
    known = models.IoK8sApiBatchV1PodFailurePolicyRule.model_fields["action"].description
    jobs = [job["template"]["spec"] for spec in jobsets for job in spec["replicatedJobs"]]
    for job in jobs:
        for rule in job["podFailurePolicy"]["rules"]:
            assert f"- {rule['action']}:" in known
