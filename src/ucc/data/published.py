"""The published partitions of VOC 2012 (augmented) and Cityscapes: the lists that results in papers refer to.

Chen, Yuan, Zeng, Wang, "Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision" (CVPR 2021) drew
them; the figures of UCC's tables 1 and 2 stand on them. A list is a text file with an image a line: an id of
VOC, or for Cityscapes the paths of an image and of its mask.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath

from ucc.config import PUBLISHED_RATIOS
from ucc.data.fetch import fetch
from ucc.errors import UserError, some

COMMIT = "d859611bc540a0f524f3db8e5fc23fe79da516ec"
REPOSITORY = f"https://raw.githubusercontent.com/charlesCXK/TorchSemiSeg/{COMMIT}/DATA"
KINDS = ("labeled", "unlabeled")


@dataclass(frozen=True)
class Publication:
    """Where the lists of one data set are published, what they hold, and the SHA-256 of each file.

    `labeled` has the numbers of labelled images and `sha256` the hashes (labelled, unlabelled), both in the order of
    `PUBLISHED_RATIOS`; `total` is the number of training images.
    """

    address: str
    folder: str
    total: int
    labeled: tuple[int, ...]
    sha256: tuple[tuple[str, str], ...]


PUBLISHED = {
    "voc2012": Publication(
        address=f"{REPOSITORY}/pascal_voc/subset_train_aug",
        folder="voc2012_aug",
        total=10582,
        labeled=(662, 1323, 2646, 5291),
        sha256=(
            (
                "7dada8ccc5eb6309b4b81e172dfc24f0d83ea72078675083778ca10487182748",
                "49b06340ca1534c3f15001ea9ce6d2815dd2ae1302390cfbdcfc0b004e17d960",
            ),
            (
                "df63f50a798512c3befb5364052733bd8bc169f609e034e9f55b5853798ead10",
                "b93006960bd751713dd8f5c14a148925077ba8deade79fa8591f715d7adb80e2",
            ),
            (
                "62c450787069b36d88ea7bb35895a808885720ae833bae8b9c81775731062ea1",
                "a84acda9b7087bb4595db3d023d9f546347dd7e937f4db5ce6a7146739983cb9",
            ),
            (
                "192132b4f645339dd143850359d4e27bb62ba3ce447553a07de23fbff4f0c8b9",
                "415761b09b2b58696eadbe27d4cf09e42c495d247723d2a3267a7537fa410107",
            ),
        ),
    ),
    "cityscapes": Publication(
        address=f"{REPOSITORY}/city/config_new/subset_train",
        folder="cityscapes",
        total=2975,
        labeled=(186, 372, 744, 1488),
        sha256=(
            (
                "4f2712f22e53acdf6e359c5afc4b10fa06725ff1e54b36abcf5dafc759b4405b",
                "24ce8d93af159137d1b2b589d3416c20e4cd3692e9a9d46b4c63c6c3e8787d4f",
            ),
            (
                "beee3025dd198cee48047a1a9a131adbd859ab1bdb7dfbb45df3583409720ed7",
                "0a3f81fc4a193ab5bfa641f944fbc48c1b421d758e55b2daa3c2b8176cee072a",
            ),
            (
                "1eff973e47da3c5988b07891589faf3a41feef582ea1deae0dc22fad2ec1aba7",
                "d0305130428ef901f6a0e4bbe71fcbade36a154cc9930ad2f8fb1889b75f42f5",
            ),
            (
                "79cc85ca788bdf79d71f560ec597e30057056a7457971c4e51198a93b9521921",
                "7ef43d3d25669adba9d8c20a83b7645cd9691b49eb9f8fd5b3a7f43dbef46be9",
            ),
        ),
    ),
}


def published_ids(
    dataset: str, ratio: Fraction, lists: Path | None, downloads: Path, train: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Ids of the labelled and of the unlabelled images in the published partition of `dataset` at `ratio`.

    Args:
        dataset: name of the data set, a key of `PUBLISHED`.
        ratio: labelled share, one of `PUBLISHED_RATIOS`.
        lists: folder that holds the lists, in any of the layouts that they are passed around in; None: download them.
        downloads: folder that downloaded lists are kept in.
        train: ids of all training images of the data set at hand.

    Raises:
        UserError: if a list is missing or not the published one, or does not fit the data set at hand.
    """
    if dataset not in PUBLISHED:
        raise UserError(
            f"partition.protocol = cps: there are published lists for {', '.join(PUBLISHED)}, not for {dataset}; "
            "set it to random."
        )
    publication = PUBLISHED[dataset]
    files = _given(publication, lists) if lists else _downloaded(publication, downloads)
    partitions = {r: _read_pair(files[r]) for r in PUBLISHED_RATIOS}
    _check_partitions(publication, partitions, files)
    labeled, unlabeled = partitions[ratio]
    _check_against([*labeled, *unlabeled], train, files[ratio][0])
    return labeled, unlabeled


Files = dict[Fraction, tuple[Path, Path]]
Pair = tuple[list[str], list[str]]


def _slug(ratio: Fraction) -> str:
    return f"{ratio.numerator}-{ratio.denominator}"


def _downloaded(publication: Publication, downloads: Path) -> Files:
    files: Files = {}
    for ratio, hashes in zip(PUBLISHED_RATIOS, publication.sha256, strict=True):
        pair = [downloads / publication.folder / f"{kind}_{_slug(ratio)}.txt" for kind in KINDS]
        for kind, path, sha256 in zip(KINDS, pair, hashes, strict=True):
            if not path.is_file() or _hash(path) != sha256:
                path.unlink(missing_ok=True)
                _fetch_list(f"{publication.address}/train_aug_{kind}_{_slug(ratio)}.txt", path, f"sha256:{sha256}")
        files[ratio] = pair[0], pair[1]
    return files


def _fetch_list(url: str, path: Path, checksum: str) -> None:
    try:
        fetch(url, path, checksum)
    except UserError as error:
        names = ", ".join(f"{kind}_{_slug(ratio)}.txt" for ratio in PUBLISHED_RATIOS for kind in KINDS)
        raise UserError(
            f"partition.protocol = cps: the download of its lists failed: {error}\nIf it cannot be mended, get them "
            f"elsewhere and set partition.lists to the folder that holds {names}."
        ) from error


def _given(publication: Publication, folder: Path) -> Files:
    """The lists in a user's folder, all wrong ones told at once."""
    if not folder.is_dir():
        raise UserError(f"partition.lists = {folder}: no such folder.")
    files: Files = {}
    problems = []
    for ratio, hashes in zip(PUBLISHED_RATIOS, publication.sha256, strict=True):
        pair = [_find(folder, publication.folder, f"{kind}_{_slug(ratio)}.txt") for kind in KINDS]
        for kind, path, sha256 in zip(KINDS, pair, hashes, strict=True):
            if path is None:
                problems.append(f"{kind}_{_slug(ratio)}.txt: missing")
            elif _hash(path) != sha256:
                problems.append(f"{path}: not the published list, its SHA-256 is not {sha256[:12]}...")
        if pair[0] and pair[1]:
            files[ratio] = pair[0], pair[1]
    if problems:
        raise UserError(
            f"partition.lists = {folder}:" + "".join(f"\n- {problem}" for problem in problems) + "\n"
            f"Set partition.lists to null to download them from {publication.address}; "
            "lists of your own belong in partition.labeled_ids with partition.protocol = random."
        )
    return files


def _find(folder: Path, subfolder: str, name: str) -> Path | None:
    places = (folder / subfolder / name, folder / name, folder / f"train_aug_{name}")
    return next((path for path in places if path.is_file()), None)


def _hash(path: Path) -> str:
    """SHA-256 of the text; a checkout may have turned its line ends into those of another system."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _read_pair(files: tuple[Path, Path]) -> Pair:
    labeled, unlabeled = (
        [_id(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()] for path in files
    )
    return labeled, unlabeled


def _id(line: str) -> str:
    return f"train/{PurePosixPath(line.split()[0]).stem}"


def _check_partitions(publication: Publication, partitions: Mapping[Fraction, Pair], files: Files) -> None:
    """The published counts; disjoint and complete at every ratio; each labelled set within the next larger one."""
    everything = {id_ for ids in partitions[PUBLISHED_RATIOS[0]] for id_ in ids}
    smaller: set[str] = set()
    for ratio, count in zip(PUBLISHED_RATIOS, publication.labeled, strict=True):
        labeled, unlabeled = map(set, partitions[ratio])
        sizes = tuple(map(len, partitions[ratio]))
        expected = count, publication.total - count
        requirements = {
            f"hold {sizes[0]} and {sizes[1]} images instead of {expected[0]} and {expected[1]}": sizes == expected,
            "list an image twice": len(labeled) + len(unlabeled) == sum(sizes) and labeled.isdisjoint(unlabeled),
            "list other images than the other ratios do": labeled | unlabeled == everything,
            "lack labelled images of the smaller ratio": smaller <= labeled,
        }
        for problem, holds in requirements.items():
            if not holds:
                raise UserError(
                    f"{files[ratio][0]} and {files[ratio][1].name} {problem}: they are not the published lists."
                )
        smaller = labeled


def _check_against(listed: Sequence[str], train: Sequence[str], path: Path) -> None:
    differences = {
        "of the listed images are not in the data set": sorted(set(listed) - set(train)),
        "images of the data set are not listed": sorted(set(train) - set(listed)),
    }
    problems = [f"\n- {len(ids)} {what}: {some(ids)}" for what, ids in differences.items() if ids]
    if problems:
        raise UserError(
            f"{path}: does not fit the data set:{''.join(problems)}\n"
            f"The published partition is of all {len(listed)} training images; complete the data set, or set "
            "partition.protocol to random."
        )
