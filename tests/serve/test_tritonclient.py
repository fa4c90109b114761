"""The client of KServe's and Triton's users against the service: an independent check of the protocol."""

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
OUTPUTS = ("classes", "uncertainty", "logits")


@pytest.fixture
def client(port: int) -> triton.InferenceServerClient:
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        yield client


def image_input(binary: bool, images: np.ndarray = IMAGES) -> triton.InferInput:
    tensor = triton.InferInput("image", images.shape, "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return tensor


def check(result: triton.InferResult) -> None:
    np.testing.assert_array_equal(result.as_numpy("classes"), IMAGES.argmax(axis=3))
    np.testing.assert_allclose(result.as_numpy("uncertainty"), 1 - IMAGES.max(axis=3) / 255, atol=1e-6)
    np.testing.assert_array_equal(result.as_numpy("logits"), IMAGES[:, ::4, ::4].transpose(0, 3, 1, 2))


def test_it_finds_the_server_and_the_model_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("segmenter")
    assert client.is_model_ready("segmenter", "1")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert [output["name"] for output in client.get_model_metadata("segmenter")["outputs"]] == list(OUTPUTS)


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False])
def test_it_infers_with_json_and_binary_tensors(
    client: triton.InferenceServerClient, binary_input: bool, binary_output: bool
) -> None:
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_output) for name in OUTPUTS]
    result = client.infer("segmenter", [image_input(binary_input)], outputs=outputs, request_id="7")
    check(result)
    assert result.get_response()["id"] == "7"


def test_it_gets_all_outputs_if_it_names_none_and_mixed_ones_if_it_says_so(
    client: triton.InferenceServerClient,
) -> None:
    check(client.infer("segmenter", [image_input(True)], model_version="1"))
    mixed = [triton.InferRequestedOutput(name, binary_data=name == "logits") for name in OUTPUTS]
    check(client.infer("segmenter", [image_input(True)], outputs=mixed))


def test_it_shows_the_services_messages(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="There is no 'other/infer'"):
        client.infer("other", [image_input(True)])
    with pytest.raises(InferenceServerException, match=r"must be \[batch, height, width, 3\]"):
        client.infer("segmenter", [image_input(True, IMAGES[..., :2])])
    with pytest.raises(InferenceServerException, match="Content-Encoding"):
        client.infer("segmenter", [image_input(True)], request_compression_algorithm="gzip")
