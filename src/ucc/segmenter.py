"""The exported segmenter at work: needs onnxruntime, NumPy, OpenCV and the .onnx file, nothing else.

    segmenter = ucc.Segmenter("segmenter.onnx")
    classes, uncertainty = segmenter.segment(image)

On the command line: `ucc segment`.
"""

import json
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ucc.errors import UserError, require_file
from ucc.providers import find_providers, open_session, short_name
from ucc.tiling import ALIGNMENT, blended_rows, label_rows, label_strips, segment_tiles

FORMAT = "2"
FORMAT_KEY = "ucc_format"
# Of a quantised file alone: how its convolutions compute, and its own mIoU; the metrics are those of the float file.
QUANTIZED_KEY, INT8 = "quantized", "int8"
QUANTIZED_MIOU_KEY = "quantized_miou"
INPUT = "image"
OUTPUTS = ("classes", "uncertainty")
LOGITS = "logits"
TILE = 1024
OVERLAP = 256
# bincount makes integers of 8 bytes of what it counts, so a large map is counted in parts.
COUNTED_AT_ONCE = 2**22


class Segmentation(NamedTuple):
    """`classes` uint8 and `uncertainty` float32 in [0, 1 - 1/C], both (H, W), or (B, H, W) for a batch."""

    classes: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]

    def shares(self, num_classes: int) -> list[float]:
        """Share of each class among all pixels, in [0, 1], in the order of the indices."""
        flat = self.classes.reshape(-1)
        counts = np.zeros(num_classes, np.int64)
        for start in range(0, flat.size, COUNTED_AT_ONCE):
            counts += np.bincount(flat[start : start + COUNTED_AT_ONCE], minlength=num_classes)
        return [float(share) for share in counts / flat.size]

    @property
    def mean_uncertainty(self) -> float:
        """Over all pixels."""
        return float(self.uncertainty.mean(dtype=np.float64))


class Segmenter:
    """A file that the stage `export` wrote, ready to segment images.

    Other processes can be handed one: they load the file anew.

    Args:
        path: the file.
        threads: what onnxruntime works with; 0 leaves the choice to it.
        tile: images with a longer side are segmented in tiles of this many pixels, so that memory stays bounded;
            0 takes every image whole.
        overlap: pixels that neighbouring tiles share at least; `ucc.tiling` says what tiles change and what not.
        providers: onnxruntime's execution providers, in full or as `cuda`, the preferred first; what they cannot
            compute the CPU does.

    Raises:
        UserError: if the file is missing, no ONNX model, or not one that this version can use, if `threads` is no
            number of threads, if `tile` and `overlap` do not go together, or if a provider is missing or does not
            start.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int = 0,
        tile: int = TILE,
        overlap: int = OVERLAP,
        providers: Sequence[str] = ("cpu",),
    ) -> None:
        path = Path(path)
        check_tiles(tile, overlap)
        if not _is_whole(threads) or threads < 0:
            raise UserError(f"threads {threads}: must be a whole number; 0 leaves the choice to onnxruntime.")
        require_file(path, "The stage `export` writes models/segmenter.onnx.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        found = find_providers(providers)
        self._session = open_session(path, options, found)
        self._read_metadata(path)
        self._arguments = (path.absolute(), threads, tile, overlap, tuple(map(short_name, found)))
        self._run_options = onnxruntime.RunOptions()
        # Tiles need no class map of their own: it would cost more memory than the network.
        self._run_options.only_execute_path_to_fetches = True

    def _read_metadata(self, path: Path) -> None:
        metadata = self._session.get_modelmeta().custom_metadata_map
        found = metadata.get(FORMAT_KEY)
        if found is None:
            raise UserError(f"{path}: an ONNX model, but not one that the stage `export` of this project wrote.")
        if found != FORMAT:
            raise UserError(
                f"{path}: format {found}, but this version of ucc reads format {FORMAT}; "
                "install the version named in the file's metadata, or export the model anew."
            )
        self._metadata: dict[str, str] = dict(metadata)
        try:
            self._classes = tuple(str(name) for name in json.loads(metadata["classes"]))
            self._colors = tuple((int(r), int(g), int(b)) for r, g, b in json.loads(metadata["colors"]))
            metrics = json.loads(metadata.get("metrics", "{}"))
            own = metadata.get(QUANTIZED_MIOU_KEY)
            found = own or metrics.get("miou")
            self._miou = None if found is None else float(found)
            # The stage `export` measures quantised files on val, whatever the stage `evaluate` measured the others on.
            self._miou_split = None if found is None else "val" if own else str(metrics.get("split", "val"))
            self._step = int(metadata.get("step", 0))
            if not 0 < len(self._classes) == len(self._colors) <= 256:
                raise ValueError(f"{len(self._classes)} classes, {len(self._colors)} colors")
            if not all(0 <= value <= 255 for color in self._colors for value in color):
                raise ValueError("colors beyond 0 to 255")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: its metadata are damaged ({error!r}); export the model anew.") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` keeps: no session, but how to begin one."""
        return type(self), self._arguments

    @property
    def tile(self) -> int:
        """Images with a longer side are segmented in tiles of this many pixels; 0: none is."""
        return self._arguments[2]

    @property
    def overlap(self) -> int:
        """Pixels that neighbouring tiles share at least."""
        return self._arguments[3]

    @property
    def providers(self) -> tuple[str, ...]:
        """What computes it, the preferred first: `("cuda", "cpu")`."""
        return self._arguments[4]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the indices."""
        return self._classes

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """RGB colours of the classes, 0..255."""
        return self._colors

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says about itself: parameters, metrics, git revision and more, as text or JSON."""
        return dict(self._metadata)

    @property
    def miou(self) -> float | None:
        """Mean IoU in percent that the pipeline measured for this file; None if it does not say."""
        return self._miou

    @property
    def miou_split(self) -> str | None:
        """The split that `miou` was measured on, `val` or `test`; None without `miou`."""
        return self._miou_split

    @property
    def step(self) -> int:
        """Training steps that made it; 0 if the file does not say."""
        return self._step

    def takes_whole(self, height: int, width: int) -> bool:
        """Whether an image of that size is segmented at once rather than in tiles."""
        return not self.tile or max(height, width) <= self.tile

    def segment(self, image: NDArray[np.uint8]) -> Segmentation:
        """Segment one RGB image of shape (H, W, 3), uint8, any size.

        Raises:
            ValueError: if `image` is no such array.
            UserError: if onnxruntime fails on it, for instance for want of memory.
        """
        _check_image(image)
        batch = self.segment_batch(image[np.newaxis])
        return Segmentation(batch.classes[0], batch.uncertainty[0])

    def segment_strips(self, image: NDArray[np.uint8]) -> Iterator[Segmentation]:
        """What `segment` gives, rows (h, W) of it from top to bottom: of an image in tiles, no whole map is held.

        Raises as `segment` does.
        """
        _check_image(image)
        if self.takes_whole(*image.shape[:2]):
            yield self.segment(image)
            return
        rows = blended_rows(image, self.logits, self.tile, self.overlap)
        for classes, uncertainty in label_strips(rows, *image.shape[:2]):
            yield Segmentation(classes, uncertainty)

    def segment_batch(self, images: NDArray[np.uint8]) -> Segmentation:
        """Segment RGB images of one size, uint8 (B, H, W, 3), in one run or tile by tile; raises as `segment` does."""
        _check_images(images)
        if self.takes_whole(*images.shape[1:3]):
            classes, uncertainty = self._run(OUTPUTS, images)
            return Segmentation(classes, uncertainty)
        parts = [segment_tiles(image, self.logits, self.tile, self.overlap) for image in images]
        if len(parts) == 1:  # np.stack would copy what may be hundreds of megabytes
            return Segmentation(parts[0][0][np.newaxis], parts[0][1][np.newaxis])
        return Segmentation(np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts]))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class scores at stride 4 of whole RGB images, uint8 (B, H, W, 3): float32 (B, C, ceil(H/4), ceil(W/4)).

        Raises as `segment` does.
        """
        _check_images(images)
        scores: NDArray[np.float32] = self._run([LOGITS], images)[0]
        return scores

    def predict(self, images: NDArray[np.uint8], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Those of the outputs `classes`, `uncertainty`, `logits` that are named, for RGB images, uint8 (B, H, W, 3).

        Images beyond the tile give what their tiles give together, logits too.

        Raises:
            ValueError: if `images` is no such array, or `names` has no names or others.
            UserError: as `segment` does.
        """
        _check_images(images)
        _check_names(names)
        if self.takes_whole(*images.shape[1:3]):
            return dict(zip(names, self._run(names, images), strict=True))
        parts = [self._predict_tiles(image, LOGITS in names) for image in images]
        return {name: np.stack([part[name] for part in parts]) for name in names}

    def _predict_tiles(self, image: NDArray[np.uint8], with_logits: bool) -> dict[str, NDArray[Any]]:
        rows = blended_rows(image, self.logits, self.tile, self.overlap)
        kept: dict[str, NDArray[Any]] = {}
        if with_logits:
            kept[LOGITS] = np.concatenate(list(rows), axis=1)
            rows = iter([kept[LOGITS]])
        return kept | dict(zip(OUTPUTS, label_rows(rows, *image.shape[:2]), strict=True))

    def _run(self, outputs: Sequence[str], images: NDArray[np.uint8]) -> list[Any]:
        try:
            found: list[Any] = self._session.run(
                list(outputs), {INPUT: np.ascontiguousarray(images)}, self._run_options
            )
        except Exception as error:  # onnxruntime's errors have no base class of their own
            height, width = images.shape[1:3]
            raise UserError(
                f"onnxruntime failed on {len(images)} image(s) of {width}x{height} pixels; "
                f"a smaller image or tile needs less memory ({' '.join(str(error).split())})"
            ) from error
        return found


def check_tiles(tile: int, overlap: int) -> None:
    """Refuse sizes that tiles cannot have.

    Raises:
        UserError: saying what is allowed.
    """
    if tile == 0:
        return
    fit = all(_is_whole(size) and size % ALIGNMENT == 0 for size in (tile, overlap))
    if not fit or not 0 < overlap < tile:
        raise UserError(
            f"tile {tile} and overlap {overlap}: both must be positive multiples of {ALIGNMENT}, "
            "and the overlap smaller than the tile; tile 0 takes every image whole."
        )


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral)


def _check_image(image: NDArray[np.uint8]) -> None:
    _check_array(image, "an image", ("H", "W"))


def _check_images(images: NDArray[np.uint8]) -> None:
    _check_array(images, "images", ("B", "H", "W"))


def _check_array(array: NDArray[np.uint8], what: str, sizes: Sequence[str]) -> None:
    shape = f"({', '.join(sizes)}, 3)"
    given: object = array
    if not isinstance(given, np.ndarray):
        raise ValueError(f"{what} must be a NumPy array of shape {shape}, not {type(given).__name__}")
    if array.dtype != np.uint8 or array.ndim != len(sizes) + 1 or array.shape[-1] != 3 or not array.size:
        raise ValueError(f"{what} must be uint8 RGB of shape {shape}, not {array.dtype} {array.shape}")


def _check_names(names: Sequence[str]) -> None:
    known = (*OUTPUTS, LOGITS)
    if isinstance(names, str) or not names or not set(names) <= set(known):
        raise ValueError(f"names must be a list of one or more of {', '.join(known)}, not {names!r}")
