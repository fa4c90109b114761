"""The exported segmenter at work: needs onnxruntime, NumPy, OpenCV and the .onnx file, nothing else.

    python -m ucc.segmenter segmenter.onnx street.jpg --out pictures

As a library:

    segmenter = Segmenter("segmenter.onnx")
    classes, uncertainty = segmenter.segment(image)
"""

import argparse
import json
import struct
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ucc.errors import UserError
from ucc.files import atomic_path

FORMAT = "1"
FORMAT_KEY = "ucc_format"
INPUT = "image"
OUTPUTS = ("classes", "uncertainty")
OVERLAY_OPACITY = 0.5


class Segmentation(NamedTuple):
    """`classes` uint8 and `uncertainty` float32 in [0, 1 - 1/C], both (H, W), or (B, H, W) for a batch."""

    classes: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]


class Segmenter:
    """A file that the stage `export` wrote, ready to segment images on the CPU.

    `threads` is the number onnxruntime works with; 0 leaves the choice to it.

    Raises:
        UserError: if the file is missing, no ONNX model, or not one that this version can use.
    """

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such file. The stage `export` writes models/segmenter.onnx.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise UserError(f"{path}: onnxruntime cannot load it ({' '.join(str(error).split())}).") from error
        self._read_metadata(path)

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
        self._classes = tuple(str(name) for name in json.loads(metadata["classes"]))
        self._colors = tuple((int(r), int(g), int(b)) for r, g, b in json.loads(metadata["colors"]))

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

    def segment(self, image: NDArray[np.uint8]) -> Segmentation:
        """Segment one RGB image of shape (H, W, 3), uint8, any size.

        Raises:
            ValueError: if `image` is no such array.
            UserError: if onnxruntime fails on it, for instance for want of memory.
        """
        if image.ndim != 3:
            raise ValueError(f"an image must have the shape (H, W, 3), not {image.shape}")
        batch = self.segment_batch(image[np.newaxis])
        return Segmentation(batch.classes[0], batch.uncertainty[0])

    def segment_batch(self, images: NDArray[np.uint8]) -> Segmentation:
        """Segment RGB images of one size, uint8 (B, H, W, 3), in one run; raises as `segment` does."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
            raise ValueError(f"images must be uint8 RGB of shape (B, H, W, 3), not {images.dtype} {images.shape}")
        try:
            classes, uncertainty = self._session.run(OUTPUTS, {INPUT: np.ascontiguousarray(images)})
        except Exception as error:  # onnxruntime's errors have no base class of their own
            height, width = images.shape[1:3]
            raise UserError(
                f"onnxruntime failed on {len(images)} image(s) of {width}x{height} pixels; "
                f"a smaller image needs less memory ({' '.join(str(error).split())})"
            ) from error
        return Segmentation(classes, uncertainty)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a photograph as RGB uint8 (H, W, 3), turned as its EXIF orientation says.

    Raises:
        UserError: if it cannot be read or decoded.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    return decode_image(encoded, str(path))


def decode_image(encoded: bytes, name: str) -> NDArray[np.uint8]:
    """A photograph's file content as RGB uint8 (H, W, 3), turned as its EXIF orientation says.

    Raises:
        UserError: naming `name`, if it cannot be decoded.
    """
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) if encoded else None
    if pixels is None:
        raise UserError(f"{name}: not an image that can be decoded.")
    return np.ascontiguousarray(pixels[..., ::-1], dtype=np.uint8)


def encode_indexed_png(classes: NDArray[np.uint8], colors: Sequence[tuple[int, int, int]]) -> bytes:
    """PNG whose pixel values are the class indices (H, W) and whose palette holds `colors`.

    OpenCV writes no palettes: a grey PNG becomes an indexed one by its colour type (PNG specification,
    section 11.2.1) and a PLTE chunk before the data.
    """
    grey = encode_png(classes)
    header_end = 8 + 12 + 13  # signature; length, type and checksum of a chunk; IHDR
    header = bytearray(grey[16 : 16 + 13])
    header[9] = 3
    palette = bytes(value for color in colors for value in color)
    return grey[:8] + _png_chunk(b"IHDR", bytes(header)) + _png_chunk(b"PLTE", palette) + grey[header_end:]


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB (H, W, 3) or grey (H, W) pixels as PNG."""
    done, encoded = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    if not done:
        raise ValueError(f"cannot encode an array of shape {pixels.shape} and type {pixels.dtype} as PNG")
    return encoded.tobytes()


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def draw_overlay(
    image: NDArray[np.uint8], classes: NDArray[np.uint8], colors: Sequence[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """`image` (H, W, 3) and its classes' colours, half and half."""
    painted = np.asarray(colors, np.uint8)[classes]
    return np.asarray(cv2.addWeighted(image, 1 - OVERLAY_OPACITY, painted, OVERLAY_OPACITY, 0), np.uint8)


def draw_uncertainty(uncertainty: NDArray[np.float32], num_classes: int) -> NDArray[np.uint8]:
    """Heat map (H, W, 3), RGB: black is certain, bright is as uncertain as C classes can be, 1 - 1/C.

    The scale is the same for every image, so that pictures can be compared.
    """
    share = np.clip(uncertainty / (1 - 1 / num_classes), 0, 1)
    heat = cv2.applyColorMap(np.rint(share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(heat[..., ::-1], dtype=np.uint8)


def describe(segmentation: Segmentation, classes: Sequence[str], most: int = 3) -> str:
    """The `most` frequent classes with their shares of the pixels, and the mean uncertainty."""
    shares = np.bincount(segmentation.classes.ravel(), minlength=len(classes)) / segmentation.classes.size
    top = [index for index in np.argsort(-shares, kind="stable")[:most] if shares[index]]
    listed = ", ".join(f"{classes[index]} {shares[index]:.0%}" for index in top)
    return f"{listed}; mean uncertainty {segmentation.uncertainty.mean():.2f}"


def segment_file(segmenter: Segmenter, image_path: Path, folder: Path) -> tuple[str, list[Path]]:
    """Segment one image file and write its three pictures; return what is in it, and the pictures' paths.

    Raises:
        UserError: naming the file, if it cannot be read or segmented.
    """
    image = read_image(image_path)
    try:
        result = segmenter.segment(image)
    except UserError as error:
        raise UserError(f"{image_path}: {error}") from error
    pictures = (
        encode_indexed_png(result.classes, segmenter.colors),
        encode_png(draw_overlay(image, result.classes, segmenter.colors)),
        encode_png(draw_uncertainty(result.uncertainty, len(segmenter.classes))),
    )
    paths = output_paths(image_path, folder)
    for path, picture in zip(paths, pictures, strict=True):
        with atomic_path(path) as temporary:
            temporary.write_bytes(picture)
    return describe(result, segmenter.classes), paths


def output_paths(image_path: Path, folder: Path) -> list[Path]:
    """Where class map, overlay and uncertainty of an image are written."""
    return [folder / f"{image_path.stem}_{kind}.png" for kind in ("classes", "overlay", "uncertainty")]


def check_outputs(images: Iterable[Path], folder: Path) -> None:
    """Refuse to begin where one image's pictures would overwrite another's, or an image itself.

    Raises:
        UserError: naming both files.
    """
    inputs = {image.resolve(): image for image in images}
    owners: dict[Path, Path] = {}
    for image in inputs.values():
        for output in output_paths(image, folder):
            place = output.resolve()
            if place in inputs:
                raise UserError(f"{output}: a picture of {image} would overwrite this image; use another --out.")
            other = owners.setdefault(place, image)
            if other is not image:
                raise UserError(f"{output}: {other} and {image} would both be written there; give each its own --out.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 where anything failed."""
    options = _parse(arguments)
    images = list(dict.fromkeys(options.images))
    failed = False
    try:
        check_outputs(images, options.out)
        segmenter = Segmenter(options.model, options.threads)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for image in images:
        try:
            content, pictures = segment_file(segmenter, image, options.out)
        except (UserError, OSError) as error:
            failed = True
            print(f"error: {error}", file=sys.stderr)
            continue
        print(f"{image}: {content}", *(f"  {picture}" for picture in pictures), sep="\n", flush=True)
    return int(failed)


def _parse(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m ucc.segmenter",
        description="Segment images with an exported model: class map, overlay, uncertainty of each.",
    )
    parser.add_argument("model", type=Path, help="the .onnx file that the stage `export` wrote")
    parser.add_argument("images", type=Path, nargs="+", metavar="image")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where pictures go (default: here)")
    parser.add_argument("--threads", type=int, default=0, help="0 (default): as many as onnxruntime finds sensible")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
