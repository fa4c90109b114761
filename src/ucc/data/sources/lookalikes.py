"""Pictures among the images that are named like another image: they may show its mask, and be no photographs."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import Files
from ucc.data.sources.naming import MASK_ENDINGS, MASK_WORDS, MIN_REPEATED, RENDERING_WORDS, words
from ucc.data.sources.tree import shown
from ucc.errors import every, some

MADE_WORDS = {*MASK_WORDS, *RENDERING_WORDS}
# A folder of photographs may well be called color, beside depth, and vis, beside infrared, but not vis in theirs.
FOLDER_WORDS = MADE_WORDS - {"color", "colour", "vis"}
INNER_FOLDER_WORDS = FOLDER_WORDS | {"vis"}


@dataclass(frozen=True)
class _Lookalike:
    """An image without a mask, the image that it is named like, and what its folder and name have beyond that."""

    key: str
    like: str
    folder: str
    further: str

    @property
    def kind(self) -> tuple[str, str]:
        """What those made in the same way have in common."""
        return re.sub(r"\d+", "", self.folder), re.sub(r"\d+", "", self.further)

    @property
    def says_mask(self) -> bool:
        """Whether it is named like a mask or something made from one."""
        there = PurePosixPath(self.like).parent
        # Frames of instance_2 are no pictures of instance_1's.
        own = words(self.folder) - words(there.as_posix())
        is_inner = there in PurePosixPath(self.key).parents
        return bool(words(self.further) & MADE_WORDS or own & (INNER_FOLDER_WORDS if is_inner else FOLDER_WORDS))


def tell_lookalikes(images: Files, masks: Files, mask_suffix: str, beside: bool, problems: Problems) -> None:
    """Add to `problems` what all but certainly shows masks and would be learned from as photographs; note the doubtful.

    Args:
        images: by the path that an image shares with its mask.
        masks: likewise.
        mask_suffix: what a mask's name ends in.
        beside: whether masks lie beside their images.
        problems: gets what was found.
    """
    found = list(_lookalikes(images, masks))
    kinds = Counter(one.kind for one in found if one.like in masks)
    misnamed, made, doubtful = [], [], []
    for one in found:
        name = shown(images[one.key].relative_to(problems.root))
        ending = one.further.lower() if beside and not one.folder else ""
        if ending in MASK_ENDINGS:
            misnamed.append(name)
        elif one.says_mask and (kinds[one.kind] >= MIN_REPEATED or ending.startswith(MASK_ENDINGS)):
            made.append(name)
        elif one.like in masks and not (one.folder and one.further):
            doubtful.append(name)
    if misnamed:
        problems.add(
            f"named like masks of images beside them, but dataset.folder.mask_suffix is {mask_suffix}: rename or move "
            + every(misnamed)
        )
    if made:
        problems.add(
            "named like masks, or like pictures of masks, of other images, and would be learned from as photographs; "
            "move them out of the folder of images (several masks of one image: draw them into one), or rename "
            + every(made)
        )
    if doubtful:
        problems.note(
            "learned from as photographs, though named like images that have a mask; if they show masks, move them "
            f"elsewhere: {some(doubtful)}"
        )


def _lookalikes(images: Files, masks: Files) -> Iterator[_Lookalike]:
    masked: defaultdict[str, list[str]] = defaultdict(list)
    for key in sorted(images.keys() & masks.keys()):
        masked[PurePosixPath(key).name].append(key)
    # One name for file systems that take no notice of the case.
    by_lower = {key.lower(): key for key in sorted(images, key=lambda key: (key in masks, key))}
    for key in sorted(images.keys() - masks.keys()):
        found = _beside(key, by_lower) or _elsewhere(key, masked)
        if found:
            yield found


def _beside(key: str, images: Mapping[str, str]) -> _Lookalike | None:
    """cat_color or mask_cat beside cat, or cat/instance_cat; `images` are by their names in lower case."""
    path = PurePosixPath(key)

    def image(name: str) -> str | None:
        return images.get((path.parent / name).as_posix().lower())

    for like, further in _begun(path.name):
        if beside := image(like):
            return _Lookalike(key, beside, "", further)
    for like, further in _ended(path.name):
        if (beside := image(like)) and words(further) & MADE_WORDS:
            return _Lookalike(key, beside, "", further)
    if above := images.get(path.parent.as_posix().lower()):
        before, stem, after = path.name.rpartition(path.parent.name)
        return _Lookalike(key, above, "", before + after) if stem else None
    return None


def _elsewhere(key: str, masked: Mapping[str, Sequence[str]]) -> _Lookalike | None:
    """vis/cat or vis/cat_color, if a cat in another folder has a mask."""
    path = PurePosixPath(key)
    for like, further in [(path.name, ""), *_begun(path.name)]:
        if like in masked:
            there = masked[like][0]
            own = [part for part in path.parent.parts if part not in PurePosixPath(there).parent.parts]
            return _Lookalike(key, there, "/".join(own) or ".", further)
    return None


def _begun(name: str) -> list[tuple[str, str]]:
    """Beginning and end at each mark that may set off an ending, the longest beginning first."""
    return [(name[:at], name[at:]) for at in range(len(name) - 1, 0, -1) if name[at] in "_.-"]


def _ended(name: str) -> list[tuple[str, str]]:
    """End and beginning likewise, the longest end first."""
    return [(name[at + 1 :], name[: at + 1]) for at in range(1, len(name) - 1) if name[at] in "_.-"]
