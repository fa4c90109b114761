"""`ucc rank`: what it takes, what it writes, how its list goes back into the partition, and what happens on errors."""

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from brightest_model import METADATA, write_image, write_model
from tiny import COLORS, FOLDER
from torch import nn

from ucc import inference, paths
from ucc.cli import main
from ucc.commands import rank as module
from ucc.config import FolderParams, Params
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.manifest import Manifest
from ucc.data.partition import make_partition
from ucc.data.sources.folder import prepare_folder
from ucc.errors import UserError
from ucc.images import read_image
from ucc.models import build_segmenter
from ucc.models.store import SegmenterFacts, load_segmenter, save_segmenter
from ucc.ranking import describe

FILES = ["contact_sheet.jpg", "labeled_ids.txt", "ranking.csv"]
IDS = Path("ranking/labeled_ids.txt")
VAL_IDS = Path("ranking/val_ids.txt")
pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def project(tmp_path: Path, tiny_dataset: Path, tiny_manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project after the stage `partition`, as the working directory: three labelled and five unlabelled images."""
    (tmp_path / "data").mkdir()
    (tmp_path / paths.DATASET).symlink_to(tiny_dataset)
    tiny_manifest.write(tmp_path / paths.MANIFEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def save_model(tiny_params: Callable[..., Params], tiny_manifest: Manifest, tmp_path: Path) -> Callable[[int], Path]:
    """Writes a segmenter with random weights and so many heads, as the stage `train` does."""

    def save(heads: int) -> Path:
        params = tiny_params().model
        segmenter = build_segmenter(params, len(COLORS), heads, seed=0)
        facts = SegmenterFacts("tiny", ("red", "green", "blue"), COLORS, params, 1, "f", tiny_manifest.hash, {})
        save_segmenter(tmp_path / "final.pt", segmenter, facts)
        return tmp_path / "final.pt"

    return save


@pytest.fixture
def exported(tmp_path: Path, tiny_manifest: Manifest) -> Path:
    return write_model(tmp_path / "segmenter.onnx", METADATA | {"manifest": tiny_manifest.hash})


def rank(*arguments: str | Path) -> int:
    return main(["rank", *map(str, arguments)])


def table(folder: Path = Path("ranking")) -> list[dict[str, str]]:
    with (folder / "ranking.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def listed(path: Path = IDS) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def slow_opinion(model: Path, image: np.ndarray) -> tuple[float, float]:
    """1 - max_c p_c of head 1 and the share of pixels with two answers, pixel by pixel."""
    segmenter, _ = load_segmenter(model)
    with torch.inference_mode():
        one, two = (h[0].double().numpy() for h in segmenter(torch.from_numpy(image).permute(2, 0, 1)[None]))
    unsure, differ = [], []
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            exponentials = np.exp(one[:, row, column] - one[:, row, column].max())
            unsure.append(1 - (exponentials / exponentials.sum()).max())
            differ.append(np.argmax(one[:, row, column]) != np.argmax(two[:, row, column]))
    return float(np.mean(unsure)), float(np.mean(differ))


def test_uncertainty_and_disagreement_are_those_of_the_two_heads(
    save_model: Callable[[int], Path], tiny_manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(2)
    assert rank(model, "--count", "2") == 0
    rows = {row["id"]: row for row in table()}
    unlabeled = tiny_manifest.subset("unlabeled")
    assert set(rows) == {sample.id for sample in unlabeled}
    for sample in unlabeled:
        uncertainty, disagreement = slow_opinion(model, read_image(paths.DATASET / sample.image))
        assert float(rows[sample.id]["uncertainty"]) == pytest.approx(uncertainty, abs=2e-6)
        assert float(rows[sample.id]["disagreement"]) == pytest.approx(disagreement, abs=2e-6)
        assert Path(rows[sample.id]["path"]) == paths.DATASET / sample.image
    assert len({row["disagreement"] for row in rows.values()}) > 1
    printed = capsys.readouterr()
    assert "one head" not in printed.out
    assert "2 of 5 images chosen" in printed.out
    assert "measured 5/5" in printed.err


def test_the_table_names_the_chosen_images_first_and_their_distance_to_what_was_labelled_then(
    save_model: Callable[[int], Path], tiny_manifest: Manifest
) -> None:
    assert rank(save_model(2), "--count", "3") == 0
    rows = table()
    assert tuple(rows[0]) == ("rank", "id", "path", "score", "uncertainty", "disagreement", "distance")
    assert [row["rank"] for row in rows] == ["1", "2", "3", "", ""]
    assert float(rows[3]["score"]) >= float(rows[4]["score"])
    known = [describe(read_image(paths.DATASET / sample.image)) for sample in tiny_manifest.subset("labeled")]
    for row in rows:
        looks = describe(read_image(Path(row["path"])))
        nearest = min(float(np.linalg.norm(looks.astype(float) - other)) for other in known)
        assert float(row["distance"]) == pytest.approx(nearest, abs=1e-3)
        known += [looks] if row["rank"] else []


def test_the_same_command_writes_the_same_files_and_replaces_its_own(save_model: Callable[[int], Path]) -> None:
    model = save_model(2)
    before = []
    for _ in range(2):
        assert rank(model, "--count", "3") == 0
        assert names(Path("ranking")) == FILES
        before.append([(Path("ranking") / name).read_bytes() for name in FILES])
    assert before[0] == before[1]


def test_copies_of_one_image_are_spread_out_unless_the_score_alone_is_asked_for(tmp_path: Path, exported: Path) -> None:
    """Two dark frames that are almost one, which the model is unsure of, and a brighter image of another look."""
    frame = np.full((24, 32, 3), 20, np.uint8)
    write_image(tmp_path / "in" / "a.png", frame)
    write_image(tmp_path / "in" / "b.png", frame + 1)
    write_image(tmp_path / "in" / "c.png", np.full((24, 32, 3), (90, 160, 30), np.uint8))
    write_image(tmp_path / "in" / "d.png", np.full((24, 32, 3), 250, np.uint8))
    chosen = {}
    for option in ([], ["--no-spread"]):
        out = tmp_path / f"out{len(option)}"
        assert rank(exported, tmp_path / "in", "--count", "2", "--out", out, *option) == 0
        chosen[len(option)] = [row["id"] for row in table(out) if row["rank"]]
    assert chosen == {0: ["a.png", "c.png"], 1: ["a.png", "b.png"]}


def test_the_contact_sheet_shows_picture_classes_and_uncertainty_of_the_chosen(exported: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "red.png", np.full((180, 240, 3), (100, 0, 0), np.uint8))
    assert rank(exported, "in", "--count", "1") == 0
    sheet = read_image(tmp_path / "ranking/contact_sheet.jpg").astype(int)
    heat = cv2.applyColorMap(np.array([[round((1 - 100 / 255) / (2 / 3) * 255)]], np.uint8), cv2.COLORMAP_INFERNO)
    overlay = (150, 5, 10)  # half the picture, half the class's colour
    for x, expected in ((140, (100, 0, 0)), (388, overlay), (636, heat[0, 0, ::-1])):
        np.testing.assert_allclose(sheet[120, x], expected, atol=6)


def test_the_sheet_ends_where_nobody_would_look_on(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "ON_SHEET", 2)
    assert rank(exported, "--count", "4") == 0
    assert "contact_sheet.jpg (the first 2)" in capsys.readouterr().out
    assert len(listed()) == 3 + 4


@pytest.mark.parametrize("kind", ["exported", "one head"])
def test_a_model_with_one_head_ranks_by_uncertainty_and_says_so(
    exported: Path,
    save_model: Callable[[int], Path],
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    assert rank(exported if kind == "exported" else save_model(1), "--count", "5", "--no-spread") == 0
    rows = table()
    assert {row["disagreement"] for row in rows} == {""}
    uncertainties = [float(row["uncertainty"]) for row in rows]
    assert uncertainties == sorted(uncertainties, reverse=True)
    assert "one head: ranked by its uncertainty alone" in capsys.readouterr().out


def test_an_exported_model_needs_no_torch(exported: Path) -> None:
    code = (
        "import sys; from ucc.cli import main; status = main(sys.argv[1:]);"
        "print(status, [m for m in ('torch', 'yaml', 'hydra', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "rank", str(exported)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_without_torch_a_checkpoint_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ucc.heads", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert rank("models/final.pt") == 1
    assert "needs PyTorch" in capsys.readouterr().err
    assert not Path("ranking").exists()


def test_a_folder_is_ranked_by_itself_and_gets_no_list_of_ids(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for level, name in enumerate(("b.png", "ulm/a.jpg", "ulm/c.png")):
        write_image(tmp_path / "in" / name, np.full((9, 9, 3), 60 * level, np.uint8))
    out = tmp_path / "in" / "results"
    for _ in range(2):  # the second time, the contact sheet lies in the folder that is searched
        assert rank(exported, tmp_path / "in", "--count", "9", "--out", out) == 0
        assert names(out) == ["contact_sheet.jpg", "ranking.csv"]
        rows = table(out)
        assert sorted(row["id"] for row in rows) == ["b.png", "ulm/a.jpg", "ulm/c.png"]
        assert rows[0]["id"] == "b.png"
        assert rows[0]["distance"] == ""
        assert rows[1]["distance"]
        assert "3 of 3 images chosen" in capsys.readouterr().out


def test_options_may_stand_between_the_model_and_the_folder(exported: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", np.zeros((9, 9, 3), np.uint8))
    assert rank(exported, "--count", "1", "in") == 0
    assert [row["id"] for row in table()] == ["a.png"]


def test_broken_files_do_not_stop_the_rest_and_are_listed_at_the_end(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "in" / "good.png", np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "in" / "empty.png").touch()
    (tmp_path / "in" / "text.jpg").write_text("no image")
    assert rank(exported, "in") == 1
    printed = capsys.readouterr()
    empty, text, summary = printed.err.splitlines()[-3:]
    assert empty.startswith("error: in/empty.png")
    assert text.startswith("error: in/text.jpg")
    assert summary == "2 images failed"
    assert [row["id"] for row in table()] == ["good.png"]


def test_an_image_that_memory_does_not_suffice_for_is_one_of_the_failures(
    save_model: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, predict = save_model(2), inference.predict
    calls: list[None] = []

    def fail_once(segmenter: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
        calls.append(None)
        if len(calls) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return predict(segmenter, images)

    monkeypatch.setattr("ucc.heads.predict", fail_once)
    assert rank(model) == 1
    failure = capsys.readouterr().err.splitlines()[-2]
    assert failure.startswith("error: data/dataset/images/train/unlabeled_0.png: not enough memory for 48x40 pixels")
    assert len(table()) == 4


def test_where_every_file_is_broken_nothing_is_written(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.png").touch()
    assert rank(exported, "in") == 1
    assert not Path("ranking").exists()


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "many", ""])
def test_a_count_is_a_whole_number_from_1(exported: Path, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        rank(exported, f"--count={count}")
    assert "--count" in capsys.readouterr().err
    assert not Path("ranking").exists()


def test_more_than_there_are_means_all(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rank(exported, "--count", "99") == 0
    assert [row["rank"] for row in table()] == ["1", "2", "3", "4", "5"]
    assert "5 of 5 images chosen" in capsys.readouterr().out


@pytest.mark.parametrize("name", FILES)
def test_what_somebody_else_wrote_is_not_overwritten(
    exported: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("ranking").mkdir()
    (Path("ranking") / name).write_text("mine\n")
    assert rank(exported) == 1
    assert f"ranking/{name}: not written by `ucc rank`" in capsys.readouterr().err
    assert names(Path("ranking")) == [name]
    assert (Path("ranking") / name).read_text() == "mine\n"


def test_a_list_that_was_edited_is_not_overwritten(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rank(exported) == 0
    edited = IDS.read_text(encoding="utf-8").rsplit("\n", 2)[0] + "\n"
    IDS.write_text(edited, encoding="utf-8")
    assert rank(exported) == 1
    assert "changed since" in capsys.readouterr().err
    assert IDS.read_text(encoding="utf-8") == edited


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.onnx"], "no.onnx: no such file"),
        (["no.pt"], "no.pt: no such file"),
        (["segmenter.onnx", "nowhere"], "nowhere: no such file or folder"),
        (["segmenter.onnx", "--out", "segmenter.onnx"], "segmenter.onnx: a file"),
        (["segmenter.onnx", "--out", "segmenter.onnx/new/x"], "segmenter.onnx: a file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert rank(*arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert not Path("ranking").exists()


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Root, as whom tests may run, may write wherever the disk allows it.
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != Path("there"))
    Path("there").mkdir()
    assert rank(exported, "--out", "there/new") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: there: cannot be written to; give yourself the permission, or use another --out."


def test_where_all_is_labelled_there_is_nothing_to_rank(
    exported: Path, tiny_manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    Manifest(sample for sample in tiny_manifest.samples if sample.subset != "unlabeled").write(paths.MANIFEST)
    assert rank(exported) == 1
    assert "every training image is labelled" in capsys.readouterr().err


def test_a_model_of_another_partition_is_told(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rank(exported) == 0
    assert "another partition" not in capsys.readouterr().out
    write_model(exported, METADATA | {"manifest": "other"})
    assert rank(exported) == 0
    assert "trained on another partition" in capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder: eight images to train on, two of them with masks, one image with its mask to measure on."""
    root = tmp_path / "own"
    rng = np.random.default_rng(0)
    DatasetInfo("own", ("red", "green", "blue"), COLORS).write(_made(root))
    for name in (*(f"train/{index}" for index in range(8)), "val/a"):
        write_png(root / "images" / f"{name}.png", rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    for name in ("train/0", "train/1", "val/a"):
        draw_mask(root, name)
    monkeypatch.chdir(_made(tmp_path / "project"))
    return root


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def draw_mask(root: Path, id_: str) -> None:
    write_png(root / "masks" / f"{id_}.png", np.full((16, 16), int("train" in id_), np.uint8))


def partition(params: Params, root: Path, section: FolderParams = FOLDER, labeled_ids: Path | None = None) -> Manifest:
    """The stages `download` and `partition`."""
    prepare_folder(root, paths.DATASET, section)
    asked = replace(params.partition, ratio=None, labeled_ids=None if labeled_ids is None else str(labeled_ids))
    manifest = make_partition(paths.DATASET, asked, Path("downloads"))
    manifest.write(paths.MANIFEST)
    return manifest


def ids_of(manifest: Manifest, subset: str) -> set[str]:
    return {sample.id for sample in manifest.subset(subset)}


def test_its_list_is_what_the_partition_takes_once_the_masks_are_drawn(
    folder: Path, exported: Path, tiny_params: Callable[..., Params]
) -> None:
    params = tiny_params()
    labeled = {"train/0", "train/1"}
    for _ in range(2):
        assert ids_of(partition(params, folder, labeled_ids=IDS if IDS.exists() else None), "labeled") == labeled
        assert rank(exported, "--count", "2") == 0
        chosen = [row["id"] for row in table() if row["rank"]]
        assert listed() == [*sorted(labeled), *chosen]
        with pytest.raises(UserError, match=f"without a mask in masks/train: {', '.join(chosen)}"):
            partition(params, folder, labeled_ids=IDS)
        for id_ in chosen:
            draw_mask(folder, id_)
        labeled |= set(chosen)
        manifest = partition(params, folder, labeled_ids=IDS)
        assert ids_of(manifest, "labeled") == labeled
        assert len(manifest.subset("unlabeled")) == 8 - len(labeled)


@pytest.mark.parametrize("every_mask", [False, True], ids=["the list of labelled images", "every mask"])
def test_where_val_is_drawn_from_the_masks_its_list_keeps_what_is_measured_on(
    folder: Path,
    exported: Path,
    tiny_params: Callable[..., Params],
    capsys: pytest.CaptureFixture[str],
    every_mask: bool,
) -> None:
    drawn = replace(FOLDER, val=0.25)
    before = partition(tiny_params(), folder, drawn)
    assert rank(exported, "--count", "6") == 0
    assert "dataset.folder.val: ranking/val_ids.txt" in capsys.readouterr().out
    chosen = {row["id"] for row in table() if row["rank"]}
    for id_ in chosen:
        draw_mask(folder, id_.removeprefix("train/").replace("__", "/"))
    assert chosen & {f"train/{id_[4:]}" for id_ in ids_of(partition(tiny_params(), folder, drawn), "val")}
    kept = replace(FOLDER, val=str(VAL_IDS))
    after = partition(tiny_params(), folder, kept, labeled_ids=None if every_mask else IDS)
    assert ids_of(after, "val") == ids_of(before, "val")
    assert ids_of(after, "labeled") == ids_of(before, "labeled") | chosen
    assert rank(exported, "--count", "1") == (1 if not after.subset("unlabeled") else 0)
    assert listed(VAL_IDS) == sorted(ids_of(before, "val"))


def test_where_val_has_a_folder_there_is_no_list_of_it(
    folder: Path, exported: Path, tiny_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    partition(tiny_params(), folder, replace(FOLDER, val=0.25))
    assert rank(exported) == 0
    partition(tiny_params(), folder)
    assert rank(exported) == 0
    assert names(Path("ranking")) == FILES
    assert "dataset.folder.val" not in capsys.readouterr().out.rpartition("next:")[2]
