"""`python -m ucc.data.polygons ANNOTATIONS ... IMAGES MASKS`: draw masks of what was annotated as polygons.

ANNOTATIONS are JSON files of COCO, a folder of labelme's, or the data.yaml of YOLO, whose labels lie in `labels` where
the images lie in `images`, else beside them. Each image with shapes gets a mask of its name in MASKS or, if that is
IMAGES itself, beside it as NAME_mask.png. An image without shapes gets none: it is unlabelled. Where shapes overlap,
the smaller lies on top. `python -m ucc.data.inspect` finds the masks, and the names of the classes in the _classes.csv
beside them; what is to have the same classes is to be drawn in one go.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ucc.data.polygons.drawing import draw_masks, kept_warning
from ucc.errors import UserError


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status, 1 if a mask was left as it was.

    Raises:
        UserError: as `draw_masks` does.
    """
    parser = argparse.ArgumentParser(
        prog="python -m ucc.data.polygons", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", type=Path, metavar="ANNOTATIONS", nargs="+")
    parser.add_argument("images", type=Path, metavar="IMAGES")
    parser.add_argument("masks", type=Path, metavar="MASKS")
    parser.add_argument(
        "--ignore-elsewhere",
        action="store_true",
        help="pixels in no shape belong to no class (255); by default they are background (0)",
    )
    parser.add_argument("--replace", action="store_true", help="draw over masks that differ from what the shapes give")
    options = parser.parse_args(arguments)
    *annotations, images, masks = (p.expanduser() for p in (*options.annotations, options.images, options.masks))
    kept = draw_masks(annotations, images, masks, options.ignore_elsewhere, options.replace)
    if kept:
        print(f"error: {kept_warning(kept)}", file=sys.stderr)
    return int(bool(kept))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
