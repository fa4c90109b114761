"""`POST /segment`: a picture in, its class map, overlay, uncertainty or all of it as JSON out. `GET /model`."""

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ucc
from ucc.errors import UserError
from ucc.images import decode_image, read_header
from ucc.pictures import draw_overlay, draw_uncertainty, encode_indexed_png, encode_png, scale_uncertainty
from ucc.segmenter import QUANTIZED_KEY, Segmentation, Segmenter
from ucc.serve.forms import file_of_form
from ucc.serve.limits import Limits, RefusedError, out_of_memory_refused

CLASS_MAP = "image/png"
OVERLAY = "image/png;output=overlay"
UNCERTAINTY = "image/png;output=uncertainty"
JSON = "application/json"
# The service's preference first.
ANSWERS = (CLASS_MAP, OVERLAY, UNCERTAINTY, JSON)

Pixels = NDArray[np.uint8]


def describe_model(segmenter: Segmenter, name: str, limits: Limits) -> dict[str, Any]:
    """What `GET /model` answers, from the file's metadata."""
    about = segmenter.metadata
    return {
        "name": name,
        "classes": _classes(segmenter),
        "miou": segmenter.miou,
        "miou_split": segmenter.miou_split,
        "dataset": about.get("dataset", ""),
        "revision": about.get("git_revision", ""),
        "step": segmenter.step,
        "quantized": QUANTIZED_KEY in about,
        "ucc_version": about.get("ucc_version", ucc.__version__),
        "limits": {"bytes": limits.body, "pixels": limits.pixels},
    }


def answer_picture(
    segmenter: Segmenter, body: bytes | bytearray, content_type: str, answer: str, limits: Limits
) -> bytes:
    """The one of `ANSWERS` for the picture in a request's body, encoded. To be run in a thread.

    Raises:
        RefusedError: 400 if the body has no picture or a damaged one, 413 if it is too large, or needs more memory
            than there is.
    """
    with out_of_memory_refused():
        encoded = bytes(file_of_form(body, content_type))
        check_picture(encoded, limits.pixels)
        try:
            image = decode_image(encoded)
        except UserError as error:
            raise RefusedError(400, f"The picture is {error}") from error
        result = segmenter.segment(image)
        if answer == JSON:
            return json.dumps(_as_json(segmenter, result)).encode("ascii")
        return encode_answer(segmenter, image, result, answer)


def check_picture(encoded: bytes, most: int) -> None:
    """Refuse what is no picture, or declares more than `most` pixels, before anything is decoded.

    Raises:
        RefusedError: 400 or 413.
    """
    try:
        header = read_header(encoded)
    except UserError as error:
        raise RefusedError(400, f"The picture is {error}") from error
    if header is None or not header.height * header.width:
        raise RefusedError(400, "The body is no JPEG, PNG, BMP, TIFF or WebP; send the bytes of one picture.")
    if header.height * header.width > most:
        raise RefusedError(413, f"{header.width}x{header.height} pixels are more than {most}; send a smaller picture.")


def encode_answer(segmenter: Segmenter, image: Pixels, result: Segmentation, answer: str) -> bytes:
    """A PNG of the size of `image` (H, W, 3): class indices with a palette, overlay, or heat map of the uncertainty."""
    if answer == OVERLAY:
        return encode_png(draw_overlay(image, result.classes, segmenter.colors))
    if answer == UNCERTAINTY:
        return encode_png(draw_uncertainty(result.uncertainty, len(segmenter.classes)))
    return encode_indexed_png(result.classes, segmenter.colors)


def _as_json(segmenter: Segmenter, result: Segmentation) -> dict[str, Any]:
    height, width = result.classes.shape
    unsure = scale_uncertainty(result.uncertainty, len(segmenter.classes))
    shares = result.shares(len(segmenter.classes))
    return {
        "width": width,
        "height": height,
        "classes": [told | {"share": share} for told, share in zip(_classes(segmenter), shares, strict=True)],
        "mean_uncertainty": result.mean_uncertainty,
        "class_map": base64.b64encode(encode_indexed_png(result.classes, segmenter.colors)).decode("ascii"),
        "uncertainty_map": base64.b64encode(encode_png(unsure)).decode("ascii"),
    }


def _classes(segmenter: Segmenter) -> list[dict[str, Any]]:
    return [
        {"index": index, "name": name, "color": list(color)}
        for index, (name, color) in enumerate(zip(segmenter.classes, segmenter.colors, strict=True))
    ]
