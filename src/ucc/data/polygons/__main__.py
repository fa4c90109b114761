"""`python -m ucc.data.polygons ANNOTATIONS ... IMAGES MASKS`: draw masks of what was annotated as polygons.

ANNOTATIONS are JSON files of COCO, a folder of labelme's, or the data.yaml of YOLO, whose labels lie in `labels` where
the images lie in `images`, or beside them. Give all at once: each run numbers the classes that the _classes.csv in
MASKS does not name yet. Each image whose objects all have outlines gets a mask of its name in MASKS or, if that is
IMAGES itself, beside it as NAME_mask.png; images without shapes stay unlabelled. Where shapes overlap, the smaller lies
on top. Then `python -m ucc.data.inspect` finds the masks and the names of the classes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ucc.data.polygons.drawing import draw_masks
from ucc.errors import UserError


def main(arguments: Sequence[str]) -> None:
    """The command line.

    Raises:
        UserError: as `draw_masks` does.
    """
    parser = argparse.ArgumentParser(
        prog="python -m ucc.data.polygons", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", type=Path, metavar="ANNOTATIONS", nargs="+", help="files or folders")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="the folder of the images")
    parser.add_argument("masks", type=Path, metavar="MASKS", help="the folder for the masks")
    parser.add_argument(
        "--ignore-elsewhere",
        action="store_true",
        help="pixels in no shape belong to no class (255); by default they are background (0)",
    )
    parser.add_argument(
        "--empty-as-background",
        action="store_true",
        help="annotated images without shapes show nothing but background; by default they are unlabelled",
    )
    parser.add_argument("--replace", action="store_true", help="draw over masks that differ from what the shapes give")
    options = parser.parse_args(arguments)
    *annotations, images, masks = (p.expanduser() for p in (*options.annotations, options.images, options.masks))
    draw_masks(
        annotations,
        images,
        masks,
        ignore_elsewhere=options.ignore_elsewhere,
        empty_as_background=options.empty_as_background,
        replace=options.replace,
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
