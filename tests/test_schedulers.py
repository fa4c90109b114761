"""The files for schedulers: what can be known of them without one."""

import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ucc.launch import SECONDS_TO_STOP

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "docker/kubernetes.yaml"
SCRIPT = ROOT / "docker/slurm.sh"
JOB: dict[str, Any] = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))


def validate_manifest(manifest: dict[str, Any]) -> None:
    """Against the JSON schema that Kubernetes publishes, unknown fields refused."""
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_manifest_follows_the_schema_of_kubernetes() -> None:
    validate_manifest(JOB)
    for place, value in (("restartPolice", "OnFailure"), ("activeDeadlineSeconds", "a day")):
        wrong = deepcopy(JOB)
        wrong["spec"]["template"]["spec"][place] = value
        with pytest.raises(kubernetes_validate.ValidationError, match=r"unexpected|not of type"):
            validate_manifest(wrong)


def test_the_job_runs_the_stage_unprivileged_with_what_it_writes_mounted() -> None:
    pod = JOB["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (JOB["apiVersion"], JOB["kind"], pod["restartPolicy"]) == ("batch/v1", "Job", "OnFailure")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["terminationGracePeriodSeconds"] > SECONDS_TO_STOP
    assert (ROOT / container["command"][-1]).is_file()
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/project/runs", "/project/models", "/project/metrics", "/dev/shm"}
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_the_slurm_script_is_a_script_that_starts_one_torchrun_a_node() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    assert "#SBATCH --ntasks-per-node=1" in lines
    # Since Slurm 22.05 srun does not take the number of cores from sbatch.
    assert 'exec srun --cpus-per-task "$SLURM_CPUS_PER_TASK" torchrun \\' in lines
    (notice,) = (int(line.split("@")[1]) for line in lines if line.startswith("#SBATCH --signal=TERM@"))
    assert notice > SECONDS_TO_STOP
    assert f"export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={SECONDS_TO_STOP}" in lines
    assert (ROOT / lines[-1].strip()).is_file()
