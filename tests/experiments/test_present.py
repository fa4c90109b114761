"""What was made with other images, masks or lists than the project holds now is told, and nothing else is."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from finished_experiments import commit_experiment, lock_of

from ucc.config import Params
from ucc.errors import UserError
from ucc.experiments import __main__ as command
from ucc.experiments.plan import Plan


def test_what_is_done_with_other_files_than_the_project_holds_now_is_told(
    plan: Plan, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By DVC's hash of the data set, or, of rows of tables, by the partition's; only of what the same keys ask for."""
    params = replace(plan.runs[0].params, dataset=replace(plan.runs[0].params.dataset, name="folder", root="/a/cats"))
    plan = replace(plan, runs=(replace(plan.runs[0], params=params),))
    commit_experiment(repository, "cats", asdict(params), {"head_1": {"miou": 44.5}, "manifest": "cafe"})
    monkeypatch.setattr(command, "_dvc", lambda *_: "")
    lock = lock_of(asdict(params), b"")
    (repository / "params.yaml").write_text(yaml.safe_dump(asdict(params)))
    (repository / "data").mkdir()

    def told(data: str, manifest: str) -> str:
        lock["stages"]["download"]["outs"][0]["md5"] = data
        (repository / "dvc.lock").write_text(yaml.safe_dump(lock))
        (repository / "data/partition.json").write_text(json.dumps({"hash": manifest}))
        command.queue(plan)
        shown = capsys.readouterr()
        assert "done     " in shown.out
        return shown.err

    same = hashlib.md5(b"download").hexdigest()
    note = "note: made with other images, masks or lists of ids than the project holds now: cats. To make such a run"
    assert told(same, "cafe") == ""
    assert told("other", "cafe").startswith(note)
    assert told(same, "beef").startswith(note)
    other = replace(params, dataset=replace(params.dataset, root="/a/dogs"))
    (repository / "params.yaml").write_text(yaml.safe_dump(asdict(other)))
    assert told("other", "beef") == ""


def test_what_is_done_with_another_list_of_the_same_name_is_told(
    plan: Plan, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of public data sets, too; not where the partition that the project holds is another, or was made of another."""
    monkeypatch.setattr(command, "_dvc", lambda *_: "")
    (repository / "data").mkdir()
    partition = replace(plan.runs[0].params.partition, labeled_ids="lists/mine.txt")
    params = replace(plan.runs[0].params, partition=partition)
    plan = replace(plan, runs=(replace(plan.runs[0], params=params),), arms=("supervised",), columns=("1/16",))
    plan = replace(plan, seeds=(plan.runs[0].seed,))
    commit_experiment(repository, "listed", asdict(params), {"head_1": {"miou": 44.5}, "manifest": "cafe"})
    other = replace(params, partition=replace(partition, labeled_ids="lists/other.txt"))

    def told(manifest: str, present: Params, made: Params) -> list[str]:
        (repository / "params.yaml").write_text(yaml.safe_dump(asdict(present)))
        (repository / "dvc.lock").write_text(yaml.safe_dump(lock_of(asdict(made), b"")))
        (repository / "data/partition.json").write_text(json.dumps({"hash": manifest}))
        notes = []
        for tell in (command.queue, command.table):
            tell(plan)
            notes.append(capsys.readouterr().err)
        return notes

    assert told("cafe", params, params) == ["", ""]
    note = "note: made with other images, masks or lists of ids than the project holds now: listed. To make such a run"
    assert [text[: len(note)] for text in told("beef", params, params)] == [note, note]
    assert told("beef", other, other) == ["", ""]
    assert told("beef", params, other) == ["", ""]


@pytest.mark.parametrize(
    ("spoilt", "text"),
    [
        ("dvc.lock", "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> other\n"),
        ("dvc.lock", "schema: '2.0'\nstages:\n"),
        ("data/partition.json", '{\n<<<<<<< HEAD\n "hash": "cafe"\n=======\n "hash": "beef"\n>>>>>>> other\n}\n'),
        ("data/partition.json", "{}"),
        ("data/partition.json", "[]"),
    ],
)
def test_a_merge_that_was_not_finished_is_named_before_anything_is_queued_or_written(
    plan: Plan, repository: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str, text: str
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(command, "_dvc", lambda *arguments: calls.append(arguments) or "")
    (repository / "data").mkdir()
    (repository / "data/partition.json").write_text(json.dumps({"hash": "cafe"}))
    lock = lock_of(yaml.safe_load((repository / "params.yaml").read_text()), b"")
    (repository / "dvc.lock").write_text(yaml.safe_dump(lock))
    (repository / spoilt).write_text(text)
    for tell in (command.queue, command.table):
        with pytest.raises(UserError, match=rf"^{spoilt}: a merge that was not finished.*git checkout --ours {spoilt}"):
            tell(plan)
    assert calls == []
    assert not Path("results").exists()
