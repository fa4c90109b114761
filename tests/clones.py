"""The project in a git repository of its own, with parameters so small that `dvc repro` takes seconds."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ucc import paths
from ucc.files import sha256

ROOT = Path(__file__).parents[1]
TINY: dict[str, dict[str, Any]] = {
    "dataset": {
        "name": "streets",
        "root": None,
        "max_side": None,
        "streets": {"train_images": 16, "val_images": 3, "height": 64, "width": 128, "seed": 0},
    },
    "partition": {"ratio": "1/4", "seed": 0, "labeled_ids": None, "unlabeled_ids": None, "tuning_share": None},
    "model": {"backbone": "mobilenet_v3_large", "weights": "none", "head": "separable", "head_width": 8},
    "views": {"crop": [64, 64]},
    "method": {"name": "ucc"},
    "train": {
        "steps": 3,
        "supervised_warmup": 1,
        "unsup_rampup": 1,
        "batch_labeled": 2,
        "batch_unlabeled": 2,
        "log_every": 1,
        "val_every": 2,
        "checkpoint_every": 2,
        "workers": 0,
        "accelerator": "cpu",
    },
    "evaluate": {"checkpoint": "final", "sliding_window": False, "panels": 2},
    "export": {"parity_images": 1, "quantize": {"enabled": True, "calibration_images": 4, "max_miou_drop": 100.0}},
}
RESULTS = [place for name, place in vars(paths).items() if name.isupper() and place not in (paths.RAW, paths.RUNS)]


@dataclass(frozen=True)
class Clone:
    """A copy of the working tree as a git repository of its own."""

    root: Path
    environment: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; its standard output and error come back as one text."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def succeed(self, *command: str) -> str:
        """Run a command that must exit with 0; return what it wrote."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
        return done.stdout

    def commit(self) -> None:
        """Commit everything that git does not ignore."""
        self.succeed("git", "add", "--all")
        self.succeed("git", "commit", "--quiet", "--message", "state")

    def restore(self) -> None:
        """Go back to the last commit and its results."""
        self.succeed("git", "checkout", "--quiet", "--", ".")
        self.succeed("dvc", "checkout", "--quiet", "--force")

    def edit_params(self, old: str, new: str) -> None:
        """Replace a piece of params.yaml."""
        path = self.root / "params.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file among the results, by its place, but for milliseconds, which are never the same."""
        files = [self.root / "dvc.lock"]
        for place in [place for place in RESULTS if place != paths.LATENCY]:
            path = self.root / place
            files += sorted(path.rglob("*")) if path.is_dir() else [path]
        return {str(file.relative_to(self.root)): sha256(file) for file in files if file.is_file()}

    def copy(self, base: Path) -> "Clone":
        """Another one in the same state, in the folder `base`, with a home and caches of its own."""
        shutil.copytree(self.root, base / "project", symlinks=True)
        return self.at(base)

    def at(self, base: Path) -> "Clone":
        """The one that `copy` has made in the folder `base`."""
        return Clone(base / "project", self.environment | _places(base))


def make_clone(base: Path, **changes: dict[str, Any]) -> Clone:
    """The working tree with the smallest sensible parameters, and `changes` by section; nothing has been run."""
    root = base / "project"
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
    for place in RESULTS:
        (root / place).unlink(missing_ok=True)
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    for section, values in TINY.items():
        params[section] |= values | changes.get(section, {})
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    # A git and a DVC that know nothing of this user; the clone's own source before the installed package.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_"))} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "src",
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_NO_ANALYTICS": "1",
        **_places(base),
        **{
            f"GIT_{role}_{field}": "tester@example.org"
            for role in ("AUTHOR", "COMMITTER")
            for field in ("NAME", "EMAIL")
        },
    }
    project = Clone(root, environment)
    project.succeed("git", "init", "--quiet")
    # The same commit in every process that runs tests, since the exported file names the one that it was made from.
    Clone(root, environment | dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2022-06-19T00:00:00Z")).commit()
    return project


def _places(base: Path) -> dict[str, str]:
    return {"HOME": str(base / "home"), "DVC_SITE_CACHE_DIR": str(base / "site")}
