"""Tensors of the Open Inference Protocol, without a server: what is read, what is refused, what is written."""

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from ucc.serve.limits import RefusedError
from ucc.serve.tensors import Asked, read_request, write_answer

SHAPE = (2, 3, 5, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def tensor(**changes: Any) -> dict[str, Any]:
    """The input of IMAGES, flat, with changes; None leaves a key out."""
    plain = {"name": "image", "datatype": "UINT8", "shape": list(SHAPE), "data": IMAGES.ravel().tolist()}
    return {key: value for key, value in (plain | changes).items() if value is not None}


def read(body: Any, binary: bytes | None = None, most_pixels: int = 1000) -> Asked:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_request(text + (binary or b""), None if binary is None else str(len(text)), most_pixels)


@pytest.mark.parametrize("data", [IMAGES.ravel().tolist(), IMAGES.tolist()], ids=["flat", "nested"])
def test_numbers_are_read_flat_and_nested(data: Any) -> None:
    asked = read({"inputs": [tensor(data=data)], "id": "7"})
    np.testing.assert_array_equal(asked.images, IMAGES)
    assert asked.images.dtype == np.uint8
    assert asked == (asked.images, {"classes": False, "uncertainty": False, "logits": False}, "7")


@pytest.mark.parametrize("at_once", [1, 7, 10**6])
@pytest.mark.parametrize("indent", [None, 1])
def test_numbers_are_read_whatever_the_blanks_between_them(
    at_once: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ucc.serve.json_numbers.READ_AT_ONCE", at_once)
    for data in (IMAGES.ravel().tolist(), IMAGES.tolist()):
        text = json.dumps({"inputs": [tensor(data=data)]}, indent=indent)
        np.testing.assert_array_equal(read(text.replace(",", " ,\t").encode()).images, IMAGES)


@pytest.mark.parametrize("at_once", [1, 10**6])
@pytest.mark.parametrize(
    "data",
    ["[1,2,]", "[1,,3]", "[,2,3]", "[1, ,3]", "[1,2, ]", "[1 2,3]", "[1,2],[3]", "[[1,2],3]", "[1,2,3", "[1 2 3]"],
)
def test_numbers_that_json_does_not_allow_are_refused(data: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ucc.serve.json_numbers.READ_AT_ONCE", at_once)
    whole = json.dumps({"inputs": [tensor(shape=[1, 1, 1, 3], data=[0])]})
    with pytest.raises(RefusedError, match=r"must be 3 numbers|Invalid JSON") as caught:
        read(whole.replace("[0]", data).encode())
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("value", "shape"),
    [("7", [1, 1000, 333, 3]), ("[1,2,3]", [1, 1, 1, 3]), ("[]", [1, 1, 1, 3]), ("{}", [1, 1, 1, 3])],
    ids=["numbers", "ragged", "lists", "objects"],
)
@pytest.mark.parametrize("key", ["data", "id"])
def test_json_takes_no_more_than_a_few_times_its_own_memory(value: str, shape: list[int], key: str) -> None:
    many = ",".join([value] * 999_000)
    body = json.dumps({"id": "", "inputs": [tensor(shape=shape, data=[0])]}, separators=(",", ":"))
    body = body.replace("[0]" if key == "data" else '""', f"[{many}]")
    encoded = body.encode()
    del body, many
    tracemalloc.start()
    with suppress(RefusedError):
        assert read(encoded, most_pixels=10**6).images.shape == tuple(shape)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(encoded)


def test_binary_data_are_read() -> None:
    announced = tensor(data=None, parameters={"binary_data_size": IMAGES.nbytes})
    asked = read({"inputs": [announced]}, IMAGES.tobytes())
    np.testing.assert_array_equal(asked.images, IMAGES)


@pytest.mark.parametrize(
    ("parameters", "own", "binary"),
    [({}, {}, False), ({"binary_data_output": True}, {}, True)]
    + [({"binary_data_output": not each}, {"binary_data": each}, each) for each in (True, False)],
)
def test_an_output_is_binary_where_it_says_so_else_where_the_request_does(
    parameters: dict[str, bool], own: dict[str, bool], binary: bool
) -> None:
    outputs = [{"name": "logits", "parameters": own}]
    asked = read({"inputs": [tensor()], "outputs": outputs, "parameters": parameters})
    assert asked.outputs == {"logits": binary}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"[" * 50_000, "Invalid JSON"),
        (b"null", "Input should be an object"),
        ({}, "inputs: Field required"),
        ({"inputs": []}, "inputs: List should have at least 1 item"),
        ({"inputs": [tensor(), tensor()]}, "inputs: List should have at most 1 item"),
        ({"inputs": [tensor(name="picture")]}, "inputs.0.name: Input should be 'image'"),
        ({"inputs": [tensor(datatype="FP32")]}, "inputs.0.datatype: Input should be 'UINT8'"),
        ({"inputs": [tensor(shape=[2, 3, 5])]}, "inputs.0.shape: List should have at least 4 items"),
        ({"inputs": [tensor(shape=[2, 3, 5, 1])]}, "must be [batch, height, width, 3]"),
        ({"inputs": [tensor(shape=[2, -3, 5, 3])]}, "inputs.0.shape.1: Input should be greater than or equal to 1"),
        ({"inputs": [tensor(shape=["2", 3, 5, 3])]}, "inputs.0.shape.0: Input should be a valid integer"),
        ({"inputs": [tensor(data=[1, 2])]}, "must be 90 numbers"),
        ({"inputs": [tensor(data=None)]}, "must be 90 numbers"),
        ({"inputs": [tensor(data=IMAGES.reshape(90, 1).tolist())]}, "must be 90 numbers"),
        ({"inputs": [tensor(data=[[1], [2, 3]])]}, "must be 90 numbers"),
        ({"inputs": [tensor(data=[256] * 90)]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(data=[-1] * 90)]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(data=[10**30] * 90)]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(data=[0.5] * 90)]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(data=["1"] * 90)]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(data=[True] * 90)]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(data=[None] * 90)]}, "whole numbers from 0 to 255"),
        ({"inputs": [tensor(data={"a": 1})]}, "inputs.0.data: Input should be a valid array"),
        ({"inputs": [tensor(parameters={"binary_data_size": 90})]}, "no `data`"),
        ({"inputs": [tensor()], "outputs": [{"name": "masks"}]}, "outputs.0.name: Input should be 'classes'"),
        ({"inputs": [tensor()], "outputs": [{"name": "classes"}] * 2}, "the same name twice"),
        ({"inputs": [tensor()], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output"),
    ],
)
def test_what_is_no_request_is_refused_with_the_place_of_the_fault(body: Any, message: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read(body)
    assert caught.value.status == 400
    assert message in str(caught.value)


@pytest.mark.parametrize("announced", [0, 89, 91, 2**62])
@pytest.mark.parametrize("sent", [0, 89, 90, 91])
def test_binary_data_of_another_size_than_announced_or_needed_are_refused(announced: int, sent: int) -> None:
    body = {"inputs": [tensor(data=None, parameters={"binary_data_size": announced})]}
    with pytest.raises(RefusedError, match="the shape needs 90 bytes"):
        read(body, bytes(sent))


def test_bytes_that_nothing_announces_are_refused() -> None:
    with pytest.raises(RefusedError, match="3 bytes follow the JSON"):
        read({"inputs": [tensor()]}, b"abc")


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣", "9" * 5000, "100"])
def test_a_header_length_that_cannot_be_is_refused(length: str) -> None:
    with pytest.raises(RefusedError, match="Inference-Header-Content-Length") as caught:
        read_request(b"{}", length, 1000)
    assert caught.value.status == 400


@pytest.mark.parametrize("shape", [[1, 1001, 1, 3], [2**62, 2**62, 2**62, 3]])
def test_too_many_pixels_are_refused_by_the_shape_alone(shape: list[int]) -> None:
    with pytest.raises(RefusedError, match="more than 1000 pixels") as caught:
        read({"inputs": [tensor(shape=shape, data=[])]})
    assert caught.value.status == 413


@pytest.mark.parametrize("binary", [("classes",), ("logits",), ("classes", "logits"), ()], ids=str)
def test_an_answer_holds_the_arrays_bit_for_bit(binary: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ucc.serve.tensors.WRITTEN_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    found = {
        "classes": rng.integers(0, 256, (2, 3, 5), dtype=np.uint8),
        "logits": rng.normal(0, 1e3, (2, 4, 1, 2)).astype(np.float32) * np.float32(1e-9),
    }
    asked = Asked(IMAGES, {name: name in binary for name in found}, "a")
    content, length = write_answer(asked, found, "m", "1")
    assert (length is not None) == bool(binary)
    told, rest = json.loads(content[:length]), content[length or len(content) :]
    assert (told["model_name"], told["model_version"], told["id"]) == ("m", "1", "a")
    for output in told["outputs"]:
        expected = found[output["name"]]
        assert output["shape"] == list(expected.shape)
        assert output["datatype"] == {"classes": "UINT8", "logits": "FP32"}[output["name"]]
        if output["name"] in binary:
            size = output["parameters"]["binary_data_size"]
            array, rest = np.frombuffer(rest[:size], expected.dtype), rest[size:]
        else:
            array = np.array(output["data"], expected.dtype)
        np.testing.assert_array_equal(array.reshape(expected.shape), expected)
    assert rest == b""
