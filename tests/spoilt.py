"""A small project with a data set of its own, and the ways in which its input can be bad."""

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image as Pillow
from tiny import REPOSITORY

from ucc.data.images import write_png

LABELED, UNLABELED, VAL = ("a", "b", "c"), ("d", "e", "f"), ("v", "w")
SIZE = (48, 64)


class Project:
    """A folder with params.yaml and the user's data in `mine`, in which stages run."""

    def __init__(self, root: Path) -> None:
        self.root, self.mine = root, root / "mine"
        rng = np.random.default_rng(0)
        for split, stems in (("train", LABELED + UNLABELED), ("val", VAL)):
            for stem in stems:
                noise = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
                write_png(self.image(stem, split), np.kron(noise, np.ones((8, 8, 1), np.uint8)))
                if stem not in UNLABELED:
                    mask = np.zeros(SIZE, np.uint8)
                    mask[: 10 + 3 * len(stem), 10:40] = 1
                    write_png(self.mask(stem, split), mask)
        self.describe(classes=["ground", "cat"], colors=[[0, 0, 0], [220, 20, 60]])
        shutil.copy(REPOSITORY / "presets/folder.yaml", root / "params.yaml")
        self.set("dataset", root="mine")

    def image(self, stem: str, split: str = "train") -> Path:
        """Where an image lies."""
        return self.mine / f"images/{split}/{stem}.png"

    def mask(self, stem: str, split: str = "train") -> Path:
        """Where a mask lies."""
        return self.mine / f"masks/{split}/{stem}.png"

    def describe(self, **values: object) -> None:
        """Write dataset.yaml."""
        (self.mine / "dataset.yaml").write_text(yaml.safe_dump({"name": "mine"} | values))

    def set(self, section: str, **values: object) -> None:
        """Change keys of params.yaml."""
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        params[section] |= values
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))

    def list_ids(self, key: str, *ids: str) -> None:
        """Write a list of ids and name it in params.yaml."""
        (self.root / f"{key}.txt").write_text("".join(f"{id_}\n" for id_ in ids))
        self.set("partition", **{key: f"{key}.txt"})


Spoil = Callable[[Project], object]


@dataclass(frozen=True)
class Case:
    """What is spoilt, the stage that must refuse it, and words that its message must hold."""

    name: str
    spoil: Spoil
    stage: str
    words: tuple[str, ...]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_jpeg(project: Project) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    project.image("d").unlink()
    Pillow.fromarray(noise).save(project.image("d").with_suffix(".jpg"), quality=90)
    truncate(project.image("d").with_suffix(".jpg"))


def rotated_image(project: Project) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    with Pillow.open(project.image("a")) as image:
        image.save(project.image("a"), exif=exif)


def bomb(path: Path) -> None:
    """A valid PNG of a few kilobytes that declares 30 000 x 30 000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


def mask_of(project: Project, stem: str, pixels: np.ndarray) -> None:
    write_png(project.mask(stem), pixels.astype(np.uint8))


def drop(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def replace_by_text(path: Path) -> None:
    path.write_text("no picture")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


def twin_in_val(project: Project) -> None:
    shutil.copy(project.image("d"), project.image("v", "val"))


def jpeg_mask(project: Project) -> None:
    with Pillow.open(project.mask("a")) as mask:
        mask.save(project.mask("a").with_suffix(".jpg"))
    project.mask("a").unlink()


def folder_setting(project: Project, **values: object) -> None:
    params = yaml.safe_load((project.root / "params.yaml").read_text())
    params["dataset"]["folder"] |= values
    (project.root / "params.yaml").write_text(yaml.safe_dump(params))


def palette_mask(path: Path, colors: list[int]) -> None:
    with Pillow.open(path) as mask:
        mask.putpalette(colors)
        mask.save(path)


def wrong_bit(path: Path) -> None:
    """Of the checksum of a PNG's pixels, which stands before the length of the end."""
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"IEND") - 5] ^= 1
    path.write_bytes(damaged)


CLASSES = [{"name": "ground", "color": [0, 0, 0]}, {"name": "cat", "color": [220, 20, 60]}]

CASES = [
    # The files of a folder
    Case("truncated JPEG", truncated_jpeg, "download", ("images/train/d.jpg", "replace or remove")),
    Case("truncated PNG", lambda p: truncate(p.image("d")), "download", ("images/train/d.png", "replace or remove")),
    Case(
        "zero-byte image",
        lambda p: p.image("e").write_bytes(b""),
        "download",
        ("images/train/e.png", "replace or remove"),
    ),
    Case("text named .png", lambda p: replace_by_text(p.image("f")), "download", ("images/train/f.png", "remove")),
    Case(
        "zero-byte mask", lambda p: p.mask("a").write_bytes(b""), "download", ("masks/train/a.png", "replace or remove")
    ),
    Case(
        "text for a mask",
        lambda p: replace_by_text(p.mask("b")),
        "download",
        ("masks/train/b.png", "convert or remove"),
    ),
    Case("truncated mask", lambda p: truncate(p.mask("b")), "download", ("masks/train/b.png", "replace or remove")),
    Case(
        "mask of another size",
        lambda p: mask_of(p, "a", np.zeros((48, 60))),
        "download",
        ("masks/train/a.png is 48x60, its image 48x64", "drawn at the size of the image"),
    ),
    Case(
        "EXIF rotation that the mask does not share",
        rotated_image,
        "download",
        ("masks/train/a.png", "EXIF", "turn the mask or remove the tag"),
    ),
    Case(
        "unknown value",
        lambda p: mask_of(p, "a", np.full(SIZE, 7)),
        "download",
        ("masks/train/a.png (7)", "added to dataset.folder.classes"),
    ),
    Case(
        "RGB mask where index is meant",
        lambda p: (
            folder_setting(p, mask_format="index", classes=CLASSES),
            mask_of(p, "a", np.full((*SIZE, 3), (9, 0, 0))),
        ),
        "download",
        ("masks/train/a.png", "mask_format is index; set it to auto or color"),
    ),
    Case(
        "colour of no class",
        lambda p: (folder_setting(p, classes=CLASSES), mask_of(p, "a", np.full((*SIZE, 3), 77))),
        "download",
        ("masks/train/a.png ([77, 77, 77])", "added to dataset.folder.classes"),
    ),
    Case("JPEG as a mask", jpeg_mask, "download", ("masks/train/a.jpg", "draw or export again")),
    Case(
        "decompression bomb",
        lambda p: bomb(p.image("d")),
        "download",
        ("images/train/d.png", "megapixels; shrink or remove"),
    ),
    Case("symlink that leads nowhere", lambda p: dangling(p.image("d")), "download", ("images/train/d.png", "mend")),
    Case("pipe named .png", lambda p: (drop(p.image("d")), os.mkfifo(p.image("d"))), "download", ("d.png", "remove")),
    Case(
        "name with a newline",
        lambda p: p.image("d").rename(p.image("d\nd")),
        "download",
        (r"d\nd.png", "rename"),
    ),
    Case(
        "two files that differ only by extension",
        lambda p: Pillow.open(p.image("d")).save(p.image("d").with_suffix(".jpg")),
        "download",
        ("d.jpg and d.png", "rename one of them"),
    ),
    Case(
        "two nested files of one flat name",
        lambda p: (
            p.image("x/y").parent.mkdir(),
            shutil.copy(p.image("d"), p.image("x/y")),
            shutil.copy(p.image("e"), p.image("x__y")),
        ),
        "download",
        ("images/train/x/y.png, images/train/x__y.png", "x__y; rename all but one"),
    ),
    Case(
        "empty folder",
        lambda p: (shutil.rmtree(p.mine), p.mine.mkdir()),
        "download",
        ("mine", "images/train/: missing folder", "Expected layout"),
    ),
    Case("no such folder", lambda p: shutil.rmtree(p.mine), "download", ("dataset.root", "mine")),
    Case("root not set", lambda p: p.set("dataset", root=None), "download", ("dataset.root",)),
    Case(
        "no masks",
        lambda p: shutil.rmtree(p.mine / "masks"),
        "download",
        ("masks/train/: missing folder", "Expected layout"),
    ),
    Case(
        "no validation images",
        lambda p: shutil.rmtree(p.mine / "images/val"),
        "download",
        ("images/val/: missing folder", "Expected layout"),
    ),
    Case(
        "validation image without mask",
        lambda p: drop(p.mask("v", "val")),
        "download",
        ("masks/val", "needs a mask", "v.png"),
    ),
    Case("mask without image", lambda p: drop(p.image("a")), "download", ("a.png", "no image")),
    Case("no dataset.yaml", lambda p: (p.mine / "dataset.yaml").unlink(), "download", ("dataset.yaml", "classes")),
    Case(
        "dataset.yaml not YAML", lambda p: (p.mine / "dataset.yaml").write_text("a: ["), "download", ("not valid YAML",)
    ),
    Case(
        "dataset.yaml in another encoding",
        lambda p: (p.mine / "dataset.yaml").write_bytes("name: für".encode("latin-1")),
        "download",
        ("mine/dataset.yaml", "UTF-8"),
    ),
    Case(
        "two classes of one colour",
        lambda p: p.describe(classes=["ground", "cat"], colors=[[1, 2, 3], [1, 2, 3]]),
        "download",
        ("mine/dataset.yaml", "[1, 2, 3] twice"),
    ),
    Case(
        "palette in another order than the classes",
        lambda p: palette_mask(p.mask("a"), [220, 20, 60, 0, 0, 0]),
        "download",
        ("masks/train/a.png (0 is ground, its colour cat's; 1 is cat", "mask_format to color"),
    ),
    Case("wrong bit in a mask", lambda p: wrong_bit(p.mask("a")), "download", ("masks/train/a.png", "replace")),
    Case(
        "class listed twice",
        lambda p: p.describe(classes=["cat", "cat"], colors=[[0, 0, 0], [1, 1, 1]]),
        "download",
        ("mine/dataset.yaml", "twice: cat; name each class once"),
    ),
    Case(
        "colour missing",
        lambda p: p.describe(classes=["ground", "cat"], colors=[[0, 0, 0]]),
        "download",
        ("colors", "2"),
    ),
    Case(
        "unknown key of a class",
        lambda p: folder_setting(p, classes=[{"name": "ground", "colour": [0, 0, 0]}, {"name": "cat"}]),
        "download",
        ("dataset.folder.classes", "colour", "color"),
    ),
    Case(
        "share of nothing", lambda p: folder_setting(p, val=0.0, classes=CLASSES), "download", ("dataset.folder.val",)
    ),
    Case("share above 1", lambda p: folder_setting(p, val=1.5, classes=CLASSES), "download", ("dataset.folder.val",)),
    Case("unknown data set", lambda p: p.set("dataset", name="camvidd"), "download", ("dataset.name", "camvid")),
    # The partition
    Case("ratio 0", lambda p: p.set("partition", ratio=0), "download", ("partition.ratio", "above 0")),
    Case("ratio 2.0", lambda p: p.set("partition", ratio=2.0), "download", ("partition.ratio", "at most 1")),
    Case("ratio abc", lambda p: p.set("partition", ratio="abc"), "download", ("partition.ratio", "1/16")),
    Case("more labelled than masks", lambda p: p.set("partition", ratio=5), "partition", ("partition.ratio", "only 3")),
    Case(
        "in both lists",
        lambda p: (p.list_ids("labeled_ids", "a", "b"), p.list_ids("unlabeled_ids", "b", "d")),
        "partition",
        ("correct these lines", "in both lists: train/b"),
    ),
    Case(
        "id twice",
        lambda p: p.list_ids("labeled_ids", "a", "a"),
        "partition",
        ("correct these lines", "labeled_ids.txt: listed more than once: train/a"),
    ),
    Case(
        "id that does not exist",
        lambda p: p.list_ids("labeled_ids", "a", "zz"),
        "partition",
        ("correct these lines", "labeled_ids.txt: no such training image: train/zz"),
    ),
    Case(
        "labelled without a mask",
        lambda p: p.list_ids("labeled_ids", "a", "d"),
        "partition",
        ("correct these lines", "without a mask in masks/train: train/d"),
    ),
    Case(
        "empty list",
        lambda p: p.list_ids("labeled_ids"),
        "partition",
        ("labeled_ids.txt", "holds no ids; write one a line"),
    ),
    Case(
        "no images to measure on",
        lambda p: p.set("evaluate", split="test"),
        "partition",
        ("evaluate.split = test", "images/test and masks/test", "set it to val"),
    ),
    Case("missing list", lambda p: p.set("partition", labeled_ids="no.txt"), "partition", ("no.txt", "labeled_ids")),
    Case(
        "list that is a picture",
        lambda p: p.set("partition", labeled_ids="mine/images/train/a.png"),
        "partition",
        ("a.png", "not UTF-8 text"),
    ),
    Case("lists of another data set", lambda p: p.set("partition", protocol="cps"), "download", ("protocol", "random")),
    # What only shows when everything is read
    Case(
        "the same picture in train and val",
        twin_in_val,
        "validate",
        ("images/val/v.png", "keep one", "dvc repro -f download"),
    ),
    Case(
        "one labelled image",
        lambda p: p.list_ids("labeled_ids", "a"),
        "validate",
        (
            "found 1",
            "raise partition.ratio, or lower validation.min_labeled_images; where the ratio is null, draw masks for "
            "more training images",
        ),
    ),
    Case(
        "class absent from every mask",
        lambda p: p.describe(classes=["ground", "cat", "dog"], colors=[[0, 0, 0], [1, 1, 1], [2, 2, 2]]),
        "validate",
        ("dog: in no mask", "label images that show it"),
    ),
    Case(
        "all ignored",
        lambda p: mask_of(p, "a", np.full(SIZE, 255)),
        "validate",
        ("masks/train/a.png: 100.0% ignored", "label more of these images"),
    ),
    Case(
        "unknown check",
        lambda p: p.set("validation", severity={"classes_labelled": "error"}),
        "validate",
        ("classes_labelled", "classes_labeled"),
    ),
    Case(
        "unknown severity",
        lambda p: p.set("validation", severity={"classes_labeled": "fatal"}),
        "download",
        ("fatal", "warning"),
    ),
    # params.yaml
    Case("no params.yaml", lambda p: (p.root / "params.yaml").unlink(), "download", ("params.yaml", "presets")),
    Case("params.yaml not YAML", lambda p: (p.root / "params.yaml").write_text("a: ["), "download", ("params.yaml",)),
    Case(
        "params.yaml in another encoding",
        lambda p: (p.root / "params.yaml").write_bytes("# für".encode("latin-1")),
        "download",
        ("params.yaml", "UTF-8"),
    ),
    Case("unknown key", lambda p: p.set("dataset", rot="mine"), "download", ("dataset.rot", "dataset.root")),
    Case("text for a number", lambda p: p.set("train", steps="many"), "download", ("train.steps", "whole number")),
]
