"""Pairs of image and mask become the canonical data set: the part that sources with own mask formats share."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, write_png
from ucc.data.sources.listing import Problems
from ucc.data.sources.shrink import copy_image, shrink
from ucc.errors import UserError, every
from ucc.files import atomic_folder, explained
from ucc.progress import read_parallel


@dataclass(frozen=True)
class Pair:
    """An image and its mask where a source keeps them, and the name that they get."""

    split: str
    stem: str
    image: Path
    mask: Path


def write_canonical(
    pairs: Sequence[Pair],
    read: Callable[[Path], Image],
    info: DatasetInfo,
    target: Path,
    root: Path,
    max_side: int | None = None,
) -> None:
    """Copy the images and write the masks, as `read` gives them, into `target`, whole or not at all.

    Args:
        pairs: all that the data set holds.
        read: a mask's path to canonical indices (H, W); raises `UserError` for a mask that is not usable.
        info: becomes dataset.yaml.
        target: folder of the canonical data set.
        root: where the pairs come from, for messages.
        max_side: shrink what is larger to that many pixels along the longer side. Images are then read here, else
            by `validate` alone.

    Raises:
        UserError: naming all files that are not usable, or a full disk.
    """
    if any(file.resolve().is_relative_to(target.resolve()) for file in (root, pairs[0].image, pairs[0].mask)):
        raise UserError(f"{root}: lies in {target}, which is written anew. Move it elsewhere and set dataset.root.")
    with explained(target.parent), atomic_folder(target) as folder:
        for kind in ("images", "masks"):
            for split in sorted({pair.split for pair in pairs}):
                (folder / kind / split).mkdir(parents=True)

        def write_image(pair: Pair) -> None:
            copy_image(pair.image, folder / "images" / pair.split / f"{pair.stem}{pair.image.suffix}", max_side)

        def write_mask(pair: Pair) -> None:
            write_png(folder / "masks" / pair.split / f"{pair.stem}.png", shrink(read(pair.mask), max_side))

        def write(pair: Pair) -> tuple[str, str]:
            return _refusal(write_image, pair), _refusal(write_mask, pair)

        problems = Problems(root)
        refusals = zip(*read_parallel(write, pairs, "converting"), strict=True)
        for kind, messages in zip(("images", "masks"), refusals, strict=True):
            wrong = [message for message in messages if message]
            if wrong:
                problems.add(f"{len(wrong)} of {len(pairs)} {kind}: {every(wrong)}")
        problems.raise_if_any("Replace these files by those of the published data set.")
        info.write(folder)


def _refusal(write: Callable[[Pair], None], pair: Pair) -> str:
    try:
        write(pair)
    except UserError as error:
        return str(error)
    return ""


def warn_of_counts(name: str, pairs: Sequence[Pair], published: Mapping[str, int]) -> None:
    """Say on stderr if the splits are not as large as `published`: figures are then not comparable."""
    found = {split: sum(pair.split == split for pair in pairs) for split in published}
    if found != dict(published):
        counts, expected = (", ".join(f"{n} {split}" for split, n in c.items()) for c in (found, published))
        print(f"{name}: warning: {counts} images; the published data set has {expected}", file=sys.stderr, flush=True)
