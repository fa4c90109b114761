"""What the names of files and folders say: which split they are, or that they show a mask."""

import re
from collections.abc import Collection

from ucc.data.dataset import SPLITS

# Folders of images and of masks, in order of preference, whatever their case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "jpegimages", "rgb", "inputs", "images_png")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "segmentationclasspng"),
    *("segmentations", "segmentation", "ground_truth", "groundtruth", "gt", "targets", "masks_png"),
)
# What people put behind an image's name to name its mask.
MASK_ENDINGS = ("_mask", "-mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt", "_annotation", ".mask")
MASK_WORDS = (
    *("mask", "masks", "label", "labels", "seg", "segmentation", "segmentations", "gt", "groundtruth"),
    *("annotation", "annotations"),
)
# Of pictures made from masks: coloured, laid over the image, or of something other than classes.
RENDERING_WORDS = (
    *("color", "colors", "colour", "colours", "colored", "coloured", "colormap", "colormaps", "overlay", "overlays"),
    *("blend", "blended", "vis", "viz", "visualization", "visualizations", "visualisation", "visualisations"),
    *("instance", "instances", "panoptic", "parts", "contour", "contours", "pred", "preds", "prediction"),
    *("predictions", "superpixels", "heatmap", "heatmaps", "trimap", "trimaps", "boundary", "boundaries"),
)
MIN_REPEATED = 2  # names of one kind, to be no accident
_SPLIT = re.compile(
    r"(train(?:ing|[-_ ]?val)?|val(?:id(?:ation)?)?|test(?:ing)?)(?:[-_ ]?(?:set|split|data|images|\d+))?"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def split_named(name: str) -> str | None:
    """The split that a folder is by its name, such as val for Valid or val2017; None if it is another."""
    found = _SPLIT.fullmatch(name.lower())
    return next((split for split in SPLITS if found and found[1].startswith(split)), None)


def words(name: str) -> set[str]:
    """The words of a name in lower case: label and ids of _labelIds."""
    return {word.lower() for word in _WORD.findall(name)}


def beyond(key: str, images: Collection[str]) -> tuple[str, str] | None:
    """The longest of `images` that the path `key` begins with, and what `key` has beyond it; None if there is none."""
    return next(((key[:end], key[end:]) for end in range(len(key), 0, -1) if key[:end] in images), None)
