"""The manifest for KServe: what can be known of it without a cluster."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ucc import paths
from ucc.commands import serve

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").partition(" AS serve\n")[2]
OWN, TRITON = yaml.safe_load_all((ROOT / "docker/kserve.yaml").read_text(encoding="utf-8"))
# KServe mounts what a storage URI names here.
MOUNT = "/mnt/models"
# serving.kserve.io/v1beta1: PredictorSpec is ComponentExtensionSpec and a PodSpec with containers or a model;
# ModelSpec is PredictorExtensionSpec, these, and a Container.
COMPONENT = {"minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "containerConcurrency", "timeout", "logger"}
MODEL = {"modelFormat", "runtime", "runtimeVersion", "protocolVersion", "storageUri", "storage"}


def validate(service: dict[str, Any]) -> None:
    """Names of fields against KServe's types, and all that these take from Kubernetes against its schema."""
    assert set(service) == {"apiVersion", "kind", "metadata", "spec"}
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert set(service["spec"]) == {"predictor"}
    pod = {key: value for key, value in service["spec"]["predictor"].items() if key not in COMPONENT}
    if model := pod.pop("model", None):
        container = {key: value for key, value in model.items() if key not in MODEL}
        pod["containers"] = [container | {"name": "kserve-container"}]
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": service["metadata"], "spec": pod}
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("service", [OWN, TRITON], ids=["own", "triton"])
def test_the_manifest_has_fields_that_kserve_and_kubernetes_know(service: dict[str, Any]) -> None:
    validate(service)
    wrong = deepcopy(service)
    wrong["spec"]["predictor"]["minReplica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="unexpected"):
        validate(wrong)


def test_the_own_service_runs_as_the_image_does_with_the_model_where_kserve_puts_it() -> None:
    (container,) = OWN["spec"]["predictor"]["containers"]
    assert container["name"] == "kserve-container"  # by this name KServe finds it, and reads its two variables
    assert {variable["name"]: variable["value"] for variable in container["env"]} == {
        "STORAGE_URI": f"pvc://ucc/{paths.SEGMENTER.parent.as_posix()}",
        "PROTOCOL": "v2",
    }
    assert container["args"][0] == f"{MOUNT}/{paths.SEGMENTER.name}"  # in place of the image's CMD
    assert re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)

    entrypoint = re.search(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
    exposed = re.search(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    assert entrypoint is not None
    assert exposed is not None
    command = json.loads(entrypoint[1])
    (port,) = container["ports"]
    assert str(port["containerPort"]) == command[command.index("--port") + 1] == exposed[1]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["containerPort"]
    assert container["readinessProbe"]["httpGet"]["path"] in DOCKERFILE  # the image's own health check asks there
    assert container["securityContext"]["runAsUser"] == 1000
    assert "useradd --uid 1000" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_own_service_has_as_many_slots_as_cores_and_the_time_to_end() -> None:
    predictor = OWN["spec"]["predictor"]
    (container,) = predictor["containers"]
    options = serve._parse(container["args"])
    assert container["resources"]["limits"]["cpu"] == str(options.concurrency)
    assert container["resources"]["requests"]["cpu"] == str(options.concurrency)
    assert options.drain_seconds > 0
    # Knative's webhook refuses a service with that field, so that KServe must not leave it to Knative.
    assert OWN["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "RawDeployment"}
    assert predictor["terminationGracePeriodSeconds"] > options.drain_seconds + options.end_seconds


def test_triton_gets_the_repository_that_make_triton_writes() -> None:
    model = TRITON["spec"]["predictor"]["model"]
    (folder,) = re.findall(r'default=Path\("(.+triton)"\)', (ROOT / "src/ucc/commands/triton.py").read_text("utf-8"))
    assert model["storageUri"] == f"pvc://ucc/{folder}"
    # What KServe's ClusterServingRuntime of that name declares.
    assert (model["runtime"], model["modelFormat"]) == ("kserve-tritonserver", {"name": "triton", "version": "2"})
    assert model["protocolVersion"] == "v2"
