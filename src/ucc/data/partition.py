"""Which training images keep their masks: the partition into labelled and unlabelled images.

A random partition simulates scarce labels on a data set that has them all, as the paper's protocol does, so
it may look at the training masks to see which classes they hold. It is the only place that opens them: once
an image is unlabelled, its row in the manifest has no mask.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ucc.config import PartitionParams, ratio_or_count
from ucc.data.dataset import IMAGE_SUFFIXES, DatasetInfo
from ucc.data.holdout import hold_out
from ucc.data.id_lists import given_ids
from ucc.data.images import count_pixels, read_mask
from ucc.data.manifest import SUBSETS, Manifest, Sample
from ucc.data.published import published_ids
from ucc.errors import UserError, some
from ucc.progress import read_parallel

Classes = frozenset[int]


def make_partition(dataset: Path, params: PartitionParams, downloads: Path) -> Manifest:
    """Divide the training images of a canonical data set into labelled and unlabelled ones.

    `downloads` is the folder that published lists are kept in, where `params` asks for such.

    Images of `val` and `test` are listed with their masks. Training images that given lists leave out are not
    part of the manifest. With `partition.tuning_share`, `val` is the part of the training images held out to
    choose values on; the images of `val` and `test` are then not part of the manifest, and as many images are
    labelled as without it. The result depends on names, masks and params only.

    Raises:
        UserError: if the data set lacks images or masks, or the id lists do not fit it.
    """
    info = DatasetInfo.read(dataset)
    train = _split_samples(dataset, "train")
    val = _split_samples(dataset, "val")
    for split, samples in (("train", train), ("val", val)):
        if not samples:
            folder = dataset / "images" / split
            raise UserError(f"{folder}: holds no images ({', '.join(IMAGE_SUFFIXES)}); put some there.")
    measured = [*val.values(), *_split_samples(dataset, "test").values()]
    held: dict[str, Sample] = {}
    if params.tuning_share is not None:
        train, held = hold_out(train, params.tuning_share)
        measured = [replace(sample, subset="val") for sample in held.values()]
    labeled, unlabeled = _chosen(dataset, info, train, held, params, downloads)
    return Manifest(
        [
            *(replace(train[id_], subset="labeled") for id_ in labeled),
            *(replace(train[id_], subset="unlabeled", mask="") for id_ in unlabeled),
            *measured,
        ]
    )


def describe_partition(dataset: Path, manifest: Manifest, params: PartitionParams) -> dict[str, Any]:
    """What data/partition.json records: hash, ratio, seed, images per subset, labelled images of each class.

    Ratio and seed are None where lists made them meaningless.
    """
    info = DatasetInfo.read(dataset)
    labeled = manifest.subset("labeled")
    present = _classes_present(dataset, labeled, info.num_classes)
    images = Counter(index for classes in present.values() for index in classes)
    drawn = params.protocol == "random" and params.labeled_ids is None
    return {
        "hash": manifest.hash,
        "protocol": params.protocol,
        "ratio": params.ratio if params.labeled_ids is None else None,
        "seed": params.seed if drawn else None,
        "tuning_share": params.tuning_share,
        "images": {name: len(manifest.subset(name)) for name in SUBSETS},
        "labeled_images_per_class": {name: images[index] for index, name in enumerate(info.classes)},
    }


def labeled_count(ratio: Any, available: int, total: int) -> int:
    """How many images `partition.ratio` labels: of `total` training images, `available` may be.

    A fraction is rounded up, which gives the published counts: 186 of 2975, 662 of 10582 (Chen et al. 2021).

    Raises:
        UserError: if that is more than are available.
    """
    share = ratio_or_count(ratio)
    if available == 0:
        raise UserError(
            f"none of the {total} training images can be labelled: each is without a mask, listed in "
            "partition.unlabeled_ids or held out by partition.tuning_share. Change these keys, or draw masks."
        )
    if share is None:
        return available
    count = math.ceil(share * total) if isinstance(share, Fraction) else share
    if count > available:
        raise UserError(
            f"partition.ratio = {ratio} asks for {count} labelled images of {total}, but only {available} "
            "have masks and are neither listed in partition.unlabeled_ids nor held out by partition.tuning_share; "
            "lower it, or set it to null to label all of those."
        )
    return count


def labeling_order(present: Mapping[str, Classes], seed: int) -> list[str]:
    """The order in which images receive their masks; every labelled set of a seed is a prefix of it.

    It is a seeded shuffle of the ids, except that a few images which together show every class stand in
    front: any prefix that holds them covers all classes. They are found greedily: for the rarest class still
    missing, the image that shows most missing classes, the shuffle deciding ties. They are at most one a
    class; all others are drawn uniformly.

    The shuffle sorts by a hash of seed and id, so it is the same with every machine and NumPy version, and
    images that join a data set later leave the order of the others as it was.
    """
    shuffled = sorted(present, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).digest())
    cover = _cover(shuffled, present)
    front = set(cover)
    return cover + [id_ for id_ in shuffled if id_ not in front]


def _cover(shuffled: Sequence[str], present: Mapping[str, Classes]) -> list[str]:
    frequency = Counter(index for classes in present.values() for index in classes)
    missing = set(frequency)
    cover = []
    while missing:
        rarest = min(missing, key=lambda index: (frequency[index], index))
        showing = [id_ for id_ in shuffled if rarest in present[id_]]
        chosen = max(showing, key=lambda id_: len(present[id_] & missing))
        cover.append(chosen)
        missing -= present[chosen]
    return cover


def _chosen(
    dataset: Path,
    info: DatasetInfo,
    train: Mapping[str, Sample],
    held: Mapping[str, Sample],
    params: PartitionParams,
    downloads: Path,
) -> tuple[Sequence[str], Sequence[str]]:
    labeled, unlabeled = _listed(info.name, {**train, **held}, params, downloads)
    labeled = labeled and [id_ for id_ in labeled if id_ not in held]
    unlabeled = unlabeled and [id_ for id_ in unlabeled if id_ not in held]
    if labeled is None:
        reserved = set(unlabeled or ())
        candidates = [sample for sample in train.values() if sample.mask and sample.id not in reserved]
        count = labeled_count(params.ratio, len(candidates), len(train) + len(held))
        labeled = labeling_order(_classes_present(dataset, candidates, info.num_classes), params.seed)[:count]
    if unlabeled is None:
        kept = set(labeled)
        unlabeled = [id_ for id_ in train if id_ not in kept]
    return labeled, unlabeled


def _listed(
    name: str, train: Mapping[str, Sample], params: PartitionParams, downloads: Path
) -> tuple[list[str] | None, list[str] | None]:
    """Labelled and unlabelled ids as a user's or a published list gives them, None where none does."""
    if params.protocol == "random":
        return given_ids(train, params)
    lists = Path(params.lists).expanduser() if params.lists else None
    ratio = ratio_or_count(params.ratio)
    if not isinstance(ratio, Fraction):
        raise AssertionError("ucc.params lets no other ratio pass")
    labeled, unlabeled = published_ids(name, ratio, lists, downloads, list(train))
    unmasked = [id_ for id_ in labeled if not train[id_].mask]
    if unmasked:
        raise UserError(f"partition.protocol = cps labels images without a mask in masks/train: {some(unmasked)}.")
    return labeled, unlabeled


def _split_samples(dataset: Path, split: str) -> dict[str, Sample]:
    images = _files_by_stem(dataset / "images" / split, IMAGE_SUFFIXES)
    masks = _files_by_stem(dataset / "masks" / split, (".png",))
    return {
        f"{split}/{stem}": Sample(
            id=f"{split}/{stem}",
            image=f"images/{split}/{name}",
            mask=f"masks/{split}/{masks[stem]}" if stem in masks else "",
            subset=split,
        )
        for stem, name in images.items()
    }


def _files_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in files:
            raise UserError(f"{path}: shares its name with {files[path.stem]}; rename one of the two (and its mask).")
        files[path.stem] = path.name
    return files


def _classes_present(dataset: Path, samples: Iterable[Sample], num_classes: int) -> dict[str, Classes]:
    """The classes in the mask of each sample.

    A mask that cannot be read shows none: it harms nobody while unused, and `validate` names it if labelled.
    """

    def classes(sample: Sample) -> Classes:
        try:
            pixels = count_pixels(read_mask(dataset / sample.mask))
        except UserError:
            return frozenset()
        return frozenset(np.flatnonzero(pixels[:num_classes]).tolist())

    samples = list(samples)
    found = read_parallel(classes, samples, "reading masks of")
    return {sample.id: shown for sample, shown in zip(samples, found, strict=True)}
