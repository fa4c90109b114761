"""`python -m ucc.data.inspect FOLDER`: look at a folder of images and masks, propose the section `dataset`.

What was found goes to stderr, the section to stdout. It replaces the one of params.yaml, and wants its classes named
where no file of an annotation tool beside the masks names them.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from ucc.config import FolderParams
from ucc.data.dataset import IGNORE_INDEX
from ucc.data.inspect.annotation_files import annotations_hint
from ucc.data.inspect.binary_mask_files import binary_masks_hint
from ucc.data.inspect.class_names import class_names
from ucc.data.inspect.contents import contents
from ucc.data.inspect.ignored import ignored_warning
from ucc.data.inspect.layout import NoMasksError, alternatives, guess_layout, perhaps
from ucc.data.inspect.proposal import propose, section
from ucc.data.inspect.survey import (
    describe,
    describe_masks,
    describe_sequences,
    image_headers,
    lossy_warning,
    mask_facts,
    palette_warning,
    smoothed_warning,
)
from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import match
from ucc.data.sources.pairing import find_pairs
from ucc.data.sources.tree import from_home, shown
from ucc.errors import SHOWN, UserError, some
from ucc.files import explained, write_text


def inspect(
    root: Path,
    images: str | None = None,
    masks: str | None = None,
    image_suffix: str | None = None,
    mask_suffix: str | None = None,
) -> str:
    """The section `dataset` that fits the folder `root`, as YAML; says on stderr what was found.

    What the stage `download` would refuse is a warning here.

    Raises:
        UserError: if there is no such folder, no mask pairs with an image, or masks cannot be made a list of classes.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder.")
    try:
        return _inspect(root, images, masks, image_suffix, mask_suffix)
    except NoMasksError as error:
        raise UserError(f"{error}{annotations_hint(root, images)}") from error


def _inspect(
    root: Path, images: str | None, masks: str | None, image_suffix: str | None, mask_suffix: str | None
) -> str:
    layout = guess_layout(root, images, masks, image_suffix, mask_suffix)
    problems = Problems(root)
    find_pairs(FolderParams(**asdict(layout), mask_format="auto", classes=None, ignore=[]), problems)
    # What does not fit has just been told; for the classes all there is counts, in whichever split.
    named_images, named_masks = match(
        layout.images, layout.masks, layout.image_suffix, layout.mask_suffix, Problems(root)
    )
    headers = image_headers(named_images.values(), problems)
    facts = mask_facts(named_masks.values(), problems)
    masked = named_images.keys() & named_masks.keys()
    sizes = {mask.path: mask.size for mask in facts}
    unlike = [
        named_masks[key].relative_to(root).as_posix()
        for key in sorted(masked)
        if named_images[key] in headers
        and sizes.get(named_masks[key], headers[named_images[key]].size) != headers[named_images[key]].size
    ]
    if unlike:
        problems.add(f"mask of another size than its image: {some(unlike)}")
    shaded = [text for warning in (smoothed_warning, lossy_warning) if (text := warning(facts, root))]
    problems.found += [text for text in (palette_warning(facts, root), *shaded) if text]
    hint = binary_masks_hint(root, layout.images, layout.masks, shaded=bool(shaded) or not facts)
    bare = [shown(named_images[key].relative_to(root)) for key in sorted(named_images.keys() - masked)]
    lines = [
        f"{len(named_images)} images in {layout.images}/, {len(masked)} with a mask in {layout.masks}/, "
        f"{len(bare)} without: the unlabelled set{_such_as(bare)}",
        *describe(headers, root),
        describe_masks(facts),
        *([] if layout.val is None else describe_sequences(masked)),
        *alternatives(root, layout),
        *([hint] if hint and masked else []),
    ]
    _tell(lines, problems)
    if not facts:
        raise NoMasksError(f"{root / layout.masks}: no mask that can be read; see the warnings.{_below(hint)}")
    if not masked:
        raise NoMasksError(
            f"{root}: no mask in {layout.masks}/ is named like an image in {layout.images}/; see the warnings."
            f"{perhaps(root, layout.masks)} Name what fits with --images FOLDER, --masks FOLDER, --image-suffix TEXT "
            f"or --mask-suffix TEXT.{_below(hint)}"
        )
    held = contents(facts)
    of_names = Problems(root)
    proposal = propose(held, class_names(root, layout.masks, held, of_names))
    unsure = ignored_warning(facts, root) if IGNORE_INDEX in proposal.ignore else None
    if unsure:
        of_names.add(unsure)
    _tell([], of_names)
    longest_side = max((side for header in headers.values() for side in header.size), default=0)
    return section(root, layout, proposal, longest_side)


def _tell(lines: Iterable[str], problems: Problems) -> None:
    for line in (*lines, *problems.notes, *(f"warning: {problem}" for problem in problems.found)):
        print(f"{problems.root}: {line}", file=sys.stderr)


def _below(hint: str) -> str:
    return f"\n{hint}" if hint else ""


def _such_as(names: Sequence[str]) -> str:
    """A few of many names, from all over the list, since neighbours are mostly of one kind."""
    few = names[:: max(1, -(-len(names) // SHOWN))]
    return f", such as {', '.join(few)}" if few else ""


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ucc.data.inspect", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--images", help="folder of the images below FOLDER (default: guessed)")
    parser.add_argument("--masks", help="folder of the masks below FOLDER (default: guessed)")
    parser.add_argument("--image-suffix", help="what an image's name has beyond its mask's: _sat of a_sat (likewise)")
    parser.add_argument("--mask-suffix", help="what a mask's name has beyond its image's: _mask of a_mask (likewise)")
    parser.add_argument("--out", type=Path, help="new file to write the section to (default: stdout)")
    options = parser.parse_args(arguments)
    if options.out and os.path.lexists(options.out):
        raise UserError(f"{options.out}: exists; move it or choose another --out.")
    text = inspect(
        from_home(options.folder),
        options.images,
        options.masks,
        options.image_suffix,
        options.mask_suffix,
    )
    if options.out:
        with explained(options.out.parent):
            write_text(options.out, text)
        print(f"wrote {options.out}", file=sys.stderr)
    else:
        print(text, end="")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
