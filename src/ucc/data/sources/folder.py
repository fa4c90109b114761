"""`folder`: a user's own images and masks, wherever they lie in a folder and whatever picture files they are."""

import sys
from dataclasses import replace
from pathlib import Path

from ucc.config import FolderParams
from ucc.data.dataset import DESCRIPTION, DRAWN, DatasetInfo
from ucc.data.sources.class_list import ClassList, classes_of, read_classes
from ucc.data.sources.conversion import convert
from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import IMAGE_SUFFIXES, MASK_SUFFIXES
from ucc.data.sources.pairing import find_pairs
from ucc.data.text_list import VAL_IDS
from ucc.errors import UserError
from ucc.files import atomic_folder, explained, write_text

FILES = f"images are {', '.join(IMAGE_SUFFIXES)} files, masks {', '.join(MASK_SUFFIXES)} files of the same name"
LAYOUT = f"""Expected layout:
  {DESCRIPTION}                       name, classes, colors
  images/train, images/val [, images/test]   photographs
  masks/train, masks/val [, masks/test]      class indices, 255 = ignore; in train only the images that are labelled
                                     need one
where {FILES}.
Other layouts: `python -m ucc.data.inspect FOLDER` proposes the section dataset.folder of params.yaml."""
SECTION = (
    f"The section dataset.folder of params.yaml says where things lie: {FILES}, but for "
    "image_suffix and mask_suffix. `python -m ucc.data.inspect FOLDER` looks at the folder and proposes one."
)


def prepare_folder(root: Path, target: Path, params: FolderParams, max_side: int | None = None) -> DatasetInfo:
    """Check the folder `root` and write it to `target` as the canonical data set.

    What was changed on the way is told on stderr, and recorded in dataset.yaml.

    Raises:
        UserError: naming everything that is missing or in the way, or a full disk; `target` is as it was.
    """
    if target.resolve().is_relative_to(root.resolve()) or root.resolve().is_relative_to(target.resolve()):
        raise UserError(f"dataset.root = {root}: must lie apart from {target}, which is written anew.")
    problems = Problems(root)
    remedy = LAYOUT if params.classes is None and params.val is None else SECTION
    described = _described(root, params, problems)
    pairs = find_pairs(params, problems)
    if described is None or not pairs:
        problems.raise_if_any(remedy)
    if described is None:
        raise AssertionError("a missing description is a problem")
    info, classes = described
    if params.mask_format == "color" and classes.colorless:
        problems.add(
            f"dataset.folder.mask_format = color: every class needs a color, there is none for "
            f"{', '.join(classes.colorless)}"
        )
        problems.raise_if_any(remedy)
    # With problems already found, the rest is read all the same: what is wrong in the files is to be told with them.
    with explained(target.parent), atomic_folder(target) as folder:
        convert(pairs, classes, params.mask_format, folder, problems, max_side)
        problems.raise_if_any(remedy)
        notes = {"notes": problems.notes} if problems.notes else {}
        told = {key: value for key, value in info.provenance.items() if (key, value) != ("source", DRAWN)}
        info = replace(info, provenance={"source": "folder", **told, **notes})
        info.write(folder)
        if params.val is not None:
            measured = sorted(f"val/{pair.name}\n" for pair in pairs if pair.split == "val")
            write_text(folder / VAL_IDS, "".join(measured))
    for note in problems.notes:
        print(f"folder: {note}", file=sys.stderr, flush=True)
    return info


def _described(root: Path, params: FolderParams, problems: Problems) -> tuple[DatasetInfo, ClassList] | None:
    """Classes from params.yaml or else from dataset.yaml, and what the data set is called."""
    if params.classes is not None:
        classes = read_classes(params.classes, params.ignore)
        return DatasetInfo(root.resolve().name, classes.names, classes.colors), classes
    try:
        info = DatasetInfo.read(root)
    except UserError as error:
        problems.add(f"{error}\n  Or list the classes in dataset.folder.classes.")
        return None
    return info, classes_of(info, params.ignore)
