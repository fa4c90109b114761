"""Tensors of the Open Inference Protocol, version 2: from a request's body to an array, from arrays to an answer's.

With the extension for binary data, a body is JSON of `Inference-Header-Content-Length` bytes and, after it, the bytes
of the tensors, little-endian and row by row.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ucc.segmenter import LOGITS, OUTPUTS
from ucc.serve.json_numbers import MOST_BYTES, TAKEN, read_numbers, take_numbers
from ucc.serve.limits import RefusedError
from ucc.serve.schemas import InferRequest, InputTensor

HEADER_LENGTH = "Inference-Header-Content-Length"
# Numbers that are written at once: json.dumps of millions would let no other thread run for seconds.
WRITTEN_AT_ONCE = 2**14


class Asked(NamedTuple):
    """A request: images, uint8 (B, H, W, 3), the names of the outputs and whether each is to be binary, and its id."""

    images: NDArray[np.uint8]
    outputs: dict[str, bool]
    id: str


def read_request(body: bytes | bytearray, header_length: str | None, most_pixels: int) -> Asked:
    """Read an inference request.

    Args:
        body: the whole body.
        header_length: the header `Inference-Header-Content-Length`, if there is one.
        most_pixels: B * H * W at most.

    Raises:
        RefusedError: 400 if the request is not valid, 413 for too many pixels.
    """
    text, binary = _split(body, header_length)
    text, numbers = take_numbers(text)
    if len(text) > MOST_BYTES:
        raise RefusedError(
            400,
            f"The request's JSON: {len(text)} bytes beside the numbers of `data`, which must be whole, from 0 to 255; "
            f"there may be {MOST_BYTES}.",
        )
    try:
        request = InferRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "The request's JSON"
        raise RefusedError(400, f"{place}: {first['msg']}.") from error
    images = _read_images(request.inputs[0], numbers, binary, most_pixels)
    default = request.parameters.binary_data_output
    outputs: dict[str, bool] = {
        output.name: output.parameters.binary_data if output.parameters.model_fields_set else default
        for output in request.outputs
    }
    if len(outputs) != len(request.outputs):
        raise RefusedError(400, "outputs: the same name twice; ask for each once.")
    return Asked(images, outputs or dict.fromkeys((*OUTPUTS, LOGITS), default), request.id)


def write_answer(asked: Asked, found: dict[str, NDArray[Any]], model: str, version: str) -> tuple[bytes, int | None]:
    """An answer's body, and the bytes of its JSON where binary data follows."""
    described, blobs = [], []
    for name, binary in asked.outputs.items():
        array = found[name]
        about: dict[str, Any] = {"name": name, "datatype": datatype(array), "shape": list(array.shape)}
        if binary:
            about["parameters"] = {"binary_data_size": array.nbytes}
            blobs.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            described.append(json.dumps(about))
        else:
            described.append(f'{json.dumps(about)[:-1]}, "data": [{",".join(_numbers(array))}]}}')
    envelope = {"model_name": model, "model_version": version} | ({"id": asked.id} if asked.id else {})
    text = f'{json.dumps(envelope)[:-1]}, "outputs": [{", ".join(described)}]}}'.encode("ascii")
    return b"".join([text, *blobs]), len(text) if blobs else None


def datatype(array: NDArray[Any]) -> str:
    """The protocol's name of an array's type."""
    return {"uint8": "UINT8", "float32": "FP32"}[array.dtype.name]


def _split(body: bytes | bytearray, header_length: str | None) -> tuple[bytes | bytearray, memoryview]:
    """JSON and what follows it."""
    if header_length is None:
        return body, memoryview(b"")
    if not (header_length.isascii() and header_length.isdigit()) or len(header_length) > 20:
        raise RefusedError(400, f"{HEADER_LENGTH}: {header_length[:30]!r} is no number of bytes.")
    length = int(header_length)
    if length > len(body):
        raise RefusedError(400, f"{HEADER_LENGTH}: {length} bytes of JSON, but the body has {len(body)} in all.")
    whole = memoryview(body)
    return bytes(whole[:length]), whole[length:]


def _read_images(
    tensor: InputTensor, numbers: bytes | bytearray, binary: memoryview, most_pixels: int
) -> NDArray[np.uint8]:
    *sizes, channels = tensor.shape
    if channels != 3:
        raise RefusedError(400, f"inputs.0.shape: {tensor.shape}; it must be [batch, height, width, 3].")
    if math.prod(sizes) > most_pixels:
        raise RefusedError(413, f"inputs.0.shape: {tensor.shape} is more than {most_pixels} pixels; send fewer.")
    size = math.prod(tensor.shape)
    if tensor.parameters.model_fields_set:
        announced = tensor.parameters.binary_data_size
        if tensor.data or announced != size or len(binary) != size:
            raise RefusedError(
                400,
                f"inputs.0: the shape needs {size} bytes of binary data and no `data`; "
                f"binary_data_size is {announced}, and {len(binary)} bytes follow the JSON.",
            )
        return np.frombuffer(binary, np.uint8).reshape(tensor.shape)
    if len(binary):
        raise RefusedError(400, f"inputs.0: {len(binary)} bytes follow the JSON, but no binary_data_size says so.")
    try:
        return read_numbers(numbers if tensor.data == TAKEN else b"", tensor.shape)
    except ValueError as error:
        needed = f"must be {size} numbers, flat or nested as the shape says, all of them whole numbers from 0 to 255"
        raise RefusedError(400, f"inputs.0.data: {needed}.") from error


def _numbers(array: NDArray[Any]) -> Iterator[str]:
    """An array's numbers, comma-separated and in groups; floats with the 9 digits that tell any two apart."""
    flat, form = array.reshape(-1), "%d" if array.dtype.kind == "u" else "%.9g"
    for start in range(0, flat.size, WRITTEN_AT_ONCE):
        yield ",".join([form % number for number in flat[start : start + WRITTEN_AT_ONCE].tolist()])
