"""`voc2012`: PASCAL VOC 2012 with the masks of SBD, 10 582 training and 1 449 validation photographs, 21 classes.

Everingham et al., "The PASCAL visual object classes challenge" (2015); Hariharan et al., "Semantic contours from
inverse detectors" (2011). Training images are those of VOC's train and of both lists of SBD, without VOC's val.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ucc.data.dataset import DatasetInfo
from ucc.data.fetch import fetch
from ucc.data.sources.canonical import Pair, warn_of_counts, write_canonical
from ucc.data.sources.listing import Problems
from ucc.data.sources.unpack import unpack
from ucc.data.sources.voc_masks import color_map, read_voc_mask
from ucc.errors import UserError, every

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus"),
    *("car", "cat", "chair", "cow", "diningtable", "dog", "horse"),
    *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
PUBLISHED = {"train": 10582, "val": 1449}
LAYOUT = (
    "VOC 2012 lies in VOCdevkit/VOC2012 (JPEGImages, SegmentationClass, ImageSets/Segmentation). Its further training "
    "masks are either those of SBD, in benchmark_RELEASE/dataset (cls, img, train.txt, val.txt) beside VOCdevkit, or "
    "the PNG files of a folder SegmentationClassAug in VOC2012 or beside it."
)


@dataclass(frozen=True)
class Archive:
    """A published file; unpacked, it is a folder of the same name without the ending."""

    url: str
    checksum: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.url).name

    @property
    def folder(self) -> str:
        """What it is unpacked as."""
        return PurePosixPath(self.name).stem


# Addresses and checksums as torchvision has them (datasets/voc.py and sbd.py).
VOC = Archive(
    url="https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    checksum="md5:6cd6e144f989b92b3379bac3b3de84fd",
)
SBD = Archive(
    url="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    checksum="md5:82b4d87ceb2ed10f6038a1cba92111cb",
)


@dataclass(frozen=True)
class Copy:
    """Where a copy of VOC lies, and the folder of its further masks: SBD's `dataset`, or SegmentationClassAug."""

    voc: Path
    further: Path

    @property
    def augmented(self) -> bool:
        """Whether the further masks are PNG files."""
        return self.further.name == "SegmentationClassAug"


def prepare_voc2012(
    root: Path | None,
    target: Path,
    raw: Path,
    voc: Archive = VOC,
    sbd: Archive = SBD,
    max_side: int | None = None,
) -> DatasetInfo:
    """Convert VOC from `root`, else from `raw`/voc2012, into which what is not there is downloaded.

    Raises:
        UserError: if files are missing or not usable, or a download fails; nothing is left half-written.
    """
    copy = _locate(root) if root else _local_copy(raw / "voc2012", voc, sbd)
    problems = Problems(copy.voc)
    pairs = _pairs(copy, problems)
    problems.raise_if_any(LAYOUT)
    warn_of_counts("voc2012", pairs, PUBLISHED)
    further = "SegmentationClassAug" if copy.augmented else "SBD"
    from_voc = sum(pair.split == "train" and pair.mask.parent == copy.voc / "SegmentationClass" for pair in pairs)
    info = DatasetInfo(
        name="voc2012",
        classes=CLASSES,
        colors=color_map(len(CLASSES)),
        provenance={
            "source": f"PASCAL VOC 2012 with {further}",
            "url": [VOC.url] if copy.augmented else [VOC.url, SBD.url],
            "train_masks": {
                "VOC 2012": from_voc,
                further: sum(pair.split == "train" for pair in pairs) - from_voc,
            },
        },
    )
    write_canonical(pairs, read_voc_mask, info, target, copy.voc, max_side)
    return info


def _pairs(copy: Copy, problems: Problems) -> list[Pair]:
    """All samples by split and name. VOC's own mask is taken where there is one, since it marks the borders."""
    lists = copy.voc / "ImageSets" / "Segmentation"
    own, val = (_names(lists / f"{split}.txt", problems) for split in ("train", "val"))
    if copy.augmented:
        further = _checked([p.stem for p in copy.further.glob("[!.]*.png")], copy.further, problems)
    else:
        further = {name for split in ("train", "val") for name in _names(copy.further / f"{split}.txt", problems)}
    pairs = [
        Pair(split, name, _image(copy, name), _mask(copy, name, own | val))
        for split, names in (("train", (own | further) - val), ("val", val))
        for name in sorted(names)
    ]
    for kind, files in (("image", [p.image for p in pairs]), ("mask", [p.mask for p in pairs])):
        missing = [str(file) for file in files if not file.is_file()]
        if missing:
            problems.add(f"{len(missing)} missing {kind}(s): {every(missing)}")
    return pairs


def _image(copy: Copy, name: str) -> Path:
    own, sbd = copy.voc / "JPEGImages" / f"{name}.jpg", copy.further / "img" / f"{name}.jpg"
    return sbd if sbd.is_file() and not own.is_file() else own


def _mask(copy: Copy, name: str, own: set[str]) -> Path:
    if name in own:
        return copy.voc / "SegmentationClass" / f"{name}.png"
    return copy.further / f"{name}.png" if copy.augmented else copy.further / "cls" / f"{name}.mat"


def _names(path: Path, problems: Problems) -> set[str]:
    """The image names that a text file lists, one a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.add(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not a text file'})")
        return set()
    names = _checked([line.strip() for line in lines if line.strip()], path, problems)
    if not names:
        problems.add(f"{path}: lists no images")
    return names


def _checked(names: list[str], path: Path, problems: Problems) -> set[str]:
    foreign = sorted(name for name in names if not re.fullmatch(r"\d{4}_\d{6}", name))
    if foreign:
        problems.add(f"{path}: images of VOC have names such as 2007_000032, not {every(foreign)}")
    return set(names) - set(foreign)


def _local_copy(folder: Path, voc: Archive, sbd: Archive) -> Copy:
    try:
        if _find_voc(folder) is None:
            _download(voc, folder)
        found = _find_voc(folder)
        if found and _find_further(folder, found) is None:
            _download(sbd, folder)
    except UserError as error:
        raise UserError(
            f"voc2012: the download failed: {error}\nIf it cannot be mended, put VOCdevkit and benchmark_RELEASE, or "
            f"the archives {voc.name} and {sbd.name}, in {folder}, or set dataset.root to where they lie. {LAYOUT}"
        ) from error
    return _locate(folder)


def _download(archive: Archive, folder: Path) -> None:
    place = folder / archive.folder
    if place.exists():
        raise UserError(f"{place}: is not what {archive.name} holds; remove it.")
    fetch(archive.url, folder / archive.name, archive.checksum)
    unpack(folder / archive.name, place)


def _locate(root: Path) -> Copy:
    voc = _find_voc(root)
    if voc is None:
        raise UserError(f"{root}: no VOC 2012 here. {LAYOUT}")
    further = _find_further(root, voc)
    if further is None:
        raise UserError(
            f"{root}: VOC 2012 is here, but neither SBD nor SegmentationClassAug, which hold most of the "
            f"{PUBLISHED['train']} training masks. Get {SBD.url} and unpack it beside VOCdevkit. {LAYOUT}"
        )
    return Copy(voc, further)


def _find_voc(root: Path) -> Path | None:
    """The folder VOC2012 below, at or, for benchmark_RELEASE, beside `root`."""
    bases = [root, root / VOC.folder, *([root.parent] if root.name == "benchmark_RELEASE" else [])]
    candidates = [root, root / "VOC2012", *(base / "VOCdevkit" / "VOC2012" for base in bases)]
    return next((folder for folder in candidates if (folder / "ImageSets" / "Segmentation").is_dir()), None)


def _find_further(root: Path, voc: Path) -> Path | None:
    """SegmentationClassAug, which nobody has by accident, else SBD."""
    for base in (voc, voc.parent, root):
        if (base / "SegmentationClassAug").is_dir():
            return base / "SegmentationClassAug"
    bases = (root, root / SBD.folder, voc, voc.parent, voc.parent.parent)
    candidates = (root / "dataset", *(base / "benchmark_RELEASE" / "dataset" for base in bases))
    return next((folder for folder in candidates if (folder / "cls").is_dir()), None)
