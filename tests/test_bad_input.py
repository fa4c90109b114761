"""Bad input of every kind: one clear message that names the file and the remedy, exit code 1, nothing half-written.

Each case spoils one thing about a small project with a data set of its own and runs the stages as `dvc repro` would.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from spoilt import CASES, UNLABELED, Case, Project, mask_of, replace_by_text
from tiny import REPOSITORY

from ucc.stage import run_stage
from ucc.data.images import write_png

STAGES = ("download", "partition", "validate")


def run(stage: str) -> str | None:
    """Run a stage's script in the working directory; its error message, or None if it succeeded."""
    try:
        run_stage(script(stage).main)
    except SystemExit as end:
        # A text as the exit code is printed to stderr by Python, and the exit status is 1.
        return end.code if isinstance(end.code, str) else f"exit {end.code}"
    return None


def script(stage: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"stage_{stage}", REPOSITORY / f"pipeline/{stage}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage"])
    monkeypatch.delenv("DVC_STAGE", raising=False)
    return Project(tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_ends_with_one_message_and_leaves_nothing_half_written(project: Project, case: Case) -> None:
    case.spoil(project)
    for stage in STAGES:
        message = run(stage)
        if stage == case.stage:
            break
        assert message is None, f"{stage} refused it already: {message}"
    assert message is not None, f"{case.stage} let it pass"
    assert message.startswith("error: ")
    for word in case.words:
        assert word in message, message
    leftovers = [path for path in project.root.rglob("data/**/.*") if path.name != ".gitignore"]
    assert not leftovers
    outputs = {"download": "data/dataset", "partition": "data/manifest.csv"}
    for stage in STAGES[STAGES.index(case.stage) :]:
        assert not (project.root / outputs.get(stage, "none")).exists()


def test_there_are_at_least_forty_kinds() -> None:
    assert len({case.name for case in CASES}) >= 40


@pytest.mark.usefixtures("project")
def test_the_unspoilt_project_passes_every_stage() -> None:
    assert [run(stage) for stage in STAGES] == [None, None, None]


def test_names_with_spaces_and_letters_of_any_language_are_fine(project: Project) -> None:
    for stem, name in (("a", "ein Bild mit Ümläut"), ("b", "写真 1"), ("d", "photo (2)'s")):
        project.image(stem).rename(project.image(name))
        if stem != "d":
            project.mask(stem).rename(project.mask(name))
    assert [run(stage) for stage in STAGES] == [None, None, None]
    assert "写真 1" in (project.root / "data/manifest.csv").read_text(encoding="utf-8")


def test_all_bad_files_of_a_kind_are_listed_at_once(project: Project) -> None:
    for stem in ("a", "b"):
        mask_of(project, stem, np.zeros((48, 60)))
    for stem in ("d", "e"):
        replace_by_text(project.image(stem))
    message = run("download") or ""
    for name in ("masks/train/a.png", "masks/train/b.png", "images/train/d.png", "images/train/e.png"):
        assert name in message, message


def test_a_bad_file_keeps_the_data_set_of_the_last_good_run(project: Project) -> None:
    assert run("download") is None
    before = sorted(path.relative_to(project.root) for path in (project.root / "data").rglob("*"))
    replace_by_text(project.image("d"))
    assert run("download") is not None
    assert sorted(path.relative_to(project.root) for path in (project.root / "data").rglob("*")) == before


def run_restricted(project: Project, stage: str) -> subprocess.CompletedProcess[str]:
    """Run a stage as somebody to whom permissions apply, which root is without two of its capabilities."""
    command = [sys.executable, str(REPOSITORY / f"pipeline/{stage}.py")]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=False)


def test_files_and_folders_without_permission_are_all_named(project: Project) -> None:
    for stem in ("d", "e"):
        project.image(stem).chmod(0)
    project.mask("a").chmod(0)
    done = run_restricted(project, "download")
    assert done.returncode == 1
    assert "cannot be read (Permission denied); mend or remove: " in done.stderr
    for name in ("images/train/d.png", "images/train/e.png", "masks/train/a.png"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert list((project.root / "data").iterdir()) == []
    project.image("d").parent.chmod(0)
    done = run_restricted(project, "download")
    project.image("d").parent.chmod(0o755)
    assert "folder that cannot be read (Permission denied), mend or remove: images/train" in done.stderr


def test_a_place_without_permission_to_write_is_named(project: Project) -> None:
    (project.root / "data").mkdir()
    (project.root / "data").chmod(0o555)
    done = run_restricted(project, "download")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "data" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_ends_with_one_message_and_no_half_written_data_set(project: Project, small_disk: Path) -> None:
    for stem in UNLABELED:
        noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3)).astype(np.uint8)
        write_png(project.image(stem), noise)
    (project.root / "data").symlink_to(small_disk)
    assert run("download") == "error: data: no space left on the disk. Make room and run the command again."
    assert list(small_disk.iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_named(project: Project) -> None:
    (project.root / "data").write_text("mine")
    assert run("download") == "error: data: is a file where a folder is needed; move or remove it and run again."
    assert (project.root / "data").read_text() == "mine"
