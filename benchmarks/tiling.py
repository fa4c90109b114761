"""What tiles cost: `python benchmarks/tiling.py MODEL IMAGES MASKS [--window 256] [--overlaps 32 64 128 224]`.

Segments a folder's images whole, and in windows of one size with each overlap; masks are PNGs of class indices of the
same names, whose other values count for nothing. Prints the mIoU and, against the largest overlap, how much it differs
and for what share of the pixels the class does. Between overlaps, seams and blending differ alone: of the largest,
nearly every pixel lies far from a border. Against the whole image, what the window hides differs as well.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from ucc.images import read_image
from ucc.segmenter import Segmenter


def main() -> None:
    """Segment, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[32, 64, 128, 224])
    parser.add_argument("--every", type=int, default=1, help="take one image of so many")
    arguments = parser.parse_args()
    ways = {"whole": Segmenter(arguments.model, tile=0)}
    for overlap in sorted(arguments.overlaps):
        ways[f"overlap {overlap}"] = Segmenter(arguments.model, tile=arguments.window, overlap=overlap)
    *_, densest = ways
    count = len(ways["whole"].classes)
    confusion = {way: np.zeros((count, count), np.int64) for way in ways}
    differing = dict.fromkeys(ways, 0.0)
    paths = sorted(path for path in arguments.images.iterdir() if path.is_file())[:: arguments.every]
    for path in paths:
        image, mask = read_image(path), read_mask(arguments.masks / f"{path.stem}.png")
        found = {way: segmenter.segment(image).classes for way, segmenter in ways.items()}
        for way, classes in found.items():
            counted = mask < count
            pairs = mask[counted].astype(np.int64) * count + classes[counted]
            confusion[way] += np.bincount(pairs, minlength=count**2).reshape(count, count)
            differing[way] += float(np.mean(classes != found[densest])) / len(paths)
    print(f"{len(paths)} images; windows of {arguments.window} pixels; against {densest}")
    print(f"{'':<12}{'mIoU':>8}{'differs by':>12}{'of the pixels':>15}")
    for way, matrix in confusion.items():
        difference = mean_iou(matrix) - mean_iou(confusion[densest])
        print(f"{way:<12}{mean_iou(matrix):>8.2f}{difference:>+12.2f}{100 * differing[way]:>13.2f} %")


def read_mask(path: Path) -> np.ndarray:
    """Class indices, uint8 (H, W)."""
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2:
        raise SystemExit(f"error: {path}: no mask of one channel; masks are named like their images.")
    return mask


def mean_iou(matrix: np.ndarray) -> float:
    """In percent, over the classes that occur, of a confusion matrix with truth in rows."""
    hits = np.diag(matrix).astype(float)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    return float(100 * np.mean(hits[union > 0] / union[union > 0]))


if __name__ == "__main__":
    main()
