"""Where data sets come from: one file per source, all writing the canonical layout of `ucc.data.dataset`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ucc.config import DatasetParams
from ucc.data.dataset import SPLITS, DatasetInfo
from ucc.data.sources.camvid import prepare_camvid
from ucc.data.sources.cityscapes import prepare_cityscapes
from ucc.data.sources.folder import prepare_folder
from ucc.data.sources.streets import prepare_streets
from ucc.data.sources.voc2012 import prepare_voc2012
from ucc.errors import UserError
from ucc.files import wait_for_lock

# Those that are downloaded where there is no copy.
PUBLIC: dict[str, Callable[..., DatasetInfo]] = {
    "camvid": prepare_camvid,
    "voc2012": prepare_voc2012,
    "cityscapes": prepare_cityscapes,
}


def prepare_dataset(params: DatasetParams, target: Path, raw: Path) -> DatasetInfo:
    """Write the data set that `params` names into `target`, replacing what was there, whole or not at all.

    Args:
        params: the section `dataset` of params.yaml.
        target: folder of the canonical data set.
        raw: folder for what is downloaded, and where hand-placed copies are looked for.

    Raises:
        UserError: saying what is missing and where to put it.
    """
    max_side = params.max_side
    if params.name == "streets":
        return prepare_streets(params.streets, target, max_side)
    root = _root(params.root)
    if params.name in PUBLIC:
        with nullcontext() if root else _alone(raw):
            return PUBLIC[params.name](root, target, raw, max_side=max_side)
    if params.name != "folder":
        raise UserError(f"dataset.name = {params.name!r}: must be one of streets, camvid, voc2012, cityscapes, folder.")
    if root is None:
        raise UserError("dataset.root must name your folder of images and masks when dataset.name is folder.")
    return prepare_folder(root, target, params.folder, max_side)


def summarize(info: DatasetInfo, folder: Path) -> str:
    """One line: name, images and masks per split, number of classes, and where the data set lies."""
    counts = []
    for split in SPLITS:
        images, masks = (_count(folder / kind / split) for kind in ("images", "masks"))
        if images:
            counts.append(f"{images} {split}" + (f" ({masks} with a mask)" if masks < images else ""))
    return f"{info.name}: {', '.join(counts)} images, {info.num_classes} classes, in {folder}"


@contextmanager
def _alone(raw: Path) -> Iterator[None]:
    """Be the only one at `raw`, which experiments of DVC's queue share: two would download into one file."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        held = (raw / ".lock").open("w")
    except OSError:  # a copy that cannot be written to, and so not be downloaded to
        yield
        return
    with held:
        wait_for_lock(held, f"waiting for another process that prepares data from {raw} ...")
        yield


def _root(value: str | None) -> Path | None:
    if value is None:
        return None
    root = Path(value).expanduser()
    if not root.is_dir():
        raise UserError(f"dataset.root = {value}: no such folder.")
    return root


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
