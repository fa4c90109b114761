"""The files for schedulers: what can be known of them without one."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "docker/kubernetes.yaml"
SCRIPT = ROOT / "docker/slurm.sh"
JOB: dict[str, Any] = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))


def differences(given: Any, decoded: Any, place: str = "") -> list[str]:
    """Where `decoded` lacks something of `given`."""
    if isinstance(given, dict):
        return [d for key, value in given.items() for d in differences(value, decoded.get(key), f"{place}.{key}")]
    if isinstance(given, list) and isinstance(decoded, list) and len(given) == len(decoded):
        pairs = enumerate(zip(given, decoded, strict=True))
        return [d for index, (mine, theirs) in pairs for d in differences(mine, theirs, f"{place}[{index}]")]
    return [] if str(given) == str(decoded) else [f"{place}: {given!r} became {decoded!r}"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl holds the published types of Kubernetes")
def test_kubernetes_knows_every_field_of_the_manifest(tmp_path: Path) -> None:
    """kubectl reads the file into the types of the API: it refuses other types, and unknown fields are lost."""

    def decoded(text: str) -> Any:
        (tmp_path / "job.yaml").write_text(text)
        # It prints nothing without a change.
        image = f"train={JOB['spec']['template']['spec']['containers'][0]['image']}-other"
        command = ["kubectl", "set", "image", "--local", "-f", str(tmp_path / "job.yaml"), image, "-o", "json"]
        environment = os.environ | {"KUBECONFIG": "/dev/null"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return json.loads(done.stdout.replace("-other", "")) if done.returncode == 0 else done.stderr

    text = MANIFEST.read_text(encoding="utf-8")
    assert differences(JOB, decoded(text)) == []
    assert "runAsUser of type int64" in decoded(text.replace("runAsUser: 1000", "runAsUser: me"))
    misspelt = text.replace("restartPolicy", "restartPolice")
    assert differences(yaml.safe_load(misspelt), decoded(misspelt)) != []


def test_the_job_runs_the_stage_unprivileged_with_what_it_writes_mounted() -> None:
    pod = JOB["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (JOB["apiVersion"], JOB["kind"], pod["restartPolicy"]) == ("batch/v1", "Job", "OnFailure")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert (ROOT / container["command"][-1]).is_file()
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/project/runs", "/project/models", "/project/metrics", "/dev/shm"}
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_the_slurm_script_is_a_script_that_starts_one_torchrun_a_node() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    assert "#SBATCH --ntasks-per-node=1" in lines
    assert "exec srun torchrun \\" in lines
    assert (ROOT / lines[-1].strip()).is_file()
