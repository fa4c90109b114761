"""`ucc segment`: class map, overlay and uncertainty of images, and the shares of the classes in them."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ucc.commands.arguments import add_providers, natural, positive
from ucc.commands.inputs import KINDS, SHARES, Input, check_outputs, find_inputs
from ucc.commands.shares import Shares, Tally, describe, read_shares, write_shares
from ucc.errors import UserError
from ucc.files import atomic_path
from ucc.images import read_image
from ucc.pictures import STRIP_PIXELS, PngWriter, draw_overlay, draw_uncertainty
from ucc.progress import Progress
from ucc.segmenter import OVERLAP, TILE, Segmentation, Segmenter

Pixels = NDArray[np.uint8]


def main(arguments: Sequence[str]) -> int:
    """Segment what the command line names; returns 0, or 1 if any image failed.

    Raises:
        UserError: if nothing can be begun: no image, no model, pictures that would overwrite one another, shares in OUT
            that something else wrote.
        OSError: if a result cannot be written.
    """
    options = _parse(arguments)
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"{options.out}: a file; the last argument is the folder that the pictures go into.")
    inputs = find_inputs(options.inputs, options.out)
    check_outputs(inputs, options.out, options.only)
    if not options.model.is_file():
        raise UserError(f"{options.model}: no such file. The stage `export` writes it; --model names another.")
    segmenter = Segmenter(options.model, options.threads, options.tile, options.overlap, options.provider)
    read_shares(options.out, segmenter.classes)
    cv2.setNumThreads(options.threads or -1)
    return segment_all(segmenter, inputs, options.out, options.only, options.batch)


def segment_all(segmenter: Segmenter, inputs: Sequence[Input], out: Path, kinds: Sequence[str], batch: int) -> int:
    """Segment all, go on after one that fails; returns the exit status.

    However it ends, the failures are listed and the shares of what was segmented written.
    """
    rows: list[Shares] = []
    failures: list[str] = []
    progress = Progress("segmented", len(inputs))
    try:
        for group in _batches(inputs, segmenter, batch, failures, progress):
            for image, pixels, strips in _segment(segmenter, group):
                try:
                    tally = write_pictures(segmenter, pixels, strips, image.outputs(out, kinds), kinds)
                except (UserError, MemoryError) as error:
                    failures.append(f"{image.path}: {str(error) or 'not enough memory.'}")
                else:
                    rows.append(tally.shares(image.name))
                progress.advance()
    finally:
        progress.end()
        _list(failures, len(inputs))
        if rows:
            write_shares(out, rows, segmenter.classes)
    if rows:
        for row in rows if len(rows) == 1 else ():
            print(f"{row.image}: {describe(row, segmenter.classes)}")
        print(f"{len(rows)} of {len(inputs)} images segmented: {out} (pictures, {', '.join(SHARES)})")
    return int(bool(failures))


def _list(failures: Sequence[str], images: int) -> None:
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {images} images failed", file=sys.stderr)


def write_pictures(
    segmenter: Segmenter, image: Pixels, strips: Iterable[Segmentation], paths: Sequence[Path], kinds: Sequence[str]
) -> Tally:
    """Write the pictures of one image (H, W, 3), each atomically, strip by strip as these come; count its pixels."""
    draw: dict[str, Callable[[Pixels, Segmentation], Pixels]] = {
        "classes": lambda _, strip: strip.classes,
        "overlay": lambda rows, strip: draw_overlay(rows, strip.classes, segmenter.colors),
        "uncertainty": lambda _, strip: draw_uncertainty(strip.uncertainty, len(segmenter.classes)),
    }
    tally, done = Tally(len(segmenter.classes)), 0
    with ExitStack() as stack:
        writers = []
        for path, kind in zip(paths, kinds, strict=True):
            stream = stack.enter_context(stack.enter_context(atomic_path(path)).open("wb"))
            palette = segmenter.colors if kind == "classes" else None
            writers.append((draw[kind], PngWriter(stream, (image.shape[0], image.shape[1]), palette)))
        for strip in strips:
            for drawn, writer in writers:
                writer.write(drawn(image[done : done + len(strip.classes)], strip))
            tally.add(strip)
            done += len(strip.classes)
        for _, writer in writers:
            writer.finish()
    return tally


def _batches(
    inputs: Sequence[Input], segmenter: Segmenter, size: int, failures: list[str], progress: Progress
) -> Iterator[list[tuple[Input, Pixels]]]:
    """Successive images of one size, up to `size` of them; images to be tiled alone; what cannot be read left out."""
    group: list[tuple[Input, Pixels]] = []
    for image in inputs:
        try:
            pixels = read_image(image.path)
        except (UserError, MemoryError) as error:
            failures.append(str(error) or f"{image.path}: not enough memory.")
            progress.advance()
            continue
        alone = not segmenter.takes_whole(*pixels.shape[:2])
        if group and (alone or pixels.shape != group[0][1].shape):
            yield group
            group = []
        group.append((image, pixels))
        del pixels  # while others work on the group, nothing here keeps a large image alive
        if alone or len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _segment(
    segmenter: Segmenter, group: list[tuple[Input, Pixels]]
) -> Iterator[tuple[Input, Pixels, Iterable[Segmentation]]]:
    """Results of a group's images; where a batch fails, say for want of memory, each is tried alone."""
    try:
        together = segmenter.segment_batch(np.stack([pixels for _, pixels in group])) if len(group) > 1 else None
    except (UserError, MemoryError):
        together = None
    for index, (image, pixels) in enumerate(group):
        if together is None:
            strips = segmenter.segment_strips(pixels)
        else:
            strips = iter([Segmentation(together.classes[index], together.uncertainty[index])])
        yield image, pixels, _cut(strips)


def _cut(strips: Iterable[Segmentation]) -> Iterator[Segmentation]:
    """Strips that are no larger than a picture is drawn at once."""
    for strip in strips:
        step = max(1, STRIP_PIXELS // strip.classes.shape[1])
        for top in range(0, len(strip.classes), step):
            yield Segmentation(strip.classes[top : top + step], strip.uncertainty[top : top + step])


def _parse(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(
        prog="ucc segment",
        description="Segment images with an exported model. For each it writes <name>_classes.png (class indices with "
        "a palette), <name>_overlay.png and <name>_uncertainty.png; for all, shares.csv and shares.json: the share of "
        "each class among the pixels of each image, and those of earlier runs whose pictures are still in OUT.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="an image, a folder (searched with all below it, whose structure is kept), or a pattern in quotes: "
        "'photos/**/*.jpg'",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder for the results; made if missing")
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("models/segmenter.onnx"),
        metavar="FILE",
        help="the .onnx file that the stage `export` wrote (default: %(default)s)",
    )
    parser.add_argument(
        "--only", type=_kinds, default=KINDS, metavar="KIND,...", help=f"which pictures (default: {','.join(KINDS)})"
    )
    parser.add_argument("--batch", type=positive, default=1, help="images of equal size to run at once (default: 1)")
    parser.add_argument("--threads", type=natural, default=0, help="0 (default): as many as there are cores")
    add_providers(parser)
    parser.add_argument(
        "--tile",
        type=natural,
        default=TILE,
        help="images with a longer side are segmented in tiles of this many pixels, a multiple of 32 "
        "(default: %(default)s; 0: never)",
    )
    parser.add_argument(
        "--overlap",
        type=natural,
        default=OVERLAP,
        help="of neighbouring tiles, in pixels, likewise (default: %(default)s)",
    )
    return parser.parse_intermixed_args(arguments)


def _kinds(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    if unknown := set(asked) - set(KINDS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in asked)
