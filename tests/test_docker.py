"""The images, really built and run: needs a Docker engine with BuildKit, and the base image or a registry.

`make test` compares a small pipeline in the container with the same one on this machine; `make docker-test`, which sets
UCC_DOCKER_TESTS=full, compares the embedded default as well. UCC_DOCKER_TESTS=off leaves all of this out.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import cv2
import numpy as np
import pytest
import yaml

from ucc import paths

ROOT = Path(__file__).parents[1]
BASE = "python:3.11-slim-bookworm"
WANTED = os.environ.get("UCC_DOCKER_TESTS", "auto")
SMALL: dict[str, dict[str, Any]] = {
    "dataset": {"streets": {"train_images": 16, "val_images": 3, "height": 64, "width": 128, "seed": 0}},
    "partition": {"ratio": "1/4"},
    "model": {"head_width": 8},
    "views": {"crop": [64, 64]},
    "train": {
        "steps": 3,
        "supervised_warmup": 1,
        "unsup_rampup": 1,
        "batch_labeled": 2,
        "batch_unlabeled": 2,
        "log_every": 1,
        "val_every": 2,
        "workers": 0,
    },
    "evaluate": {"panels": 2},
    "export": {"parity_images": 1, "quantize": {"enabled": True, "calibration_images": 4, "max_miou_drop": 100.0}},
}


def docker(*arguments: str, check: bool = True, timeout: float = 1800) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=timeout)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def why_not() -> str | None:
    """Why nothing here can run, if so."""
    if WANTED == "off":
        return "UCC_DOCKER_TESTS=off"
    if shutil.which("docker") is None:
        return "no Docker here: there is no command `docker`"
    try:
        if not docker("version", "--format", "{{.Server.Version}}", check=False, timeout=30):
            return "no Docker here: no engine answers"
        if not docker("image", "ls", "--quiet", BASE, timeout=30):
            docker("pull", "--quiet", BASE, timeout=120)
    except (subprocess.TimeoutExpired, AssertionError):
        return f"no Docker here: {BASE} is not there and cannot be pulled"
    return None


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    """Skip, saying why, without an engine; asked for by `make docker-test`, that is a failure."""
    why = why_not()
    if why and WANTED == "full":
        pytest.fail(why)
    if why:
        pytest.skip(why)


# The lock has other versions of some packages for later Pythons.
same_python = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image has Python 3.11")
pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def images() -> None:
    """Both images, built as a user builds them."""
    done = subprocess.run(
        ["make", "images"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]


class Project:
    """A repository of its own with a cache of its own."""

    def __init__(self, root: Path, runtime: str) -> None:
        self.root = root
        self.environment = (
            {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_"))}
            | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "UCC_RUNTIME": runtime}
            | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root.parent / "site")}
            | {f"GIT_{r}_{f}": "tester@example.org" for r in ("AUTHOR", "COMMITTER") for f in ("NAME", "EMAIL")}
        )

    @classmethod
    def of_working_tree(cls, root: Path, runtime: str, changes: dict[str, dict[str, Any]]) -> "Project":
        """What git does not ignore here, with other parameters and no results."""
        project = cls(root, runtime)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        (root / "dvc.lock").unlink(missing_ok=True)
        params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
        for section, values in changes.items():
            params[section] |= values
        (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        project.succeed("git", "init", "--quiet", "--initial-branch=main")
        project.succeed("git", "add", "--all")
        project.succeed("git", "commit", "--quiet", "--message=state")
        return project

    def cloned(self, root: Path, runtime: str) -> "Project":
        """The same commit, whose name the exported file holds, before any results."""
        self.succeed("git", "clone", "--quiet", str(self.root), str(root))
        project = Project(root, runtime)
        first = project.succeed("git", "rev-list", "--max-parents=0", "HEAD").strip()
        project.succeed("git", "checkout", "--quiet", first)
        return project

    def succeed(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
        return done.stdout

    def results(self) -> dict[str, Any]:
        """dvc.lock, and every metric."""
        metrics = (paths.METRICS, paths.TRAIN_METRICS, paths.PSEUDO_LABELS, paths.PARITY, paths.PARTITION)
        return {
            "dvc.lock": yaml.safe_load((self.root / "dvc.lock").read_text(encoding="utf-8")),
            **{str(path): json.loads((self.root / path).read_text(encoding="utf-8")) for path in metrics},
        }


@pytest.fixture(scope="module")
def contained(images: None, tmp_path_factory: pytest.TempPathFactory) -> Project:  # noqa: ARG001
    """The project after `UCC_RUNTIME=docker dvc repro` with the smallest sensible parameters."""
    project = Project.of_working_tree(tmp_path_factory.mktemp("contained") / "project", "docker", SMALL)
    said = project.succeed("dvc", "repro")
    assert said.count("docker/run: in a container of ucc:train") == 6
    return project


def test_the_images_run_as_no_root_have_no_build_tools_and_say_what_they_are(images: None) -> None:  # noqa: ARG001
    for image in ("ucc:train", "ucc:serve"):
        config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
        assert config["User"] == "ucc"
        for label in ("title", "description", "licenses", "version", "revision"):
            assert config["Labels"][f"org.opencontainers.image.{label}"], label
        tools = docker("run", "--rm", "--entrypoint=sh", image, "-c", "id -u; command -v gcc cc make uv || true")
        assert tools == "1000"


def test_serve_holds_onnxruntime_and_no_torch_within_350_mb_over_its_base(images: None) -> None:  # noqa: ARG001
    served, base = (int(docker("image", "inspect", "--format", "{{.Size}}", i)) for i in ("ucc:serve", BASE))
    assert served - base <= 350e6
    code = "import importlib.util as u; print([bool(u.find_spec(m)) for m in ('onnxruntime', 'torch', 'torchvision')])"
    assert docker("run", "--rm", "--entrypoint=python", "ucc:serve", "-c", code) == "[True, False, False]"


def test_a_change_of_code_rebuilds_in_seconds(images: None, tmp_path: Path) -> None:  # noqa: ARG001
    copy = Project.of_working_tree(tmp_path / "project", "host", {}).root
    with (copy / "src/ucc/segmenter.py").open("a", encoding="utf-8") as source:
        source.write(f"# {time.time()}\n")
    begin = time.monotonic()
    try:
        subprocess.run(["make", "images", "IMAGES=ucc-rebuilt"], cwd=copy, check=True, capture_output=True)
        assert time.monotonic() - begin < 30
    finally:
        docker("image", "rm", "ucc-rebuilt:train", "ucc-rebuilt:serve", check=False)


@same_python
def test_lock_and_metrics_are_the_same_in_the_container_and_on_this_machine(contained: Project, tmp_path: Path) -> None:
    here = contained.cloned(tmp_path / "project", "host")
    assert "docker/run: on this machine (UCC_RUNTIME=host)" in here.succeed("dvc", "repro")
    assert here.results() == contained.results()
    contained.environment |= {"UCC_RUNTIME": "host"}
    assert "up to date" in contained.succeed("dvc", "repro")


@same_python
@pytest.mark.skipif(WANTED != "full", reason="the embedded default in full: make docker-test")
def test_the_embedded_default_comes_out_the_same(images: None, tmp_path: Path) -> None:  # noqa: ARG001
    first = Project.of_working_tree(tmp_path / "docker/project", "docker", {})
    projects = first, first.cloned(tmp_path / "host/project", "host")
    for project in projects:
        begin = time.monotonic()
        project.succeed("dvc", "repro")
        print(f"{project.environment['UCC_RUNTIME']}: {time.monotonic() - begin:.0f} s")
    contained, here = (project.results() for project in projects)
    print("mIoU", contained[str(paths.METRICS)]["miou"], here[str(paths.METRICS)]["miou"])
    assert contained == here


def test_results_belong_to_the_caller_and_the_code_cannot_be_written_to(contained: Project) -> None:
    owners = {p.stat().st_uid for place in ("models", "metrics", "runs") for p in (contained.root / place).rglob("*")}
    assert owners == {os.getuid()}
    contained.environment |= {"UCC_RUNTIME": "docker"}
    code = (
        "import os\n"
        "for place in ('src/x', 'params.yaml', '.git/x', '/x', '/opt/venv/x', 'runs/x', '/tmp/x'):\n"
        "    try:\n        open(place, 'a').close(); print(place)\n    except OSError: pass\n"
        "print(os.getuid(), os.getgid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0])\n"
        "print(sorted(os.listdir('/sys/class/net')))"
    )
    said = contained.succeed("docker/run", "python", "-c", code).splitlines()
    assert said[1:] == ["runs/x", "/tmp/x", f"{os.getuid()} {os.getgid()} {'0' * 16}", "['lo']"]


def test_an_experiment_in_a_folder_of_its_own_runs_in_the_container(contained: Project) -> None:
    contained.environment |= {"UCC_RUNTIME": "docker"}
    contained.succeed("git", "add", "--all")
    contained.succeed("git", "commit", "--quiet", "--message=results")
    contained.succeed("dvc", "config", "cache.type", "symlink")
    said = contained.succeed("dvc", "exp", "run", "--temp", "--name=other", "-S", "train.seed=1", "train")
    assert "docker/run: in a container of ucc:train (ucc-train-other-" in said


def start_training(project: Project) -> tuple[subprocess.Popen[str], str]:
    """A training of many steps, at work; the container's name."""
    params = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))
    params["train"] |= {"steps": 100_000, "val_every": 100_000, "checkpoint_every": 100_000, "seed": int(time.time())}
    (project.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    process = subprocess.Popen(
        ["docker/run", "python", "pipeline/train.py"],
        cwd=project.root,
        env=project.environment | {"UCC_RUNTIME": "docker"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    name = ""
    for line in process.stdout:
        if line.startswith("docker/run:"):
            name = line.split("(")[1].split(",")[0]
        if line.startswith("step 3/"):
            return process, name
    pytest.fail(f"training ended with {process.wait()}")


def new_checkpoints(project: Project, before: set[Path]) -> set[Path]:
    return set((project.root / paths.RUNS).glob("*/checkpoint.pt")) - before


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_or_killed_client_leaves_a_checkpoint_and_no_container(
    contained: Project, number: signal.Signals
) -> None:
    before = set((contained.root / paths.RUNS).glob("*/checkpoint.pt"))
    process, name = start_training(contained)
    assert docker("ps", "--quiet", "--filter", f"name={name}")
    process.send_signal(number)
    rest, _ = process.communicate(timeout=120)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        assert "the next start goes on from there" in rest
    assert within(60, lambda: not docker("ps", "--all", "--quiet", "--filter", f"name={name}"))
    assert len(new_checkpoints(contained, before)) == 1


@pytest.fixture
def service(contained: Project) -> Iterator[str]:
    """The address of `serve`, started as docker/compose.yaml has it; it is ready when its own check says so."""
    compose = ["docker", "compose", "--file", str(contained.root / "docker/compose.yaml")]
    compose += ["--project-name", f"ucc-test-{os.getpid()}"]
    environment = os.environ | {"UCC_PORT": "0"}
    try:
        subprocess.run([*compose, "up", "--detach", "--no-build", "serve"], env=environment, check=True)
        container = subprocess.run(
            [*compose, "ps", "--quiet", "serve"], env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()
        status = ("inspect", "--format", "{{.State.Health.Status}}", container)
        assert within(90, lambda: docker(*status) == "healthy"), docker("logs", container)
        inspected = json.loads(docker("inspect", container))[0]
        assert inspected["HostConfig"]["ReadonlyRootfs"]
        assert docker("exec", container, "id", "-u") == "1000"
        assert "Read-only" in docker("exec", container, "sh", "-c", "touch /opt/x 2>&1 || true")
        port = inspected["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run([*compose, "down", "--timeout", "5"], env=environment, check=False)


def test_serve_is_healthy_and_segments_a_picture(service: str, contained: Project) -> None:
    picture = next((contained.root / paths.DATASET / "images/val").iterdir())
    with urllib.request.urlopen(f"{service}/v2/health/ready", timeout=30) as answer:
        assert answer.status == 200
    request = urllib.request.Request(f"{service}/segment", data=picture.read_bytes(), method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        served = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    contained.succeed("python", "-m", "ucc", "segment", "--model", str(paths.SEGMENTER), str(picture), "runs/here")
    here = cv2.imread(str(contained.root / f"runs/here/{picture.stem}_classes.png"), cv2.IMREAD_UNCHANGED)
    assert served is not None
    assert here is not None
    assert np.array_equal(served, here)
    with pytest.raises((HTTPError, URLError), match="400"):
        urllib.request.urlopen(f"{service}/segment", data=b"no picture", timeout=30)


def test_torchrun_starts_several_processes_in_a_container_without_network(contained: Project) -> None:
    torchrun = ("torchrun", "--standalone", "--nproc-per-node", "2", "pipeline/train.py")
    steps = ("train.steps=3", "train.val_every=3", "train.checkpoint_every=3")
    changes = (*steps, "train.devices=2", "train.batch_labeled=4", "train.batch_unlabeled=4", "method.name=supervised")
    contained.environment |= {"UCC_RUNTIME": "docker"}
    said = contained.succeed("timeout", "300", "docker/run", *torchrun, *changes)
    assert "step 3/3" in said


def test_compose_runs_a_stage_inside_with_the_same_result(contained: Project) -> None:
    contained.succeed("dvc", "config", "cache.type", "copy")  # links would lead to where the project is mounted
    before = contained.results()
    contained.environment |= {"UCC_UID": str(os.getuid()), "UCC_GID": str(os.getgid())}
    inside = ("docker", "compose", "run", "--rm", "pipeline")
    said = contained.succeed(*inside, "dvc", "repro", "--force", "--single-item", "partition")
    assert "Running stage 'partition'" in said
    assert "docker/run: on this machine (UCC_RUNTIME=host)" in said
    assert contained.results() == before
    names = contained.succeed(*inside, "sh", "-c", "echo; echo $UCC_CONTAINER; hostname").split()[-2:]
    assert names[0] == names[1]
