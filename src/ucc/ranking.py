"""Which images to label next: those the model is least sure of, spread over images that look different.

*Score.* Uncertainty sampling by least confidence, 1 - max_c p_c (Settles, Active Learning Literature Survey, 2009,
section 3.1), and query by committee, the share of pixels on which the heads vote for different classes (Seung, Opper,
Sompolinsky, COLT 1992). The two have different scales, so each is replaced by its rank before they are averaged.

*Spread.* Neighbouring frames of a video are uncertain alike, and labelling all of them teaches little more than
labelling one. Images are therefore chosen greedily, each time the one with the largest score times distance to the
nearest image that is labelled or chosen already: the farthest-first traversal of k-center (Gonzalez 1985; core-sets for
labelling: Sener, Savarese, ICLR 2018), weighted by the score.

*Distance.* Thumbnails suffice to find scenes that look alike (Torralba, Fergus, Freeman, 80 million tiny images, 2008).
Unlike an encoder's features they are the same for every model and for an exported one, and their distance has a unit.

NumPy and OpenCV only.
"""

from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]

CELLS = 8  # along each side of the thumbnail


class Opinion(NamedTuple):
    """What a model says of an image.

    `classes` uint8 and `uncertainty` float32 in [0, 1 - 1/C], both (H, W); `disagreement` is the share of pixels, in
    [0, 1], on which not all heads name the same class, None of a single head.
    """

    classes: Pixels
    uncertainty: NDArray[np.float32]
    disagreement: float | None


class Model(Protocol):
    """A segmenter that can be asked about an image, RGB uint8 (H, W, 3)."""

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """RGB of each class."""

    @property
    def manifest(self) -> str | None:
        """Hash of the partition that it was trained on, None if nobody knows."""

    def opinion(self, image: Pixels) -> Opinion:
        """Raises `UserError` if the image cannot be segmented."""


class Choice(NamedTuple):
    """Indices in the order of their choice, and distances (n,) to the nearest labelled or chosen image.

    Of a chosen image it is the distance when it was chosen, of all others the one in the end; infinite where there was
    nothing to be distant from.
    """

    order: list[int]
    distances: Values


def describe(image: Pixels) -> NDArray[np.float32]:
    """What an image (H, W, 3) looks like from afar: means of its 8x8 cells in CIELAB, float32 (192,).

    Scaled so that the Euclidean distance of two images is the root mean square over the cells of CIE 1976's colour
    difference, of which 2.3 is just noticeable (Mahy et al. 1994).
    """
    small = cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab.reshape(-1) / CELLS, np.float32)


def score(uncertainty: Values, disagreement: Values | None) -> Values:
    """Scores (n,) in [0, 1] of n images: the mean of the ranks of what is known of them, the largest the least sure.

    A rank is the share of the other images with a smaller value, those with the same value counting half.

    Args:
        uncertainty: mean over the pixels, (n,).
        disagreement: (n,), None of a model with a single head.
    """
    known = [uncertainty] if disagreement is None else [uncertainty, disagreement]
    ranks: Values = np.mean([_ranks(values) for values in known], axis=0)
    return ranks


def choose(
    scores: Values, descriptors: NDArray[np.float32], labeled: NDArray[np.float32], count: int, spread: bool = True
) -> Choice:
    """Choose `count` of n images, or all if there are fewer.

    Args:
        scores: (n,), at least 0.
        descriptors: (n, d); distances between them are Euclidean.
        labeled: (m, d), of the images that have a mask; m may be 0, and the first choice is then the highest score.
        count: how many.
        spread: whether distances count; without, the choice goes by the score alone.

    Ties go to the higher score, then to the earlier image.
    """
    distances = np.full(len(scores), np.inf)
    nearest = distances.copy()
    for row in labeled:
        nearest = np.minimum(nearest, _distances(descriptors, row))
    order: list[int] = []
    left = list(range(len(scores)))
    while left and len(order) < count:
        far = spread and bool(order or len(labeled))
        gains = scores[left] * (nearest[left] if far else 1)
        best = left[int(np.lexsort((-scores[left], -gains))[0])]
        order.append(best)
        left.remove(best)
        distances[best] = nearest[best]
        nearest = np.minimum(nearest, _distances(descriptors, descriptors[best]))
    distances[left] = nearest[left]
    return Choice(order, distances)


def _ranks(values: Values) -> Values:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    ranks: Values = (below + (counts - 1) / 2)[places] / max(1, len(values) - 1)
    return ranks


def _distances(descriptors: NDArray[np.float32], row: NDArray[np.float32]) -> Values:
    return np.asarray(np.linalg.norm(descriptors - row, axis=1), np.float64)
