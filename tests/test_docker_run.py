"""docker/run: where it runs a command, and what the container is given. `docker` here notes its calls."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
COMMAND = ("python", "pipeline/train.py")
# `image inspect` answers what IMAGE says; `run` notes its arguments and what its standard input is.
FAKE_DOCKER = """#!{python}
import json, os, select, stat, sys
if sys.argv[1:3] == ["image", "inspect"]:
    answer = os.environ["FAKE_IMAGE"]
    if answer.startswith("error"):
        sys.exit(answer)
    print(answer)
else:
    note = {{
        "arguments": sys.argv[1:],
        "pid": os.getpid(),
        "pipe": stat.S_ISFIFO(os.fstat(0).st_mode),
        "ended": bool(select.select([0], [], [], 0)[0]),
    }}
    with open(os.environ["FAKE_NOTE"], "w") as out:
        json.dump(note, out)
    sys.exit(int(os.environ.get("FAKE_STATUS", "0")))
"""


LOCK = "torch==1\n"
FITTING = f"sha256:abc {sha256(LOCK.encode()).hexdigest()}"


class Project:
    """A folder with docker/run in it, and a machine with the commands that a test gives it."""

    def __init__(self, base: Path) -> None:
        self.base, self.root, self.commands = base, base / "project", base / "bin"
        for folder in ("docker", "requirements", "pipeline"):
            (self.root / folder).mkdir(parents=True)
        for name in ("docker/run", "docker/inside.py"):
            shutil.copy(ROOT / name, self.root / name)
        (self.root / "params.yaml").write_text("dataset:\n  name: streets\n", encoding="utf-8")
        (self.root / "requirements/train.txt").write_text(LOCK, encoding="utf-8")
        self.commands.mkdir()
        self.command("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        self.command("python", '#!/bin/sh\necho "host: $* $PYTHONPATH"\nexit 5\n')
        self.environment = {"PATH": str(self.commands), "HOME": str(base / "home")}
        (base / "home").mkdir()

    def command(self, name: str, text: str) -> None:
        path = self.commands / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def with_engine(self, image: str = FITTING) -> "Project":
        self.command("docker", FAKE_DOCKER.format(python=sys.executable))
        self.environment |= {"FAKE_IMAGE": image, "FAKE_NOTE": str(self.base / "note.json")}
        return self

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.base / "note.json").unlink(missing_ok=True)
        return subprocess.run(
            [self.root / "docker/run", *(command or COMMAND)],
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def note(self) -> dict[str, Any]:
        noted: dict[str, Any] = json.loads((self.base / "note.json").read_text(encoding="utf-8"))
        return noted

    def arguments(self, *command: str, **environment: str) -> list[str]:
        """The command line that docker got."""
        done = self.run(*command, **environment)
        assert done.returncode == 0, done.stderr
        return list(self.note()["arguments"])

    def mounts(self, *command: str, **environment: str) -> dict[str, bool]:
        """Target -> whether it can be written to; a source elsewhere is given as `source -> target`."""
        found = {}
        for value in options(self.arguments(*command, **environment), "--mount"):
            fields = dict(f.partition("=")[::2] for f in value.split(","))
            name = fields["dst"] if fields["src"] == fields["dst"] else f"{fields['src']} -> {fields['dst']}"
            found[name] = "readonly" not in fields
        return found


def options(arguments: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(arguments) if option == name]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_without_docker_a_command_runs_on_this_machine_and_one_line_says_so(project: Project) -> None:
    done = project.run()
    assert (done.returncode, done.stdout) == (5, "host: pipeline/train.py src\n")
    assert done.stderr == "docker/run: on this machine (there is no command `docker`)\n"


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("error: No such image: ucc:train", "there is no image ucc:train; `make images` builds it"),
        ("error: Cannot connect to the Docker daemon", "no Docker engine answers"),
        ("sha256:abc " + "0" * 64, "ucc:train was built from another requirements/train.txt; `make images` builds it"),
        # Built by docker compose or docker build, which give no label, or of another project.
        ("sha256:abc ", "ucc:train was built from an unknown requirements/train.txt; `make images` builds it"),
        ("sha256:abc <none>", "ucc:train was built from an unknown requirements/train.txt"),
    ],
)
def test_without_engine_or_a_fitting_image_auto_stays_here_and_docker_is_an_error(
    project: Project, image: str, why: str
) -> None:
    project.with_engine(image)
    done = project.run()
    assert done.returncode == 5
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
    asked = project.run(UCC_RUNTIME="docker")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr.startswith("error: UCC_RUNTIME=docker, but")
    assert why in asked.stderr


def test_auto_chooses_the_container_when_an_engine_answers_and_the_image_is_there(project: Project) -> None:
    done = project.with_engine().run()
    assert (done.returncode, done.stdout) == (0, "")
    name = options(project.note()["arguments"], "--name")[0]
    assert done.stderr == f"docker/run: in a container of ucc:train ({name}, no GPU)\n"


def test_host_asks_no_engine(project: Project) -> None:
    done = project.with_engine().run(UCC_RUNTIME="host")
    assert done.stdout == "host: pipeline/train.py src\n"
    assert done.stderr == "docker/run: on this machine (UCC_RUNTIME=host)\n"


def test_another_runtime_is_refused(project: Project) -> None:
    done = project.run(UCC_RUNTIME="podman")
    assert (done.returncode, done.stderr) == (1, "error: UCC_RUNTIME = podman: must be docker, host or auto.\n")


def test_the_container_is_the_calling_user_without_privilege_and_network(project: Project) -> None:
    arguments = project.with_engine().arguments()
    assert arguments[:5] == ["run", "--rm", "--interactive", "--init", "--name"]
    assert options(arguments, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert options(arguments, "--cap-drop") == ["ALL"]
    assert options(arguments, "--security-opt") == ["no-new-privileges"]
    # torchrun would wait for ever for somebody to resolve another name.
    assert {"--read-only", "--ipc=host", "--network=none", "--hostname=localhost", "--pull=never"} <= set(arguments)
    assert options(arguments, "--workdir") == [str(project.root)]
    assert arguments[-5:] == ["sha256:abc", "python", "docker/inside.py", *COMMAND]
    assert "--gpus" not in arguments


def test_gpus_are_given_when_the_driver_lists_one(project: Project) -> None:
    project.with_engine().command("nvidia-smi", "#!/bin/sh\necho 'GPU 0: some model (UUID: GPU-1)'\n")
    assert options(project.arguments(), "--gpus") == ["all"]
    project.command("nvidia-smi", "#!/bin/sh\necho 'No devices found'; exit 6\n")
    assert "--gpus" not in project.arguments()


def test_only_what_the_user_asked_to_be_downloaded_gets_a_network(project: Project) -> None:
    project.with_engine()
    stages = sorted(path.stem for path in (ROOT / "pipeline").glob("*.py"))
    assert len(stages) > 5
    given = [s for s in stages if "--network=none" not in project.arguments("python", f"pipeline/{s}.py")]
    assert given == ["download"]
    partition = ("python", "pipeline/partition.py")
    assert "--network=bridge" in project.arguments(*partition, "partition.protocol=cps")
    for value, network in (("random", "none"), ("cps  # a comment", "bridge"), ('"cps"', "bridge")):
        text = f"partition:\n  protocol: {value}\n"
        (project.root / "params.yaml").write_text(text, encoding="utf-8")
        assert f"--network={network}" in project.arguments(*partition)
    assert "--network=bridge" in project.arguments("python", "-m", "ucc.fetch_weights", "model.backbone=resnet18")


def test_the_container_is_named_after_stage_and_experiment_and_no_two_alike(project: Project) -> None:
    project.with_engine()
    names = [options(project.arguments(), "--name")[0] for _ in range(2)]
    assert names[0] != names[1]
    assert all(name.startswith("ucc-train-project-") for name in names)
    fetching = project.arguments("python", "-m", "ucc.fetch_weights")
    assert options(fetching, "--name")[0].startswith("ucc-fetch_weights-project-")
    experiment = project.arguments(DVC_STAGE="train", DVC_EXP_NAME="dusty duck")
    assert options(experiment, "--name")[0].startswith("ucc-train-dusty-duck-")


def test_the_code_is_read_only_and_the_folders_of_results_are_not(project: Project) -> None:
    found = project.with_engine().mounts()
    root = str(project.root)
    writable = {f"{root}/{name}" for name in ("data", "models", "metrics", "reports", "runs")}
    assert found == {root: False} | dict.fromkeys(writable, True)
    assert all(Path(place).is_dir() for place in writable)


def test_a_results_folder_elsewhere_can_be_written_to_there(project: Project, tmp_path: Path) -> None:
    (tmp_path / "large disk/runs").mkdir(parents=True)
    (project.root / "runs").symlink_to(tmp_path / "large disk/runs")
    assert project.with_engine().mounts()[f"{tmp_path}/large disk/runs"] is True


@pytest.mark.parametrize("runtime", ["host", "docker"])
def test_an_experiment_of_the_queue_keeps_its_checkpoints_and_downloads_where_it_was_queued(
    project: Project, tmp_path: Path, runtime: str
) -> None:
    """DVC deletes the folder in which the experiment runs."""
    queue = tmp_path / "main/.dvc/tmp/exps"
    queue.mkdir(parents=True)
    project.root = project.root.rename(queue / "tmp1")
    shared = ("runs", "data/raw")
    if runtime == "docker":
        mounts = project.with_engine().mounts()
        assert [mounts[f"{tmp_path}/main/{folder}"] for folder in shared] == [True, True]
    for _ in range(2):
        project.run(UCC_RUNTIME="host")
    for folder in shared:
        (project.root / folder / "abc").mkdir()
    shutil.rmtree(project.root)
    assert all((tmp_path / "main" / folder / "abc").is_dir() for folder in shared)


def test_a_linked_dvc_cache_is_mounted_read_only_where_it_lies(project: Project, tmp_path: Path) -> None:
    cached = tmp_path / "shared cache/files/md5/ab/cdef"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"image")
    picture = project.root / "data/dataset/images/a.png"
    picture.parent.mkdir(parents=True)
    picture.symlink_to(cached)
    assert project.with_engine().mounts()[f"{tmp_path}/shared cache"] is False


def test_a_linked_cache_inside_the_project_needs_no_mount_of_its_own(project: Project) -> None:
    cached = project.root / ".dvc/cache/files/md5/ab/cdef"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"image")
    (project.root / "data").mkdir()
    (project.root / "data/manifest.csv").symlink_to(cached)
    assert not any(".dvc" in place for place in project.with_engine().mounts())


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_data_and_weights_that_params_yaml_names_are_mounted_read_only(
    project: Project, tmp_path: Path, quote: str
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    for weights in (tmp_path / "near.pth", tmp_path / "home/far.pth"):
        weights.touch()
    (project.root / "params.yaml").write_text(
        f"dataset:\n  root: {quote}{tmp_path}/photos{quote}  # a comment\npartition:\n  ratio: 1/16\n"
        f"  labeled_ids: {quote}{tmp_path}/missing.txt{quote}\nmodel:\n  weights: {quote}../near.pth{quote}\n"
        f"  other: {quote}~/far.pth{quote}\n",
        encoding="utf-8",
    )
    outside = {k: v for k, v in project.with_engine().mounts().items() if not k.startswith(str(project.root))}
    assert outside == {
        f"{tmp_path}/photos": False,
        f"{tmp_path}/elsewhere": False,
        f"{tmp_path}/near.pth": False,
        f"{tmp_path}/home/far.pth -> /tmp/far.pth": False,
    }


def test_an_absolute_link_within_a_folder_below_the_home_folder_is_mounted_where_it_leads(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "home/set/raw").mkdir(parents=True)
    (tmp_path / "home/set/images").symlink_to(tmp_path / "home/set/raw")
    (project.root / "params.yaml").write_text("dataset:\n  root: ~/set\n", encoding="utf-8")
    mounts = project.with_engine().mounts()
    assert f"{tmp_path}/home/set -> /tmp/set" in mounts
    assert f"{tmp_path}/home/set/raw" in mounts


def test_a_link_in_the_project_that_params_yaml_names_is_mounted_however_it_is_written(
    project: Project, tmp_path: Path
) -> None:
    for folder in ("big", "elsewhere"):
        (tmp_path / folder).mkdir()
    (project.root / "mine").symlink_to(tmp_path / "big")
    (project.root / "plain").mkdir()
    (project.root / "plain/more").symlink_to(tmp_path / "elsewhere")
    for root in ("mine", "./mine", "mine/"):
        classes = ", ".join(f"{{name: class {index}, color: [{index}, 0, 0]}}" for index in range(12))
        (project.root / "params.yaml").write_text(
            f"dataset:\n  root: {root}\n  other: plain\n  nothing: ~\n  above: ..\n  here: .\n  classes: [{classes}]\n",
            encoding="utf-8",
        )
        outside = {k: v for k, v in project.with_engine().mounts().items() if not k.startswith(str(project.root))}
        assert outside == {f"{tmp_path}/big": False, f"{tmp_path}/elsewhere": False}


def test_the_cache_of_weights_is_mounted_where_torch_has_it_and_written_to_only_to_fetch(
    project: Project, tmp_path: Path
) -> None:
    project.with_engine()
    cache = f"{tmp_path}/home/.cache/torch"
    assert cache not in project.mounts()
    assert project.mounts("python", "-m", "ucc.fetch_weights")[cache] is True
    assert project.mounts()[cache] is False
    (tmp_path / "other").mkdir()
    assert project.mounts(TORCH_HOME=f"{tmp_path}/other")[f"{tmp_path}/other"] is False
    assert f"TORCH_HOME={tmp_path}/other" in options(project.arguments(TORCH_HOME=f"{tmp_path}/other"), "--env")


def test_git_of_a_worktree_is_mounted_so_that_the_exported_file_names_its_commit(
    project: Project, tmp_path: Path
) -> None:
    git = tmp_path / "main/.git"
    (git / "worktrees/one").mkdir(parents=True)
    (git / "worktrees/one/commondir").write_text("../..\n", encoding="utf-8")
    (project.root / ".git").write_text(f"gitdir: {git}/worktrees/one\n", encoding="utf-8")
    assert project.with_engine().mounts()[str(git)] is False


def test_a_comma_or_a_quote_in_a_path_is_no_end_of_a_mount(project: Project, tmp_path: Path) -> None:
    odd = tmp_path / 'a, "b"'
    odd.mkdir()
    assert f'type=bind,"src={str(odd).replace(chr(34), 2 * chr(34))}"' in " ".join(
        options(project.with_engine().arguments(TORCH_HOME=str(odd)), "--mount")
    )


def test_settings_that_change_numbers_are_handed_on_and_the_rest_is_not(project: Project) -> None:
    passed = options(
        project.with_engine().arguments(OMP_NUM_THREADS="3", TORCH_ELASTIC_SHUTDOWN_TIMEOUT="110", SECRET="x"), "--env"
    )
    assert {"OMP_NUM_THREADS=3", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110", "PYTHONPATH=src", "HOME=/tmp"} <= set(passed)
    assert not any(value.startswith(("SECRET", "PATH=")) for value in passed)


def test_docker_takes_the_place_of_the_script_so_that_signals_reach_it(project: Project) -> None:
    project.with_engine()
    process = subprocess.Popen(
        [project.root / "docker/run", *COMMAND],
        cwd=project.root,
        env=project.environment | {"FAKE_STATUS": "143"},
        stdin=subprocess.DEVNULL,
    )
    assert process.wait(timeout=60) == 143
    note = project.note()
    assert note["pid"] == process.pid
    # Its standard input stays open as long as it lives, and no longer.
    assert note["pipe"]
    assert not note["ended"]


def test_the_build_needs_no_registry_but_for_its_base() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert not [
        line for line in lines if re.match(r"#\s*(syntax|check)\s*=", line)
    ]  # an image that BuildKit would fetch
    assert {line.split()[1] for line in lines if line.startswith("FROM")} == {"${BASE}", "base"}


def compose(*files: str) -> dict[str, Any]:
    """What Docker Compose understands of its files; this needs no engine."""
    named = [part for file in files for part in ("--file", str(ROOT / "docker" / file))]
    whole = ["docker", "compose", *named, "--profile", "*", "config", "--format", "json"]
    understood: dict[str, Any] = json.loads(subprocess.run(whole, capture_output=True, check=True, text=True).stdout)
    return understood["services"]


def has_compose() -> bool:
    return (
        bool(shutil.which("docker"))
        and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    )


@pytest.mark.skipif(not has_compose(), reason="there is no `docker compose`")
def test_compose_gives_the_pipeline_every_gpu_with_the_second_file_and_changes_nothing_else() -> None:
    usual, with_gpus = compose("compose.yaml"), compose("compose.yaml", "compose.gpu.yaml")
    (device,) = with_gpus["pipeline"].pop("deploy")["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", -1, ["gpu"])
    usual["pipeline"].pop("deploy", None)
    assert with_gpus == usual


def inside(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, ROOT / "docker/inside.py", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def until_output(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 60)[0]
    process.stdout.readline()


NICE = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {NICE}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_inside_the_container_signals_are_handed_on(number: signal.Signals) -> None:
    process = inside(sys.executable, "-c", f"import signal; signal.signal(2, signal.SIG_DFL); {NICE}")
    until_output(process)
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number


@pytest.mark.parametrize(("script", "status"), [(NICE, 128 + signal.SIGTERM), (STUBBORN, 128 + signal.SIGKILL)])
def test_inside_the_container_a_command_ends_when_its_client_is_gone(script: str, status: int) -> None:
    process = inside(sys.executable, "-c", script, UCC_SECONDS_TO_STOP="0.5")
    until_output(process)
    time.sleep(0.2)
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == status


def test_inside_the_container_a_client_that_hands_on_a_signal_and_ends_has_asked_once() -> None:
    """As docker does when its terminal is closed; a second request would end training without its checkpoint."""
    counting = (
        "import signal, time\nseen = []\n"
        "for number in (signal.SIGHUP, signal.SIGTERM):\n    signal.signal(number, lambda n, _: seen.append(n))\n"
        "print('ready', flush=True)\n"
        "while not seen:\n    time.sleep(0.01)\n"
        "time.sleep(1)\nprint(*seen)\n"
    )
    process = inside(sys.executable, "-c", counting)
    until_output(process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    said, _ = process.communicate(timeout=60)
    assert said.split() == [str(int(signal.SIGHUP))]
    assert process.returncode == 0


def test_inside_the_container_the_status_of_a_command_is_its_own() -> None:
    assert inside(sys.executable, "-c", "raise SystemExit(7)").wait(timeout=60) == 7
    assert inside("no-such-command").wait(timeout=60) == 127
