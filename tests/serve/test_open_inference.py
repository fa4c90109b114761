"""The Open Inference Protocol over real HTTP, by its letter; `test_tritonclient` asks as another's client."""

import json

import numpy as np
import pytest
from running import ask

import ucc

INFER = "/v2/models/segmenter/infer"
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
REQUEST = {
    "id": "42",
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": IMAGES.shape, "data": IMAGES.tolist()}],
}


def test_health_and_metadata(port: int) -> None:
    expected = {
        "/v2": {"name": "ucc", "version": ucc.__version__, "extensions": ["binary_tensor_data"]},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/segmenter/ready": {"name": "segmenter", "ready": True},
        "/v2/models/segmenter/versions/1/ready": {"name": "segmenter", "ready": True},
    }
    for path, told in expected.items():
        answer = ask(port, "GET", path)
        assert (answer.status, answer.json()) == (200, told), path
    metadata = ask(port, "GET", "/v2/models/segmenter").json()
    assert metadata == ask(port, "GET", "/v2/models/segmenter/versions/1").json()
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]


def test_the_metadata_are_those_of_what_an_inference_gives(port: int) -> None:
    answer = ask(port, "POST", INFER, json.dumps(REQUEST).encode())
    assert (answer.status, answer.content_type) == (200, "application/json")
    told = answer.json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("segmenter", "1", "42")
    outputs = {output["name"]: output for output in told["outputs"]}
    described = ask(port, "GET", "/v2/models/segmenter").json()["outputs"]
    assert list(outputs) == [about["name"] for about in described]
    for about in described:
        output = outputs[about["name"]]
        assert output["datatype"] == about["datatype"]
        assert all(said in (-1, size) for said, size in zip(about["shape"], output["shape"], strict=True))
        assert len(output["data"]) == np.prod(output["shape"])
    np.testing.assert_array_equal(outputs["classes"]["data"], IMAGES.argmax(axis=3).ravel())


def test_outputs_can_be_chosen_and_a_version_named(port: int) -> None:
    body = json.dumps(REQUEST | {"outputs": [{"name": "uncertainty"}]}).encode()
    for path in (INFER, "/v2/models/segmenter/versions/1/infer"):
        (output,) = ask(port, "POST", path, body).json()["outputs"]
        np.testing.assert_allclose(output["data"], 1 - IMAGES.max(axis=3).ravel() / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/other"),
        ("GET", "/v2/models/other/ready"),
        ("POST", "/v2/models/other/infer"),
        ("GET", "/v2/models/segmenter/versions/2"),
        ("POST", "/v2/models/segmenter/versions/2/infer"),
        ("GET", "/v2/models/segmenter/config"),
    ],
)
def test_another_model_or_version_is_404_and_names_what_there_is(port: int, method: str, path: str) -> None:
    answer = ask(port, method, path, b"{}" if method == "POST" else None)
    assert answer.status == 404
    assert "'segmenter', version 1" in answer.json()["error"]


def test_a_faulty_request_is_400_and_too_many_pixels_are_413(port: int) -> None:
    answer = ask(port, "POST", INFER, b"{}")
    assert (answer.status, answer.json()) == (400, {"error": "inputs: Field required."})
    large = REQUEST["inputs"][0] | {"shape": [10_001, 1, 1, 3], "data": []}
    answer = ask(port, "POST", INFER, json.dumps({"inputs": [large]}).encode())
    assert (answer.status, "10000 pixels" in answer.json()["error"]) == (413, True)
