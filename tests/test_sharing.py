"""What one person pushes, another has after `git clone` and `dvc pull`, without training."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from clones import RESULTS, Clone
from moto.server import ThreadedMotoServer

from ucc import paths

pytestmark = pytest.mark.slow
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Team:
    """Two people with a git repository between them; `mine` has run everything, `theirs` is where the other works."""

    mine: Clone
    hub: Path
    theirs: Path

    def join(self) -> Clone:
        """Clone the repository as the other person does."""
        self.mine.succeed("git", "clone", "--quiet", str(self.hub), str(self.theirs))
        home = {"HOME": f"{self.theirs}.home", "DVC_SITE_CACHE_DIR": f"{self.theirs}.site"}
        return Clone(self.theirs, self.mine.environment | home)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that speaks S3's protocol and holds the bucket `team`."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="team")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def team(request: pytest.FixtureRequest, finished_clone: Clone, tmp_path: Path) -> Team:
    """A finished project with a remote of the kind that a test asks for, to which everything has been pushed."""
    mine = finished_clone.copy(tmp_path)
    if request.param == "s3":
        mine = Clone(mine.root, mine.environment | KEYS)
        mine.succeed("dvc", "remote", "add", "--default", "shared", "s3://team/ucc")
        mine.succeed("dvc", "remote", "modify", "shared", "endpointurl", request.getfixturevalue("bucket"))
    else:
        mine.succeed("dvc", "remote", "add", "--default", "shared", str(tmp_path / "remote"))
    mine.commit()
    hub = tmp_path / "hub.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(hub)], check=True)
    mine.succeed("git", "remote", "add", "origin", str(hub))
    mine.succeed("git", "push", "--quiet", "origin", "HEAD")
    branch = mine.succeed("git", "branch", "--show-current").strip()
    subprocess.run(["git", "-C", str(hub), "symbolic-ref", "HEAD", f"refs/heads/{branch}"], check=True)
    mine.succeed("dvc", "push")
    return Team(mine, hub, tmp_path / "theirs")


def pull(team: Team) -> Clone:
    """What the other person has after `git clone` and `dvc pull`: every result, without training."""
    theirs = team.join()
    assert not (theirs.root / paths.SEGMENTER).exists()
    theirs.succeed("dvc", "pull")
    assert theirs.hashes() == team.mine.hashes()
    assert [place.as_posix() for place in RESULTS if not (theirs.root / place).exists()] == []
    return theirs


@pytest.mark.parametrize("team", ["folder"], indirect=True)
def test_a_clone_pulls_every_result_and_has_nothing_to_train(team: Team) -> None:
    theirs = pull(team)
    assert "up to date" in theirs.succeed("dvc", "repro")
    assert not (theirs.root / paths.RUNS).exists()


@pytest.mark.parametrize("team", ["s3"], indirect=True)
def test_an_experiment_travels_through_git_and_brings_its_files(team: Team) -> None:
    theirs = pull(team)
    # What the experiment makes is on the remote, not only with the one who ran it.
    team.mine.succeed("dvc", "exp", "run", "--name", "few-panels", "--set-param", "evaluate.panels=1")
    pushed = team.mine.succeed("dvc", "exp", "push", "origin", "few-panels")
    assert "few-panels" in pushed
    panels = {name for name in team.mine.hashes() if name.startswith(paths.PANELS.as_posix())}
    shutil.rmtree(team.mine.root / ".dvc/cache")

    assert "few-panels" in theirs.succeed("dvc", "exp", "list", "origin")
    theirs.succeed("dvc", "exp", "pull", "origin", "few-panels")
    assert "few-panels" in theirs.succeed("dvc", "exp", "show", "--csv")
    theirs.succeed("dvc", "exp", "apply", "few-panels")
    assert {name for name in theirs.hashes() if name.startswith(paths.PANELS.as_posix())} == panels
    assert theirs.hashes() == team.mine.hashes()
    assert "up to date" in theirs.succeed("dvc", "repro")
    assert not (theirs.root / paths.RUNS).exists()
