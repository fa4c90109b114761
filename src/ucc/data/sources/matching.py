"""Which mask belongs to which image, by their names."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ucc.data.dataset import DESCRIPTION
from ucc.data.sources.listing import Problems
from ucc.data.sources.naming import MASK_ENDINGS, beyond
from ucc.data.sources.places import folders, has_star
from ucc.data.sources.tree import files_below, shown
from ucc.errors import every, some

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")

Files = dict[str, Path]
Paths = Mapping[Path, PurePosixPath]


def match(images: str, masks: str, image_suffix: str, mask_suffix: str, problems: Problems) -> tuple[Files, Files]:
    """Images and masks of two places below the root by the path that they share; files of other kinds are a note.

    What they share is a path without the file's suffix, and without `image_suffix` and `mask_suffix`, which is what the
    names of images and masks have beyond it. In one place for both, the longer of the two tells them apart.
    """
    root = problems.root
    image_suffix, mask_suffix = (unicodedata.normalize("NFC", text) for text in (image_suffix, mask_suffix))
    if Path(images) == Path(masks):
        files = files_of(images, (), problems)
        mask_files = {file: path for file, path in files.items() if _is_mask(file, image_suffix, mask_suffix)}
        image_files = {file: path for file, path in files.items() if file not in mask_files}
    else:
        image_files = files_of(images, folders(root, masks).values(), problems)
        mask_files = files_of(masks, folders(root, images).values(), problems)
    named_images = _by_key(image_files, images, image_suffix, IMAGE_SUFFIXES, problems)
    _tell_other_images(image_files, images, image_suffix, problems)
    lossy_suffixes = set(IMAGE_SUFFIXES).difference(MASK_SUFFIXES)
    lossy = {file: path for file, path in mask_files.items() if file.suffix.lower() in lossy_suffixes}
    if lossy:
        problems.add(
            "JPEG and WebP change the values they store, so masks are PNG, BMP, TIFF or GIF files (for black and white "
            "ones python -m ucc.data.inspect names a command that converts them): draw or export again "
            + every(shown(file.relative_to(root)) for file in lossy)
        )
    rest = {file: path for file, path in mask_files.items() if file not in lossy}
    named_masks = _by_key(rest, masks, mask_suffix, MASK_SUFFIXES, problems)
    _tell_other_endings(rest, masks, mask_suffix, named_images, named_masks, problems)
    stray = [shown_in(masks, named_masks[key], root) for key in named_masks if key not in named_images]
    if named_images and stray:
        none_fits = len(stray) == len(named_masks)
        hint = " (do dataset.folder.images, image_suffix and mask_suffix fit?)" if none_fits else ""
        problems.add(f"{masks}/: no image of the same name{hint} for {every(stray)}")
    return named_images, named_masks


def files_of(place: str, leave_out: Collection[Path], problems: Problems) -> dict[Path, PurePosixPath]:
    """All files of a place in any depth, each with its path there; that there are none is added to `problems`."""
    found = folders(problems.root, place)
    files: dict[Path, PurePosixPath] = {}
    try:
        if found if has_star(place) else (problems.root / place).is_dir():
            for key, folder in found.items():
                below = files_below(folder, problems, leave_out)
                files |= {file: PurePosixPath(key, file.relative_to(folder).as_posix()) for file in below}
            if not files:
                problems.add(f"{place}/: holds no files")
            return files
    except OSError as error:
        problems.add(f"{place}/: cannot be read ({error.strerror})")
        return {}
    problems.add(f"{place}/: missing folder")
    return {}


def _is_mask(file: Path, image_suffix: str, mask_suffix: str) -> bool:
    """Whether a file is a mask rather than an image, where both lie in one place."""
    if _stem(file).endswith(mask_suffix):
        return len(image_suffix) <= len(mask_suffix) or not _stem(file).endswith(image_suffix)
    # A misnamed one is to be told, rather than left out as a picture of another kind.
    is_named_so = file.suffix.lower() in MASK_SUFFIXES and file.stem.lower().endswith(MASK_ENDINGS)
    return is_named_so and not _stem(file).endswith(image_suffix)


def _tell_other_images(files: Paths, place: str, ending: str, problems: Problems) -> None:
    """Pictures without `ending` are of another kind: depth beside colour."""
    others = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES and not _stem(f).endswith(ending)]
    if others:
        problems.note(
            f"{place}/: left out, since their names do not end in dataset.folder.image_suffix = {ending}: "
            + some(shown_in(place, file, problems.root) for file in others)
        )


def _tell_other_endings(files: Paths, place: str, ending: str, images: Files, masks: Files, problems: Problems) -> None:
    """Masks without `ending` are left out where their image has one with it, and else misnamed."""
    left_out: list[Path] = []
    misnamed: list[Path] = []
    for file, path in files.items():
        if file.suffix.lower() in MASK_SUFFIXES and not _stem(file).endswith(ending):
            name = unicodedata.normalize("NFC", path.with_name(file.stem).as_posix())
            image, further = beyond(name, images) or ("", "")
            # cat_mask_1 beside cat_mask may well be the mask of a second object.
            is_other_kind = image in masks and not further.startswith(ending)
            (left_out if is_other_kind else misnamed).append(file)
    if left_out:
        problems.note(
            f"{place}/: left out, since their images have a mask that ends in dataset.folder.mask_suffix = {ending}: "
            + some(shown_in(place, file, problems.root) for file in left_out)
        )
    if misnamed:
        names = every(shown_in(place, file, problems.root) for file in misnamed)
        problems.add(f"{place}/: names must end in dataset.folder.mask_suffix = {ending}, unlike {names}")


def _by_key(files: Paths, place: str, ending: str, suffixes: Sequence[str], problems: Problems) -> Files:
    """Pictures by their path without suffix and `ending`, which they have; what is no picture is told."""
    root = problems.root
    foreign = [f for f in files if f.suffix.lower() not in suffixes and f.name != DESCRIPTION]
    if foreign:
        names = some(shown_in(place, file, root) for file in foreign)
        problems.note(f"{place}/: left out, since not {', '.join(suffixes)}: {names}")
    found: Files = {}
    for file, path in files.items():
        if file.suffix.lower() not in suffixes or not _stem(file).endswith(ending):
            continue
        key = (path.parent / _stem(file).removesuffix(ending)).as_posix()
        key = unicodedata.normalize("NFC", key)
        if key in found:
            same = f"{shown_in(place, found[key], root)} and {shown_in(place, file, root)}"
            problems.add(f"{place}/: {same} share the name {key}; rename one of them")
        found.setdefault(key, file)
    if files and not found:
        named = f" whose name ends in {ending} before that" if ending else ""
        problems.add(f"{place}/: holds no {', '.join(suffixes)} file{named}")
    return found


def _stem(file: Path) -> str:
    """A name without suffix, in one spelling: file systems differ in how they compose accents."""
    return unicodedata.normalize("NFC", file.stem)


def shown_in(place: str, file: Path, root: Path) -> str:
    """A file's path for a message that names its place, or from the root where that is no single folder."""
    return shown(file.relative_to(root if has_star(place) else root / place))
