"""`ucc segment`: what it takes, what it writes, and what happens where something is wrong."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from brightest_model import COLORS, write_image, write_model
from PIL import Image as PillowImage
from tiffs import RGB, write_tiff

from ucc.cli import main
from ucc.errors import UserError
from ucc.images import read_image
from ucc.segmenter import Segmenter

COMMAND = (sys.executable, "-m", "ucc", "segment")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)


def segment(model: Path, *arguments: str | Path) -> int:
    return main(["segment", "--model", str(model), *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pictures(*stems: str) -> list[str]:
    return sorted(f"{stem}_{kind}.png" for stem in stems for kind in ("classes", "overlay", "uncertainty"))


def test_it_writes_three_pictures_of_an_image(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_image(tmp_path / "in" / "street.png", image)
    out = tmp_path / "new" / "out"
    assert segment(model, path, out) == 0

    classes = image.argmax(axis=2)
    with PillowImage.open(out / "street_classes.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), classes)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.asarray(COLORS)[classes])
    expected = (image.astype(float) + np.asarray(COLORS)[classes]) / 2
    np.testing.assert_allclose(read_image(out / "street_overlay.png"), expected, atol=0.5)
    assert read_image(out / "street_uncertainty.png").shape == image.shape
    assert names(out) == sorted([*pictures("street"), "shares.csv", "shares.json"])
    printed = capsys.readouterr()
    assert "mean uncertainty" in printed.out
    assert "1/1 images" in printed.err


def test_the_shares_of_the_classes_are_those_of_the_pixels(model: Path, tmp_path: Path) -> None:
    image = np.zeros((1, 4, 3), np.uint8)
    image[0, :3, 2] = 255
    image[0, 3, 0] = 255
    write_image(tmp_path / "in" / "a" / "one.png", image)
    write_image(tmp_path / "in" / "two.png", image[:, :2])
    out = tmp_path / "out"
    assert segment(model, tmp_path / "in", out) == 0
    with (out / "shares.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == ["two.png", "a/one.png"]
    assert list(rows[0]) == ["image", "red", "green", "blue", "mean_uncertainty"]
    assert [float(rows[1][name]) for name in ("red", "green", "blue", "mean_uncertainty")] == [0.25, 0, 0.75, 0]
    found = json.loads((out / "shares.json").read_text())
    assert found["classes"] == ["red", "green", "blue"]
    assert found["images"][1] == {
        "image": "a/one.png",
        "shares": {"red": 0.25, "green": 0.0, "blue": 0.75},
        "mean_uncertainty": 0.0,
    }


def shares(out: Path) -> dict[str, list[float]]:
    """The rows of `shares.csv`, which are those of `shares.json`."""
    with (out / "shares.csv").open(newline="", encoding="utf-8") as stream:
        rows = {image: [float(value) for value in values] for image, *values in list(csv.reader(stream))[1:]}
    found = json.loads((out / "shares.json").read_text(encoding="utf-8"))["images"]
    assert rows == {row["image"]: [*row["shares"].values(), row["mean_uncertainty"]] for row in found}
    return rows


def test_the_shares_of_earlier_runs_stay_as_long_as_their_pictures(model: Path, tmp_path: Path) -> None:
    for name, channel in (("one/a.png", 0), ("one/ulm/b.png", 0), ("two/c.png", 1), ("three/a.jpg", 2)):
        write_image(tmp_path / name, np.full((8, 8, 3), np.eye(3, dtype=np.uint8)[channel] * 255))
    out = tmp_path / "out"
    for folder in ("one", "two"):
        assert segment(model, tmp_path / folder, out) == 0
    assert {image: row.index(1) for image, row in shares(out).items()} == {"a.png": 0, "ulm/b.png": 0, "c.png": 1}
    (out / "shares.csv").unlink()  # the other file is enough
    for picture in (out / "ulm").iterdir():
        picture.unlink()
    assert segment(model, tmp_path / "three", out, "--only", "overlay") == 0  # over the picture of one/a.png
    assert {image: row.index(1) for image, row in shares(out).items()} == {"c.png": 1, "a.jpg": 2}


def test_a_table_of_shares_that_a_spreadsheet_has_saved_is_still_read(
    model: Path, image: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert segment(model, write_image(tmp_path / "a.png", image), out) == 0
    (out / "shares.json").unlink()
    table = out / "shares.csv"
    table.write_text(table.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert segment(model, write_image(tmp_path / "b.png", image), out) == 0
    assert list(shares(out)) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("shares.csv", "my own table\n", "not written by `ucc segment`"),
        ("shares.csv", "", "not written by `ucc segment`"),
        ("shares.csv", "image,red,green,blue,mean_uncertainty\na.png,1,0,0\n", "not written by `ucc segment`"),
        ("shares.csv", "image,red,green,blue,mean_uncertainty\na.png,1,0,0,nan\n", "not written by `ucc segment`"),
        ("shares.csv", "image,road,sky,mean_uncertainty\n", "written for other classes (road, sky)"),
        ("shares.json", "{}", "not written by `ucc segment`"),
        ("shares.json", "[1]", "not written by `ucc segment`"),
        ("shares.json", '{"classes": ["road"], "images": []}', "written for other classes (road)"),
    ],
)
def test_shares_that_something_else_wrote_are_not_overwritten(
    model: Path,
    image: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    message: str,
) -> None:
    path = write_image(tmp_path / "a.png", image)
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text(content, encoding="utf-8")
    assert segment(model, path, out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {out / name}: {message}")
    assert "use another OUT" in line
    assert names(out) == [name]
    assert (out / name).read_text(encoding="utf-8") == content


def test_a_folder_is_searched_and_its_structure_kept(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    for name in ("a.png", "ulm/a.JPG", "ulm/old/b.tif", ".hidden.png", ".trash/c.png"):
        write_image(tmp_path / "in" / name, image)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    out = tmp_path / "in" / "results"
    for _ in range(2):  # the second time, the pictures of the first lie in the folder that is searched
        assert segment(model, tmp_path / "in", out) == 0
        expected = pictures("a", "ulm/a", "ulm/old/b")
        assert names(out) == sorted([*expected, "shares.csv", "shares.json"])


@pytest.mark.parametrize(
    ("given", "others"), [("in", "Notes.txt, scan.GIF, old/photo.jp2"), ("in/*.*", "Notes.txt, scan.GIF")]
)
def test_files_of_a_folder_that_are_left_out_are_told(
    model: Path,
    image: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: str,
    others: str,
) -> None:
    write_image(tmp_path / "in" / "a.png", image)
    (tmp_path / "in/old").mkdir()
    for name in ("scan.GIF", "old/photo.jp2", "Notes.txt", ".hidden.gif"):
        (tmp_path / "in" / name).write_text("something else")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time there are results, of which nothing is told
        assert segment(model, given, "in/out") == 0
        first = capsys.readouterr().err.splitlines()[0]
        assert first == f"note: {given}: left out, since not .bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp: {others}"
    assert segment(model, "in/a.png", "in/out") == 0
    assert "left out" not in capsys.readouterr().err


def test_links_in_a_folder_are_followed_once(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / "in/a.png", image)
    write_image(tmp_path / "elsewhere/b.png", image)
    (tmp_path / "in/far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/up").symlink_to(tmp_path)
    assert segment(model, tmp_path / "in", tmp_path / "out", "--only", "classes") == 0
    pictures = {name for name in names(tmp_path / "out") if name.endswith(".png")}
    assert pictures == {"a_classes.png", "far/b_classes.png"}


def test_a_link_to_nowhere_is_named(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "in/a.png", image)
    (tmp_path / "in/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert segment(model, tmp_path / "in", tmp_path / "out") == 1
    assert f"error: {tmp_path / 'in/gone.png'}: a link to nowhere" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_is_named_and_nothing_is_left_out_in_silence(
    model: Path,
    image: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a.png", "closed/b.png"):
        write_image(tmp_path / "in" / name, image)
    listed = Path.iterdir

    def denied(path: Path) -> Iterator[Path]:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    for given in ("in", "in/closed"):
        assert segment(model, tmp_path / given, tmp_path / "out") == 1
        assert f"error: {tmp_path / 'in/closed'}: cannot be read (Permission denied)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_must_not_be_written_to_is_named_with_the_remedy(
    model: Path,
    image: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def denied(*_: object, dir: Path, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(dir / ".x.partial"))

    path = write_image(tmp_path / "a.png", image)
    monkeypatch.setattr("tempfile.mkstemp", denied)
    assert segment(model, path, tmp_path / "out") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: {tmp_path / 'out/a_classes.png'}: Permission denied. Give yourself the permission " + (
        "(chmod, chown) and run again."
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("in/*.png", ["a"]), ("in/**/*.png", ["a", "ulm/b"]), ("in/u*/*", ["ulm/b"]), ("*/a.*", ["in/a"])],
)
def test_a_pattern_gives_what_it_matches_below_its_fixed_part(
    model: Path, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: list[str]
) -> None:
    for name in ("a.png", "ulm/b.png"):
        write_image(tmp_path / "in" / name, image)
    monkeypatch.chdir(tmp_path)
    for given in (
        pattern,
        str(tmp_path / "in" / pattern.removeprefix("in/")) if pattern.startswith("in/") else pattern,
    ):
        assert segment(model, given, "out", "--only", "classes") == 0
        assert names(tmp_path / "out") == sorted([*(f"{e}_classes.png" for e in expected), "shares.csv", "shares.json"])


def test_broken_files_do_not_stop_the_rest_and_are_listed_at_the_end(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    write_image(folder / "a.png", image)
    write_image(folder / "z.png", image)
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))[1].tobytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    out = tmp_path / "out"
    assert segment(model, folder, out) == 1
    printed = capsys.readouterr()
    *_, cut, empty, text, summary = printed.err.splitlines()
    assert [name in line for name, line in (("cut.jpg", cut), ("empty.jpg", empty), ("text.jpg", text))] == [True] * 3
    assert summary == "3 of 5 images failed"
    assert "2 of 5 images segmented" in printed.out
    assert names(out) == sorted([*pictures("a", "z"), "shares.csv", "shares.json"])


def test_opencv_does_not_warn_of_tags_that_it_does_not_know(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", image, RGB, own_tag=True)
    command = [*COMMAND, "--model", str(model), str(path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "65000" not in done.stderr
    assert "1/1 images" in done.stderr


def test_where_every_file_is_broken_nothing_is_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert segment(model, tmp_path / "a.jpg", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("batch", [2, 5])
def test_a_batch_gives_what_single_images_give(model: Path, tmp_path: Path, batch: int) -> None:
    rng = np.random.default_rng(0)
    shapes = [(8, 8), (8, 8), (8, 8), (8, 12), (8, 8), (70, 90), (8, 8)]  # (70, 90) goes in tiles
    for index, shape in enumerate(shapes):
        write_image(tmp_path / "in" / f"{index}.png", rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
    tiles = ("--tile", "64", "--overlap", "32")
    assert segment(model, tmp_path / "in", tmp_path / "one", *tiles) == 0
    assert segment(model, tmp_path / "in", tmp_path / "many", *tiles, "--batch", str(batch)) == 0
    assert names(tmp_path / "one") == names(tmp_path / "many")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


@pytest.mark.parametrize(("width", "batch"), [(90, 1), (90, 3), (40, 1), (40, 3)])
def test_an_image_on_which_the_network_fails_is_listed_and_leaves_nothing_half_written(
    model: Path,
    tmp_path: Path,
    width: int,
    batch: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for index, value in enumerate((10, 200, 30)):
        write_image(tmp_path / "in" / f"{index}.png", np.full((140 if width > 64 else 40, width, 3), value, np.uint8))
    works = Segmenter._run

    def run(self: Segmenter, outputs: Sequence[str], images: np.ndarray) -> list[np.ndarray]:
        if (images[:, -1] == 200).any() and images.shape[1] < 64:  # in tiles, the last ones
            raise UserError("no memory")
        return works(self, outputs, images)

    monkeypatch.setattr(Segmenter, "_run", run)
    out = tmp_path / "out"
    assert segment(model, tmp_path / "in", out, "--tile", "64", "--overlap", "32", "--batch", str(batch)) == 1
    assert names(out) == sorted([*pictures("0", "2"), "shares.csv", "shares.json"])
    assert not list(out.glob(".*"))
    *_, failure, summary = capsys.readouterr().err.splitlines()
    assert "1.png: no memory" in failure
    assert summary == "1 of 3 images failed"


def test_images_whose_pictures_would_overwrite_one_another_are_refused(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (write_image(tmp_path / "in" / name, image) for name in ("street.jpg", "street.png"))
    out = tmp_path / "out"
    assert segment(model, tmp_path / "in", out) == 1
    message = capsys.readouterr().err
    assert str(first) in message
    assert str(second) in message
    assert not out.exists()


def test_no_picture_overwrites_an_image_that_was_given(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    first = write_image(tmp_path / "street.png", image)
    second = write_image(tmp_path / "street_overlay.png", image)
    before = second.read_bytes()
    assert segment(model, first, second, tmp_path) == 1
    assert second.read_bytes() == before


def test_the_same_image_given_twice_is_segmented_once(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    path = write_image(tmp_path / "in" / "street.png", image)
    assert segment(model, path, tmp_path / "in", tmp_path / "out") == 0
    assert len((tmp_path / "out" / "shares.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.png", "out"], "absent.png: no such file or folder"),
        (["empty", "out"], "empty: no image found"),
        (["empty/*.png", "out"], "empty/*.png: no image found"),
        (["in", "in/a.png"], "in/a.png: a file; the last argument is the folder"),
        (["in", "out", "--tile", "100"], "multiples of 32"),
        (["in", "in"], "in: the folder that is searched must not be OUT (in) or lie in it; use another OUT."),
        (["in", "."], "in: the folder that is searched must not be OUT (.) or lie in it; use another OUT."),
        (["in/*.png", "."], "in/*.png: the folder that is searched must not be OUT (.) or lie in it; use another OUT."),
        (
            ["in", "out", "--model", "absent.onnx"],
            "absent.onnx: no such file. The stage `export` writes it; --model names another.",
        ),
    ],
)
def test_what_cannot_be_begun_is_one_line(
    model: Path,
    image: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    write_image(tmp_path / "in" / "a.png", image)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert segment(model, *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_result_that_cannot_be_written_ends_it_with_one_line(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_image(tmp_path / "in" / "a.png", image)
    (tmp_path / "file").touch()
    assert segment(model, path, tmp_path / "file" / "out") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_in_the_way_is_named_with_the_remedy_and_what_was_done_is_on_record(
    model: Path, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "sub/b.png"):
        write_image(tmp_path / "in" / name, image)
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").write_text("mine")
    assert segment(model, tmp_path / "in", out) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: {out / 'sub'}: is a file where a folder is needed; move or remove it and run again."
    assert names(out) == sorted([*pictures("a"), "shares.csv", "shares.json", "sub"])
    assert list(shares(out)) == ["a.png"]
    (out / "sub").unlink()
    assert segment(model, tmp_path / "in", out) == 0
    assert list(shares(out)) == ["a.png", "sub/b.png"]


def test_ctrl_c_ends_it_quietly_lists_what_failed_and_leaves_no_half_file(model: Path, tmp_path: Path) -> None:
    large = np.zeros((1500, 1500, 3), np.uint8)
    for index in range(40):
        write_image(tmp_path / "in" / f"{index:02}.png", large)
    (tmp_path / "in" / "0.png").write_text("no image")
    out = tmp_path / "out"
    command = [*COMMAND, "--model", str(model), str(tmp_path / "in"), str(out)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(list(out.glob("*_classes.png"))) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in errors
    *_, failed, count = errors.splitlines()
    assert failed.startswith(f"error: {tmp_path / 'in' / '0.png'}: ")
    assert count == "1 of 41 images failed"
    assert not list(out.glob(".*"))
    recorded = {f"{Path(name).stem}_classes.png" for name in shares(out)}
    drawn = {path.name for path in out.glob("*_classes.png")}
    assert recorded
    assert recorded <= drawn
    assert len(drawn - recorded) <= 1  # that of the moment


@pytest.mark.long
def test_a_hundred_megapixels_take_less_than_two_gigabytes(model: Path, tmp_path: Path) -> None:
    band = cv2.resize(np.random.default_rng(0).integers(0, 256, (100, 1000, 3), dtype=np.uint8), (10_000, 1000))
    assert cv2.imwrite(str(tmp_path / "large.jpg"), np.tile(band, (10, 1, 1)))
    # The peak of all children so far would be one of other tests; of the child's own children it is this one's.
    script = (
        "import resource, subprocess, sys\n"
        "status = subprocess.run(sys.argv[1:], check=False).returncode\n"
        "print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    command = [*COMMAND, "--model", model, tmp_path / "large.jpg", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, command)], capture_output=True, text=True, check=True
    )
    status, peak = map(int, done.stdout.splitlines()[-1].split())
    assert status == 0, done.stderr
    kilobytes = 1 if sys.platform != "darwin" else 1 / 1024
    assert peak * kilobytes < 2_000_000_000 / 1024
    classes = cv2.imread(str(tmp_path / "out" / "large_classes.png"))
    assert classes.shape == (10_000, 10_000, 3)


def test_the_command_imports_nothing_but_what_serving_installs(model: Path, image: np.ndarray, tmp_path: Path) -> None:
    path = write_image(tmp_path / "street.png", image)
    script = (
        "import sys\n"
        "from ucc.cli import main\n"
        f"assert main({['segment', '--model', str(model), str(path), str(tmp_path)]!r}) == 0\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('ucc.')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    *_, packages, modules = done.stdout.splitlines()
    heavy = {"torch", "torchvision", "onnx", "onnxscript", "hydra", "omegaconf", "yaml", "pandas", "lightning"}
    assert {"numpy", "cv2", "onnxruntime"} <= set(packages.split())
    assert not heavy & set(packages.split())
    assert not [name for name in modules.split() if name.startswith(("ucc.data", "ucc.models", "ucc.training"))]
