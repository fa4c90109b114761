"""Names of classes that a tool left beside the masks are those of the proposed section, where they fit."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from inspected import COLORS, INDICES, PHOTO, folder, palette_mask, proposed, run
from tiny import REPOSITORY

from ucc.data.images import write_png
from ucc.data.inspect.__main__ import inspect
from ucc.data.sources import prepare_dataset
from ucc.params import load_params


def grey_rgb_mask(path: Path) -> None:
    write_png(path, np.stack([np.array([0, 127, 255], np.uint8)[INDICES]] * 3, axis=-1))


def grey_palette_mask(path: Path) -> None:
    palette_mask(path, np.stack([np.arange(256, dtype=np.uint8)] * 3, axis=-1))


def ignoring_mask(path: Path) -> None:
    write_png(path, np.array([0, 1, 255], np.uint8)[INDICES])


BOM = "\ufeff"
LABELMAP = (
    "# label:color_rgb:parts:actions\nbackground:0,0,0::\ntraffic light:220,20,60:lamp,pole:on\ncat:30,144,255::\n"
)
PIXEL_VALUES = "Pixel Value, Class\n0, background\n1, traffic light\n2, cat\n"
NAMES = ("background", "traffic light", "cat")


def loaded(text: str, tmp_path: Path) -> tuple[tuple[str, ...], list[Any]]:
    """Names of the classes of the proposed section, and what it ignores, as training sees them."""
    preset = (REPOSITORY / "presets/folder.yaml").read_text(encoding="utf-8")
    pasted = re.sub(r"(?ms)^dataset:.*?(?=^partition:)", lambda _: text + "\n", preset)
    (tmp_path / "params.yaml").write_text(pasted, encoding="utf-8")
    dataset = load_params(tmp_path / "params.yaml").dataset
    return prepare_dataset(dataset, tmp_path / "out", tmp_path / "raw").classes, dataset.folder.ignore


def named_folder(tmp_path: Path, mask: Any, files: dict[str, str]) -> Path:
    root = folder(tmp_path / "f", mask, "images", "masks", "")
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("mask", "file", "text", "names", "ignore"),
    [
        (COLORS[INDICES], "labelmap.txt", LABELMAP, NAMES, []),
        (palette_mask, "labelmap.txt", LABELMAP, NAMES, []),
        (
            palette_mask,
            "masks/labelmap.txt",
            BOM + "sky:0,0,0\na:b: 220, 20 ,60:\r\n\ncat:30,144,255::",
            ("sky", "a:b", "cat"),
            [],
        ),
        (INDICES, "train/_classes.csv", BOM + PIXEL_VALUES, NAMES, []),
        (np.stack([INDICES] * 3, axis=-1), "_classes.csv", PIXEL_VALUES, NAMES, []),
        (
            COLORS[INDICES],
            "class_dict.csv",
            BOM + "name,r,g,b\nsky,0,0,0\ncar,220,20,60\ncat,30,144,255\n",
            ("sky", "car", "cat"),
            [],
        ),
        (
            COLORS[INDICES],
            "class_dict_seg.csv",
            ' Name, R, G, B\r\n"sky, high", 0, 0, 0\r\ncar, 220, 20, 60\r\n\r\ncat, 30, 144, 255\r\n',
            ("sky, high", "car", "cat"),
            [],
        ),
        (
            grey_rgb_mask,
            "class_dict.csv",
            "name,r,g,b\nsky,0,0,0\nsea,127,127,127\nroad,255,255,255",
            ("sky", "sea", "road"),
            [],
        ),
        (INDICES, "class_names.txt", "_background_\ncar\ncat", ("_background_", "car", "cat"), []),
        (INDICES, "masks/Classes.TXT", "sky\ncar\ncat\n", ("sky", "car", "cat"), []),
        (INDICES, "classes.txt", "sky\ncar\ncat\n\n", ("sky", "car", "cat"), []),
        (ignoring_mask, "masks/labels.txt", BOM + "__ignore__\n_background_\ncat\n", ("_background_", "cat"), [255]),
        (ignoring_mask, "labels.txt", "sky\ncat\n", ("sky", "cat"), [255]),
        (INDICES, "_classes.csv", "Pixel Value, Class\n0, __ignore__\n1, car\n2, cat", ("car", "cat"), [0]),
        (COLORS[INDICES], "labelmap.txt", LABELMAP.replace("background", "__ignore__"), NAMES[1:], [[0, 0, 0]]),
    ],
)
def test_names_are_those_of_a_file_beside_the_masks(
    mask: Any, file: str, text: str, names: tuple[str, ...], ignore: list[Any], tmp_path: Path
) -> None:
    section = inspect(named_folder(tmp_path, mask, {file: text}))
    assert f"    classes:  # names from {file}\n" in section
    assert loaded(section, tmp_path) == (names, ignore)


def test_the_most_explicit_file_that_fits_is_taken_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "labelmap.txt": "sky:1,2,3::\n",
        "train/_classes.csv": PIXEL_VALUES + "3, dog\n",
        "valid/_classes.csv": PIXEL_VALUES + "3, dog\n",
        "classes.txt": "a\nb\nc",
    }
    root = named_folder(tmp_path, INDICES, files)
    assert [c["name"] for c in proposed(inspect(root))["folder"]["classes"]] == [*NAMES]
    told = capsys.readouterr().err
    for line in (
        "labelmap.txt: no names of classes are taken from it: it has no name for 0, 1, 2\n",
        "the names of classes are those of train/_classes.csv, by value: 0 is background, 1 is traffic light, ",
        "train/_classes.csv: dog in no mask: not proposed, since the stage validate stops at a class that no mask",
    ):
        assert line in told
    assert "classes.txt" not in told
    assert "warning" not in told


def test_splits_that_name_classes_differently_name_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"train/_classes.csv": PIXEL_VALUES, "valid/_classes.csv": PIXEL_VALUES.replace("cat", "dog")}
    section = inspect(named_folder(tmp_path, INDICES, files))
    assert "classes:  # give them their names\n" in section
    assert loaded(section, tmp_path) == (("background", "class_1", "class_2"), [])
    told = "warning: train/_classes.csv, valid/_classes.csv differ, and no names of classes are taken from them"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "names", "words"),
    [
        ("0, sky\n2, cat", ("sky", "class_1", "cat"), "no name for 1: name what is left yourself"),
        ("1, cat\n2, background", ("class_0", "cat", "background"), "no name for 0"),
        ("0, sky\n1, class_2", ("sky", "class_2", "class_2_"), "no name for 2"),
        ("1, cat\n2, dog", ("background", "cat", "dog"), "no name for 0"),
        ("0, cat\n1, sky\n2, cat", ("cat", "sky", "class_2"), "cat is the name of two classes: give 2 another one"),
        ("0, sky\n1, cat\n1, dog\n2, sea", ("sky", "class_1", "sea"), "1 is called cat, dog: choose a name for it"),
        (
            "0, __ignore__\n1, cat\n2, __ignore__",
            ("background", "cat", "class_2"),
            "without 0, 2, called __ignore__, too few classes are left",
        ),
    ],
)
def test_what_a_file_leaves_open_is_told_and_the_section_loads(
    rows: str, names: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = inspect(named_folder(tmp_path, INDICES, {"_classes.csv": f"Pixel Value, Class\n{rows}\n"}))
    assert "    classes:  # names from _classes.csv; give the others theirs\n" in section
    assert f"warning: _classes.csv: {words}" in capsys.readouterr().err
    assert loaded(section, tmp_path) == (names, [])


@pytest.mark.parametrize(
    ("mask", "file", "text", "place"),
    [
        (COLORS[INDICES], "class_dict.csv", "name,r,g,b\nVoid,0,0,0\ncar,220,20,60\ncat,30,144,255\n", "[0, 0, 0]"),
        (INDICES, "_classes.csv", "Pixel Value, Class\n0, unlabeled\n1, car\n2, cat\n", "0"),
        (COLORS[INDICES], "class_dict.csv", "name,r,g,b\nunknown,0,0,0\ncar,220,20,60\ncat,30,144,255\n", "[0, 0, 0]"),
    ],
)
def test_what_is_named_like_no_class_is_asked_about(
    mask: Any, file: str, text: str, place: str, tmp_path: Path
) -> None:
    section = inspect(named_folder(tmp_path, mask, {file: text}))
    assert section.count("if that is no class") == 1
    assert f"in 4 of 4 masks; if that is no class, move {place} to ignore\n" in section
    assert len(loaded(section, tmp_path)[0]) == 3


def test_names_that_yaml_would_read_otherwise_are_quoted_and_plain_ones_are_not(tmp_path: Path) -> None:
    strange = [
        "no",
        "a: b",
        "1",
        "#x",
        "null",
        "[a",
        "x #y",
        '"q"',
        "it's",
        "1e3",
        "é, ü",
        "- a",
        "猫",
        "~",
        "a$b",
        "e-3",
    ]
    mask = np.arange(80, dtype=np.uint8).reshape(8, 10) % len(strange)
    root = named_folder(tmp_path, mask, {"classes.txt": "\n".join(strange)})
    text = inspect(root)
    assert [c["name"] for c in proposed(text)["folder"]["classes"]] == strange
    for line in ("{name: e-3, ", "{name: 猫, ", '{name: "no", ', '{name: "é, ü", '):
        assert line in text
    assert loaded(text, tmp_path)[0] == tuple(strange)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("labelmap.txt", b"cat\n", "line 1 is not label:red,green,blue:parts:actions"),
        ("labelmap.txt", b"cat:0,0,256::\n", "line 1: '256' is no whole number of 0 to 255"),
        (
            "_classes.csv",
            b"filename, cat, dog\nx1.png, 1, 0\n",
            "its first line does not name the columns pixel value, cl",
        ),
        ("_classes.csv", b"Pixel Value, Class\n0, cat, dog\n", "line 2 has 3 cells, the first line 2"),
        ("_classes.csv", b"Pixel Value, Class\n0, \n", "line 2 holds no name"),
        ("_classes.csv", b"Pixel Value, Class\n0, a\0b\n", "line 2: control characters in the name 'a\\x00b'"),
        ("_classes.csv", b'Pixel Value, Class\n0, "cat\n', "no CSV file (unexpected end of data)"),
        ("_classes.csv", b"", "its first line does not name the columns"),
        ("class_dict.csv", b"name,r,g,b\ncat,1.0,0,0\n", "line 2: '1.0' is no whole number of 0 to 255"),
        ("classes.txt", b"???\ncat\ndog\n", "line 1: ??? cannot be a name in params.yaml"),
        ("classes.txt", b"sky\n${cat}\ndog\n", "line 2: ${cat} cannot be a name in params.yaml"),
        ("classes.txt", "\ufeffcat\n".encode("utf-16"), "it is not text in UTF-8; save it as such"),
        ("classes.txt", b"\n\n", "it holds none"),
        ("labels.txt", b"1 sky\n2 cat\n\n3 dog\n", "each line begins with a number, and names go by the number of the"),
        ("labels.txt", b"0: sky\n1: cat\n2: dog\n", "each line begins with a number"),
        ("labels.txt", b"x\n" * 257, "it has more than 256 lines"),
        ("labels.txt", b"x" * (2**20 + 1), "it is larger than 1 MB"),
    ],
)
def test_a_file_of_names_that_cannot_be_used_is_told_and_left_out(
    file: str, content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = named_folder(tmp_path, INDICES, {})
    (root / file).write_bytes(content)
    assert "classes:  # give them their names\n" in inspect(root)
    assert f"warning: {file}: no names of classes are taken from it: {words}" in capsys.readouterr().err


def test_a_file_of_names_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    root = named_folder(tmp_path, INDICES, {"classes.txt": "a\nb\nc", "train/_classes.csv": PIXEL_VALUES})
    (root / "classes.txt").chmod(0)
    (root / "train").chmod(0)
    done = run(str(root), restricted=True)
    (root / "train").chmod(0o700)
    assert done.returncode == 0
    assert "classes:  # give them their names\n" in done.stdout
    assert "classes.txt: no names of classes are taken from it: it cannot be read (Permission denied)" in done.stderr


def test_roboflow_folders_of_splits_are_ready_for_use(tmp_path: Path) -> None:
    root = tmp_path / "f"
    for part, split in enumerate(("train", "valid", "test")):
        for index in range(3):
            write_png(root / split / f"x{part}{index}.png", PHOTO + 10 * part + index)
            write_png(root / split / f"x{part}{index}_mask.png", INDICES)
        (root / split / "_classes.csv").write_text(PIXEL_VALUES, encoding="utf-8")
    (root / "README.roboflow.txt").write_text("cats")
    section = inspect(root)
    assert proposed(section)["folder"]["val"] is None
    assert "    classes:  # names from test/_classes.csv\n" in section
    assert loaded(section, tmp_path) == (NAMES, [])


@pytest.mark.parametrize(
    ("mask", "file", "text", "words"),
    [
        (INDICES, "classes.txt", "cat\ndog\n", "it has no line for 2"),
        (INDICES, "labels.txt", "cat\n\ndog\n", "it has no line for 1"),
        (INDICES, "labels.txt", "__ignore__\ncat\ndog\n", "it has no line for 2"),
        (INDICES, "class_dict.csv", "name,r,g,b\nvoid,0,0,0\ncar,220,20,60\n", "it has no name for 1, 2"),
        (grey_palette_mask, "class_dict.csv", "name,r,g,b\nvoid,0,0,0\ncar,220,20,60\n", "it has no name for 1, 2"),
        (INDICES, "_classes.csv", "Pixel Value, Class\n7, cat", "it names nothing that masks show"),
        (COLORS[INDICES], "_classes.csv", PIXEL_VALUES, "it goes by value, the masks by colour"),
        (COLORS[INDICES], "classes.txt", "a\nb\nc\n", "it goes by line number, the masks by colour"),
        (COLORS[INDICES], "labelmap.txt", "cat:1,1,1::", "it names nothing that masks show"),
    ],
)
def test_a_file_of_names_that_does_not_fit_the_masks_is_left_out(
    mask: Any, file: str, text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = named_folder(tmp_path, mask, {file: text})
    assert "classes:  # give them their names\n" in inspect(root)
    assert f"{file}: no names of classes are taken from it: {words}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "names", "ignore"),
    [
        ("0, sky\n91, sea\n255, road", ("sky", "sea", "road"), []),
        ("0, sky\n91, sea\n255, Void", ("sky", "sea"), [255]),
        ("0, sky\n91, sea", ("sky", "sea"), [255]),
    ],
)
def test_255_is_a_class_where_a_file_names_it(
    rows: str, names: tuple[str, ...], ignore: list[int], tmp_path: Path
) -> None:
    mask = np.array([0, 91, 255], np.uint8)[INDICES]
    root = named_folder(tmp_path, mask, {"_classes.csv": f"Pixel Value, Class\n{rows}\n"})
    text = inspect(root)
    assert ("a class since _classes.csv names it, else move 255 to ignore" in text) == (not ignore)
    assert "    classes:  # names from _classes.csv\n" in text
    assert loaded(text, tmp_path) == (names, ignore)


def test_values_that_palettes_draw_as_several_classes_are_not_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = named_folder(tmp_path, palette_mask, {"labelmap.txt": LABELMAP})
    palette_mask(root / "masks/x2.png", COLORS[[0, 2, 1]])
    assert [c["name"] for c in proposed(inspect(root))["folder"]["classes"]] == ["background", "class_1", "class_2"]
    assert "warning: labelmap.txt: 1 is called traffic light, cat: choose a name for it" in capsys.readouterr().err


def test_a_colour_that_fills_up_a_palette_names_nothing(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        picture = PIL.Image.fromarray(np.array([1, 2, 7], np.uint8)[INDICES])
        picture.putpalette([*COLORS.ravel().tolist(), *[0] * (3 * 13)])
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)

    root = named_folder(tmp_path, write, {"labelmap.txt": LABELMAP})
    assert [c["name"] for c in proposed(inspect(root))["folder"]["classes"]] == ["traffic light", "cat", "class_7"]
