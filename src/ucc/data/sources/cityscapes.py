"""`cityscapes`: 2 975 training and 500 validation photographs of streets, 2048x1024, 19 classes.

Cordts et al., "The Cityscapes dataset for semantic urban scene understanding" (2016). Its test masks are dummies,
so there is no split test here.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from ucc.data.dataset import IGNORE_INDEX, DatasetInfo
from ucc.data.images import Image, read_mask
from ucc.data.sources.canonical import Pair, warn_of_counts, write_canonical
from ucc.data.sources.listing import Problems
from ucc.data.sources.unpack import unpack
from ucc.errors import UserError, every
from ucc.files import explained

# Label id and colour of each class, in the order of the train ids (cityscapesScripts, helpers/labels.py). The other
# ids, 0 to 33, are void or too rare to be evaluated; the licence plate's, -1, is a 255 in 8 bits.
CLASSES = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
LAST_ID = 33
LICENSE_PLATE = 255
PUBLISHED = {"train": 2975, "val": 500}
IMAGES, MASKS = "leftImg8bit", "gtFine"
ENDINGS = {IMAGES: "_leftImg8bit.png", MASKS: "_gtFine_labelIds.png"}
URL = "https://www.cityscapes-dataset.com"
LAYOUT = (
    "Cityscapes has the folders leftImg8bit and gtFine, in both train/<city>/ and val/<city>/, with files such as "
    "aachen_000000_000019_leftImg8bit.png and aachen_000000_000019_gtFine_labelIds.png."
)


def prepare_cityscapes(root: Path | None, target: Path, raw: Path, max_side: int | None = None) -> DatasetInfo:
    """Convert Cityscapes from `root`, else from `raw`/cityscapes, into which csDownload brings what is not there.

    Raises:
        UserError: if files are missing or not usable, or the download fails; nothing is left half-written.
    """
    root = root or _local_copy(raw / "cityscapes")
    problems = Problems(root)
    pairs = [pair for split in PUBLISHED for pair in _pairs(root, split, problems)]
    problems.raise_if_any(LAYOUT)
    warn_of_counts("cityscapes", pairs, PUBLISHED)
    info = DatasetInfo(
        name="cityscapes",
        classes=tuple(CLASSES),
        colors=tuple(color for _, color in CLASSES.values()),
        provenance={"source": "Cityscapes, fine annotations, the 19 classes of its benchmark", "url": URL},
    )
    write_canonical(pairs, read_train_ids, info, target, root, max_side)
    return info


def read_train_ids(path: Path) -> Image:
    """Read a mask of label ids as uint8 (H, W): 0 to 18, or 255 for labels that are not evaluated.

    Raises:
        UserError: if it cannot be read, or holds what is no label id.
    """
    mask = read_mask(path)
    wrong = mask[(mask > LAST_ID) & (mask != LICENSE_PLATE)]
    if wrong.size:
        raise UserError(f"{path}: holds the value {wrong.max()}; label ids of Cityscapes are 0 to {LAST_ID}.")
    train_ids = np.full(256, IGNORE_INDEX, np.uint8)
    train_ids[[label for label, _ in CLASSES.values()]] = np.arange(len(CLASSES), dtype=np.uint8)
    return train_ids[mask]


def _pairs(root: Path, split: str, problems: Problems) -> list[Pair]:
    images, masks = (_files(root, part, split, problems) for part in (IMAGES, MASKS))
    for have, lack, part in ((images, masks, MASKS), (masks, images, IMAGES)):
        missing = sorted(have.keys() - lack.keys())
        if lack and missing:
            problems.add(f"{part}/{split}: {len(missing)} missing {ENDINGS[part]} file(s), for {every(missing)}")
    return [Pair(split, stem, images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())]


def _files(root: Path, part: str, split: str, problems: Problems) -> dict[str, Path]:
    """Files of one kind in all cities of a split, by the name that image and mask share."""
    folder = _find(root, part)
    if folder is None or not (folder / split).is_dir():
        problems.add(f"{part}/{split}: missing folder")
        return {}
    files = sorted((folder / split).glob(f"*/[!.]*{ENDINGS[part]}"))
    named = {file.name.removesuffix(ENDINGS[part]): file for file in files}
    foreign = [name for name in named if not re.fullmatch(r"[a-z-]+_\d{6}_\d{6}", name)]
    if foreign:
        problems.add(f"{part}/{split}: names are as aachen_000000_000019{ENDINGS[part]}, not {every(foreign)}")
    if not files:
        problems.add(f"{part}/{split}: holds no <city>/*{ENDINGS[part]}")
    return named


def _find(root: Path, part: str) -> Path | None:
    """leftImg8bit or gtFine in `root`, in a folder cityscapes there, or in one that has its archive's name."""
    candidates = (root / part, root / "cityscapes" / part, root / f"{part}_trainvaltest" / part)
    return next((folder for folder in candidates if folder.is_dir()), None)


def _local_copy(folder: Path) -> Path:
    for part in (MASKS, IMAGES):
        if _find(folder, part):
            continue
        archive = folder / f"{part}_trainvaltest.zip"
        place = folder / archive.stem
        if place.exists():
            raise UserError(f"{place}: is not what {archive.name} holds; remove it.")
        if not archive.is_file():
            _download(archive)
        unpack(archive, place)
    return folder


def _download(archive: Path) -> None:
    """Let cityscapesScripts' csDownload bring one package; it asks for the login if it does not know it yet.

    Raises:
        UserError: if it is not installed or fails.
    """
    elsewhere = (
        f"Or put {archive.name} of {URL} in {archive.parent}, or set dataset.root to where Cityscapes lies. {LAYOUT}"
    )
    command = shutil.which("csDownload")
    if command is None:
        raise UserError(
            f"cityscapes: not in {archive.parent}, and csDownload is not installed. Register at {URL}, then: "
            "pip install cityscapesscripts; csDownload -l (asks for your login and keeps it). A stage in the container "
            f"finds neither: UCC_RUNTIME=host dvc repro download. {elsewhere}"
        )
    # csDownload writes under the final name from the start: elsewhere, half a file cannot be taken for a whole one.
    part = archive.parent / "part" / archive.name
    with explained(part.parent):
        part.parent.mkdir(parents=True, exist_ok=True)
    print(f"cityscapes: csDownload brings {archive.name} to {archive.parent}", file=sys.stderr, flush=True)
    resume = ["--resume"] if part.exists() else []
    done = subprocess.run([command, "--destination_path", str(part.parent), *resume, archive.name], check=False)
    if done.returncode or not part.exists():
        # A file with an end is complete, so its checksum was wrong, or resuming asks for bytes that there are not.
        if zipfile.is_zipfile(part):
            part.unlink()
        raise UserError(
            f"cityscapes: csDownload failed for {archive.name} (exit status {done.returncode}); its message is above. "
            f"Check your login with csDownload -l and run the command again. {elsewhere}"
        )
    part.replace(archive)
