"""Nothing is trained on data that were not validated or have failed."""

import importlib.util
from pathlib import Path

import pytest
from tiny import REPOSITORY

from ucc.data.manifest import Manifest, Sample
from ucc.data.verdict import require_validated
from ucc.errors import UserError
from ucc.files import write_json

MANIFEST = Manifest([Sample("train/a", "images/train/a.png", "masks/train/a.png", "labeled")])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    MANIFEST.write(Path("data/manifest.csv"))
    return tmp_path


def require() -> None:
    require_validated(Path("reports/verdict.json"), Path("data/manifest.csv"))


@pytest.mark.usefixtures("project")
def test_a_success_of_the_same_partition_passes() -> None:
    write_json(Path("reports/verdict.json"), {"success": True, "manifest": MANIFEST.hash})
    require()


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ({"success": False, "manifest": MANIFEST.hash}, "failed validation"),
        ({"success": True, "manifest": "0123456789abcdef"}, f"is of partition 0123456789abcdef, .* {MANIFEST.hash}"),
        ({"manifest": MANIFEST.hash}, "not what the stage `validate` writes"),
        ([], "not what the stage `validate` writes"),
        (None, "cannot be read"),
    ],
)
@pytest.mark.usefixtures("project")
def test_everything_else_is_refused(verdict: object, words: str) -> None:
    if verdict is not None:
        write_json(Path("reports/verdict.json"), verdict)
    with pytest.raises(UserError, match=rf"reports/verdict\.json: .*{words}.* Run `dvc repro validate`"):
        require()


@pytest.mark.usefixtures("project")
def test_the_stage_train_refuses_before_it_does_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("stage_train", REPOSITORY / "pipeline/train.py")
    assert spec is not None
    assert spec.loader is not None
    stage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stage)
    for name in ("train", "start_processes", "must_start_processes"):
        monkeypatch.setattr(stage, name, lambda *_: pytest.fail("trained"))
    write_json(Path("reports/verdict.json"), {"success": False, "manifest": MANIFEST.hash})
    with pytest.raises(UserError, match="failed validation"):
        stage.main(None)
