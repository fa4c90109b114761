"""`python -m ucc.data.annotations ANNOTATIONS ... IMAGES MASKS`: draw the masks that training takes.

ANNOTATIONS are JSON files of COCO, a folder of labelme's, the data.yaml of YOLO, whose labels lie in `labels` where the
images lie in `images`, or beside them, or patterns of binary masks, in quotes: 'masks/{class}/{image}.png', or
'cell={image}/masks/*.png', where cell is the class and a star any text within a name. Give all at once: each run
numbers the classes that the _classes.csv in MASKS does not name yet.

Each image whose objects all have outlines gets a mask of its name in MASKS or, if that is IMAGES itself, beside it as
NAME_mask.png; images without shapes stay unlabelled. Where shapes overlap, the smaller lies on top. A binary mask has
one value beside black; where there are shades, as JPEG makes them, what is lighter than half belongs to the class, and
one that is all black says that the class is not there. Then `python -m ucc.data.inspect` finds the masks and the names
of the classes.
"""

import argparse
import sys
from collections.abc import Sequence

from ucc.data.annotations.drawing import draw_masks
from ucc.data.annotations.pattern import Pattern
from ucc.data.sources.tree import from_home
from ucc.errors import UserError


def main(arguments: Sequence[str]) -> None:
    """The command line.

    Raises:
        UserError: as `draw_masks` does.
    """
    parser = argparse.ArgumentParser(
        prog="python -m ucc.data.annotations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", metavar="ANNOTATIONS", nargs="+", help="files, folders or patterns")
    parser.add_argument("images", metavar="IMAGES", help="the folder of the images")
    parser.add_argument("masks", metavar="MASKS", help="the folder for the masks")
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
    draw_masks(
        [Pattern.parse(text) if Pattern.is_one(text) else from_home(text) for text in options.annotations],
        from_home(options.images),
        from_home(options.masks),
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
