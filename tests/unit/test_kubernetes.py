"""The manifest of docs/scale.md has fields that KubeRay knows, and a command that we know."""

import re

import pytest

from lookalike.cluster.on_ray import _ADDRESS
from paths import ROOT

#: From KubeRay's samples ray-job.sample.yaml and ray-cluster.complete.yaml, 1.4.2.
FIELDS = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {
        "activeDeadlineSeconds", "entrypoint", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes",
        "submissionMode", "suspend", "ttlSecondsAfterFinished",
    },
    "spec.rayClusterSpec": {"headGroupSpec", "rayVersion", "workerGroupSpecs"},
    "spec.rayClusterSpec.headGroupSpec": {"rayStartParams", "serviceType", "template"},
    "spec.rayClusterSpec.workerGroupSpecs": {
        "groupName", "maxReplicas", "minReplicas", "rayStartParams", "replicas", "template",
    },
}  # fmt: skip


def test_manifest_has_fields_that_kuberay_knows():
    yaml = pytest.importorskip("yaml")
    stated = yaml.safe_load((ROOT / "docs" / "kubernetes" / "index.yaml").read_text(encoding="utf-8"))
    for place, known in FIELDS.items():
        there = stated
        for name in filter(None, place.split(".")):
            there = there[name]
        for item in there if isinstance(there, list) else [there]:
            assert set(item) <= known, place
    command = stated["spec"]["entrypoint"]
    assert command.startswith("lookalike index s3://")
    assert _ADDRESS.fullmatch(re.search(r"--on (\S+)", command)[1])
    groups = [stated["spec"]["rayClusterSpec"]["headGroupSpec"], *stated["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    images = {c["image"] for group in groups for c in group["template"]["spec"]["containers"]}
    assert len(images) == 1  # one version everywhere
