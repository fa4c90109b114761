"""The promises that hold between files: locks, presets, dvc.yaml, the direction of imports."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc_render.image import ImageRenderer
from dvc_render.vega import VegaRenderer

from ucc import paths, runs
from ucc.models.store import TRAINED_WITH
from ucc.params import load_params

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))
STAGES = tuple(DVC["stages"])
# What no result depends on: how parameters are read and checked, how errors, progress and files are written, how files
# whose checksum is known are fetched, and what is refused before work begins.
PLUMBING = {"ucc"} | {
    f"ucc.{name}"
    for name in (
        *("checkpoints", "config", "data.fetch", "data.verdict", "errors", "files", "launch", "memory", "nonfinite"),
        *("output", "overrides", "params", "paths", "pixel_limit", "progress", "relations", "signals", "stage"),
        *("startup", "torch_files"),
    )
}


def normalized(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


def module_file(module: str) -> Path | None:
    path = SOURCE / Path(*module.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


@cache
def imported_modules(file: Path) -> frozenset[str]:
    """Every module that a file names in an import, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = str(node.module)
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                found.add(submodule if module_file(submodule) else module)
    return frozenset(found)


@cache
def reached_from(file: Path) -> frozenset[str]:
    """Modules of ucc on which the result of `file` depends, directly or through others."""
    reached: set[str] = set()
    pending = [file]
    while pending:
        for module in imported_modules(pending.pop()):
            source = module_file(module)
            if source and module not in reached | PLUMBING:
                reached.add(module)
                pending.append(source)
    return frozenset(reached)


def outputs(stage: str) -> dict[str, dict[str, Any]]:
    """Outputs of a stage of dvc.yaml with their options, whatever their kind."""
    entries = [e for kind in ("outs", "metrics", "plots") for e in DVC["stages"][stage].get(kind, [])]
    return dict(next(iter(e.items())) if isinstance(e, dict) else (e, {}) for e in entries)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.name)
def test_every_locked_package_is_pinned_and_hashed_and_no_lock_names_an_index(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"https?://|file:|^-|--(?!hash=sha256:[0-9a-f]{64})", text, re.MULTILINE)
    for entry in re.split(r"\n(?=\S)", text):
        assert re.match(r"[A-Za-z0-9_.-]+==[^\s\\]+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("serve.txt", ("serve",)), ("train.txt", ("train", "s3")), ("dev.txt", ("train", "serve", "dev"))],
)
def test_each_lock_holds_what_pyproject_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]
    locked = re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements" / lock).read_text(), re.MULTILINE)
    assert {normalized(r) for r in asked} <= {normalized(name) for name in locked}


def pins(lock: str) -> set[tuple[str, str]]:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    return set(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", ["serve.txt", "train.txt"])
def test_what_is_served_and_trained_with_is_what_was_tested(lock: str) -> None:
    assert pins(lock)
    assert pins(lock) <= pins("dev.txt")


def test_there_are_presets() -> None:
    assert PRESETS


@pytest.mark.parametrize("preset", [ROOT / "params.yaml", *PRESETS], ids=lambda p: p.name)
def test_params_and_presets_name_every_key_and_load(preset: Path) -> None:
    load_params(preset)


def test_dvc_yaml_names_the_places_where_the_library_writes() -> None:
    declared = {*DVC["metrics"], *(path for stage in STAGES for path in outputs(stage))}
    left_out = {paths.RAW, paths.RUNS}  # downloads and checkpoints outlive a stage, so they are no outputs
    places = {v for k, v in vars(paths).items() if k.isupper()} - left_out
    assert declared == {place.as_posix() for place in places}


def test_dvc_yaml_has_one_stage_for_each_script() -> None:
    assert set(STAGES) == {script.stem for script in (ROOT / "pipeline").glob("*.py")}
    for stage in STAGES:
        assert DVC["stages"][stage]["cmd"] == f"docker/run python pipeline/{stage}.py"


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_depends_on_the_modules_it_imports_and_on_no_others(stage: str) -> None:
    script = ROOT / "pipeline" / f"{stage}.py"
    needed = {script, *filter(None, map(module_file, reached_from(script)))}
    declared = {ROOT / d for d in DVC["stages"][stage]["deps"] if d.startswith(("src/", "pipeline/"))}
    missing = {file for file in needed if declared.isdisjoint({file, *file.parents})}
    idle = {d for d in declared if not any(d in {file, *file.parents} for file in needed)}
    assert (missing, idle) == (set(), set())


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_depends_on_the_parameters_its_script_reads(stage: str) -> None:
    declared = DVC["stages"][stage]["params"]
    for key in declared:
        value: Any = PARAMS
        for part in key.split("."):
            assert part in value, f"{stage}: params.yaml has no {key}"
            value = value[part]
    source = (ROOT / "pipeline" / f"{stage}.py").read_text(encoding="utf-8")
    for key in re.findall(r"\bparams\.([a-z_.]+)", source.replace("params.yaml", "")):
        assert any(key == d or key.startswith(f"{d}.") for d in declared), f"{stage} reads {key}"


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_depends_on_the_data_that_its_script_names(stage: str) -> None:
    source = (ROOT / "pipeline" / f"{stage}.py").read_text(encoding="utf-8")
    named = {
        place.as_posix()
        for name, place in vars(paths).items()
        if name.isupper() and place not in (paths.RAW, paths.RUNS) and re.search(rf"\b{name}\b", source)
    }
    assert named <= {*DVC["stages"][stage]["deps"], *outputs(stage), *DVC["metrics"]}


def test_a_segmenter_tells_the_parameters_that_its_training_depends_on_and_the_exported_file_all_the_others() -> None:
    assert list(TRAINED_WITH) == DVC["stages"]["train"]["params"]
    assert {*TRAINED_WITH, *DVC["stages"]["export"]["params"]} == set(PARAMS)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_script_imports_first_what_the_other_imports_need(stage: str) -> None:
    for file, first in ((f"pipeline/{stage}.py", "ucc.stage"), ("src/ucc/stage.py", "ucc.startup")):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.findall(r"^(?:from|import) (ucc[\w.]*)", text, re.MULTILINE)[0] == first


def test_a_failed_validation_keeps_training_from_starting() -> None:
    assert paths.VERDICT.as_posix() in DVC["stages"]["train"]["deps"]


def test_small_results_are_kept_by_git_and_all_others_by_dvc() -> None:
    in_git = {path for stage in STAGES for path, options in outputs(stage).items() if options.get("cache") is False}
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *sorted(path for stage in STAGES for path in outputs(stage))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert set(ignored) == {path for stage in STAGES for path in outputs(stage)} - in_git
    assert in_git >= {paths.METRICS.as_posix(), paths.HISTORY.as_posix(), paths.TRAIN_METRICS.as_posix()}


def test_dvc_deletes_no_result_before_a_stage_has_made_another() -> None:
    assert [place for stage in STAGES for place, how in outputs(stage).items() if not how.get("persist")] == []


def test_milliseconds_are_a_metric_in_git_but_no_output_since_dvc_lock_must_not_change_with_them() -> None:
    latency = paths.LATENCY.as_posix()
    assert DVC["metrics"] == [latency]
    assert not any(latency in outputs(stage) for stage in STAGES)
    ignored = subprocess.run(["git", "check-ignore", "--no-index", latency], cwd=ROOT, capture_output=True, check=False)
    assert ignored.returncode == 1


def test_the_exported_segmenter_is_registered() -> None:
    artifact = DVC["artifacts"]["segmenter"]
    assert artifact["path"] == paths.SEGMENTER.as_posix()
    assert artifact["type"] == "model"
    assert artifact["labels"]


def test_all_code_that_decides_the_weights_belongs_to_the_fingerprint_of_a_run() -> None:
    package = SOURCE / "ucc"
    covered = {file for pattern in runs._CODE for file in package.glob(pattern)}
    # The data set counts by its content, and the fingerprint itself decides no weights.
    aside = {package / "runs.py", package / "data/dataset.py", package / "data/__init__.py"}
    needed = {package / "training.py", *filter(None, map(module_file, reached_from(package / "training.py")))}
    assert needed - covered - aside == set()


# Module (or package) -> what nothing in it may reach, itself or through others.
FORBIDDEN = {
    "ucc.data": ("ucc.models", "ucc.methods", "ucc.losses", "ucc.training", "ucc.evaluation", "ucc.export"),
    "ucc.models": ("ucc.methods", "ucc.training", "ucc.evaluation", "ucc.export"),
    "ucc.losses": ("ucc.models", "ucc.methods", "ucc.training"),
    "ucc.copy_paste": ("ucc.models", "ucc.methods", "ucc.training"),
    "ucc.uncertainty": ("ucc.models", "ucc.methods", "ucc.training"),
    "ucc.metrics": ("ucc.models", "ucc.methods", "ucc.training"),
    "ucc.methods": ("ucc.training", "ucc.evaluation", "ucc.export"),
} | {
    part: tuple(
        f"ucc.{name}" for name in ("data", "models", "methods", "losses", "metrics", "training", "config", "inference")
    )
    for part in (
        "ucc.segmenter",
        "ucc.serve",
        "ucc.tiling",
        "ucc.images",
        "ucc.pictures",
        "ucc.cli",
        "ucc.commands.segment",
        "ucc.commands.serve",
        "ucc.ranking",
        "ucc.commands.triton",
    )
}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_point_one_way(part: str) -> None:
    file = module_file(part)
    assert file is not None, f"{part} does not exist"
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    for source in files:
        for module in imported_modules(source) | reached_from(source):
            broken = [f for f in FORBIDDEN[part] if module == f or module.startswith(f"{f}.")]
            assert not broken, f"{source.relative_to(ROOT)} reaches {module}"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("ucc", ("numpy", "torch", "cv2", "hydra", "pandas", "onnxruntime")),
        ("ucc.commands.segment", ("torch", "torchvision", "hydra", "pandas", "albumentations", "onnx", "lightning")),
        (
            "ucc.commands.rank",
            ("torch", "torchvision", "hydra", "pandas", "albumentations", "onnx", "lightning", "yaml"),
        ),
        ("ucc.commands.triton", ("torch", "torchvision", "hydra", "pandas", "albumentations", "onnx", "lightning")),
        ("ucc.cli", ("numpy", "cv2", "onnxruntime", "torch")),
        ("ucc.segmenter", ("torch", "torchvision", "hydra", "pandas", "albumentations", "onnx", "lightning")),
        ("ucc.serve.app", ("torch", "torchvision", "hydra", "pandas", "albumentations", "onnx", "lightning")),
        ("ucc.config", ("torch", "albumentations", "great_expectations")),
        ("ucc.data.manifest", ("torch", "albumentations", "great_expectations")),
    ],
)
def test_importing_a_light_module_loads_nothing_heavy(module: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_of_plots_needs_no_network() -> None:
    page = (ROOT / ".dvc/plots/offline.html").read_text(encoding="utf-8")
    assert "html_template = plots/offline.html" in (ROOT / ".dvc/config").read_text(encoding="utf-8")
    assert "{plot_divs}" in page
    assert "{scripts}" not in page  # where DVC would put the addresses of its scripts
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert page.count("<script>") == 4
    assert not re.search(r"<(script|link|img)[^>]", markup)


def filled_plot(plot: str, revisions: tuple[str, ...]) -> dict[str, Any]:
    """What DVC makes of a plot's template: only the last of the revisions has a figure, in one row."""
    definition = next(entry[plot] for entry in DVC["plots"] if plot in entry)
    (file, columns), *others = definition["y"].items()
    assert not others
    x = next(iter(definition["x"].values())) if isinstance(definition["x"], dict) else definition["x"]
    several = isinstance(columns, list)
    y = "dvc_inferred_y_value" if several else columns
    fields = columns if several else [columns]
    rows = [
        {"rev": rev, "filename": file, "field": field, x: "1", y: "2" if rev == revisions[-1] else ""}
        for rev in revisions
        for field in fields
    ]
    renderer = VegaRenderer(
        rows,
        plot,
        template=definition["template"],
        template_dir=str(ROOT / ".dvc/plots"),
        x=x,
        y=y,
        revs_with_datapoints=list(revisions),
        anchors_y_definitions=[{"filename": file, "field": field} for field in fields],
    )
    content: dict[str, Any] = renderer.get_filled_template()
    return content


def encodings(node: Any, channel: str) -> list[dict[str, Any]]:
    """Every encoding of a channel in a Vega-Lite specification, whichever layer it stands in."""
    if isinstance(node, list):
        return [found for inner in node for found in encodings(inner, channel)]
    if not isinstance(node, dict):
        return []
    own = [node["encoding"][channel]] if channel in node.get("encoding", {}) else []
    return own + [found for inner in node.values() for found in encodings(inner, channel)]


@pytest.mark.parametrize("template", ["history", "by_class"])
def test_the_legend_of_a_plot_shows_the_lines_that_it_names(template: str) -> None:
    plot = json.loads((ROOT / f".dvc/plots/{template}.json").read_text(encoding="utf-8"))
    [dashes] = encodings(plot, "strokeDash")
    assert dashes["legend"]["symbolType"] == "stroke"
    assert dashes["legend"]["symbolFillColor"] == "transparent"
    # Points on the marks of a line, not in a layer of their own, take the legend over.
    assert [layer["mark"] for layer in plot["layer"] if encodings(layer, "strokeDash")] == ["line"]


@pytest.mark.parametrize("template", ["history", "by_class", "per_class"])
def test_the_legend_of_a_plot_cuts_no_names(template: str) -> None:
    plot = json.loads((ROOT / f".dvc/plots/{template}.json").read_text(encoding="utf-8"))
    assert plot["config"]["legend"]["labelLimit"] == 0


def test_a_revision_has_one_colour_in_all_plots_also_where_another_has_no_figures() -> None:
    plots = ("loss", "mIoU on val", "use of pseudo labels", "learning rate", "IoU by class", "pseudo labels by class")
    colours = [encodings(filled_plot(plot, ("first", "second")), "color") for plot in plots]
    assert all({encoding["field"] for encoding in found} == {"rev"} for found in colours)
    scales = [encoding["scale"] for found in colours for encoding in found if "scale" in encoding]
    assert len(scales) == len(plots)
    assert scales[0]["domain"] == ["first", "second"]
    assert scales == [scales[0]] * len(plots)


def first_filled(expression: str, row: dict[str, Any]) -> str:
    """The value of a Vega expression of the form `datum.a || datum['b'] || 'text'`."""
    for term in expression.split(" || "):
        field = re.fullmatch(r"datum(?:\.(\w+)|\['(.+)'\])", term)
        value = row.get(field[1] or field[2]) if field else term.strip("'")
        if value:
            return str(value)
    return "undefined"


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's own script, for which it needs node")
def test_a_revision_keeps_its_colour_in_a_plot_whose_file_has_no_rows_of_another() -> None:
    page = (ROOT / ".dvc/plots/offline.html").read_text(encoding="utf-8")
    own = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)[-1]
    drawn = [filled_plot("loss", ("first", "second")), filled_plot("pseudo labels by class", ("second",))]
    calls = "\n".join(f"vegaEmbed('#plot', {json.dumps(plot)});" for plot in drawn)
    code = f"vegaEmbed = (place, plot) => console.log(JSON.stringify(plot));\n{own}\n{calls}"
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True, timeout=60)
    scales = [
        encoding["scale"]
        for line in done.stdout.splitlines()
        for encoding in encodings(json.loads(line), "color")
        if "scale" in encoding
    ]
    assert [scale["domain"] for scale in scales] == [["first", "second"], ["second"]]
    assert scales[1]["range"] == scales[0]["range"][1:]
    assert len(set(scales[0]["range"])) == 2
    assert "vegaEmbed('#{id}', spec)" in VegaRenderer.DIV  # the call that the script stands before


def test_names_of_revisions_over_small_confusion_matrices_do_not_overlap() -> None:
    plot = json.loads((ROOT / ".dvc/plots/confusion_shares.json").read_text(encoding="utf-8"))
    assert plot["facet"]["field"] == "rev"  # a header of facet.column takes no room of its own


@pytest.mark.parametrize(
    ("plot", "columns"), [("mIoU on val", {"val_miou_head_1", "val_miou_head_2"}), ("learning rate", {"lr"})]
)
def test_a_line_has_the_name_of_its_column_also_where_it_is_the_only_one(plot: str, columns: set[str]) -> None:
    content = filled_plot(plot, ("first", "second"))
    [named] = [step for step in content["transform"] if "calculate" in step]
    assert encodings(content, "strokeDash")[0]["field"] == named["as"]
    assert {first_filled(named["calculate"], row) for row in content["data"]["values"]} == columns


def test_the_page_of_plots_shows_the_pictures_of_every_revision() -> None:
    page = (ROOT / ".dvc/plots/offline.html").read_text(encoding="utf-8")
    assert 'div[style*="nowrap"] { white-space: normal !important; }' in page
    assert re.search(r'style="[^"]*nowrap', ImageRenderer.DIV)


def make_setup(project: Path) -> subprocess.CompletedProcess[str]:
    """`make setup` beside no file but the Makefile: without a lock it ends once .venv is cleared."""
    project.mkdir()
    shutil.copy(ROOT / "Makefile", project)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "setup"], cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("ending", [" project", " ", "; project", "' $HOME project"])
def test_make_refuses_a_path_with_a_space_and_leaves_its_neighbours_alone(ending: str, tmp_path: Path) -> None:
    neighbour = tmp_path / "mine/thesis.tex"
    neighbour.parent.mkdir()
    neighbour.write_text("years of work")
    project = tmp_path / f"mine{ending}"
    done = make_setup(project)
    assert done.returncode == 2
    assert "The path of this folder holds a space" in done.stderr
    assert "Move or rename it" in done.stderr
    assert neighbour.read_text() == "years of work"
    assert [path.name for path in project.iterdir()] == ["Makefile"]


def test_make_clears_no_folder_but_its_own_whatever_the_path_means_to_a_shell(tmp_path: Path) -> None:
    neighbour = tmp_path / "mine/thesis.tex"
    neighbour.parent.mkdir()
    neighbour.write_text("years of work")
    make_setup(tmp_path / "mine;project")
    assert neighbour.read_text() == "years of work"
    assert (tmp_path / "mine;project/.venv/bin/python").exists()
