"""Experiment files: what they ask for, and what is wrong with them."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from ucc.errors import UserError
from ucc.experiments.identity import flatten, identity
from ucc.experiments.plan import Plan, differences, exact_params, read_plan
from ucc.experiments.table import cells
from ucc.params import load_params

ROOT = Path(__file__).parents[2]
CONTENT: dict[str, Any] = {
    "title": "Two methods",
    "params": str(ROOT / "presets/streets.yaml"),
    "set": {"train.steps": 700},
    "arms": {"baseline": {"method.name": "supervised"}, "views + UGRM": {"method.name": "ucc"}},
    "columns": {"1/16": {"partition.ratio": "1/16"}, "1/8": {"partition.ratio": "1/8"}},
    "seeds": [0, 3],
}


def plan_of(tmp_path: Path, *overrides: str, **changes: Any) -> Plan:
    path = tmp_path / "methods.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in {**CONTENT, **changes}.items() if v is not None}, sort_keys=False))
    return read_plan(path, overrides)


def test_every_arm_runs_in_every_column_with_every_seed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    cells = [(r.arm, r.column, r.seed) for r in plan.runs]
    assert cells == [(a, c, s) for a in plan.arms for c in plan.columns for s in plan.seeds]
    for run in plan.runs:
        assert run.params.train.seed == run.seed
        assert run.params.train.steps == 700
        assert run.params.method.name == ("supervised" if run.arm == "baseline" else "ucc")
        assert run.params.partition.ratio == run.column


def test_names_are_unique_and_fit_for_a_git_reference(tmp_path: Path) -> None:
    names = [run.name for run in plan_of(tmp_path).runs]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"methods-[a-z0-9-]+-1-(16|8)-s[03]-[0-9a-f]{6}", name) for name in names)


def test_a_run_is_the_same_wherever_its_data_lie_and_another_with_any_other_change(tmp_path: Path) -> None:
    here, there, other = (
        identity(asdict(plan_of(tmp_path, *change).runs[0].params))
        for change in ((), ("dataset.root=/elsewhere", "train.workers=2", "export.parity_images=1"), ("train.lr=0.3",))
    )
    assert here == there != other


def test_of_a_folder_of_ones_own_the_name_counts_wherever_it_lies(tmp_path: Path) -> None:
    folder = "dataset.name=folder"
    here, there, other = (
        plan_of(tmp_path, folder, f"dataset.root={root}", set={"dataset.root": "cats"}).runs[0]
        for root in ("/home/a/cats", "/data/cats/", "/data/dogs")
    )
    assert identity(asdict(here.params)) == identity(asdict(there.params)) != identity(asdict(other.params))
    assert exact_params(plan_of(tmp_path, folder, "dataset.root=/data/cats"))["common"]["dataset.root"] == "folder cats"
    arms = {name: {"dataset.root": f"/{name}/cats"} for name in "ab"}
    with pytest.raises(UserError, match="weights and folders count by name"):
        plan_of(tmp_path, folder, arms=arms)


def test_measured_on_test_a_run_is_another_and_on_val_it_is_what_it_was_before_there_was_the_choice(
    tmp_path: Path,
) -> None:
    of_val = asdict(plan_of(tmp_path, "dataset.name=folder").runs[0].params)
    of_test = asdict(plan_of(tmp_path, "dataset.name=folder", "evaluate.split=test").runs[0].params)
    before = {**of_val, "evaluate": {key: value for key, value in of_val["evaluate"].items() if key != "split"}}
    assert identity(before) == identity(of_val) != identity(of_test)


def test_a_run_does_not_depend_on_keys_that_only_another_method_or_data_set_reads(tmp_path: Path) -> None:
    changes = ("method.cct.perturbations=[feature_drop]", "method.copy_paste.mode=none", "dataset.folder.val=0.3")
    supervised, ucc = (plan_of(tmp_path).runs[index].params for index in (0, -1))
    changed_supervised, changed_ucc = (plan_of(tmp_path, *changes).runs[index].params for index in (0, -1))
    assert identity(asdict(supervised)) == identity(asdict(changed_supervised))
    assert identity(asdict(ucc)) != identity(asdict(changed_ucc))


def test_differences_turn_one_params_file_into_another(tmp_path: Path) -> None:
    wanted = plan_of(tmp_path, "views.crop=[96,64]", "dataset.max_side=64", "model.weights=none").runs[-1].params
    present = load_params(ROOT / "presets/folder.yaml")
    changes = differences(wanted, present)
    assert flatten(asdict(load_params(ROOT / "presets/folder.yaml", changes))) == flatten(asdict(wanted))
    assert differences(wanted, wanted) == []


def test_an_entry_of_a_mapping_that_is_empty_is_added(tmp_path: Path) -> None:
    wanted = plan_of(tmp_path, set={"validation.severity.near_duplicates": "error"}).runs[0].params
    present = load_params(ROOT / "presets/streets.yaml")
    changes = differences(wanted, present)
    assert "+validation.severity.near_duplicates='error'" in changes
    assert load_params(ROOT / "presets/streets.yaml", changes).validation.severity == {"near_duplicates": "error"}


def test_an_entry_of_a_mapping_that_is_not_wanted_is_removed(tmp_path: Path) -> None:
    wanted = plan_of(tmp_path).runs[0].params
    values = asdict(wanted) | {"validation": asdict(wanted.validation) | {"severity": {"drift": "error"}}}
    (tmp_path / "present.yaml").write_text(yaml.safe_dump(values))
    changes = differences(wanted, load_params(tmp_path / "present.yaml"))
    assert changes == ["~validation.severity.drift"]
    apply_overrides(tmp_path / "present.yaml", changes)
    assert load_params(tmp_path / "present.yaml") == wanted


def test_what_only_some_runs_have_stands_beside_these_runs(tmp_path: Path) -> None:
    severity = {"validation.severity": {"drift": "error"}}
    plan = plan_of(tmp_path, columns={"few": severity, "many": {"partition.ratio": "1/4"}})
    written = exact_params(plan)
    assert "validation.severity.drift" not in written["common"]
    having = [name for name, own in written["runs"].items() if own.get("validation.severity.drift") == "error"]
    assert having == [run.name for run in plan.runs if run.column == "few"]


def test_a_file_of_weights_counts_by_its_name_wherever_it_lies(tmp_path: Path) -> None:
    here, there, other = (
        plan_of(tmp_path, f"model.weights={path}", set={"model.weights": "~/r50.pth"}).runs[0]
        for path in ("/home/a/r50.pth", "r50.pth", "/home/a/r101.pth")
    )
    assert identity(asdict(here.params)) == identity(asdict(there.params)) != identity(asdict(other.params))
    assert [run.as_written for run in (here, there, other)] == [True, True, False]
    keyword, file = (plan_of(tmp_path, f"model.weights={w}").runs[0].params for w in ("imagenet", "/home/a/imagenet"))
    assert identity(asdict(keyword)) != identity(asdict(file))
    assert exact_params(plan_of(tmp_path, "model.weights=/home/a/r50.pth"))["common"]["model.weights"] == "file r50.pth"
    arms = {name: {"model.weights": f"{name}/r50.pth"} for name in "ab"}
    with pytest.raises(UserError, match="weights and folders count by name"):
        plan_of(tmp_path, arms=arms)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.root", "~/my pictures (2024), part #2 = 'ü' & more"),
        ("dataset.root", "/data/back\\slash\\"),
        ("dataset.folder.mask_suffix", " mask"),
        ("dataset.folder.mask_suffix", "1e3"),
        ("dataset.folder.mask_suffix", ""),
        ("dataset.folder.val", "true"),
        ("dataset.folder.classes", [{"name": "sky, blue", "color": [1, 2, 3]}, {"name": "0", "value": 7}]),
    ],
)
def test_whatever_a_value_holds_a_queued_run_gets_it(tmp_path: Path, key: str, value: Any) -> None:
    # JSON, which is YAML, has its text in quotes.
    (tmp_path / "wanted.yaml").write_text(json.dumps(_with(key, value)), encoding="utf-8")
    wanted = load_params(tmp_path / "wanted.yaml")
    shutil.copy(ROOT / "presets/streets.yaml", tmp_path / "given.yaml")
    changes = differences(wanted, load_params(tmp_path / "given.yaml"))
    assert asdict(load_params(tmp_path / "given.yaml", changes)) == asdict(wanted)
    apply_overrides(tmp_path / "given.yaml", changes)  # as `dvc exp run --queue -S` does
    assert asdict(load_params(tmp_path / "given.yaml")) == asdict(wanted)


def _with(key: str, value: Any) -> dict[str, Any]:
    params: dict[str, Any] = yaml.safe_load((ROOT / "presets/streets.yaml").read_text(encoding="utf-8"))
    *sections, last = key.split(".")
    inner = params
    for section in sections:
        inner = inner[section]
    inner[last] = value
    return params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": {}}, "unknown key arm; did you mean arms?"),
        ({"seeds": None}, "missing key seeds"),
        ({"seeds": [1, 1]}, "must be a list of different whole numbers"),
        ({"seeds": [0, "0"]}, "must be a list of different whole numbers"),
        ({"seeds": [[0], [1]]}, "must be a list of different whole numbers"),
        ({"seeds": [True]}, "must be a list of different whole numbers"),
        ({"seeds": [0, -1]}, "must be a list of different whole numbers, none below 0"),
        ({"title": 5}, "title = 5: must be text"),
        ({"note": ["a"]}, "note = ['a']: must be text"),
        ({"params": 5}, "params = 5: must be text"),
        ({"set": ["train.steps"]}, "set must map keys of params.yaml to values"),
        ({"set": {"train.seed": 3}}, "set sets train.seed; list the seeds under seeds"),
        ({"arms": {"a": {"train.seed": 3}}}, "arms.a sets train.seed"),
        ({"arms": {1: {}, "1": {"method.name": "ucc"}}}, "arms: two names are the same when written: 1, '1'"),
        ({"arms": {"a": {"partition.ratio": "1/4"}}}, "partition.ratio is set by arms.a and by columns.1/16"),
        (
            {
                "arms": {
                    "a": {"method.name": "supervised"},
                    "b": {"method.name": "supervised", "method.gct.flaw_threshold": 0.1},
                }
            },
            "arm a, column 1/16 and arm b, column 1/16 ask for the same run",
        ),
        ({"params": "absent.yaml"}, "params = absent.yaml: no such file"),
        ({"arms": {"a": "ucc"}}, "arms.a must map keys"),
        ({"arms": ["ucc", "cps"]}, "arms must map names to settings"),
        ({"arms": {"a": {"method.nam": "ucc"}}}, "arm a, column 1/16: "),
        ({"arms": {"a": {"method.nam": "ucc"}}}, "unknown key method.nam"),
        ({"arms": {"a": {"method.name": "uc"}}}, "must be one of supervised"),
        ({"paper": {"figures": {}}}, "paper must be a mapping with the keys protocol and figures"),
        ({"paper": {"protocol": {"train.step": 1}, "figures": {}}}, "paper.protocol.train.step: no key"),
        ({"paper": {"protocol": [], "figures": {}}}, "paper.protocol must map keys"),
        ({"paper": {"protocol": {}, "figures": [1]}}, "paper.figures must map arms"),
        ({"paper": {"protocol": {}, "figures": {"baseline": 3}}}, "paper.figures.baseline must map columns"),
        ({"paper": {"protocol": {}, "figures": {"baseline": {"1/8": "70"}}}}, "must be a number"),
        ({"paper": {"protocol": {}, "figures": {"ucc": {}}}}, "paper.figures.ucc: no arm of that name"),
        ({"paper": {"protocol": {}, "figures": {"baseline": {"1/4": 70.0}}}}, "for one of the columns 1/16, 1/8"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        plan_of(tmp_path, **changes)


def test_an_override_of_the_seed_is_refused_since_it_would_hide_those_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^train\.seed=0: the seeds are those that .*methods\.yaml lists under seeds"):
        plan_of(tmp_path, "train.seed=0")


def test_absent_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: no such file"):
        read_plan(tmp_path / "absent.yaml")
    for content in (b"arms: [", b"title: a\ntitle: b\n", b"arms: {a: {}, a: {}}\n", b"? [1]\n: 2\n", b"null: 1\n"):
        (tmp_path / "broken.yaml").write_bytes(content)
        with pytest.raises(UserError, match=r"broken\.yaml: not valid YAML"):
            read_plan(tmp_path / "broken.yaml")
    (tmp_path / "broken.yaml").write_bytes("title: Größe".encode("latin-1"))
    with pytest.raises(UserError, match=r"broken\.yaml: not UTF-8"):
        read_plan(tmp_path / "broken.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_run_of_the_shipped_files_is_possible_and_figures_of_the_paper_stand_in_every_cell(path: Path) -> None:
    plan = read_plan(path)
    assert plan.runs
    shown = [cell.paper for cell in cells(plan, {})]
    assert all(shown) if "cityscapes" in path.stem or "voc2012" in path.stem else not any(shown)


def test_the_papers_figures_do_not_stand_beside_runs_that_an_override_changed() -> None:
    path = ROOT / "experiments/table7_sharing_cityscapes.yaml"
    assert all(cell.paper for cell in cells(read_plan(path, ["dataset.root=/elsewhere", "train.devices=4"]), {}))
    assert not any(cell.paper for cell in cells(read_plan(path, ["train.steps=3000"]), {}))
